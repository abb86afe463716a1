/*-------------------------------------------------------------------------
 *
 * purge.c
 *	  A run of the purge: prepare, look, brake, batches, record.
 *
 * A full sweep walks each leaf table once, in ranges of blocks, so that it
 * needs no index and never meets the dead rows of its earlier batches.  Between
 * full sweeps a run looks only at what fell due since, and at what was put
 * off: two index ranges, however many paid sessions there are.
 *
 * With commits, each pass is a transaction of its own and in it a
 * subtransaction, so that an error ends the run with a record instead of
 * leaving it open.  Without, everything is the caller's transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "brake.h"
#include "db.h"
#include "errors.h"
#include "outbox.h"
#include "preflight.h"
#include "purge.h"
#include "purge_batch.h"
#include "settings.h"
#include "sweep.h"
#include "wake.h"

/* A full sweep is due when the last is older than this, ms. */
#define FULL_SWEEP_INTERVAL (60 * 60 * 1000)

/*
 * What a full sweep picks from at a time: large enough for one good plan over
 * orders, small enough for memory to stay a matter of megabytes.
 */
#define MAX_PART_ROWS 250000
#define MAX_PART_BLOCKS 16384

/*
 * Each row that cannot be deleted costs a dozen statements to find.  After this
 * many in one table the batches they stand in are put off instead.
 */
#define MAX_FAILED 500

/* Locked sessions that are remembered; the rest waits for a full sweep. */
#define MAX_PUT_OFF 10000

/* A paid session of the sample, by the hash of its id. */
typedef struct Sampled
{
	uint32		hash;
	char	   *id;
} Sampled;

typedef struct Run
{
	const VfPurgeOptions *opt;
	VfPurgeResult *result;
	MemoryContext context;		/* of the run */
	MemoryContext batch_context;	/* reset with every batch */
	VfSource   *source;
	VfRules		rules;
	VfSweep		sweep;
	VfBucket   *bucket;
	TimestampTz started;
	bool		full;
	int64		allowed;		/* sessions that may still go */
	bool		contended;		/* a batch was put off: look there again */
	VfTids		due;			/* of the part at hand */
	VfTids		left;			/* of it, what could not be deleted */
	VfTids		failed;

	/* the window of an incremental run, in order of leaf */
	int			n_window;
	Oid		   *window_leaf;
	VfTids		window;
	char	  **looked_at;		/* put off before, in the window again */
	int			n_looked_at;

	/* what stayed */
	Sampled    *sample;
	int			n_sample;
	char	  **put_off;
	int			n_put_off;
} Run;

/* ---- what stayed ---- */

static int
compare_sampled(const void *a, const void *b)
{
	uint32		x = ((const Sampled *) a)->hash;
	uint32		y = ((const Sampled *) b)->hash;

	return x < y ? -1 : x > y;
}

/* Keep the sessions with the smallest hashes: the same ones in every sweep. */
static void
sample_paid(Run *run, const char *id)
{
	if (run->n_sample == VF_SWEEP_SAMPLE * 2)
	{
		qsort(run->sample, run->n_sample, sizeof(Sampled), compare_sampled);
		for (int i = VF_SWEEP_SAMPLE; i < run->n_sample; i++)
			pfree(run->sample[i].id);
		run->n_sample = VF_SWEEP_SAMPLE;
	}
	run->sample[run->n_sample].hash =
		hash_bytes((const unsigned char *) id, strlen(id));
	run->sample[run->n_sample].id = MemoryContextStrdup(run->context, id);
	run->n_sample++;
}

/*
 * A VfStayed.  Only a locked session is worth the next run's look; what is in
 * checkout or cannot be deleted waits for the next full sweep.
 */
static void
note_stayed(void *arg, const char *id, VfStay why)
{
	Run		   *run = arg;

	if (why == VF_STAY_PAID)
		sample_paid(run, id);
	else if (why == VF_STAY_LOCKED && run->n_put_off < MAX_PUT_OFF)
		run->put_off[run->n_put_off++] =
			MemoryContextStrdup(run->context, id);
}

/* ---- preparation ---- */

static void
require_not_paused(const VfSource *source)
{
	if (source->pause_reason != NULL)
		ereport(ERROR,
				(errcode(VF_ERRCODE_PAUSED),
				 errmsg("purging and draining are paused in this database"),
				 errdetail("Reason given: %s.", source->pause_reason),
				 errhint("Call vf_resume() to go on.")));
}

static bool
needs_full(const Run *run)
{
	return run->opt->full || !run->sweep.known ||
		strcmp(run->sweep.rules, run->rules.fingerprint) != 0 ||
		TimestampDifferenceExceeds(run->sweep.full_at, run->started,
								   FULL_SWEEP_INTERVAL);
}

/*
 * Find the rows that fell due since the marks, and those put off.  More than
 * one batch of them makes this a full sweep.
 */
static void
collect_window(Run *run)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfSource   *source = run->source;
	int			max = vf_purge_batch_size;

	run->looked_at = vf_sweep_put_off_due(run->started, max,
										  &run->n_looked_at);
	vf_rules_args(source, &run->rules, &args);
	vf_rules_arg_time(source, VF_S_EXPIRES, run->sweep.expires_mark, &args);
	vf_rules_arg_time(source, VF_S_CREATED, run->sweep.created_mark, &args);
	vf_db_arg_texts(&args, run->looked_at, run->n_looked_at);
	vf_db_arg(&args, INT4OID, Int32GetDatum(max + 1));
	vf_db_enter_owner(&section, source->sessions.owner);
	run->n_window = (int)
		vf_db_run(vf_db_fill("SELECT s.tableoid::int8, s.ctid"
							 " FROM {sessions} s"
							 " WHERE s.{expires} >= $7 AND s.{expires} < $1"
							 " UNION SELECT s.tableoid::int8, s.ctid"
							 " FROM {sessions} s"
							 " WHERE s.{created} >= $8 AND s.{created} < $2"
							 " UNION SELECT s.tableoid::int8, s.ctid"
							 " FROM {sessions} s"
							 " WHERE s.{id} = ANY ($9::{id_type}[])"
							 " ORDER BY 1, 2 LIMIT $10",
							 vf_rules_names(source, NULL)), &args);
	vf_db_leave(&section);
	if (run->n_window > max)
	{
		run->full = true;
		return;
	}
	run->window_leaf = palloc(sizeof(Oid) * Max(run->n_window, 1));
	for (int i = 0; i < run->n_window; i++)
	{
		run->window_leaf[i] = (Oid) vf_db_int(i, 0);
		vf_tids_add(&run->window,
					(ItemPointer) DatumGetPointer(vf_db_datum(i, 1)));
	}
}

/* Everything that can refuse the run: a VfDbBody. */
static void
prepare(void *arg)
{
	Run		   *run = arg;

	vf_preflight();
	run->source = vf_source_load(VF_SOURCE_DELETE);
	require_not_paused(run->source);
	run->bucket = vf_bucket_current();
	run->result->bucket = run->bucket != NULL;
	vf_rules_at(run->source, run->started, &run->rules);
	vf_sweep_load(&run->sweep);
	run->full = needs_full(run);
	if (!run->full)
		collect_window(run);
	run->allowed = PG_INT64_MAX;
	if (run->full || run->n_window > 0)
		run->allowed = vf_brake_check(run->source, &run->rules, &run->sweep,
									  run->full ? -1 : run->n_window,
									  run->opt->confirm);
	if (run->opt->max_sessions > 0)
		run->allowed = Min(run->allowed, run->opt->max_sessions);
}

/* ---- passes ---- */

/* Locks that others hold: nothing is wrong, the rows wait. */
static bool
is_contention(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

static const char *
outcome_of(const ErrorData *error)
{
	return error->sqlerrcode == VF_ERRCODE_BRAKE ? "brake" : "failed";
}

/* End the run with its error on record, and raise it. */
static void
fail(Run *run, ErrorData *error)
{
	if (run->opt->commits)
	{
		if (run->result->run_id != 0)
			vf_runlog_finish(run->result->run_id, outcome_of(error),
							 &run->result->counts, error->message);
		else
			vf_runlog_refused("purge", run->opt->caller, outcome_of(error),
							  error->message);
		vf_db_commit();
	}
	ReThrowError(error);
}

/* Hold the run to purge_rate: nothing is held while we wait. */
static void
pace(const Run *run)
{
	int64		done = run->result->counts.expired +
		run->result->counts.unpaid;

	if (vf_purge_rate > 0)
		vf_wake_wait_until(run->started + (TimestampTz)
						   (done * (double) USECS_PER_SEC / vf_purge_rate),
						   run->opt->keep_going);
}

static bool
keep_going(const Run *run)
{
	CHECK_FOR_INTERRUPTS();
	return run->allowed > 0 &&
		(run->opt->keep_going == NULL || run->opt->keep_going());
}

/*
 * Run one pass over the part, and commit it; on an error, take it back and
 * return the error.
 */
static ErrorData *
try_pass(Run *run, VfPart *part, VfDbBody pass)
{
	VfRunCounts *counts = &part->counts;
	int			left = run->left.n;
	ErrorData  *error;
	MemoryContext old;

	MemoryContextReset(run->batch_context);
	old = MemoryContextSwitchTo(run->batch_context);
	memset(counts, 0, sizeof(*counts));
	error = vf_db_try(pass, part);
	MemoryContextSwitchTo(old);
	if (error != NULL)
	{
		run->left.n = left;
		return error;
	}
	vf_runlog_add(&run->result->counts, counts);
	if (run->opt->commits)
	{
		if (counts->expired + counts->unpaid > 0)
			vf_runlog_progress(run->result->run_id, &run->result->counts);
		vf_db_commit();
		pace(run);
	}
	return NULL;
}

/* The same; contention puts off what it was to do, other errors end the run. */
static void
run_pass(Run *run, VfPart *part, VfDbBody pass)
{
	ErrorData  *error = try_pass(run, part, pass);

	if (error != NULL && !is_contention(error))
		fail(run, error);
	run->contended |= error != NULL;
}

/*
 * Say once for each table why a session cannot be deleted.  What a trigger of
 * the application has to say may contain the session's token, so only the
 * server's own words about constraints are passed on.
 */
static void
warn_failed(const VfPart *part, const ErrorData *error)
{
	bool		constraint = ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION &&
		error->constraint_name != NULL;

	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("a session in \"%s\" was put off: %s %s",
					get_rel_name(part->leaf),
					constraint ? "constraint" : "error",
					constraint ? error->constraint_name :
					unpack_sql_state(error->sqlerrcode)),
			 errdetail("The other sessions go on; this one, and any more like it, is tried again in the next full sweep.")));
}

/*
 * Delete n of the due rows.  Where a row cannot be deleted (a foreign key, a
 * trigger of its owner) the batch is halved until it stands alone.
 */
static void
delete_batch(Run *run, VfPart *part, int from, int n)
{
	ErrorData  *error;

	part->batch.at = run->due.at + from;
	part->batch.n = n;
	error = try_pass(run, part, vf_purge_delete);
	if (error == NULL)
	{
		run->allowed -= part->counts.expired + part->counts.unpaid;
		return;
	}
	if (is_contention(error))
	{
		run->contended = true;
		run->result->counts.put_off += n;
	}
	else if (!part->deleting)
		fail(run, error);
	else if (run->failed.n >= MAX_FAILED)
		run->result->counts.put_off += n;
	else if (n == 1)
	{
		if (run->failed.n == 0)
			warn_failed(part, error);
		vf_tids_add(&run->failed, part->batch.at);
		vf_tids_add(&run->left, part->batch.at);
	}
	else
	{
		delete_batch(run, part, from, n / 2);
		delete_batch(run, part, from + n / 2, n - n / 2);
	}
}

static void
init_part(Run *run, VfPart *part, Oid leaf)
{
	memset(part, 0, sizeof(*part));
	part->source = run->source;
	part->rules = &run->rules;
	part->bucket = run->bucket;
	part->run_id = run->result->run_id;
	part->leaf = leaf;
	part->due = &run->due;
	part->left = &run->left;
	part->failed = &run->failed;
	part->stayed = note_stayed;
	part->stayed_arg = run;
	run->failed.n = 0;
}

/*
 * Pick, delete in batches, look at what was left.  Returns false if stopped
 * before the end.
 */
static bool
purge_part(Run *run, VfPart *part)
{
	if (!keep_going(run))
		return false;
	run->due.n = run->left.n = 0;
	run_pass(run, part, vf_purge_pick);
	for (int i = 0, n; i < run->due.n; i += n)
	{
		if (!keep_going(run))
			return false;
		n = (int) Min(Min(run->due.n - i, vf_purge_batch_size), run->allowed);
		delete_batch(run, part, i, n);
	}
	if (run->left.n > 0)
		run_pass(run, part, vf_purge_look);
	return true;
}

/* Blocks of a leaf table, and about how many rows each holds. */
static BlockNumber
leaf_size(Oid leaf, double *rows_per_block)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(leaf));
	vf_db_arg(&args, INT4OID, Int32GetDatum(BLCKSZ));
	if (vf_db_run_self("SELECT pg_catalog.pg_relation_size($1) / $2,"
					   " CASE WHEN reltuples > 0 AND relpages > 0"
					   " THEN (reltuples / relpages)::float8"
					   " ELSE 40.0::float8 END"
					   " FROM pg_catalog.pg_class WHERE oid = $1", &args) == 0)
		return 0;
	*rows_per_block = DatumGetFloat8(vf_db_datum(0, 1));
	return (BlockNumber) vf_db_int(0, 0);
}

/* Walk one leaf in ranges of blocks. */
static bool
sweep_leaf(Run *run, Oid leaf)
{
	double		per_block = 40;
	BlockNumber blocks = leaf_size(leaf, &per_block);
	BlockNumber step = (BlockNumber)
		Max(1, Min(MAX_PART_BLOCKS, MAX_PART_ROWS / Max(per_block, 1)));
	VfPart		part;

	init_part(run, &part, leaf);
	for (BlockNumber at = 0; at < blocks; at = part.end)
	{
		part.first = at;
		part.end = Min(blocks, at + step);
		if (!purge_part(run, &part))
			return false;
	}
	return true;
}

/* Look at every session.  Returns false if stopped before the end. */
static bool
sweep_all(Run *run)
{
	int			n;
	Oid		   *leaves = vf_source_leaves(run->source, &n);

	for (int i = 0; i < n; i++)
	{
		if (!sweep_leaf(run, leaves[i]))
			return false;
	}
	return true;
}

/* Look at the window, leaf by leaf. */
static bool
sweep_window(Run *run)
{
	int			from = 0;

	while (from < run->n_window)
	{
		VfPart		part;
		int			to = from;

		while (to < run->n_window &&
			   run->window_leaf[to] == run->window_leaf[from])
			to++;
		init_part(run, &part, run->window_leaf[from]);
		part.by_list = true;
		part.list.at = run->window.at + from;
		part.list.n = to - from;
		if (!purge_part(run, &part))
			return false;
		from = to;
	}
	return true;
}

/* ---- the end ---- */

/* Remember how far was looked. */
static void
store_state(Run *run)
{
	TimestampTz *look_at = palloc(sizeof(TimestampTz) *
								  Max(run->n_put_off, 1));
	VfSweep		next;

	for (int i = 0; i < run->n_put_off; i++)
		look_at[i] = run->started;
	if (!run->full)
	{
		vf_sweep_advance(run->rules.expires_cut, run->rules.created_cut);
		vf_sweep_forget_put_off(run->looked_at, run->n_looked_at);
		vf_sweep_put_off(run->put_off, look_at, run->n_put_off);
		return;
	}
	memset(&next, 0, sizeof(next));
	qsort(run->sample, run->n_sample, sizeof(Sampled), compare_sampled);
	next.rules = run->rules.fingerprint;
	next.full_at = run->started;
	next.expires_mark = run->rules.expires_cut;
	next.created_mark = run->rules.created_cut;
	next.kept_paid = run->result->counts.kept_paid;
	next.orders_seen = !vf_brake_orders_empty(run->source, &run->rules);
	next.n_sample = Min(run->n_sample, VF_SWEEP_SAMPLE);
	next.sample = palloc(sizeof(char *) * Max(next.n_sample, 1));
	for (int i = 0; i < next.n_sample; i++)
		next.sample[i] = run->sample[i].id;
	vf_sweep_store_full(&next, run->started);
	vf_sweep_put_off(run->put_off, look_at, run->n_put_off);
}

static void
finish(Run *run, bool complete)
{
	VfPurgeResult *result = run->result;
	TimestampTz history = run->started - vf_run_history * USECS_PER_SEC;
	bool		nothing = result->counts.expired + result->counts.unpaid == 0;

	if (complete && !run->contended)
		store_state(run);
	if (run->opt->by_person)
		vf_source_set_active();
	if (result->run_id != 0)
		vf_runlog_finish(result->run_id, complete ? "ok" : "stopped",
						 &result->counts, NULL);
	else
		vf_runlog_idle("purge", run->opt->caller, run->full,
					   &result->counts);
	if (!nothing || run->full)
	{
		vf_runlog_prune(history);
		vf_outbox_prune(history);
	}
	if (run->opt->commits)
		vf_db_commit();
	result->seconds = (GetCurrentTimestamp() - run->started) /
		(double) USECS_PER_SEC;
}

/* Room in the run's context, where a list stays as it grows. */
static void
init_tids(VfTids *tids)
{
	tids->max = 64;
	tids->at = palloc(sizeof(ItemPointerData) * tids->max);
}

static void
init_run(Run *run, const VfPurgeOptions *opt, VfPurgeResult *result)
{
	memset(run, 0, sizeof(*run));
	memset(result, 0, sizeof(*result));
	run->opt = opt;
	run->result = result;
	run->context = AllocSetContextCreate(CurrentMemoryContext,
										 "voiceframe purge",
										 ALLOCSET_DEFAULT_SIZES);
	run->batch_context = AllocSetContextCreate(run->context,
											   "voiceframe purge batch",
											   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(run->context);
	run->started = GetCurrentTimestamp();
	run->sample = palloc(sizeof(Sampled) * VF_SWEEP_SAMPLE * 2);
	run->put_off = palloc(sizeof(char *) * MAX_PUT_OFF);
	init_tids(&run->failed);
	init_tids(&run->due);
	init_tids(&run->left);
}

void
vf_purge_run(const VfPurgeOptions *opt, VfPurgeResult *result)
{
	MemoryContext old = CurrentMemoryContext;
	Run			run;
	ErrorData  *error;
	bool		complete;

	vf_preflight_primary();
	init_run(&run, opt, result);
	if (opt->commits)
	{
		vf_db_commit();
		error = vf_db_try(prepare, &run);
		if (error != NULL)
			fail(&run, error);
	}
	else
	{
		vf_db_require_read_committed("vf_purge_now()",
									 "Use CALL vf_purge(), which sets its own, or begin with ISOLATION LEVEL READ COMMITTED.");
		prepare(&run);
	}
	if (run.full || run.n_window > 0)
	{
		result->run_id = vf_runlog_start("purge", opt->caller, run.full);
		if (opt->commits)
			vf_db_commit();
	}
	complete = run.full ? sweep_all(&run) : sweep_window(&run);
	finish(&run, complete);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(run.context);
}
