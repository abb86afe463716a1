/*-------------------------------------------------------------------------
 *
 * outbox_copy.c
 *	  Copies in the outbox: entries whose one key is to be copied, not deleted.
 *
 * An entry is one file for one order, so that a file at fault stops nothing
 * else, and its row keeps its number whatever becomes of it.  A unique index
 * sees to it that a copy is queued once, whoever queues it at the same time.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "db.h"
#include "outbox_copy.h"
#include "wake.h"

/* ---- queueing ---- */

static void
arg_field(VfDbArgs *args, const VfCopyJob *jobs, int n, size_t offset)
{
	char	  **texts = palloc(sizeof(char *) * Max(n, 1));

	for (int i = 0; i < n; i++)
		texts[i] = *(char *const *) ((const char *) &jobs[i] + offset);
	vf_db_arg_texts(args, texts, n);
}

/*
 * The jobs as $1 to $5, in the order of outbox_copy.h; one statement for all.
 */
static void
arg_jobs(VfDbArgs *args, const VfCopyJob *jobs, int n)
{
	args->n = 0;
	arg_field(args, jobs, n, offsetof(VfCopyJob, session_id));
	arg_field(args, jobs, n, offsetof(VfCopyJob, order_id));
	arg_field(args, jobs, n, offsetof(VfCopyJob, column));
	arg_field(args, jobs, n, offsetof(VfCopyJob, source));
	arg_field(args, jobs, n, offsetof(VfCopyJob, target));
}

#define JOBS \
	" ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)," \
	" pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5))" \
	" WITH ORDINALITY" \
	" AS j (session_id, order_id, column_name, source, target, i)"

/* What stands in the way of those that were not queued. */
static void
mark_standing(const VfCopyJob *jobs, int n, VfCopyQueued *results)
{
	VfDbArgs	args = {0};
	uint64		rows;

	arg_jobs(&args, jobs, n);
	rows = vf_db_runf("SELECT j.i FROM" JOBS
					  " JOIN {vf}.vf_outbox o ON o.copy_order = j.order_id"
					  " AND o.copy_column = j.column_name"
					  " AND o.kind = 'copy' AND o.state = 'dead'", &args);
	for (uint64 i = 0; i < rows; i++)
		if (results[vf_db_int(i, 0) - 1] == VF_COPY_WAITS)
			results[vf_db_int(i, 0) - 1] = VF_COPY_DEAD;
}

static void
insert_jobs(int64 run_id, const char *endpoint, const char *bucket,
			const VfCopyJob *jobs, int n, VfCopyQueued *results)
{
	VfDbArgs	args = {0};
	uint64		rows;

	arg_jobs(&args, jobs, n);
	vf_db_arg(&args, INT8OID, Int64GetDatum(run_id));
	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(jobs[0].keep_session));
	rows = vf_db_runf("WITH q AS (INSERT INTO {vf}.vf_outbox (run_id,"
					  " endpoint, bucket, kind, keys, nkeys, copy_to,"
					  " copy_session, copy_order, copy_column, copy_keep)"
					  " SELECT $6, $7, $8, 'copy', ARRAY[j.source], 1,"
					  " j.target, j.session_id, j.order_id, j.column_name, $9"
					  " FROM" JOBS
					  " ORDER BY j.order_id, j.column_name"
					  " ON CONFLICT DO NOTHING"
					  " RETURNING copy_order, copy_column)"
					  " SELECT j.i FROM" JOBS " JOIN q"
					  " ON q.copy_order = j.order_id"
					  " AND q.copy_column = j.column_name", &args);
	for (uint64 i = 0; i < rows; i++)
		results[vf_db_int(i, 0) - 1] = VF_COPY_QUEUED;
	if (rows > 0)
		vf_wake_at_commit();
}

void
vf_outbox_queue_copies(int64 run_id, const char *endpoint, const char *bucket,
					   const VfCopyJob *jobs, int n, int timeout_ms,
					   VfCopyQueued *results)
{
	VfDbSection section;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		results[i] = VF_COPY_WAITS;
	vf_db_enter_self(&section);
	if (timeout_ms > 0)
		vf_db_set("lock_timeout", psprintf("%d", timeout_ms));
	insert_jobs(run_id, endpoint, bucket, jobs, n, results);
	mark_standing(jobs, n, results);
	vf_db_leave(&section);
}

/* ---- being made ---- */

void
vf_outbox_read_copy(const VfOutboxEntry *entry, VfCopyJob *job,
					TimestampTz *claimed_at)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->id));
	vf_db_run_self("SELECT copy_session, copy_order, copy_column, copy_to,"
				   " copy_keep, claimed_at FROM {vf}.vf_outbox WHERE id = $1",
				   &args);
	job->session_id = vf_db_text(0, 0);
	job->order_id = vf_db_text(0, 1);
	job->column = vf_db_text(0, 2);
	job->source = entry->keys[0];
	job->target = vf_db_text(0, 3);
	job->keep_session = vf_db_bool(0, 4);
	*claimed_at = vf_db_time(0, 5);
}

bool
vf_outbox_lock_claimed(const VfOutboxEntry *entry)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->id));
	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->token));
	return vf_db_run_self("SELECT FROM {vf}.vf_outbox WHERE id = $1"
						  " AND lease_token = $2 AND state = 'claimed'"
						  " FOR UPDATE", &args) > 0;
}

/* ---- the source of one that was made ---- */

/* Unless it waits already: several orders may have had a copy of one file. */
static void
insert_source(int64 run_id, const char *endpoint, const char *bucket,
			  const char *key, const char *state, TimestampTz when,
			  const char *code, const char *message)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(run_id));
	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	vf_db_arg_text(&args, key);
	vf_db_arg_text(&args, state);
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(when));
	vf_db_arg_text(&args, code);
	vf_db_arg_text(&args, message);
	vf_db_run_self("INSERT INTO {vf}.vf_outbox (run_id, endpoint, bucket,"
				   " keys, nkeys, state, next_attempt_at, last_error_code,"
				   " last_error) SELECT $1, $2, $3, ARRAY[$4], 1, $5, $6, $7,"
				   " $8 WHERE NOT EXISTS (SELECT FROM {vf}.vf_outbox o"
				   " WHERE o.nkeys = 1 AND o.kind = 'delete'"
				   " AND o.state = $5 AND o.endpoint = $2 AND o.bucket = $3"
				   " AND o.keys = ARRAY[$4])", &args);
}

void
vf_outbox_queue_source(int64 run_id, const char *endpoint, const char *bucket,
					   const char *key, TimestampTz when, const char *code,
					   const char *message)
{
	insert_source(run_id, endpoint, bucket, key, "waiting", when, code,
				  message);
}

void
vf_outbox_keep_source(int64 run_id, const char *endpoint, const char *bucket,
					  const char *key, const char *code, const char *message)
{
	insert_source(run_id, endpoint, bucket, key, "cancelled",
				  GetCurrentTimestamp(), code, message);
}

/* ---- what others must know ---- */

char **
vf_outbox_copied(char *const *keys, int n, int *found)
{
	VfDbArgs	args = {0};
	char	  **result;

	vf_db_arg_texts(&args, keys, n);
	*found = (int) vf_db_run_self("SELECT DISTINCT v.key FROM {vf}.vf_outbox o,"
								  " LATERAL (VALUES (o.keys[1]),"
								  " (o.copy_to)) v (key)"
								  " WHERE o.kind = 'copy'"
								  " AND o.state <> 'cancelled'"
								  " AND v.key = ANY ($1)", &args);
	result = palloc(sizeof(char *) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
		result[i] = vf_db_text(i, 0);
	return result;
}

int64
vf_outbox_copies(void)
{
	vf_db_run_self("SELECT pg_catalog.count(*) FROM {vf}.vf_outbox"
				   " WHERE kind = 'copy' AND state IN ('waiting', 'claimed')",
				   NULL);
	return vf_db_int(0, 0);
}
