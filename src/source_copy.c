/*-------------------------------------------------------------------------
 *
 * source_copy.c
 *	  Files of paying orders, and the permanent copies that rows name.
 *
 * A column x_s3_key of sessions has its copy in permanent_x_s3_key of orders.
 * Orders are found by their primary key, which nobody has registered: the
 * catalog has it.  What reads both tables runs as the owner of sessions, who
 * may; each table is written as its own owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "settings.h"
#include "source_copy.h"

/* How long a row that others hold is waited for, ms. */
#define ROW_LOCK_TIMEOUT "10000"

const char *
vf_source_copy_column(const VfSource *source, const char *column)
{
	char	   *name = psprintf("permanent_%s", column);

	for (int i = 0; i < source->orders.nkeys; i++)
		if (strcmp(source->orders.keys[i].name, name) == 0)
			return source->orders.keys[i].quoted;
	return NULL;
}

static VfDbName *
column_names(const VfSource *source, const VfKeyColumn *column,
			 const VfDbName *extra)
{
	int			n = 3;
	VfDbName   *names;

	for (int i = 0; extra != NULL && extra[i].name != NULL; i++)
		n++;
	names = palloc0(sizeof(VfDbName) * (n + 1));
	names[0].name = "column";
	names[0].text = column->quoted;
	names[1].name = "name";
	names[1].text = quote_literal_cstr(column->name);
	names[2].name = "copy";
	names[2].text = vf_source_copy_column(source, column->name);
	for (int i = 3; i < n; i++)
		names[i] = extra[i - 3];
	return vf_rules_names(source, names);
}

char *
vf_source_each_copied(const VfSource *source, const char *template,
					  const VfDbName *extra)
{
	StringInfoData sql;

	initStringInfo(&sql);
	for (int i = 0; i < source->sessions.nkeys; i++)
	{
		const VfKeyColumn *column = &source->sessions.keys[i];

		if (vf_source_copy_column(source, column->name) == NULL)
			continue;
		appendStringInfo(&sql, "%s%s", sql.len == 0 ? "" : " UNION ALL ",
						 vf_db_fill(template,
									column_names(source, column, extra)));
	}
	return sql.len == 0 ? NULL : sql.data;
}

/* ---- orders by their key ---- */

typedef struct OrderKey
{
	char	   *quoted;
	char	   *type;
} OrderKey;

static void
find_order_key(const VfSource *source, OrderKey *key)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->orders.relid));
	if (vf_db_run_self("SELECT pg_catalog.quote_ident(a.attname),"
					   " pg_catalog.format_type(a.atttypid, NULL)"
					   " FROM pg_catalog.pg_index i"
					   " JOIN pg_catalog.pg_attribute a"
					   " ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
					   " WHERE i.indrelid = $1 AND i.indisprimary"
					   " AND i.indnkeyatts = 1", &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s has no primary key of one column",
						source->orders.quoted),
				 errdetail("The copies of an order's files are named after it."),
				 errhint("Add one to the table.")));
	key->quoted = vf_db_text(0, 0);
	key->type = vf_db_text(0, 1);
}

/* Names for a statement about one column of one order. */
static VfDbName *
order_names(const VfSource *source, const OrderKey *key, const char *column)
{
	const VfDbName extra[] = {
		{"order_id", key->quoted},
		{"order_id_type", key->type},
		{NULL, NULL}
	};

	for (int i = 0; i < source->sessions.nkeys; i++)
		if (strcmp(source->sessions.keys[i].name, column) == 0 &&
			vf_source_copy_column(source, column) != NULL)
			return column_names(source, &source->sessions.keys[i], extra);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of sessions has no column for its copy in orders",
					column),
			 errhint("Call vf_configure() if the tables have changed.")));
}

/* ---- what is at risk ---- */

/*
 * $7 the token, $8 and $9 the time before which the order was changed last, as
 * its columns have it (null: whenever), $11 and $12 flags of VfRiskyFiles.
 */
#define RISKY_FILE \
	"SELECT s.{id}::pg_catalog.text AS session_id," \
	" o.{order_id}::pg_catalog.text AS order_id, {name} AS column_name," \
	" s.{column}::pg_catalog.text AS key, s.{created} AS created" \
	" FROM {sessions} s JOIN {orders} o ON o.{order_token} = s.{token}" \
	" WHERE" VF_SOURCE_AT_RISK \
	" AND ($7 IS NULL OR s.{token} = $7)" \
	" AND coalesce(o.{order_created} < $8, true) AND {settled}" \
	" AND NOT ($11 AND EXISTS (SELECT 1 FROM {vf}.vf_outbox q" \
	" WHERE q.kind = 'copy' AND q.copy_column = {name}" \
	" AND q.copy_order = o.{order_id}::pg_catalog.text" \
	" AND (q.state <> 'cancelled'" \
	" OR $12 AND q.last_error_code = 'Cancelled')))"

static void
arg_before(const VfSource *source, VfColumn column, TimestampTz before,
		   VfDbArgs *args)
{
	if (source->column[column] == NULL)
		vf_db_arg_null(args, TIMESTAMPTZOID);
	else if (!TIMESTAMP_IS_NOEND(before))
		vf_rules_arg_time(source, column, before, args);
	else
		vf_db_arg_null(args, source->with_zone[column] ? TIMESTAMPTZOID :
					   TIMESTAMPOID);
}

VfRiskyFile *
vf_source_risky_files(const VfSource *source, const VfRiskyFiles *which,
					  int *n)
{
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	OrderKey	key;
	VfDbName	extra[] = {
		{"order_id", NULL},
		{"settled", source->column[VF_O_UPDATED] == NULL ?
			"$9::timestamptz IS NULL" :
			psprintf("coalesce(o.%s < $9, true)",
					 source->quoted[VF_O_UPDATED])},
		{NULL, NULL}
	};
	char	   *sql;
	VfRiskyFile *files;

	*n = 0;
	find_order_key(source, &key);
	extra[0].text = key.quoted;
	sql = vf_source_each_copied(source, RISKY_FILE, extra);
	if (sql == NULL)
		return NULL;
	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, &args);
	vf_db_arg_text(&args, which->token);
	arg_before(source, VF_O_CREATED, which->before, &args);
	arg_before(source, VF_O_UPDATED, which->before, &args);
	vf_db_arg(&args, INT8OID, Int64GetDatum(which->max));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(which->only_new));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(which->but_refused));
	vf_db_enter_owner(&section, source->sessions.owner);
	*n = (int) vf_db_run(psprintf("SELECT session_id, order_id, column_name,"
								  " key FROM (%s) r ORDER BY created,"
								  " session_id, order_id, column_name"
								  " LIMIT $10", sql), &args);
	vf_db_leave(&section);
	files = palloc(sizeof(VfRiskyFile) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		files[i].session_id = vf_db_text(i, 0);
		files[i].order_id = vf_db_text(i, 1);
		files[i].column = vf_db_text(i, 2);
		files[i].key = vf_db_text(i, 3);
	}
	return files;
}

/* ---- one copy ---- */

VfCopyNeed
vf_source_needs_copy(const VfSource *source, const VfSourceCopy *copy)
{
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	OrderKey	key;
	uint64		n;

	find_order_key(source, &key);
	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, &args);
	vf_db_arg_text(&args, copy->order_id);
	vf_db_arg_text(&args, copy->session_id);
	vf_db_enter_owner(&section, source->sessions.owner);
	n = vf_db_run(vf_db_fill("SELECT {pays}, coalesce(o.{copy}, '') = '',"
							 " NOT EXISTS (SELECT 1 FROM {sessions} s"
							 " WHERE s.{id} = $8::{id_type}"
							 " AND s.{token} IS DISTINCT FROM o.{order_token})"
							 " FROM {orders} o"
							 " WHERE o.{order_id} = $7::{order_id_type}",
							 order_names(source, &key, copy->column)), &args);
	vf_db_leave(&section);
	if (n == 0 || !vf_db_bool(0, 2))
		return VF_COPY_NO_ORDER;
	if (!vf_db_bool(0, 0))
		return VF_COPY_UNPAID;
	return vf_db_bool(0, 1) ? VF_COPY_WANTED : VF_COPY_FILLED;
}

/* Has the order, after what was written, a copy of every file? */
static bool
is_complete(const VfSource *source, const OrderKey *key,
			const VfSourceCopy *copy)
{
	const VfDbName extra[] = {
		{"order_id", key->quoted},
		{"order_id_type", key->type},
		{NULL, NULL}
	};
	VfDbArgs	args = {0};
	VfDbSection section;

	vf_db_arg_text(&args, copy->order_id);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_run(psprintf("SELECT NOT EXISTS (%s)",
					   vf_source_each_copied(source,
											 "SELECT 1 FROM {orders} o"
											 " JOIN {sessions} s ON {matches}"
											 " WHERE o.{order_id}"
											 " = $1::{order_id_type}"
											 " AND s.{column} <> ''"
											 " AND coalesce(o.{copy}, '') = ''",
											 extra)), &args);
	vf_db_leave(&section);
	return vf_db_bool(0, 0);
}

/* ", migration_completed_at = ..." if orders have that column. */
static char *
completed_at(const VfSource *source)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->orders.relid));
	if (vf_db_run_self("SELECT atttypid::int8 FROM pg_catalog.pg_attribute"
					   " WHERE attrelid = $1 AND attnum > 0"
					   " AND NOT attisdropped"
					   " AND attname = 'migration_completed_at'", &args) == 0)
		return pstrdup("");
	if (vf_db_int(0, 0) == TIMESTAMPTZOID)
		return pstrdup(", migration_completed_at ="
					   " pg_catalog.clock_timestamp()");
	if (vf_db_int(0, 0) != TIMESTAMPOID)
		return pstrdup("");
	return psprintf(", migration_completed_at = pg_catalog.timezone(%s,"
					" pg_catalog.clock_timestamp())",
					quote_literal_cstr(vf_timestamp_zone));
}

static void
complete_migration(const VfSource *source, const OrderKey *key,
				   const VfSourceCopy *copy)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	char	   *when;

	if (source->column[VF_O_MIGRATION] == NULL)
		return;
	when = completed_at(source);
	vf_db_arg_text(&args, copy->order_id);
	vf_db_enter_owner(&section, source->orders.owner);
	vf_db_set("lock_timeout", ROW_LOCK_TIMEOUT);
	vf_db_run(psprintf("UPDATE %s o SET %s = 'completed'%s"
					   " WHERE o.%s = $1::%s", source->orders.quoted,
					   source->quoted[VF_O_MIGRATION], when, key->quoted,
					   key->type), &args);
	vf_db_leave(&section);
}

VfCopyNeed
vf_source_store_copy(const VfSource *source, const VfSourceCopy *copy)
{
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	OrderKey	key;
	VfCopyNeed	need;
	uint64		n;

	find_order_key(source, &key);
	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, &args);
	vf_db_arg_text(&args, copy->order_id);
	vf_db_arg_text(&args, copy->target);
	vf_db_enter_owner(&section, source->orders.owner);
	vf_db_set("lock_timeout", ROW_LOCK_TIMEOUT);
	n = vf_db_run(vf_db_fill("UPDATE {orders} o SET {copy} = $8"
							 " WHERE o.{order_id} = $7::{order_id_type}"
							 " AND coalesce(o.{copy}, '') = '' AND {pays}",
							 order_names(source, &key, copy->column)), &args);
	vf_db_leave(&section);
	if (n == 0)
	{
		/* A trigger may have swallowed it, whatever the row says. */
		need = vf_source_needs_copy(source, copy);
		if (need != VF_COPY_WANTED)
			return need;
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("the order was not updated"),
				 errdetail("A trigger or a rule on %s has suppressed it.",
						   source->orders.quoted),
				 errhint("Look at the triggers of the table.")));
	}
	if (is_complete(source, &key, copy))
		complete_migration(source, &key, copy);
	return VF_COPY_WANTED;
}

VfSessionMove
vf_source_move_session(const VfSource *source, const VfSourceCopy *copy,
					   char **current)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	OrderKey	key;
	VfDbName   *names;
	VfSessionMove move = VF_SESSION_MOVED;

	*current = NULL;
	find_order_key(source, &key);
	names = order_names(source, &key, copy->column);
	vf_db_arg_text(&args, copy->session_id);
	vf_db_arg_text(&args, copy->source);
	vf_db_arg_text(&args, copy->target);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_set("lock_timeout", ROW_LOCK_TIMEOUT);
	if (vf_db_run(vf_db_fill("UPDATE {sessions} s SET {column} = $3"
							 " WHERE s.{id} = $1::{id_type}"
							 " AND s.{column}::pg_catalog.text COLLATE \"C\""
							 " = $2", names), &args) == 0)
	{
		args.n = 1;
		move = VF_SESSION_GONE;
		if (vf_db_run(vf_db_fill("SELECT s.{column}::pg_catalog.text"
								 " FROM {sessions} s"
								 " WHERE s.{id} = $1::{id_type}", names),
					  &args) > 0)
		{
			move = VF_SESSION_CHANGED;
			*current = vf_db_text(0, 0);
		}
	}
	vf_db_leave(&section);
	return move;
}
