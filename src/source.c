/*-------------------------------------------------------------------------
 *
 * source.c
 *	  The registered application tables: table vf_source.
 *
 * The registration is suspicious.  It remembers both the oid and the name of
 * each table; a rename is followed only while the old name is free, because a
 * swap (rename away, rename in) looks the same from either side alone.  Loading
 * it locks both tables in ACCESS SHARE mode, which holds off every rename and
 * drop until the transaction ends; a later transaction rechecks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "errors.h"
#include "source.h"

const VfColumnPart vf_column_parts[VF_N_COLUMNS] = {
	{"sessions.id", "id", false, false, 'i'},
	{"sessions.session_token", "session_token", false, false, 't'},
	{"sessions.created_at", "created_at", false, false, 's'},
	{"sessions.expires_at", "expires_at", false, false, 's'},
	{"orders.session_token", "session_token", true, false, 't'},
	{"orders.status", "status", true, false, 't'},
	{"orders.created_at", "created_at", true, false, 's'},
	{"orders.updated_at", "updated_at", true, true, 's'},
	{"orders.migration_status", "migration_status", true, true, 't'},
};

/* What a dropped, swapped or changed table needs. */
#define RECONFIGURE \
	errhint("Check the tables, then call vf_configure() to register them again. Nothing is deleted until then.")

/* How long a run waits for DDL on the application's tables, ms. */
#define TABLE_LOCK_TIMEOUT 10000

/* One registered table as the row tells it. */
typedef struct Registered
{
	Oid			relid;
	char	   *schema;
	char	   *name;
} Registered;

/* ---- loading ---- */

bool
vf_source_registered(void)
{
	return vf_db_run_self("SELECT FROM {vf}.vf_source", NULL) > 0;
}

Oid
vf_source_owner(void)
{
	if (vf_db_run_self("SELECT c.relowner FROM {vf}.vf_source s"
					   " JOIN pg_catalog.pg_class c"
					   " ON c.oid = s.sessions_oid", NULL) == 0)
		return InvalidOid;
	return DatumGetObjectId(vf_db_datum(0, 0));
}

/* Does the registered name now belong to some other relation? */
static bool
name_is_taken(const Registered *reg)
{
	Oid			nsp = get_namespace_oid(reg->schema, true);
	Oid			relid = OidIsValid(nsp) ?
		get_relname_relid(reg->name, nsp) : InvalidOid;

	return OidIsValid(relid) && relid != reg->relid;
}

/*
 * The parts of a table must be as lasting as the table; and those of orders be
 * here, where payments meet our locks and triggers.
 */
static void
check_parts(Oid relid, const char *what, const char *quoted)
{
	bool		of_orders = strcmp(what, "orders") == 0;
	List	   *all = find_all_inheritors(relid, AccessShareLock, NULL);
	ListCell   *lc;

	foreach(lc, all)
	{
		Oid			part = lfirst_oid(lc);
		bool		foreign = get_rel_relkind(part) == RELKIND_FOREIGN_TABLE;

		if (get_rel_persistence(part) != RELPERSISTENCE_PERMANENT ||
			(foreign && of_orders))
			ereport(ERROR,
					(errcode(VF_ERRCODE_REGISTRATION),
					 errmsg("%s cannot be the %s table", quoted, what),
					 errdetail("Its part \"%s\" is %s.", get_rel_name(part),
							   foreign ? "a foreign table" :
							   "unlogged or temporary: a crash would empty it"),
					 RECONFIGURE));
	}
	list_free(all);
}

/* Only plain and partitioned permanent tables that stand for themselves. */
void
vf_source_check_form(Oid relid, const char *what, const char *quoted)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	const char *fault = NULL;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (form->relkind != RELKIND_RELATION &&
		form->relkind != RELKIND_PARTITIONED_TABLE)
		fault = "It is not a table.";
	else if (form->relispartition)
		fault = "It is a partition: other partitions' rows would be missed.";
	else if (form->relpersistence == RELPERSISTENCE_TEMP)
		fault = "It is a temporary table.";
	else if (form->relpersistence == RELPERSISTENCE_UNLOGGED)
		fault = "It is an unlogged table: after a crash every session would look unpaid.";
	ReleaseSysCache(tuple);
	if (fault != NULL)
		ereport(ERROR,
				(errcode(VF_ERRCODE_REGISTRATION),
				 errmsg("%s cannot be the %s table", quoted, what),
				 errdetail("%s", fault), RECONFIGURE));
	check_parts(relid, what, quoted);
}

/* Lock the registered table and learn its present name. */
static void
resolve(const Registered *reg, const char *what, VfTable *table)
{
	char	   *nspname;

	vf_db_lock(reg->relid, AccessShareLock, TABLE_LOCK_TIMEOUT);
	table->relid = reg->relid;
	table->name = get_rel_name(reg->relid);
	if (table->name == NULL)
		ereport(ERROR,
				(errcode(VF_ERRCODE_REGISTRATION),
				 errmsg("the registered %s table no longer exists", what),
				 errdetail("It was registered as \"%s\".\"%s\".",
						   reg->schema, reg->name),
				 RECONFIGURE));
	nspname = get_namespace_name(get_rel_namespace(reg->relid));
	table->schema = nspname;
	table->quoted = quote_qualified_identifier(nspname, table->name);
	if (name_is_taken(reg))
		ereport(ERROR,
				(errcode(VF_ERRCODE_REGISTRATION),
				 errmsg("the name of the registered %s table now belongs to another relation",
						what),
				 errdetail("\"%s\".\"%s\" was registered; that table is now %s.",
						   reg->schema, reg->name, table->quoted),
				 RECONFIGURE));
	vf_source_check_form(reg->relid, what, table->quoted);
}

static void
not_adopted(void)
{
	ereport(ERROR,
			(errcode(VF_ERRCODE_NOT_ADOPTED),
			 errmsg("this database is a copy of the one that was registered"),
			 errdetail("The system identifier or the database is not the one that the registration remembers."),
			 errhint("If this is now the database that owns the sessions and the bucket, call vf_adopt(); nothing is deleted until then.")));
}

static void
check_history(void)
{
	if (vf_db_run_self("SELECT lost_history FROM {vf}.vf_source"
					   " WHERE lost_history IS NOT NULL", NULL) == 0)
		return;
	ereport(ERROR,
			(errcode(VF_ERRCODE_NOT_ADOPTED),
			 errmsg("this database has lost history that its bucket knows of"),
			 errdetail("%s", vf_db_text(0, 0)),
			 errhint("It was restored to an earlier point, or promoted with a loss. If it is the one that goes on, call vf_adopt(); nothing is deleted until then.")));
}

/* The row of vf_source, as read. */
typedef struct Row
{
	Registered	sessions;
	Registered	orders;
	char	  **columns;
	char	  **session_keys;
	int			n_session_keys;
	char	  **order_keys;
	int			n_order_keys;
	bool		ours;			/* registered in this very database */
} Row;

/* Columns of the row of vf_source, in the order of the statement. */
enum
{
	AT_SYSTEM, AT_DATABASE,
	AT_S_RELID, AT_S_SCHEMA, AT_S_NAME,
	AT_O_RELID, AT_O_SCHEMA, AT_O_NAME,
	AT_COLUMNS, AT_S_KEYS, AT_O_KEYS,
	AT_GUARD, AT_QUEUE_DELETES, AT_ACCEPTED,
	AT_ACTIVE, AT_PAUSED, AT_REASON
};

static bool
read_row(void)
{
	VfDbSection section;
	bool		found;

	vf_db_enter_self(&section);
	found = vf_db_runf("SELECT system_identifier, database_oid::int8,"
					   " sessions_oid::int8, sessions_schema, sessions_name,"
					   " orders_oid::int8, orders_schema, orders_name,"
					   " column_names, session_key_columns, order_key_columns,"
					   " payment_guard, queue_deletes, accepted_foreign_keys,"
					   " active_since IS NOT NULL, paused_at IS NOT NULL,"
					   " pause_reason"
					   " FROM {vf}.vf_source", NULL) > 0;
	vf_db_leave(&section);
	return found;
}

static bool
row_is_ours(void)
{
	return (uint64) vf_db_int(0, AT_SYSTEM) == GetSystemIdentifier() &&
		(Oid) vf_db_int(0, AT_DATABASE) == MyDatabaseId;
}

/* A key column that was registered and is gone would lose references. */
static void
check_key_columns(const VfTable *table, char **names, int n)
{
	for (int i = 0; i < n; i++)
	{
		bool		found = false;

		for (int j = 0; j < table->nkeys; j++)
			found |= strcmp(table->keys[j].name, names[i]) == 0;
		if (!found)
			ereport(ERROR,
					(errcode(VF_ERRCODE_REGISTRATION),
					 errmsg("column \"%s\" of %s no longer exists",
							names[i], table->quoted),
					 errdetail("It was registered as a reference to S3 objects."),
					 RECONFIGURE));
	}
}

/* Read the row into *row and the source's flags; an error if there is none. */
static void
load_row(Row *row, VfSource *source)
{
	int			n;

	if (!read_row())
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no sessions table is registered in this database"),
				 errhint("Call vf_configure() with the sessions and orders tables.")));
	row->ours = row_is_ours();
	row->sessions.relid = (Oid) vf_db_int(0, AT_S_RELID);
	row->sessions.schema = vf_db_text(0, AT_S_SCHEMA);
	row->sessions.name = vf_db_text(0, AT_S_NAME);
	row->orders.relid = (Oid) vf_db_int(0, AT_O_RELID);
	row->orders.schema = vf_db_text(0, AT_O_SCHEMA);
	row->orders.name = vf_db_text(0, AT_O_NAME);
	row->columns = vf_db_texts(0, AT_COLUMNS, &n);
	if (n != VF_N_COLUMNS)
		elog(ERROR, "vf_source names %d columns instead of %d", n,
			 VF_N_COLUMNS);
	row->session_keys = vf_db_texts(0, AT_S_KEYS, &row->n_session_keys);
	row->order_keys = vf_db_texts(0, AT_O_KEYS, &row->n_order_keys);
	source->guard = vf_db_bool(0, AT_GUARD);
	source->queue_deletes = vf_db_bool(0, AT_QUEUE_DELETES);
	source->accepted_keys = vf_db_texts(0, AT_ACCEPTED, &source->n_accepted);
	source->active = vf_db_bool(0, AT_ACTIVE);
	if (vf_db_bool(0, AT_PAUSED))
		source->pause_reason = vf_db_text(0, AT_REASON);
}

/*
 * The table may have another owner than when it was registered.  The right to
 * see the schema may have been given by others too, so it is never taken away.
 */
/* May the owner read the table, or is there none? */
static bool
is_shown(Oid owner, Oid schema, const char *table)
{
	Oid			relid = get_relname_relid(table, schema);

	return !OidIsValid(relid) ||
		DatumGetBool(DirectFunctionCall3(has_table_privilege_id_id,
										 ObjectIdGetDatum(owner),
										 ObjectIdGetDatum(relid),
										 CStringGetTextDatum("SELECT")));
}

void
vf_source_show_ours(const VfSource *source)
{
	static const char *const tables[] = {
		"vf_hold", "vf_object", "vf_outbox", "vf_scan", "vf_undo",
		"vf_undo_batch"
	};
	Oid			owner = source->sessions.owner;
	Oid			schema = vf_db_schema_oid();
	bool		uses;
	const char *role;
	VfDbSection section;

	if (XactReadOnly)
		return;
	uses = DatumGetBool(DirectFunctionCall3(has_schema_privilege_id_id,
											ObjectIdGetDatum(owner),
											ObjectIdGetDatum(schema),
											CStringGetTextDatum("USAGE")));
	role = quote_identifier(GetUserNameFromId(owner, false));
	vf_db_enter_self(&section);
	if (!uses)
		vf_db_run(psprintf("GRANT USAGE ON SCHEMA %s TO %s", vf_db_schema(),
						   role), NULL);
	for (int i = 0; i < (int) lengthof(tables); i++)
		if (!is_shown(owner, schema, tables[i]))
			vf_db_run(psprintf("GRANT SELECT ON %s.%s TO %s", vf_db_schema(),
							   tables[i], role), NULL);
	vf_db_leave(&section);
}

/* Hold the row against the catalogs and fill in what they tell. */
static void
verify(const Row *row, VfSource *source)
{
	resolve(&row->sessions, "sessions", &source->sessions);
	resolve(&row->orders, "orders", &source->orders);
	vf_source_describe(source, row->sessions.relid, row->orders.relid,
					   row->columns);
	vf_source_show_ours(source);
	check_key_columns(&source->sessions, row->session_keys,
					  row->n_session_keys);
	check_key_columns(&source->orders, row->order_keys, row->n_order_keys);
}

VfSource *
vf_source_load(VfSourceUse use)
{
	VfSource   *source = palloc0(sizeof(VfSource));
	Row			row;

	load_row(&row, source);
	if (use == VF_SOURCE_DELETE && !row.ours)
		not_adopted();
	if (use == VF_SOURCE_DELETE)
		check_history();
	verify(&row, source);
	vf_source_load_added(source, use);
	if (use == VF_SOURCE_DELETE)
		vf_source_check_dangers(source);
	return source;
}

/* The table that now has a registered name. */
static void
find_by_name(Registered *reg, const char *what)
{
	Oid			nsp = get_namespace_oid(reg->schema, true);

	reg->relid = OidIsValid(nsp) ?
		get_relname_relid(reg->name, nsp) : InvalidOid;
	if (!OidIsValid(reg->relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the registered %s table is not in this database", what),
				 errdetail("It was registered as \"%s\".\"%s\".",
						   reg->schema, reg->name),
				 errhint("Call vf_configure() with the tables of this database.")));
}

VfSource *
vf_source_adopt(void)
{
	VfSource   *source = palloc0(sizeof(VfSource));
	Row			row;

	load_row(&row, source);
	find_by_name(&row.sessions, "sessions");
	find_by_name(&row.orders, "orders");
	verify(&row, source);
	vf_source_adopt_added();
	vf_source_load_added(source, VF_SOURCE_DELETE);
	vf_source_check_dangers(source);
	vf_source_store(source);
	vf_db_run_self("UPDATE {vf}.vf_source SET lost_history = NULL"
				   " WHERE lost_history IS NOT NULL", NULL);
	return source;
}

static void
recheck_table(const VfTable *table, const char *what)
{
	Registered	reg = {table->relid, table->schema, table->name};
	VfTable		now;

	memset(&now, 0, sizeof(now));
	resolve(&reg, what, &now);
	if (strcmp(now.quoted, table->quoted) != 0)
		ereport(ERROR,
				(errcode(VF_ERRCODE_REGISTRATION),
				 errmsg("the %s table was renamed during the run", what),
				 errdetail("It was %s and is now %s.", table->quoted,
						   now.quoted),
				 errhint("The next run follows the new name.")));
}

static bool
same_keys(const VfTable *a, const VfTable *b)
{
	if (a->nkeys != b->nkeys)
		return false;
	for (int i = 0; i < a->nkeys; i++)
		if (strcmp(a->keys[i].name, b->keys[i].name) != 0)
			return false;
	return true;
}

/* The registration and the reference columns are still those of the run. */
static void
recheck_columns(const VfSource *source)
{
	VfSource	now;
	Row			row;

	memset(&now, 0, sizeof(now));
	load_row(&row, &now);
	vf_source_describe(&now, row.sessions.relid, row.orders.relid,
					   row.columns);
	if (row.sessions.relid != source->sessions.relid ||
		row.orders.relid != source->orders.relid ||
		now.guard != source->guard ||
		memcmp(now.attnum, source->attnum, sizeof(now.attnum)) != 0 ||
		memcmp(now.with_zone, source->with_zone,
			   sizeof(now.with_zone)) != 0 ||
		!same_keys(&now.sessions, &source->sessions) ||
		!same_keys(&now.orders, &source->orders) ||
		!vf_source_same_added(source))
		ereport(ERROR,
				(errcode(VF_ERRCODE_REGISTRATION),
				 errmsg("the registration or a reference column changed during the run"),
				 errhint("The next run takes it up.")));
}

void
vf_source_recheck(const VfSource *source)
{
	check_history();
	recheck_table(&source->sessions, "sessions");
	recheck_table(&source->orders, "orders");
	recheck_columns(source);
}

/* ---- storing ---- */

static void
arg_key_columns(VfDbArgs *args, const VfTable *table)
{
	char	  **names = palloc(sizeof(char *) * Max(table->nkeys, 1));

	for (int i = 0; i < table->nkeys; i++)
		names[i] = table->keys[i].name;
	vf_db_arg_texts(args, names, table->nkeys);
}

static void
arg_table(VfDbArgs *args, const VfTable *table)
{
	vf_db_arg(args, OIDOID, ObjectIdGetDatum(table->relid));
	vf_db_arg_text(args, table->schema);
	vf_db_arg_text(args, table->name);
}

void
vf_source_store(const VfSource *source)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	char	   *columns[VF_N_COLUMNS];

	for (int i = 0; i < VF_N_COLUMNS; i++)
		columns[i] = source->column[i] != NULL ? source->column[i] : "";
	vf_db_arg(&args, INT8OID, Int64GetDatum((int64) GetSystemIdentifier()));
	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(MyDatabaseId));
	arg_table(&args, &source->sessions);
	arg_table(&args, &source->orders);
	vf_db_arg_texts(&args, columns, VF_N_COLUMNS);
	arg_key_columns(&args, &source->sessions);
	arg_key_columns(&args, &source->orders);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(source->guard));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(source->queue_deletes));
	vf_db_arg_texts(&args, source->accepted_keys, source->n_accepted);
	vf_db_arg_text(&args, GetUserNameFromId(GetSessionUserId(), false));

	vf_db_enter_self(&section);
	vf_db_runf("INSERT INTO {vf}.vf_source AS v (system_identifier,"
			   " database_oid, sessions_oid, sessions_schema, sessions_name,"
			   " orders_oid, orders_schema, orders_name, column_names,"
			   " session_key_columns, order_key_columns, payment_guard,"
			   " queue_deletes, accepted_foreign_keys, configured_by)"
			   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
			   " $13, $14, $15)"
			   " ON CONFLICT (singleton) DO UPDATE SET"
			   " (system_identifier, database_oid, sessions_oid,"
			   " sessions_schema, sessions_name, orders_oid, orders_schema,"
			   " orders_name, column_names, session_key_columns,"
			   " order_key_columns, payment_guard, queue_deletes,"
			   " accepted_foreign_keys, configured_by, configured_at)"
			   " = ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,"
			   " $14, $15, pg_catalog.now())", &args);
	vf_db_leave(&section);
}

void
vf_source_forget(void)
{
	vf_db_run_self("DELETE FROM {vf}.vf_source", NULL);
	vf_source_forget_added();
}

bool
vf_source_flags(bool *active, bool *paused)
{
	if (vf_db_run_self("SELECT active_since IS NOT NULL,"
					   " paused_at IS NOT NULL FROM {vf}.vf_source",
					   NULL) == 0)
		return false;
	*active = vf_db_bool(0, 0);
	*paused = vf_db_bool(0, 1);
	return true;
}

void
vf_source_set_lost(const char *what)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, what);
	vf_db_run_self("UPDATE {vf}.vf_source SET lost_history = $1"
				   " WHERE lost_history IS NULL", &args);
}

bool
vf_source_is_whole(void)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum((int64) GetSystemIdentifier()));
	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(MyDatabaseId));
	return vf_db_run_self("SELECT FROM {vf}.vf_source"
						  " WHERE system_identifier = $1"
						  " AND database_oid = $2"
						  " AND lost_history IS NULL", &args) > 0;
}

void
vf_source_set_active(void)
{
	/* Whoever holds the row is about to do the same. */
	vf_db_run_self("UPDATE {vf}.vf_source SET active_since = pg_catalog.now()"
				   " WHERE singleton IN (SELECT singleton"
				   " FROM {vf}.vf_source WHERE active_since IS NULL"
				   " FOR UPDATE SKIP LOCKED)", NULL);
}

void
vf_source_set_pause(const char *reason)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, reason);
	if (reason != NULL)
		vf_db_run_self("UPDATE {vf}.vf_source SET paused_at = pg_catalog.now(),"
				   " pause_reason = $1", &args);
	else
		vf_db_run_self("UPDATE {vf}.vf_source SET paused_at = NULL,"
				   " pause_reason = $1,"
				   " active_since = coalesce(active_since, pg_catalog.now())",
				   &args);
}
