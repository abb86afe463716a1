/*-------------------------------------------------------------------------
 *
 * lifecycle_loss.c
 *	  What expiring lifecycle rules would take though it is still needed.
 *
 * A lifecycle rule asks no database.  It takes an object when that is of an
 * age, whether a row has gone with it or not.  So what counts is who comes
 * first.  A reference is lost if its object is not known to be gone and
 *
 *	- the session has a paying order that has no permanent copy of the file:
 *	  vf_at_risk has it, and its row stays for ever;
 *	- the session is held;
 *	- the session falls due later than the object expires, or never;
 *	- an order has it: orders stay; or an added column (vf_add_reference());
 *	- it can be put back by vf_undo_purge() for longer than the object lasts.
 *
 * Not lost is the file of a session whose order has the permanent copy (and
 * none that pays lacks it), and that of a session that goes before its object
 * does, as every session does under the default rules.
 *
 * The object's age is that of the last complete scan, and the row's where that
 * did not see it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "db.h"
#include "lifecycle_internal.h"
#include "settings.h"
#include "source_copy.h"

/*
 * $7 the bucket, 0 if it was not scanned; $8 the age of the scan's horizon.
 * What is not in the inventory is gone, but for rows written since.
 */
#define MAY_BE_THERE(alias) \
	"(b.key IS NOT NULL OR $7 = 0 OR pg_catalog.age(" alias ".xmin) <= $8)"

#define OF_SESSIONS \
	"SELECT {table_name} AS table_name, {column_name} AS column_name," \
	" s.{id}::pg_catalog.text AS row_id," \
	" s.{column}::pg_catalog.text AS key," \
	" CASE WHEN EXISTS (SELECT 1 FROM {orders} o WHERE {matches} AND {pays}" \
	"{without_copy}) THEN 'paid, and no permanent copy'" \
	"{copied}" \
	" WHEN {held} THEN 'held'" \
	" WHEN (greatest(coalesce(least({expires_at}, {unpaid_at}), 'infinity')," \
	" c.until) > coalesce(b.modified, {created_at})" \
	" + pg_catalog.make_interval(days => {days})) IS NOT FALSE" \
	" THEN 'the row stays longer than the object' END AS why" \
	" FROM {sessions} s LEFT JOIN {vf}.vf_object b ON b.bucket_id = $7" \
	" AND b.key = s.{column}::pg_catalog.text COLLATE \"C\"" \
	" LEFT JOIN (SELECT o.{order_token} AS token, pg_catalog.max(coalesce(" \
	"{order_time}, 'infinity')) + pg_catalog.make_interval(secs => {grace})" \
	" AS until FROM {orders} o WHERE NOT {pays} GROUP BY o.{order_token}) c" \
	" ON c.token = s.{token}" \
	" WHERE s.{column} <> '' AND {under} AND " MAY_BE_THERE("s")

#define OF_ORDERS \
	"SELECT {table_name}, {column_name}, o.{order_token}::pg_catalog.text," \
	" o.{column}::pg_catalog.text, 'the order stays'" \
	" FROM {orders} o LEFT JOIN {vf}.vf_object b ON b.bucket_id = $7" \
	" AND b.key = o.{column}::pg_catalog.text COLLATE \"C\"" \
	" WHERE o.{column} <> '' AND {under} AND " MAY_BE_THERE("o")

#define OF_ADDED \
	"SELECT {table_name}, {column_name}, NULL, k.key," \
	" 'an added column references it' FROM {table} t," \
	" LATERAL pg_catalog.unnest({keys}) k(key)" \
	" LEFT JOIN {vf}.vf_object b ON b.bucket_id = $7" \
	" AND b.key = k.key COLLATE \"C\"" \
	" WHERE k.key <> '' AND {under} AND " MAY_BE_THERE("t")

#define OF_UNDO \
	"SELECT 'vf_undo', 'keys', u.session_id, k.key," \
	" 'can be put back for longer than the object lasts'" \
	" FROM {vf}.vf_undo u JOIN {vf}.vf_undo_batch p ON p.id = u.batch_id," \
	" LATERAL pg_catalog.unnest(u.keys) k(key)" \
	" LEFT JOIN {vf}.vf_object b ON b.bucket_id = $7" \
	" AND b.key = k.key COLLATE \"C\"" \
	" WHERE u.restored_at IS NULL AND p.until > pg_catalog.now()" \
	" AND (p.until > b.modified + pg_catalog.make_interval(days => {days}))" \
	" IS NOT FALSE AND {under} AND " MAY_BE_THERE("u")

/* A key begins with one of the prefixes. */
static char *
under(const char *key, char *const *prefixes, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '(');
	for (int i = 0; i < n; i++)
		appendStringInfo(&buf, "%spg_catalog.starts_with("
						 "%s::pg_catalog.text COLLATE \"C\", %s)",
						 i == 0 ? "" : " OR ", key,
						 quote_literal_cstr(prefixes[i]));
	appendStringInfoString(&buf, n == 0 ? "false)" : ")");
	return buf.data;
}

/* A column as an absolute time. */
static char *
absolute(const VfSource *source, VfColumn column, const char *alias)
{
	if (source->with_zone[column])
		return psprintf("%s.%s", alias, source->quoted[column]);
	return psprintf("pg_catalog.timezone(%s, %s.%s)",
					quote_literal_cstr(vf_timestamp_zone), alias,
					source->quoted[column]);
}

static char *
later(const VfSource *source, VfColumn column, int seconds)
{
	return psprintf("%s + pg_catalog.make_interval(secs => %d)",
					absolute(source, column, "s"), seconds);
}

static char *
order_time(const VfSource *source)
{
	char	   *created = absolute(source, VF_O_CREATED, "o");

	if (source->column[VF_O_UPDATED] == NULL)
		return created;
	return psprintf("greatest(%s, %s)", created,
					absolute(source, VF_O_UPDATED, "o"));
}

static char *
fill(const VfSource *source, const VfTable *table, const VfKeyColumn *column,
	 char *const *prefixes, int n)
{
	bool		of_sessions = table == &source->sessions;
	const char *copy = of_sessions ?
		vf_source_copy_column(source, column->name) : NULL;
	char	   *matches = psprintf("o.%s = s.%s",
								   source->quoted[VF_O_TOKEN],
								   source->quoted[VF_S_TOKEN]);
	const VfDbName extra[] = {
		{"table_name", quote_literal_cstr(table->quoted)},
		{"column_name", quote_literal_cstr(column->name)},
		{"column", column->quoted},
		{"without_copy", copy == NULL ? "" :
		psprintf(" AND coalesce(o.%s, '') = ''", copy)},
		{"copied", copy == NULL ? "" :
			psprintf(" WHEN EXISTS (SELECT 1 FROM %s o WHERE %s"
					 " AND o.%s <> '') THEN NULL", source->orders.quoted,
		matches, copy)},
		{"expires_at", later(source, VF_S_EXPIRES, vf_expired_grace)},
		{"unpaid_at", later(source, VF_S_CREATED, vf_unpaid_after)},
		{"created_at", absolute(source, VF_S_CREATED, "s")},
		{"order_time", order_time(source)},
		{"grace", psprintf("%d", vf_checkout_grace)},
		{"days", psprintf("%d", VF_LC_EXPIRE_DAYS)},
		{"under", under(psprintf(of_sessions ? "s.%s" : "o.%s",
								   column->quoted), prefixes, n)},
		{NULL, NULL}
	};

	return vf_db_fill(of_sessions ? OF_SESSIONS : OF_ORDERS,
					  vf_rules_names(source, extra));
}

static char *
fill_added(const VfTable *table, char *const *prefixes, int n)
{
	const VfKeyColumn *column = &table->keys[0];
	const VfDbName names[] = {
		{"table_name", quote_literal_cstr(table->quoted)},
		{"column_name", quote_literal_cstr(column->name)},
		{"table", table->quoted},
		{"keys", psprintf(column->array ? "t.%s::pg_catalog.text[]" :
						  "ARRAY[t.%s::pg_catalog.text]", column->quoted)},
		{"under", under("k.key", prefixes, n)},
		{NULL, NULL}
	};

	return vf_db_fill(OF_ADDED, names);
}

/* One statement over all columns, for one pass over each table. */
static char *
statement(const VfSource *source, char *const *prefixes, int n)
{
	const VfTable *tables[] = {&source->sessions, &source->orders};
	const VfDbName of_undo[] = {
		{"days", psprintf("%d", VF_LC_EXPIRE_DAYS)},
		{"under", under("k.key", prefixes, n)},
		{NULL, NULL}
	};
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT * FROM (");
	for (int t = 0; t < 2; t++)
		for (int i = 0; i < tables[t]->nkeys; i++)
			appendStringInfo(&buf, "%s UNION ALL ",
							 fill(source, tables[t], &tables[t]->keys[i],
								  prefixes, n));
	for (int i = 0; i < source->n_added; i++)
		appendStringInfo(&buf, "%s UNION ALL ",
						 fill_added(&source->added[i], prefixes, n));
	appendStringInfoString(&buf, vf_db_fill(OF_UNDO, of_undo));
	appendStringInfoString(&buf, ") l (table_name, column_name, row_id, key,"
						   " why) WHERE why IS NOT NULL");
	return buf.data;
}

static void
arguments(const VfSource *source, VfDbArgs *args)
{
	VfRules		rules;
	int			bucket = 0;
	int			age = 0;

	if (vf_db_run_self("SELECT s.bucket_id::int8,"
					   " pg_catalog.age(s.horizon::pg_catalog.xid)::int8"
					   " FROM {vf}.vf_scan s JOIN {vf}.vf_bucket b"
					   " ON b.id = s.bucket_id WHERE s.state = 'complete'"
					   " AND b.is_current ORDER BY s.id DESC LIMIT 1",
					   NULL) > 0)
	{
		bucket = (int) vf_db_int(0, 0);
		age = (int) vf_db_int(0, 1);
	}
	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, args);
	vf_db_arg(args, INT4OID, Int32GetDatum(bucket));
	vf_db_arg(args, INT4OID, Int32GetDatum(age));
}

int64
vf_lifecycle_count_losses(char *const *prefixes, int n, char **detail)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfDbArgs	args = {0};
	VfDbSection section;
	int64		lost;

	if (n == 0)
		return 0;
	arguments(source, &args);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_run(psprintf("WITH lost AS MATERIALIZED (%s) SELECT"
					   " (SELECT pg_catalog.count(DISTINCT key) FROM lost),"
					   " (SELECT pg_catalog.string_agg(pg_catalog.format("
					   "'%%s.%%s: %%s (%%s)', table_name, column_name, n,"
					   " why), '; ' ORDER BY table_name, column_name, why)"
					   " FROM (SELECT table_name, column_name, why,"
					   " pg_catalog.count(*) AS n FROM lost"
					   " GROUP BY 1, 2, 3) c)",
					   statement(source, prefixes, n)), &args);
	lost = vf_db_int(0, 0);
	*detail = vf_db_text(0, 1);
	vf_db_leave(&section);
	return lost;
}

/* The prefixes of the expiring rules as they are chosen. */
static char **
chosen_prefixes(int *n)
{
	char	  **prefixes = palloc(sizeof(char *) * 3);
	VfBucket   *bucket = vf_bucket_current();
	VfLcChoices choices = {0};

	*n = 0;
	if (bucket != NULL)
		vf_lclog_load(bucket->endpoint, bucket->bucket, &choices);
	prefixes[(*n)++] = "temp_";
	if (choices.waveforms)
		prefixes[(*n)++] = "waveforms/";
	if (choices.previews)
		prefixes[(*n)++] = "pdfs/preview_";
	return prefixes;
}

void
vf_lifecycle_losses(VfLifecycleLoss row, void *arg)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfDbArgs	args = {0};
	VfDbSection section;
	int			n;
	char	  **prefixes = chosen_prefixes(&n);

	arguments(source, &args);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_each(statement(source, prefixes, n), &args, row, arg);
	vf_db_leave(&section);
}
