/*-------------------------------------------------------------------------
 *
 * runlog.c
 *	  A record of every run: table vf_run.
 *
 * The start is written and committed before the work, the end after it; a run
 * found "running" whose process is gone, idle or at another statement was cut
 * off, and so was one of our own process when it begins another.  Everything
 * here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "db.h"
#include "runlog.h"

void
vf_runlog_add(VfRunCounts *to, const VfRunCounts *from)
{
	to->expired += from->expired;
	to->unpaid += from->unpaid;
	to->keys_queued += from->keys_queued;
	to->keys_cancelled += from->keys_cancelled;
	to->kept_paid += from->kept_paid;
	to->put_off += from->put_off;
	to->keys_confirmed += from->keys_confirmed;
	to->keys_again += from->keys_again;
	to->keys_dead += from->keys_dead;
	to->restored += from->restored;
}

static void
mark_interrupted(const char *kind)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, kind);
	vf_db_arg(&args, INT4OID, Int32GetDatum(MyProcPid));
	vf_db_run_self("UPDATE {vf}.vf_run r SET outcome = 'interrupted',"
				" ended_at = pg_catalog.clock_timestamp()"
				" WHERE r.id IN (SELECT v.id FROM {vf}.vf_run v"
				   " WHERE v.outcome = 'running' AND v.kind = $1"
				   " AND (v.pid = $2 OR NOT EXISTS (SELECT"
				   " FROM pg_catalog.pg_stat_get_activity(v.pid) a"
				   " WHERE a.backend_start = v.backend_start"
				   " AND a.state IS DISTINCT FROM 'idle'"
				   " AND (a.query_start > v.started_at) IS NOT TRUE))"
				   " FOR UPDATE OF v SKIP LOCKED)", &args);
}

int64
vf_runlog_start(const char *kind, const char *caller, bool full)
{
	VfDbArgs	args = {0};

	mark_interrupted(kind);
	vf_db_arg_text(&args, kind);
	vf_db_arg_text(&args, caller);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(full));
	vf_db_arg(&args, INT4OID, Int32GetDatum(MyProcPid));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(MyStartTimestamp));
	vf_db_run_self("INSERT INTO {vf}.vf_run (kind, caller, full_sweep, pid,"
				" backend_start) VALUES ($1, $2, $3, $4, $5) RETURNING id",
				&args);
	return vf_db_int(0, 0);
}

/* $2 to $12 of the statements below */
static void
arg_counts(VfDbArgs *args, const VfRunCounts *c)
{
	const int64 values[] = {
		c->expired, c->unpaid, c->keys_queued, c->keys_cancelled,
		c->kept_paid, c->put_off, c->keys_confirmed, c->keys_again,
		c->keys_dead, c->restored, c->objects
	};

	for (int i = 0; i < (int) lengthof(values); i++)
		vf_db_arg(args, INT8OID, Int64GetDatum(values[i]));
}

#define SET_COUNTS \
	" (expired, unpaid, keys_queued, keys_cancelled, kept_paid, put_off," \
	" keys_confirmed, keys_again, keys_dead, restored, objects)" \
	" = ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"

void
vf_runlog_progress(int64 id, const VfRunCounts *counts)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	arg_counts(&args, counts);
	vf_db_run_self("UPDATE {vf}.vf_run SET" SET_COUNTS " WHERE id = $1", &args);
}

void
vf_runlog_finish(int64 id, const char *outcome, const VfRunCounts *counts,
				 const char *error)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	arg_counts(&args, counts);
	vf_db_arg_text(&args, outcome);
	vf_db_arg_text(&args, error);
	vf_db_run_self("UPDATE {vf}.vf_run SET" SET_COUNTS ", outcome = $13,"
				" error = $14, ended_at = pg_catalog.clock_timestamp()"
				" WHERE id = $1", &args);
}

/* Count on to the kind's newest record if it has the same outcome and error. */
static bool
count_on(const char *kind, const char *outcome, const char *error)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, kind);
	vf_db_arg_text(&args, outcome);
	vf_db_arg_text(&args, error);
	if (vf_db_run_self("UPDATE {vf}.vf_run SET repeats = repeats + 1,"
					   " ended_at = pg_catalog.clock_timestamp()"
					   " WHERE id = (SELECT r.id FROM {vf}.vf_run r"
					   " WHERE r.id = (SELECT l.id FROM {vf}.vf_run l"
					   " WHERE l.kind = $1 ORDER BY l.id DESC LIMIT 1)"
					   " AND r.outcome = $2"
					   " AND r.error IS NOT DISTINCT FROM $3"
					   " FOR UPDATE SKIP LOCKED) RETURNING 1", &args) == 0)
		return false;
	/* Where nothing is to do for days, no other run would come to tell. */
	mark_interrupted(kind);
	return true;
}

void
vf_runlog_idle(const char *kind, const char *caller, bool full,
			   const VfRunCounts *counts)
{
	if (!count_on(kind, "idle", NULL))
		vf_runlog_finish(vf_runlog_start(kind, caller, full), "idle",
						 counts, NULL);
}

void
vf_runlog_refused(const char *kind, const char *caller, const char *outcome,
				  const char *error)
{
	static const VfRunCounts none = {0};

	if (!count_on(kind, outcome, error))
		vf_runlog_finish(vf_runlog_start(kind, caller, false), outcome,
						 &none, error);
}

int64
vf_runlog_purged_last_day(TimestampTz now)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now));
	vf_db_run_self("SELECT coalesce(pg_catalog.sum(expired + unpaid), 0)::int8"
				" FROM {vf}.vf_run WHERE kind = 'purge'"
				" AND started_at > $1 - '1 day'::interval", &args);
	return vf_db_int(0, 0);
}

int64
vf_runlog_daily_median(TimestampTz now)
{
	VfDbArgs	args = {0};

	/* Days are spans of 24 hours before now: no zone, no calendar. */
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now));
	vf_db_run_self("SELECT CASE WHEN (SELECT pg_catalog.min(started_at)"
				" FROM {vf}.vf_run WHERE kind = 'purge')"
				" > $1 - '8 days'::interval THEN -1 ELSE"
				" (SELECT pg_catalog.percentile_disc(0.5) WITHIN GROUP"
				" (ORDER BY d.purged)"
				" FROM (SELECT g, coalesce(pg_catalog.sum("
				" r.expired + r.unpaid), 0)::int8 AS purged"
				" FROM pg_catalog.generate_series(1, 7) g"
				" LEFT JOIN {vf}.vf_run r ON r.kind = 'purge'"
				" AND r.started_at > $1 - pg_catalog.make_interval("
				"days => g + 1)"
				" AND r.started_at <= $1 - pg_catalog.make_interval("
				"days => g)"
				" GROUP BY g) d) END", &args);
	return vf_db_is_null(0, 0) ? -1 : vf_db_int(0, 0);
}

void
vf_runlog_prune(TimestampTz before)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(before));
	vf_db_run_self("DELETE FROM {vf}.vf_run"
				" WHERE id IN (SELECT id FROM {vf}.vf_run"
				" WHERE ended_at < $1 AND outcome <> 'running'"
				" FOR UPDATE SKIP LOCKED)", &args);
}
