/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  What the views read of the application's tables.
 *
 * Read as their owner, by the same rule fragments as a purge.  Only counts and
 * names leave this room, never a key or a token.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/timestamp.h"

#include "bucket.h"
#include "db.h"
#include "errors.h"
#include "preflight.h"
#include "source.h"
#include "watch.h"

/* A payment without its session is news for this long. */
#define LATE_PAYMENT_AGE (7 * USECS_PER_DAY)

/*
 * Run a statement with rules as the owner; $7 and $8 are the times in orders
 * after which a payment is news.
 */
static uint64
run_as_owner(const VfSource *source, const char *template,
			 const VfDbName *extra)
{
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	uint64		n;

	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, &args);
	vf_rules_arg_time(source, VF_O_CREATED, rules.now - LATE_PAYMENT_AGE,
					  &args);
	if (source->column[VF_O_UPDATED] != NULL)
		vf_rules_arg_time(source, VF_O_UPDATED, rules.now - LATE_PAYMENT_AGE,
						  &args);
	vf_db_enter_owner(&section, source->sessions.owner);
	n = vf_db_run(vf_db_fill(template, vf_rules_names(source, extra)), &args);
	vf_db_leave(&section);
	return n;
}

/* ---- the registration ---- */

static const char *
guard_word(VfGuardState state)
{
	switch (state)
	{
		case VF_GUARD_STANDS:
			return "stands";
		case VF_GUARD_REFUSED:
			return "refused";
		case VF_GUARD_MISSING:
			return "missing";
		case VF_GUARD_DISABLED:
			return "disabled";
	}
	elog(ERROR, "unknown guard state %d", (int) state);
}

static void
load_state(void *arg)
{
	VfWatchState *state = arg;
	VfSource   *source = vf_source_load(VF_SOURCE_DELETE);

	state->guard = guard_word(vf_source_guard_state(source));
}

void
vf_watch_state(VfWatchState *state)
{
	ErrorData  *error;
	char	   *fault;

	memset(state, 0, sizeof(*state));
	state->settings_fault = vf_preflight_settings_fault();
	state->registered = vf_source_registered();
	fault = vf_db_version_fault();
	if (fault != NULL)
		state->problem = psprintf("%s: run ALTER EXTENSION voiceframe_retention UPDATE",
								  fault);
	if (fault != NULL || !state->registered)
		return;
	error = vf_db_try(load_state, state);
	if (error != NULL)
		state->problem = error->message;
}

/* ---- counts ---- */

void
vf_watch_sessions(VfWatchSessions *c)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);

	run_as_owner(source,
				 "WITH o AS MATERIALIZED (SELECT o.{order_token} AS token,"
				 " pg_catalog.bool_or({pays}) AS pays,"
				 " pg_catalog.bool_or({keeps}) AS keeps FROM {orders} o"
				 " WHERE o.{order_token} IS NOT NULL"
				 " GROUP BY o.{order_token})"
				 " SELECT pg_catalog.count(*),"
				 " pg_catalog.count(*) FILTER (WHERE s.{expires} < $1),"
				 " pg_catalog.count(*) FILTER (WHERE s.{created} < $2),"
				 " pg_catalog.count(*) FILTER (WHERE {time_due}"
				 " AND o.keeps IS NOT TRUE AND NOT {held}),"
				 " pg_catalog.count(*) FILTER (WHERE o.pays)"
				 " FROM {sessions} s LEFT JOIN o ON o.token = s.{token}",
				 NULL);
	c->sessions = vf_db_int(0, 0);
	c->expired = vf_db_int(0, 1);
	c->older = vf_db_int(0, 2);
	c->due = vf_db_int(0, 3);
	c->paying = vf_db_int(0, 4);
}

/* The types of storage, in their order; other is 9. */
#define STORAGE_TYPES \
	"WITH p (prefix, type, o) AS (VALUES ('temp_photos/', 'temp_photos', 1)," \
	" ('temp_audio/', 'temp_audio', 2), ('waveforms/', 'waveforms', 3)," \
	" ('permanent/photos/', 'permanent_photos', 4)," \
	" ('permanent/audio/', 'permanent_audio', 5)," \
	" ('permanent-audio/', 'permanent_audio', 5)," \
	" ('permanent/waveforms/', 'permanent_waveforms', 6)," \
	" ('permanent/pdfs/', 'permanent_pdfs', 7), ('pdfs/', 'pdfs', 8))"

/* A SELECT of one table's keys, one row each; prefixes are those of bytes. */
static void
append_keys(StringInfo buf, const VfTable *table)
{
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(buf, "%sSELECT t.%s::pg_catalog.text COLLATE \"C\" AS k"
						 " FROM %s t",
						 buf->len == 0 ? "" : " UNION ALL ",
						 table->keys[i].quoted, table->quoted);
}

/* All keys that sessions and orders reference. */
static char *
all_keys(const VfSource *source)
{
	StringInfoData keys;

	initStringInfo(&keys);
	append_keys(&keys, &source->sessions);
	append_keys(&keys, &source->orders);
	return keys.data;
}

VfWatchStorage *
vf_watch_storage(int *n)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfBucket   *bucket = vf_bucket_current();
	VfWatchStorage *rows;
	VfDbName	extra[] = {
		{"keys", NULL}, {"bucket", NULL}, {NULL, NULL}
	};

	/* An object that several rows reference takes its bytes once. */
	extra[0].text = all_keys(source);
	extra[1].text = psprintf("%d", bucket == NULL ? 0 : bucket->id);
	*n = (int) run_as_owner(source,
							STORAGE_TYPES
							", k AS (SELECT k.k, pg_catalog.count(*) AS n"
							" FROM ({keys}) k WHERE k.k <> '' GROUP BY k.k),"
							" x AS (SELECT coalesce(p.type, 'other') AS type,"
							" k.n, b.bytes FROM k"
							" LEFT JOIN p"
							" ON pg_catalog.starts_with(k.k, p.prefix)"
							" LEFT JOIN {vf}.vf_object b"
							" ON b.key = k.k AND b.bucket_id = {bucket})"
							" SELECT t.type,"
							" coalesce(pg_catalog.sum(x.n), 0)::int8,"
							" pg_catalog.count(x.bytes),"
							" coalesce(pg_catalog.sum(x.bytes), 0)::int8,"
							" EXISTS (SELECT FROM {vf}.vf_scan"
							" WHERE state = 'complete'"
							" AND bucket_id = {bucket})"
							" FROM (SELECT DISTINCT type, o FROM p"
							" UNION ALL VALUES ('other', 9)) t"
							" LEFT JOIN x ON x.type = t.type"
							" GROUP BY t.type, t.o ORDER BY t.o", extra);
	rows = palloc(sizeof(VfWatchStorage) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		rows[i].type = vf_db_text(i, 0);
		rows[i].keys = vf_db_int(i, 1);
		rows[i].objects = vf_db_int(i, 2);
		rows[i].bytes = vf_db_int(i, 3);
		rows[i].scanned = vf_db_bool(i, 4);
	}
	return rows;
}

/* ---- alerts ---- */

void
vf_watch_alerts(VfWatchAlerts *a)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfDbName	extra[] = {{"recent", NULL}, {NULL, NULL}};

	extra[0].text = source->column[VF_O_UPDATED] == NULL ?
		psprintf("o.%s > $7", source->quoted[VF_O_CREATED]) :
		psprintf("(o.%s > $7 OR o.%s > $8)", source->quoted[VF_O_CREATED],
				 source->quoted[VF_O_UPDATED]);
	run_as_owner(source,
				 "SELECT (SELECT pg_catalog.string_agg(pg_catalog.format("
				 "'%s: %s', coalesce(x.status, 'null'), x.n), ', '"
				 " ORDER BY x.status) FROM"
				 " (SELECT o.{order_status} AS status, pg_catalog.count(*) AS n"
				 " FROM {orders} o WHERE (o.{order_status} = ANY ($3 ||"
				 " ARRAY['paid', 'completed', 'expired', 'refunded']))"
				 " IS NOT TRUE GROUP BY 1) x),"
				 " (SELECT pg_catalog.count(*) FROM {sessions} s"
				 " WHERE s.{created} IS NULL AND s.{expires} IS NULL),"
				 " (SELECT pg_catalog.count(*) FROM {orders} o WHERE {pays}"
				 " AND o.{order_token} IS NOT NULL AND {recent}"
				 " AND NOT EXISTS (SELECT FROM {sessions} s WHERE {matches}))",
				 extra);
	a->unknown_statuses = vf_db_text(0, 0);
	a->null_timestamps = vf_db_int(0, 1);
	a->late_payments = vf_db_int(0, 2);
}
