/*-------------------------------------------------------------------------
 *
 * undo.c
 *	  The rows of purged sessions while they can be put back: tables vf_undo
 *	  and vf_undo_batch.
 *
 * Undo data is personal data and has to be gone when its window is over, file
 * and all, without a vacuum: eight tables take turns, each for a seventh of
 * the window, and one whose windows are all over is truncated.  Nobody waits
 * for that: a table in use is left for the next time.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "db.h"
#include "undo.h"

#define SLOTS 8

/* The lock on a batch: this number and its id. */
#define BATCH_LOCK "86023, ($1 % 2147483647)::int4"

/* How long emptying a table waits for those who read it, ms; 0 is for ever. */
#define CLEAN_LOCK_TIMEOUT "1"

/* ---- putting rows in ---- */

int
vf_undo_slot(TimestampTz now, int window)
{
	uint64		n = vf_db_run_self("SELECT g.slot::int8, b.first, b.newest"
								   " FROM pg_catalog.generate_series(0, 7)"
								   " g(slot) LEFT JOIN (SELECT slot,"
								   " pg_catalog.min(purged_at) AS first,"
								   " pg_catalog.max(id) AS newest"
								   " FROM {vf}.vf_undo_batch GROUP BY slot) b"
								   " ON b.slot = g.slot"
								   " ORDER BY b.newest DESC NULLS LAST,"
								   " g.slot", NULL);
	TimestampTz turn = now - (int64) window * USECS_PER_SEC / (SLOTS - 1);

	if (!vf_db_is_null(0, 2) && vf_db_time(0, 1) > turn)
		return (int) vf_db_int(0, 0);
	for (uint64 i = 0; i < n; i++)
	{
		if (vf_db_is_null(i, 2))
			return (int) vf_db_int(i, 0);
	}

	/* All are in use, for the window was longer once: stay in the newest. */
	return (int) vf_db_int(0, 0);
}

void
vf_undo_lock_slot(int slot, int timeout_ms)
{
	VfDbSection section;

	vf_db_enter_self(&section);
	vf_db_set("lock_timeout", psprintf("%d", timeout_ms));
	vf_db_runf(psprintf("LOCK TABLE ONLY {vf}.vf_undo, ONLY {vf}.vf_undo_%d"
						" IN ROW EXCLUSIVE MODE", slot), NULL);
	vf_db_leave(&section);
}

static void
write_head(VfUndoBatch *batch)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(batch->run_id));
	vf_db_arg(&args, INT4OID, Int32GetDatum(batch->slot));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(batch->until));
	vf_db_arg_texts(&args, batch->columns, batch->n_columns);
	vf_db_runf("INSERT INTO {vf}.vf_undo_batch (run_id, slot, purged_at,"
			   " until, column_names) VALUES ($1, $2,"
			   " pg_catalog.clock_timestamp(), $3, $4) RETURNING id", &args);
	batch->id = vf_db_int(0, 0);
}

void
vf_undo_write(VfUndoBatch *batch, const VfUndoRow *rows, int n)
{
	VfDbSection section;
	VfDbPlan   *plan = NULL;

	vf_db_enter_self(&section);
	write_head(batch);
	for (int i = 0; i < n; i++)
	{
		VfDbArgs	args = {0};

		vf_db_arg(&args, INT4OID, Int32GetDatum(batch->slot));
		vf_db_arg(&args, INT8OID, Int64GetDatum(batch->id));
		vf_db_arg_text(&args, rows[i].id);
		vf_db_arg_text(&args, rows[i].token);
		vf_db_arg_texts(&args, rows[i].keys, rows[i].nkeys);
		vf_db_arg(&args, TEXTARRAYOID, rows[i].values);
		if (plan == NULL)
			plan = vf_db_prepare("INSERT INTO {vf}.vf_undo (slot, batch_id,"
								 " session_id, session_token, keys,"
								 " row_values) VALUES ($1, $2, $3, $4, $5,"
								 " $6)", &args);
		vf_db_run_plan(plan, &args);
	}
	if (plan != NULL)
		vf_db_free_plan(plan);
	vf_db_leave(&section);
}

/* ---- what spares objects ---- */

VfUndoKey *
vf_undo_named(char *const *keys, int n, int *found)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfUndoKey  *named;

	*found = 0;
	if (vf_db_run_self("SELECT FROM {vf}.vf_undo_batch LIMIT 1", NULL) == 0)
		return NULL;
	vf_db_arg_texts(&args, keys, n);
	vf_db_enter_self(&section);
	*found = (int) vf_db_runf("SELECT k.key COLLATE pg_catalog.\"C\","
							  " u.batch_id, b.until FROM {vf}.vf_undo u"
							  " JOIN {vf}.vf_undo_batch b ON b.id = u.batch_id,"
							  " LATERAL pg_catalog.unnest(u.keys) k(key)"
							  " WHERE u.keys OPERATOR(pg_catalog.&&) $1"
							  " AND k.key = ANY ($1) ORDER BY 1", &args);
	named = palloc(sizeof(VfUndoKey) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
	{
		named[i].key = vf_db_text(i, 0);
		named[i].batch = vf_db_int(i, 1);
		named[i].until = vf_db_time(i, 2);
	}
	vf_db_leave(&section);
	return named;
}

/* A statement about one batch. */
static uint64
run_for_batch(int64 batch, const char *template)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(batch));
	return vf_db_run_self(template, &args);
}

bool
vf_undo_is_locked(int64 batch)
{
	run_for_batch(batch, "SELECT CASE WHEN pg_catalog.pg_try_advisory_lock("
				  BATCH_LOCK ") THEN NOT pg_catalog.pg_advisory_unlock("
				  BATCH_LOCK ") ELSE true END");
	return vf_db_bool(0, 0);
}

void
vf_undo_lock(int64 batch)
{
	run_for_batch(batch, "SELECT pg_catalog.pg_advisory_xact_lock_shared("
				  BATCH_LOCK ")");
}

/* ---- taking rows out ---- */

VfUndoBatch *
vf_undo_batches(int64 run_id, const char *token, int *n)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfUndoBatch *batches;

	vf_db_arg(&args, INT8OID, Int64GetDatum(run_id));
	vf_db_arg_text(&args, token);
	vf_db_enter_self(&section);
	*n = (int) vf_db_runf(token == NULL ?
						  "SELECT b.id, b.run_id, b.slot::int8, b.until,"
						  " b.column_names FROM {vf}.vf_undo_batch b"
						  " WHERE (b.run_id = $1 OR $1 = 0)"
						  " AND $2 IS NULL ORDER BY b.id" :
						  "SELECT b.id, b.run_id, b.slot::int8, b.until,"
						  " b.column_names FROM {vf}.vf_undo_batch b"
						  " WHERE $1 = 0 AND b.id IN (SELECT u.batch_id"
						  " FROM {vf}.vf_undo u WHERE u.session_token = $2)"
						  " ORDER BY b.id", &args);
	batches = palloc0(sizeof(VfUndoBatch) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		batches[i].id = vf_db_int(i, 0);
		batches[i].run_id = vf_db_int(i, 1);
		batches[i].slot = (int) vf_db_int(i, 2);
		batches[i].until = vf_db_time(i, 3);
		batches[i].columns = vf_db_texts(i, 4, &batches[i].n_columns);
	}
	vf_db_leave(&section);
	return batches;
}

/* Arguments that name a batch's rows: its slot, its id, a token or none. */
static void
arg_batch(VfDbArgs *args, const VfUndoBatch *batch, const char *token)
{
	vf_db_arg(args, INT4OID, Int32GetDatum(batch->slot));
	vf_db_arg(args, INT8OID, Int64GetDatum(batch->id));
	vf_db_arg_text(args, token);
}

VfUndoRow *
vf_undo_rows(const VfUndoBatch *batch, const char *token, int *n)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfUndoRow  *rows;

	arg_batch(&args, batch, token);
	vf_db_enter_self(&section);
	*n = (int) vf_db_runf("SELECT session_id, session_token, keys, row_values"
						  " FROM {vf}.vf_undo WHERE slot = $1"
						  " AND batch_id = $2 AND restored_at IS NULL"
						  " AND (session_token = $3 OR $3 IS NULL)"
						  " ORDER BY session_id FOR UPDATE", &args);
	rows = palloc0(sizeof(VfUndoRow) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		rows[i].id = vf_db_text(i, 0);
		rows[i].token = vf_db_text(i, 1);
		rows[i].keys = vf_db_texts(i, 2, &rows[i].nkeys);
		rows[i].values = vf_db_is_null(i, 3) ? (Datum) 0 :
			PointerGetDatum(PG_DETOAST_DATUM_COPY(vf_db_datum(i, 3)));
	}
	vf_db_leave(&section);
	return rows;
}

void
vf_undo_set_restored(const VfUndoBatch *batch, char *const *ids, int n)
{
	VfDbArgs	args = {0};

	arg_batch(&args, batch, NULL);
	args.n = 2;
	vf_db_arg_texts(&args, ids, n);
	vf_db_run_self("UPDATE {vf}.vf_undo SET restored_at = pg_catalog.now(),"
				   " keys = ARRAY[]::text[], row_values = NULL"
				   " WHERE slot = $1 AND batch_id = $2"
				   " AND session_id = ANY ($3)", &args);
}

int64
vf_undo_erase(const VfUndoBatch *batch, const char *token)
{
	VfDbArgs	args = {0};
	int64		erased;

	arg_batch(&args, batch, token);
	erased = (int64) vf_db_run_self("DELETE FROM {vf}.vf_undo WHERE slot = $1"
									" AND batch_id = $2"
									" AND (session_token = $3"
									" OR $3 IS NULL)", &args);
	run_for_batch(batch->id, "DELETE FROM {vf}.vf_undo_batch b"
				  " WHERE b.id = $1 AND NOT EXISTS (SELECT FROM {vf}.vf_undo u"
				  " WHERE u.batch_id = b.id)");
	return erased;
}

void
vf_undo_empty(int lock_timeout)
{
	VfDbSection section;

	vf_db_enter_self(&section);
	vf_db_set("lock_timeout", psprintf("%d", lock_timeout));
	vf_db_runf("TRUNCATE {vf}.vf_undo", NULL);
	vf_db_runf("DELETE FROM {vf}.vf_undo_batch", NULL);
	vf_db_leave(&section);
}

/* A table to be emptied, if all its windows were over then. */
typedef struct Cleaning
{
	int			slot;
	TimestampTz now;
} Cleaning;

/* A VfDbBody. */
static void
clean_slot(void *arg)
{
	const Cleaning *c = arg;
	char	   *lock = psprintf("LOCK TABLE ONLY {vf}.vf_undo_%d"
								" IN ACCESS EXCLUSIVE MODE", c->slot);
	VfDbSection section;
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT4OID, Int32GetDatum(c->slot));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(c->now));
	vf_db_enter_self(&section);
	vf_db_set("lock_timeout", CLEAN_LOCK_TIMEOUT);
	vf_db_runf(lock, NULL);

	/* Whoever has written there since was waited for, or is seen now. */
	if (vf_db_runf("SELECT FROM {vf}.vf_undo_batch WHERE slot = $1"
				   " AND until > $2 LIMIT 1", &args) == 0)
	{
		vf_db_runf(psprintf("TRUNCATE ONLY {vf}.vf_undo_%d", c->slot), NULL);
		args.n = 1;
		vf_db_runf("DELETE FROM {vf}.vf_undo_batch WHERE slot = $1", &args);
	}
	vf_db_leave(&section);
}

void
vf_undo_clean(TimestampTz now)
{
	VfDbArgs	args = {0};
	Cleaning	over[SLOTS];
	uint64		n;

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now));
	n = vf_db_run_self("SELECT slot::int8 FROM {vf}.vf_undo_batch"
					   " GROUP BY slot HAVING pg_catalog.max(until) <= $1",
					   &args);
	for (uint64 i = 0; i < n; i++)
	{
		over[i].slot = (int) vf_db_int(i, 0);
		over[i].now = now;
	}
	for (uint64 i = 0; i < n; i++)
	{
		ErrorData  *error = vf_db_try(clean_slot, &over[i]);

		if (error != NULL && error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ReThrowError(error);
	}
}
