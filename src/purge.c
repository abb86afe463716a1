/*-------------------------------------------------------------------------
 *
 * purge.c
 *	  A run of the purge: prepare, pick, brake, batches, record.
 *
 * All parts are picked before the first row goes, so that the brakes know what
 * the run is about to do; then they are deleted, batch by batch.
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
#include "bucket.h"
#include "db.h"
#include "errors.h"
#include "hold.h"
#include "outbox.h"
#include "preflight.h"
#include "purge.h"
#include "purge_batch.h"
#include "purge_pick.h"
#include "purge_plan.h"
#include "settings.h"
#include "sweep.h"
#include "wake.h"

/* A full sweep is due when the last is older than this, ms. */
#define FULL_SWEEP_INTERVAL (60 * 60 * 1000)

/* Sessions of a batch whose whole rows are kept, some 2 kB of memory each. */
#define MAX_KEPT 10000

/*
 * How many picked rows are remembered between brake and batch, 6 bytes each.
 * The parts that find no room are picked once more.
 */
#define MAX_PICKED (4 * 1024 * 1024)

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
	VfPlan		plan;
	int64		allowed;		/* sessions that may still go */
	bool		contended;		/* a batch was put off: look there again */
	VfPass		pass;
	VfTids		left;			/* of the part, what could not be deleted */
	VfTids		changed;		/* of the batch, what could not go quickly */
	VfTids		failed;			/* of the leaf */

	/* what stayed */
	Sampled    *sample;
	int			n_sample;
	uint32		max_hash;		/* above it none is kept */
	char	  **put_off;
	int			n_put_off;
} Run;

/* ---- what stayed ---- */

/* By hash, and the same session's next to each other. */
static int
compare_sampled(const void *a, const void *b)
{
	const Sampled *x = a;
	const Sampled *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return strcmp(x->id, y->id);
}

/* Keep the smallest hashes, each session once. */
static void
trim_sample(Run *run)
{
	int			kept = 0;

	qsort(run->sample, run->n_sample, sizeof(Sampled), compare_sampled);
	for (int i = 0; i < run->n_sample; i++)
	{
		if (kept < VF_SWEEP_SAMPLE &&
			(kept == 0 ||
			 compare_sampled(&run->sample[kept - 1], &run->sample[i]) != 0))
			run->sample[kept++] = run->sample[i];
		else
			pfree(run->sample[i].id);
	}
	run->n_sample = kept;
	if (kept == VF_SWEEP_SAMPLE)
		run->max_hash = run->sample[kept - 1].hash;
}

/*
 * Keep the sessions with the smallest hashes: the same ones in every sweep.  A
 * session comes once for each order that pays for it.
 */
static void
sample_paid(Run *run, const char *id)
{
	uint32		hash = hash_bytes((const unsigned char *) id, strlen(id));

	if (hash > run->max_hash)
		return;
	if (run->n_sample == VF_SWEEP_SAMPLE * 2)
		trim_sample(run);
	run->sample[run->n_sample].hash = hash;
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
forget_picked(VfPart *part)
{
	if (part->due.at != NULL)
		pfree(part->due.at);
	if (part->knows_kept)
		pfree(part->kept.at);
	memset(&part->due, 0, sizeof(part->due));
	part->knows_kept = false;
	part->picked = false;
}

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

static bool
keep_going(const Run *run)
{
	CHECK_FOR_INTERRUPTS();
	return run->allowed > 0 &&
		(run->opt->keep_going == NULL || run->opt->keep_going());
}

/* Locks that others hold: nothing is wrong, the rows wait. */
static bool
is_contention(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE;
}

/* Try a body on the pass; on an error take it back and return the error. */
static ErrorData *
attempt(Run *run, VfDbBody body)
{
	MemoryContext old;
	ErrorData  *error;

	MemoryContextReset(run->batch_context);
	old = MemoryContextSwitchTo(run->batch_context);
	memset(&run->pass.counts, 0, sizeof(VfRunCounts));
	error = vf_db_try(body, &run->pass);
	MemoryContextSwitchTo(old);
	return error;
}

/*
 * Pick all parts, and return how many sessions are due.  In the transaction
 * that looks at the brakes, so that nothing lies between.
 */
static int64
pick_all(Run *run)
{
	int64		due = 0;
	int64		remembered = 0;

	for (int i = 0; i < run->plan.n && keep_going(run); i++)
	{
		VfPart	   *part = &run->plan.parts[i];
		ErrorData  *error;

		run->pass.part = part;
		error = attempt(run, vf_purge_pick);
		if (error != NULL && !is_contention(error))
			ReThrowError(error);
		if (error != NULL)
		{
			/* What the brakes cannot count stays. */
			memset(&part->due, 0, sizeof(part->due));
			part->knows_kept = false;
			part->picked = true;
			run->contended = true;
		}
		due += part->due.n;
		if (remembered + part->due.n > MAX_PICKED)
			forget_picked(part);
		else
			remembered += part->due.n;
	}
	return due;
}

static void
init_pass(Run *run)
{
	VfPass	   *pass = &run->pass;

	pass->source = run->source;
	pass->rules = &run->rules;
	pass->context = run->context;
	pass->left = &run->left;
	pass->failed = &run->failed;
	pass->stayed = note_stayed;
	pass->stayed_arg = run;
	pass->kept.window = vf_undo_window;
	if (pass->kept.window > 0)
	{
		pass->kept.slot = vf_undo_slot(run->started, pass->kept.window);
		pass->kept.columns = vf_source_row_columns(run->source,
												   &pass->kept.n_columns);
	}
}

/* Everything that can refuse the run: a VfDbBody. */
static void
prepare(void *arg)
{
	Run		   *run = arg;
	int64		due;

	vf_preflight();
	run->source = vf_source_load(VF_SOURCE_DELETE);
	require_not_paused(run->source);
	run->bucket = vf_bucket_current();
	run->result->bucket = run->bucket != NULL;
	vf_rules_at(run->source, run->started, &run->rules);
	vf_sweep_load(&run->sweep);
	if (needs_full(run) ||
		!vf_plan_window(run->source, &run->rules, &run->sweep,
						vf_purge_batch_size, &run->plan))
		vf_plan_all(run->source, &run->plan);
	init_pass(run);
	run->allowed = PG_INT64_MAX;
	due = pick_all(run);
	if (!keep_going(run))
		run->allowed = 0;
	else if (run->plan.full || run->plan.n > 0)
		run->allowed = vf_brake_check(run->source, &run->rules, &run->sweep,
									  due, run->plan.full,
									  run->opt->confirm);
	if (run->opt->max_sessions > 0)
		run->allowed = Min(run->allowed, run->opt->max_sessions);
}

/* ---- passes ---- */

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

/*
 * Run one pass over the part, and commit it; on an error, take it back and
 * return the error.
 */
static ErrorData *
try_pass(Run *run, VfDbBody body)
{
	const VfRunCounts *counts = &run->pass.counts;
	int			left = run->left.n;
	ErrorData  *error = attempt(run, body);

	if (error != NULL)
	{
		run->left.n = left;
		return error;
	}
	vf_runlog_add(&run->result->counts, counts);
	run->allowed -= counts->expired + counts->unpaid;
	if (run->opt->commits)
	{
		if (counts->expired + counts->unpaid > 0)
			vf_runlog_progress(run->result->run_id, &run->result->counts);
		/* Rows and keys come and go together; finish() waits for the disk. */
		vf_db_commit_unflushed();
		pace(run);
	}
	return NULL;
}

/* The same; contention puts off what it was to do, other errors end the run. */
static void
run_pass(Run *run, VfDbBody body)
{
	ErrorData  *error = try_pass(run, body);

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

/* Leave n sessions to a run that looks at the same window again. */
static void
put_off(Run *run, int n)
{
	run->contended = true;
	run->result->counts.put_off += n;
}

/*
 * Delete n sessions.  Where a row cannot be deleted (a foreign key, a trigger
 * of its owner) the batch is halved until it stands alone.
 */
static void
delete_carefully(Run *run, ItemPointerData *at, int n)
{
	VfPass	   *pass = &run->pass;
	ErrorData  *error;

	pass->batch.at = at;
	pass->batch.n = n;
	error = try_pass(run, vf_purge_delete_carefully);
	if (pass->gone || (error != NULL && is_contention(error)))
		put_off(run, n);
	else if (error == NULL)
		return;
	else if (!pass->deleting)
		fail(run, error);
	else if (run->failed.n >= MAX_FAILED)
		run->result->counts.put_off += n;
	else if (n == 1)
	{
		if (run->failed.n == 0)
			warn_failed(pass->part, error);
		vf_tids_add(&run->failed, at);
		vf_tids_add(&run->left, at);
	}
	else
	{
		delete_carefully(run, at, n / 2);
		delete_carefully(run, at + n / 2, n - n / 2);
	}
}

/*
 * Delete n sessions: what nobody has touched quickly, the rest carefully; and
 * all of them carefully if anything is in the way.
 */
static void
delete_batch(Run *run, ItemPointerData *at, int n)
{
	VfPass	   *pass = &run->pass;
	ErrorData  *error;

	pass->batch.at = at;
	pass->batch.n = n;
	pass->left = &run->changed;
	run->changed.n = 0;
	error = try_pass(run, vf_purge_delete_quickly);
	pass->left = &run->left;
	if (pass->gone)
		put_off(run, n);
	else if (error != NULL)
		delete_carefully(run, at, n);
	else if (run->changed.n > 0)
		delete_carefully(run, run->changed.at, run->changed.n);
}

/*
 * Find again what was forgotten for want of room.  What stays there has been
 * told already.
 */
static void
pick_again(Run *run)
{
	run->pass.stayed = NULL;
	run_pass(run, vf_purge_pick);
	run->pass.stayed = note_stayed;
}

/*
 * Delete a part in batches, and look at what was left.  Returns false if
 * stopped before the end.
 */
static bool
purge_part(Run *run, VfPart *part)
{
	if (run->pass.part->leaf != part->leaf)
		run->failed.n = 0;
	run->pass.part = part;
	run->left.n = 0;
	if (!keep_going(run))
		return false;
	if (!part->picked)
		pick_again(run);
	run->result->counts.kept_paid += part->kept_paid;
	run->result->counts.put_off += part->in_checkout;
	for (int i = 0, n; i < part->due.n; i += n)
	{
		if (!keep_going(run))
			return false;
		n = (int) Min(Min(part->due.n - i, vf_purge_batch_size), run->allowed);
		if (run->pass.kept.window > 0)
			n = Min(n, MAX_KEPT);
		delete_batch(run, part->due.at + i, n);
	}
	if (run->left.n > 0)
		run_pass(run, vf_purge_look);
	if (part->picked)
		forget_picked(part);
	return true;
}

/* Delete in all parts.  Returns false if stopped before the end. */
static bool
purge_parts(Run *run)
{
	VfPass	   *pass = &run->pass;
	const VfBucket *bucket = run->bucket;

	pass->run_id = run->result->run_id;
	pass->pack = vf_outbox_pack(pass->run_id,
								bucket ? bucket->endpoint : NULL,
								bucket ? bucket->bucket : NULL);
	vf_texts_init(&pass->tokens);
	for (int i = 0; i < run->plan.n; i++)
	{
		if (!purge_part(run, &run->plan.parts[i]))
			return false;
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
	if (!run->plan.full)
	{
		vf_sweep_advance(run->rules.expires_cut, run->rules.created_cut);
		vf_sweep_forget_put_off(run->plan.looked_at, run->plan.n_looked_at);
		vf_sweep_put_off(run->put_off, look_at, run->n_put_off);
		return;
	}
	memset(&next, 0, sizeof(next));
	trim_sample(run);
	next.rules = run->rules.fingerprint;
	next.full_at = run->started;
	next.expires_mark = run->rules.expires_cut;
	next.created_mark = run->rules.created_cut;
	next.kept_paid = run->result->counts.kept_paid;
	next.orders_seen = !vf_brake_orders_empty(run->source, &run->rules);
	next.n_sample = run->n_sample;
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
		vf_runlog_idle("purge", run->opt->caller, run->plan.full,
					   &result->counts);
	if (run->opt->commits)
		vf_undo_clean(run->started);
	/* Whoever holds up a batch may hold up this for ever. */
	if (!run->contended && (!nothing || run->plan.full))
	{
		vf_runlog_prune(history);
		vf_outbox_prune(history);
		vf_hold_prune(history);
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
	run->max_hash = PG_UINT32_MAX;
	run->sample = palloc(sizeof(Sampled) * VF_SWEEP_SAMPLE * 2);
	run->put_off = palloc(sizeof(char *) * MAX_PUT_OFF);
	init_tids(&run->failed);
	init_tids(&run->changed);
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
	if (run.plan.full || run.plan.n > 0)
	{
		result->run_id = vf_runlog_start("purge", opt->caller, run.plan.full);
		if (opt->commits)
			vf_db_commit();
	}
	complete = purge_parts(&run);
	finish(&run, complete);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(run.context);
}
