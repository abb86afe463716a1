/*-------------------------------------------------------------------------
 *
 * watch_bucket.c
 *	  What the views read of the application's tables and the scans together.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "db.h"
#include "settings.h"
#include "shared.h"
#include "source.h"
#include "watch.h"

/* How far apart the two scans are that have seen an orphan, s. */
#define ORPHAN_SCANS 86400

/* The order's column for the permanent copy of a key column, or NULL. */
static const char *
permanent_of(const VfSource *source, const char *column)
{
	char	   *name = psprintf("permanent_%s", column);

	for (int i = 0; i < source->orders.nkeys; i++)
		if (strcmp(source->orders.keys[i].name, name) == 0)
			return source->orders.keys[i].quoted;
	return NULL;
}

/*
 * The references of one column whose object is not there: $1 the bucket, $2
 * the age of the scan's horizon.  A row written since may name an object that
 * the scan could not see.
 */
static void
append_missing(StringInfo buf, const VfSource *source, const VfTable *table,
			   const VfKeyColumn *column)
{
	bool		of_sessions = table == &source->sessions;
	const char *copy = permanent_of(source, column->name);

	appendStringInfo(buf, "%s(SELECT %s AS table_name, %s AS column_name,"
					 " t.%s::pg_catalog.text AS id,"
					 " t.%s::pg_catalog.text AS key FROM %s t"
					 " WHERE t.%s <> '' AND pg_catalog.age(t.xmin) > $2"
					 " AND NOT EXISTS (SELECT 1 FROM %s.vf_object b"
					 " WHERE b.bucket_id = $1"
					 " AND b.key = t.%s::pg_catalog.text COLLATE \"C\")",
					 buf->len == 0 ? "" : " UNION ALL ",
					 quote_literal_cstr(table->quoted),
					 quote_literal_cstr(column->name),
					 of_sessions ? source->quoted[VF_S_ID] :
					 source->quoted[VF_O_TOKEN],
					 column->quoted, table->quoted, column->quoted,
					 vf_db_schema(), column->quoted);
	if (copy != NULL && of_sessions)
		appendStringInfo(buf, " AND NOT EXISTS (SELECT 1 FROM %s o"
						 " WHERE o.%s = t.%s AND o.%s <> '')",
						 source->orders.quoted, source->quoted[VF_O_TOKEN],
						 source->quoted[VF_S_TOKEN], copy);
	else if (copy != NULL)
		appendStringInfo(buf, " AND coalesce(t.%s, '') = ''", copy);
	appendStringInfoChar(buf, ')');
}

/* The bucket and the horizon of the last complete scan; false if none. */
static bool
find_scan(VfDbArgs *args)
{
	if (vf_db_run_self("SELECT s.bucket_id::int8,"
					   " pg_catalog.age(s.horizon::pg_catalog.xid)::int8"
					   " FROM {vf}.vf_scan s JOIN {vf}.vf_bucket b"
					   " ON b.id = s.bucket_id WHERE s.state = 'complete'"
					   " AND b.is_current ORDER BY s.id DESC LIMIT 1",
					   NULL) == 0)
		return false;
	vf_db_arg(args, INT4OID, Int32GetDatum((int) vf_db_int(0, 0)));
	vf_db_arg(args, INT4OID, Int32GetDatum((int) vf_db_int(0, 1)));
	return true;
}

void
vf_watch_missing(VfWatchRow row, void *arg)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfDbArgs	args = {0};
	VfDbSection section;
	StringInfoData sql;

	/* A view that fails would fail whoever reads all of them. */
	if (!find_scan(&args))
	{
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("what is missing is not known: the registered bucket has not been scanned"),
				 errhint("CALL vf_s3_scan() first.")));
		return;
	}
	initStringInfo(&sql);
	for (int i = 0; i < source->sessions.nkeys; i++)
		append_missing(&sql, source, &source->sessions,
					   &source->sessions.keys[i]);
	for (int i = 0; i < source->orders.nkeys; i++)
		append_missing(&sql, source, &source->orders,
					   &source->orders.keys[i]);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_each(sql.data, &args, row, arg);
	vf_db_leave(&section);
}

/* ---- at risk ---- */

/*
 * A session's file whose paying order has no copy of it: $7 the bucket, $8 the
 * zone of times without one.  The lifecycle rule goes by the object's date; the
 * session is as old where that is not known.
 */
#define AT_RISK \
	"SELECT s.{id}::pg_catalog.text AS session_id," \
	" o.{order_status}::pg_catalog.text AS status, {name} AS column_name," \
	" s.{column}::pg_catalog.text AS key," \
	" CASE WHEN pg_catalog.starts_with(s.{column}::pg_catalog.text" \
	" COLLATE \"C\", 'temp_')" \
	" THEN coalesce(b.modified, {created_at}) + interval '7 days' END" \
	" AS deadline, CASE WHEN $7 > 0 THEN b.key IS NOT NULL END AS found" \
	" FROM {sessions} s JOIN {orders} o ON o.{order_token} = s.{token}" \
	" LEFT JOIN {vf}.vf_object b ON b.bucket_id = $7" \
	" AND b.key = s.{column}::pg_catalog.text COLLATE \"C\"" \
	" WHERE s.{column} <> '' AND coalesce(o.{copy}, '') = '' AND {pays}"

/* The statement over all columns that have a copy's column; NULL: none has. */
static char *
at_risk(const VfSource *source)
{
	StringInfoData sql;
	char	   *created = psprintf(source->with_zone[VF_S_CREATED] ? "s.%s" :
								   "pg_catalog.timezone($8, s.%s)",
								   source->quoted[VF_S_CREATED]);

	initStringInfo(&sql);
	for (int i = 0; i < source->sessions.nkeys; i++)
	{
		const VfKeyColumn *column = &source->sessions.keys[i];
		const char *copy = permanent_of(source, column->name);
		const VfDbName extra[] = {
			{"column", column->quoted},
			{"name", quote_literal_cstr(column->name)},
			{"copy", copy},
			{"created_at", created},
			{NULL, NULL}
		};

		if (copy != NULL)
			appendStringInfo(&sql, "%s%s", sql.len == 0 ? "" : " UNION ALL ",
							 vf_db_fill(AT_RISK,
										vf_rules_names(source, extra)));
	}
	return sql.len == 0 ? NULL : sql.data;
}

static void
arg_at_risk(const VfSource *source, VfDbArgs *args)
{
	VfDbArgs	scan = {0};
	VfRules		rules;

	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, args);
	if (find_scan(&scan))
		vf_db_arg(args, INT4OID, scan.values[0]);
	else
		vf_db_arg(args, INT4OID, Int32GetDatum(0));
	vf_db_arg_text(args, vf_timestamp_zone);
}

void
vf_watch_at_risk(VfWatchRow row, void *arg)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfDbArgs	args = {0};
	VfDbSection section;
	char	   *sql = at_risk(source);

	if (sql == NULL)
		return;
	arg_at_risk(source, &args);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_each(sql, &args, row, arg);
	vf_db_leave(&section);
}

int64
vf_watch_count_at_risk(TimestampTz *deadline)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfDbArgs	args = {0};
	VfDbSection section;
	char	   *sql = at_risk(source);

	*deadline = DT_NOBEGIN;
	if (sql == NULL)
		return 0;
	arg_at_risk(source, &args);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_run(psprintf("SELECT pg_catalog.count(*), pg_catalog.min(deadline)"
					   " FROM (%s) r WHERE found IS NOT FALSE", sql),
			  &args);
	vf_db_leave(&section);
	*deadline = vf_db_time(0, 1);
	return vf_db_int(0, 0);
}

/* ---- orphans ---- */

static void
append_references(StringInfo buf, const VfTable *table)
{
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(buf, "SELECT t.%s::pg_catalog.text COLLATE \"C\" AS k"
						 " FROM %s t WHERE t.%s <> '' UNION ALL ",
						 table->keys[i].quoted, table->quoted,
						 table->keys[i].quoted);
}

/* Everything that keeps an object, as one list for one join. */
static char *
references(const VfSource *source)
{
	StringInfoData buf;
	const char *vf = vf_db_schema();

	initStringInfo(&buf);
	append_references(&buf, &source->sessions);
	append_references(&buf, &source->orders);
	appendStringInfo(&buf, "SELECT k COLLATE \"C\" FROM %s.vf_undo u,"
					 " pg_catalog.unnest(u.keys) k"
					 " WHERE u.restored_at IS NULL UNION ALL"
					 " SELECT k COLLATE \"C\" FROM %s.vf_outbox o,"
					 " pg_catalog.unnest(o.keys) k"
					 " WHERE o.state <> 'cancelled'"
					 " OR o.last_error_code = 'Cancelled'", vf, vf);
	return buf.data;
}

/*
 * $1 the bucket, $2 the newest scan that is a day older than the last complete
 * one, $3 the store's time at that one less the grace; false if there are no
 * two such scans.
 */
static bool
find_scans(VfDbArgs *args)
{
	VfDbArgs	a = {0};

	vf_db_arg(&a, FLOAT8OID, Float8GetDatum(ORPHAN_SCANS));
	vf_db_arg(&a, FLOAT8OID, Float8GetDatum(vf_orphan_grace));
	if (vf_db_run_self("SELECT l.bucket_id::int8, p.id, l.store_time"
					   " - pg_catalog.make_interval(secs => $2)"
					   " FROM {vf}.vf_scan l JOIN {vf}.vf_bucket b"
					   " ON b.id = l.bucket_id AND b.is_current,"
					   " LATERAL (SELECT x.id FROM {vf}.vf_scan x"
					   " WHERE x.bucket_id = l.bucket_id"
					   " AND x.state = 'complete' AND x.started_at <="
					   " l.started_at - pg_catalog.make_interval(secs => $1)"
					   " ORDER BY x.id DESC LIMIT 1) p"
					   " WHERE l.state = 'complete'"
					   " ORDER BY l.id DESC LIMIT 1", &a) == 0)
		return false;
	vf_db_arg(args, INT4OID, Int32GetDatum((int) vf_db_int(0, 0)));
	vf_db_arg(args, INT8OID, Int64GetDatum(vf_db_int(0, 1)));
	vf_db_arg(args, TIMESTAMPTZOID, TimestampTzGetDatum(vf_db_time(0, 2)));
	return true;
}

char **
vf_watch_orphan_prefixes(int bucket_id, int *n)
{
	List	   *list = vf_settings_list(vf_orphan_prefixes);
	char	  **prefixes = palloc(sizeof(char *) * Max(list_length(list), 1));
	char	   *problem = vf_shared_problem(bucket_id);
	char	   *others;
	ListCell   *lc;

	*n = 0;
	if (problem != NULL)
	{
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no orphans are shown: it is not known whether another database works in the bucket"),
				 errdetail("%s.", problem),
				 errhint("%s", VF_SHARED_UNKNOWN_CURE)));
		return prefixes;
	}
	foreach(lc, list)
		prefixes[(*n)++] = lfirst(lc);
	prefixes = vf_shared_own(bucket_id, prefixes, *n, n, &others);
	if (others != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("not all orphans are shown: another database works under the same prefixes of the bucket"),
				 errdetail("%s", others),
				 errhint("%s", VF_SHARED_CURE)));
	return prefixes;
}

void
vf_watch_orphans(VfWatchRow row, void *arg)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfDbArgs	args = {0};
	VfDbSection section;
	char	  **prefixes;
	int			n;

	if (!find_scans(&args))
	{
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("orphans are not known yet"),
				 errdetail("An orphan is seen by two complete scans of the registered bucket, at least a day apart."),
				 errhint("CALL vf_s3_scan() today and tomorrow, or let the worker do it.")));
		return;
	}
	prefixes = vf_watch_orphan_prefixes(DatumGetInt32(args.values[0]), &n);
	vf_db_arg_texts(&args, prefixes, n);
	vf_db_enter_owner(&section, source->sessions.owner);

	/*
	 * Right after a scan nothing is known of what it wrote.  Whoever then
	 * expects a row or two goes through all references for each object.
	 */
	vf_db_set("enable_nestloop", "off");
	vf_db_each(psprintf("SELECT b.key, b.bytes, b.storage_class, b.modified,"
						" (SELECT s.started_at FROM %s.vf_scan s"
						" WHERE s.id >= b.scan_id AND s.bucket_id = $1"
						" AND s.state = 'complete' ORDER BY s.id LIMIT 1)"
						" FROM %s.vf_object b WHERE b.bucket_id = $1"
						" AND b.scan_id <= $2 AND b.modified < $3"
						" AND EXISTS (SELECT FROM pg_catalog.unnest($4) p"
						" WHERE pg_catalog.starts_with(b.key, p))"
						" AND NOT EXISTS (SELECT FROM (%s) r"
						" WHERE r.k = b.key)",
						vf_db_schema(), vf_db_schema(), references(source)),
			   &args, row, arg);
	vf_db_leave(&section);
}
