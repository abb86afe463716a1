/*-------------------------------------------------------------------------
 *
 * sweep.c
 *	  How far purges have looked: tables vf_sweep and vf_put_off.
 *
 * Marks only ever move forward, and a full sweep forgets only what was put
 * off before it began: two runs at the same time lose nothing of each other's.
 * Nor does one ever wait for the other: rows that another transaction holds,
 * perhaps a person's who has yet to commit, are passed over.
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#include "db.h"
#include "sweep.h"

void
vf_sweep_load(VfSweep *sweep)
{
	memset(sweep, 0, sizeof(*sweep));
	if (vf_db_run_self("SELECT rules, full_at, expires_mark, created_mark,"
					" kept_paid, orders_seen, paid_sample"
					" FROM {vf}.vf_sweep WHERE full_at IS NOT NULL", NULL) == 0)
		return;
	sweep->known = true;
	sweep->rules = vf_db_text(0, 0);
	sweep->full_at = vf_db_time(0, 1);
	sweep->expires_mark = vf_db_time(0, 2);
	sweep->created_mark = vf_db_time(0, 3);
	sweep->kept_paid = vf_db_int(0, 4);
	sweep->orders_seen = vf_db_bool(0, 5);
	sweep->sample = vf_db_texts(0, 6, &sweep->n_sample);
}

void
vf_sweep_store_full(const VfSweep *sweep, TimestampTz started)
{
	VfDbArgs	args = {0};
	VfDbArgs	put_off = {0};

	vf_db_arg_text(&args, sweep->rules);
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(sweep->full_at));
	vf_db_arg(&args, TIMESTAMPTZOID,
			  TimestampTzGetDatum(sweep->expires_mark));
	vf_db_arg(&args, TIMESTAMPTZOID,
			  TimestampTzGetDatum(sweep->created_mark));
	vf_db_arg(&args, INT8OID, Int64GetDatum(sweep->kept_paid));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(sweep->orders_seen));
	vf_db_arg_texts(&args, sweep->sample, sweep->n_sample);
	/*
	 * Where another transaction holds the row (a person's vf_purge_now, not
	 * yet committed), its state serves as well as ours: never wait for it.
	 */
	vf_db_run_self("UPDATE {vf}.vf_sweep SET (rules, full_at, expires_mark,"
				   " created_mark, kept_paid, orders_seen, paid_sample)"
				   " = ($1, $2, greatest(expires_mark, $3),"
				   " greatest(created_mark, $4), $5, $6, $7)"
				   " WHERE singleton IN (SELECT singleton"
				   " FROM {vf}.vf_sweep FOR UPDATE SKIP LOCKED)", &args);

	vf_db_arg(&put_off, TIMESTAMPTZOID, TimestampTzGetDatum(started));
	vf_db_run_self("DELETE FROM {vf}.vf_put_off WHERE ctid IN"
				   " (SELECT ctid FROM {vf}.vf_put_off WHERE noted_at < $1"
				   " FOR UPDATE SKIP LOCKED)", &put_off);
}

void
vf_sweep_advance(TimestampTz expires_mark, TimestampTz created_mark)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(expires_mark));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(created_mark));
	vf_db_run_self("UPDATE {vf}.vf_sweep SET"
				   " expires_mark = greatest(expires_mark, $1),"
				   " created_mark = greatest(created_mark, $2)"
				   " WHERE singleton IN (SELECT singleton"
				   " FROM {vf}.vf_sweep FOR UPDATE SKIP LOCKED)", &args);
}

void
vf_sweep_put_off(char *const *ids, const TimestampTz *look_at, int n)
{
	VfDbArgs	args = {0};
	Datum	   *times = palloc(sizeof(Datum) * Max(n, 1));

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		times[i] = TimestampTzGetDatum(look_at[i]);
	vf_db_arg_texts(&args, ids, n);
	vf_db_arg(&args, TIMESTAMPTZARRAYOID,
			  PointerGetDatum(construct_array(times, n, TIMESTAMPTZOID, 8,
											  FLOAT8PASSBYVAL,
											  TYPALIGN_DOUBLE)));
	vf_db_run_self("INSERT INTO {vf}.vf_put_off (session_id, look_at)"
				   " SELECT u.id, u.look_at FROM ROWS FROM"
				   " (pg_catalog.unnest($1), pg_catalog.unnest($2))"
				   " u(id, look_at)", &args);
}

char **
vf_sweep_put_off_due(TimestampTz now, int max, int *n)
{
	VfDbArgs	args = {0};
	char	  **ids;

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now));
	vf_db_arg(&args, INT4OID, Int32GetDatum(max));
	*n = (int) vf_db_run_self("SELECT session_id FROM {vf}.vf_put_off"
						   " WHERE look_at <= $1 ORDER BY look_at LIMIT $2",
						   &args);
	ids = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		ids[i] = vf_db_text(i, 0);
	return ids;
}

void
vf_sweep_forget_put_off(char *const *ids, int n)
{
	VfDbArgs	args = {0};

	vf_db_arg_texts(&args, ids, n);
	vf_db_run_self("DELETE FROM {vf}.vf_put_off WHERE ctid IN"
				   " (SELECT ctid FROM {vf}.vf_put_off"
				   " WHERE session_id = ANY ($1)"
				   " FOR UPDATE SKIP LOCKED)", &args);
}

void
vf_sweep_reset(void)
{
	vf_db_run_self("UPDATE {vf}.vf_sweep SET (rules, full_at, expires_mark,"
				   " created_mark, kept_paid, orders_seen, paid_sample)"
				   " = (NULL, NULL, NULL, NULL, 0, false,"
				   " ARRAY[]::pg_catalog.text[])", NULL);
	vf_db_run_self("DELETE FROM {vf}.vf_put_off", NULL);
}
