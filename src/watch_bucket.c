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
#include "source_copy.h"
#include "watch.h"

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
	const char *copy = vf_source_copy_column(source, column->name);

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
	" WHERE" VF_SOURCE_AT_RISK

/* The statement over all columns that have a copy's column; NULL: none has. */
static char *
at_risk(const VfSource *source)
{
	const VfDbName extra[] = {
		{"created_at", psprintf(source->with_zone[VF_S_CREATED] ? "s.%s" :
								"pg_catalog.timezone($8, s.%s)",
								source->quoted[VF_S_CREATED])},
		{NULL, NULL}
	};

	return vf_source_each_copied(source, AT_RISK, extra);
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
