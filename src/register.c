/*-------------------------------------------------------------------------
 *
 * register.c
 *	  Registering tables, and taking the registration away.
 *
 * Configuring again replaces what stands: the guard of the old tables goes,
 * the next purge is a full sweep.  Rights follow the owner of the sessions
 * table; nobody else is ever granted anything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "bucket.h"
#include "db.h"
#include "errors.h"
#include "inventory.h"
#include "outbox.h"
#include "register.h"
#include "scanlog.h"
#include "settings.h"
#include "shared.h"
#include "source.h"
#include "sweep.h"
#include "undo.h"

/* How long emptying the undo tables waits for their readers, ms. */
#define EMPTY_LOCK_TIMEOUT 10000

/* What the owner of the sessions table may use. */
static const char owner_functions[] =
	"FUNCTION {vf}.vf_purge_now(integer, bigint),"
	" {vf}.vf_purge_preview(integer), {vf}.vf_outbox_retry(bigint),"
	" {vf}.vf_outbox_cancel(bigint, text), {vf}.vf_pause(text),"
	" {vf}.vf_undo_purge(bigint), {vf}.vf_undo_purge(text),"
	" {vf}.vf_undo_discard(), {vf}.vf_undo_discard(bigint),"
	" {vf}.vf_undo_discard(text),"
	" {vf}.vf_undo_for_payment(text),"
	" {vf}.vf_hold(text, timestamptz, text), {vf}.vf_release(text),"
	" {vf}.vf_erase_session(text),"
	" {vf}.vf_resume(), {vf}.vf_error_cure(text, boolean),"
	" {vf}.vf_source_state(), {vf}.vf_count_sessions(),"
	" {vf}.vf_count_storage(), {vf}.vf_count_alerts(),"
	" {vf}.vf_worker_slots()";
static const char owner_procedures[] =
	"PROCEDURE {vf}.vf_purge(integer, bigint, boolean),"
	" {vf}.vf_drain(bigint)";
static const char owner_views[] =
	"TABLE {vf}.vf_outbox, {vf}.vf_run, {vf}.vf_outbox_keys, {vf}.vf_dead_letters,"
	" {vf}.vf_config, {vf}.vf_stats, {vf}.vf_session_counts,"
	" {vf}.vf_storage_by_type, {vf}.vf_outbox_stats, {vf}.vf_runs,"
	" {vf}.vf_alerts, {vf}.vf_workers, {vf}.vf_hold, {vf}.vf_undo,"
	" {vf}.vf_undo_0, {vf}.vf_undo_1, {vf}.vf_undo_2, {vf}.vf_undo_3,"
	" {vf}.vf_undo_4, {vf}.vf_undo_5, {vf}.vf_undo_6, {vf}.vf_undo_7,"
	" {vf}.vf_undo_batch, {vf}.vf_undo_runs, {vf}.vf_lookup";

/* ---- rights ---- */

/* since: a table that came with them, for the scripts of versions before. */
static const struct
{
	const char *right;
	const char *objects;
	const char *since;
}			owner_rights[] = {
	{"EXECUTE", owner_functions, "vf_run"},
	{"EXECUTE", owner_procedures, "vf_run"},
	{"SELECT", owner_views, "vf_run"},
	{"EXECUTE", "FUNCTION {vf}.vf_find_missing(),"
	" {vf}.vf_find_orphans(), {vf}.vf_find_at_risk(),"
	" {vf}.vf_count_at_risk(), {vf}.vf_find_references(),"
	" {vf}.vf_add_reference(regclass, text),"
	" {vf}.vf_s3_delete_orphans(boolean, integer, bigint)",
	"vf_scan"},
	{"EXECUTE", "PROCEDURE {vf}.vf_s3_scan(bigint)", "vf_scan"},
	{"EXECUTE", "FUNCTION {vf}.vf_find_shared()", "vf_shared"},
	{"SELECT", "TABLE {vf}.vf_shared, {vf}.vf_s3_shared", "vf_shared"},
	{"EXECUTE", "FUNCTION {vf}.vf_s3_lifecycle_status(),"
		" {vf}.vf_s3_lifecycle_document(text, text, boolean),"
	" {vf}.vf_find_lifecycle_losses()", "vf_lifecycle"},
	{"SELECT", "TABLE {vf}.vf_lifecycle, {vf}.vf_lifecycle_kept",
	"vf_lifecycle"},
	{"SELECT", "TABLE {vf}.vf_scan, {vf}.vf_scan_part, {vf}.vf_object,"
		" {vf}.vf_usage, {vf}.vf_s3_usage, {vf}.vf_s3_missing,"
		" {vf}.vf_s3_orphans, {vf}.vf_at_risk, {vf}.vf_progress,"
		" {vf}.vf_reference, {vf}.vf_references",
	"vf_scan"},
	{"EXECUTE", "FUNCTION {vf}.vf_promote(text, bigint, boolean)",
	"vf_scan"}
};

static void
change_rights(const char *verb, const char *preposition, Oid role)
{
	Oid			schema = vf_db_schema_oid();
	VfDbSection section;

	vf_db_enter_self(&section);
	for (int i = 0; i < (int) lengthof(owner_rights); i++)
	{
		if (!OidIsValid(get_relname_relid(owner_rights[i].since, schema)))
			continue;
		vf_db_run(psprintf("%s %s ON %s %s %s", verb, owner_rights[i].right,
						   vf_db_fill(owner_rights[i].objects, NULL),
						   preposition,
						   quote_identifier(GetUserNameFromId(role, false))),
				  NULL);
	}
	vf_db_leave(&section);
}

/* ---- vf_configure ---- */

static VfColumn
part_of(const char *name)
{
	for (int part = 0; part < VF_N_COLUMNS; part++)
		if (strcmp(vf_column_parts[part].part, name) == 0)
			return part;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("vf_configure knows no column \"%s\"", name),
			 errhint("The argument columns maps any of sessions.id, sessions.session_token, sessions.created_at, sessions.expires_at, orders.session_token, orders.status, orders.created_at, orders.updated_at and orders.migration_status to a column's name; null says that an optional one is absent.")));
}

/* The columns argument as an array by part; NULL takes the default. */
static char **
read_columns(const char *columns)
{
	char	  **result = palloc0(sizeof(char *) * VF_N_COLUMNS);
	VfDbArgs	args = {0};
	VfDbSection section;
	uint64		n;

	vf_db_arg_text(&args, columns);
	vf_db_enter_self(&section);
	vf_db_run("SELECT pg_catalog.jsonb_typeof($1::pg_catalog.jsonb)"
			  " = 'object'", &args);
	if (!vf_db_bool(0, 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the argument columns must be a JSON object"),
				 errhint("Such as '{\"sessions.created_at\": \"made_at\"}'.")));
	n = vf_db_run("SELECT key, coalesce(value, '')"
				  " FROM pg_catalog.jsonb_each_text($1::pg_catalog.jsonb)",
				  &args);
	vf_db_leave(&section);
	for (uint64 i = 0; i < n; i++)
		result[part_of(vf_db_text(i, 0))] = vf_db_text(i, 1);
	return result;
}

/* The sessions' owner has to read orders, for the rules; lock and delete. */
static void
check_owner_rights(const VfSource *source)
{
	Oid			owner = source->sessions.owner;

	if (pg_class_aclcheck(source->orders.relid, owner, ACL_SELECT) !=
		ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of %s cannot read %s",
						source->sessions.quoted, source->orders.quoted),
				 errdetail("A purge runs with the rights of the sessions table's owner."),
				 errhint("Run GRANT SELECT ON %s TO %s.",
						 source->orders.quoted,
						 quote_identifier(GetUserNameFromId(owner, false)))));
}

/* Run a report's statement as the owner; each row gives item and value. */
static void
report_rows(const VfSource *source, VfReport *report, const char *item,
			const char *template)
{
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	uint64		n;

	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, &args);
	vf_db_enter_owner(&section, source->sessions.owner);
	n = vf_db_run(vf_db_fill(template, vf_rules_names(source, NULL)), &args);
	vf_db_leave(&section);
	for (uint64 i = 0; i < n; i++)
		vf_report_add(report, item, vf_db_text(i, 0));
}

static void
report_tables(const VfSource *source, VfReport *report)
{
	const VfTable *tables[] = {&source->sessions, &source->orders};

	for (int t = 0; t < 2; t++)
	{
		StringInfoData keys;

		initStringInfo(&keys);
		for (int i = 0; i < tables[t]->nkeys; i++)
			appendStringInfo(&keys, "%s%s", i == 0 ? "" : ", ",
							 tables[t]->keys[i].name);
		vf_report_add(report, t == 0 ? "sessions table" : "orders table",
					  psprintf("%s, owned by %s", tables[t]->quoted,
							   GetUserNameFromId(tables[t]->owner, false)));
		vf_report_add(report, "key columns",
					  psprintf("%s: %s", tables[t]->name, keys.data));
	}
	for (int part = 0; part < VF_N_COLUMNS; part++)
		vf_report_add(report, "column",
					  psprintf("%s: %s", vf_column_parts[part].part,
							   source->column[part] != NULL ?
							   source->column[part] : "absent"));
}

static void
report_contents(const VfSource *source, VfReport *report)
{
	report_rows(source, report, "order status seen",
				"SELECT pg_catalog.format('%s: %s orders%s',"
				" coalesce(o.{order_status}, 'null'), pg_catalog.count(*),"
				" CASE WHEN o.{order_status} = ANY ($3) THEN ', unpaid'"
				" ELSE ', keeps its session' END)"
				" FROM {orders} o GROUP BY o.{order_status} ORDER BY 1");
	report_rows(source, report, "due now",
				"SELECT pg_catalog.format('%s: %s sessions', r,"
				" pg_catalog.count(*)) FROM (SELECT {rule} AS r"
				" FROM {sessions} s WHERE {time_due} AND NOT {blocked}"
				" AND NOT {held}) x"
				" GROUP BY r ORDER BY 1");
	report_rows(source, report, "key prefix seen",
				"SELECT pg_catalog.format('%s: %s keys', p,"
				" pg_catalog.count(*)) FROM (SELECT coalesce("
				"pg_catalog.substring(u.k COLLATE \"C\", '^[^/]*/'), '(none)') AS p"
				" FROM {sessions} s, pg_catalog.unnest({session_keys}) u(k)"
				" WHERE u.k <> '') x GROUP BY p ORDER BY 1");
}

static void
report_guard(const VfSource *source, VfReport *report)
{
	vf_report_add(report, "payment guard", source->guard ?
				  "stands on orders" :
				  "refused: a purge locks orders against writers instead");
	if (source->queue_deletes)
		vf_report_add(report, "queue deletes",
					  "keys of sessions that the application deletes are queued");
}

/*
 * Take away the guard and the rights that an earlier registration left.  Its
 * tables may be gone or changed, and then so are its triggers.
 */
static void
remove_old_body(void *arg)
{
	VfSource   *old = vf_source_load(VF_SOURCE_LOOK);

	(void) arg;
	vf_source_guard_remove(old);
	change_rights("REVOKE", "FROM", old->sessions.owner);
}

/*
 * Take the rights from whoever has them: the old tables may be gone, or have
 * another owner by now.
 */
static void
revoke_rights(void)
{
	uint64		n = vf_db_run_self("SELECT DISTINCT a.grantee::int8"
								   " FROM pg_catalog.pg_class c,"
								   " pg_catalog.aclexplode(c.relacl) a"
								   " WHERE c.relname = 'vf_outbox'"
								   " AND c.relnamespace = (SELECT extnamespace"
								   " FROM pg_catalog.pg_extension WHERE"
								   " extname = 'voiceframe_retention')"
								   " AND a.grantee NOT IN (0, c.relowner)",
								   NULL);
	Oid		   *roles = palloc(sizeof(Oid) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
		roles[i] = (Oid) vf_db_int(i, 0);
	for (uint64 i = 0; i < n; i++)
		change_rights("REVOKE", "FROM", roles[i]);
}

static void
remove_old(void)
{
	ErrorData  *error;

	if (!vf_source_registered())
		return;
	revoke_rights();
	error = vf_db_try(remove_old_body, NULL);
	if (error != NULL && error->sqlerrcode != VF_ERRCODE_REGISTRATION &&
		error->sqlerrcode != ERRCODE_UNDEFINED_COLUMN)
		ReThrowError(error);
}

/* A regclass made from a number, or of a table dropped meanwhile. */
static void
check_exists(Oid relid, const char *argument)
{
	if (get_rel_name(relid) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table given as %s does not exist", argument),
				 errdetail("No relation has the OID %u.", relid),
				 errhint("Name it, with its schema if that is not on the search path.")));
}

/*
 * Rows that were purged from another table are not this one's, nor its
 * owner's to read.
 */
static void
require_no_undo(Oid sessions)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(sessions));
	if (vf_db_run_self("SELECT pg_catalog.format('%I.%I', sessions_schema,"
					   " sessions_name) FROM {vf}.vf_source"
					   " JOIN pg_catalog.pg_class c ON c.oid = $1"
					   " JOIN pg_catalog.pg_namespace n"
					   " ON n.oid = c.relnamespace"
					   " WHERE sessions_oid <> $1"
					   " AND (sessions_name <> c.relname"
					   " OR sessions_schema <> n.nspname)"
					   " AND EXISTS (SELECT FROM {vf}.vf_undo_batch)",
					   &args) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("rows that were purged from %s can still be put back",
						vf_db_text(0, 0)),
				 errdetail("Another table's owner must not read them."),
				 errhint("Put them back with vf_undo_purge(), or erase them with vf_undo_discard().")));
}

void
vf_register_configure(const VfConfigureOptions *opt, VfReport *report)
{
	VfSource   *source = palloc0(sizeof(VfSource));
	char	  **columns = read_columns(opt->columns);
	Oid			sessions = opt->sessions;
	Oid			orders = opt->orders;

	if (OidIsValid(sessions) != OidIsValid(orders))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("vf_configure needs both tables or none"),
				 errhint("Name both, or none to have them found on the search path.")));
	if (!OidIsValid(sessions))
		vf_source_find(&sessions, &orders, columns);
	vf_db_lock(sessions, AccessShareLock, 0);
	vf_db_lock(orders, AccessShareLock, 0);
	check_exists(sessions, "sessions");
	check_exists(orders, "orders");
	require_no_undo(sessions);
	vf_source_check_form(sessions, "sessions", get_rel_name(sessions));
	vf_source_check_form(orders, "orders", get_rel_name(orders));
	vf_source_describe(source, sessions, orders, columns);
	source->guard = opt->guard;
	source->queue_deletes = opt->queue_deletes;
	source->accepted_keys = opt->accepted_keys;
	source->n_accepted = opt->n_accepted;
	vf_source_check_dangers(source);
	check_owner_rights(source);
	vf_source_show_ours(source);
	report_tables(source, report);
	report_contents(source, report);

	/*
	 * From here on orders is locked against writers, until the commit: all
	 * that reads the tables is done.
	 */
	remove_old();
	vf_source_store(source);
	vf_sweep_reset();
	vf_source_guard_install(source);
	change_rights("GRANT", "TO", source->sessions.owner);
	vf_source_show_ours(source);

	report_guard(source, report);
	vf_report_add(report, "next", vf_bucket_current() == NULL ?
				  "call vf_configure_bucket(bucket => ..., region => ...); until then keys wait in vf_outbox" :
				  "look with vf_purge_preview(), then purge with vf_purge_now()");
}

/* ---- taking it away ---- */

static void
require_no_keys(void)
{
	int64		keys = vf_outbox_pending();

	if (keys > 0)
		ereport(ERROR,
				(errcode(VF_ERRCODE_KEYS_WAIT),
				 errmsg("%lld keys still wait in the outbox", (long long) keys),
				 errdetail("Without the outbox objects whose rows are gone would stay in the bucket for ever, and paid files would wait for their copies in vain."),
				 errhint("Drain them with CALL vf_drain(), or forget them with vf_unconfigure(discard => true).")));
}

/* Asked again once orders is locked: we may have waited for a batch. */
void
vf_register_unconfigure(bool discard)
{
	if (!discard)
		require_no_keys();
	remove_old();
	if (!discard)
		require_no_keys();
	else
		vf_outbox_discard();
	vf_undo_empty(EMPTY_LOCK_TIMEOUT);
	vf_source_forget();
	vf_bucket_forget_all();
	vf_scanlog_forget_all();
	vf_shared_forget_all();
	vf_inventory_keep_only(0);
	vf_sweep_reset();
}

void
vf_register_adopt(void)
{
	VfSource   *source = vf_source_adopt();

	vf_bucket_adopt();
	vf_sweep_reset();
	vf_source_guard_install(source);
	change_rights("GRANT", "TO", source->sessions.owner);
}

/* A VfDbBody. */
static void
renew(void *arg)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);

	(void) arg;
	vf_source_guard_install(source);
	change_rights("GRANT", "TO", source->sessions.owner);
}

/*
 * What a script of the extension makes becomes part of it, and is in no dump.
 * The guard is the application's: its trigger could not be restored without.
 */
void
vf_register_renew(void)
{
	bool		in_script = creating_extension;
	ErrorData  *error;

	if (!vf_source_registered())
		return;
	/* An error that gets past vf_db_try() ends the script. */
	creating_extension = false;
	error = vf_db_try(renew, NULL);
	creating_extension = in_script;
	if (error != NULL)
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("the registration could not be renewed: %s",
						error->message),
				 errhint("Call vf_configure() again; until then each purge locks orders against writers.")));
}
