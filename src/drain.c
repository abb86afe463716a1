/*-------------------------------------------------------------------------
 *
 * drain.c
 *	  A run of the drain: claim, commit, call, settle, commit.
 *
 * It goes in waves of a few entries, one bucket at a time:
 *
 *	1. in one transaction: lease the entries, then in a new statement look
 *	   which of their keys a live row references, and cancel those; commit.
 *	   A crash from here on costs the lease and nothing else.
 *	2. with no transaction open: the lease on the bucket, if its heartbeat is
 *	   old (lease.c); the requests.  None starts unless its deadline
 *	   ends before the lease does.
 *	3. in one transaction: settle every entry key by key, note how the bucket
 *	   answered; commit.
 *
 * An entry with a request that was abandoned keeps its lease: its bytes may
 * still be travelling.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain.h"
#include "drain_client.h"
#include "drain_cred.h"
#include "drain_gate.h"
#include "drain_wave.h"
#include "lease.h"
#include "lease_shared.h"
#include "lookup.h"
#include "preflight.h"
#include "runlog.h"
#include "settings.h"
#include "source.h"

/* After so many failures in a row a batch may be what fails, not the bucket. */
#define STUBBORN 3

/* How long a bucket that cannot be drained is held before a new look, s. */
#define HOLD_SECONDS 300

typedef struct Drain
{
	const VfDrainOptions *opt;
	VfDrainResult *result;
	VfSource   *source;
	MemoryContext context;
	MemoryContext wave_context;
	bool		stop;
} Drain;

/* End the run with its error on record, and raise it. */
static void
fail(Drain *d, ErrorData *error)
{
	vf_drain_run_failed("drain", d->opt->caller, d->result->run_id,
						&d->result->counts, error);
}

static void
note_failure(Drain *d, const VfBucket *bucket, const char *code,
			 const char *message, int retry_after)
{
	vf_drain_note_failure(bucket, code, message, retry_after);
	d->result->failing++;
}

/* ---- before the first wave ---- */

static void
prepare(void *arg)
{
	Drain	   *d = arg;

	d->source = vf_drain_gate_source();
}

/* Is it the right bucket?  Notes a failure and returns false if not. */
static bool
probe(Drain *d, VfS3Client *client, const VfBucket *bucket)
{
	if (vf_drain_gate_probe(client, bucket, d->source, d->opt->tick,
							d->opt->tick_arg))
		return true;
	d->result->failing++;
	return false;
}

/*
 * May this server drain the bucket?  Notes a failure and returns false if
 * not; raises an error if all that deletes has to stop.
 */
static bool
hold_lease(Drain *d, VfS3Client *client, const VfBucket *bucket,
		   int64 max_age)
{
	ErrorData  *error;

	switch (vf_drain_gate_lease(client, bucket, max_age, d->opt->tick,
								d->opt->tick_arg))
	{
		case VF_GATE_OPEN:
			return true;
		case VF_GATE_SHUT:
			d->result->failing++;
			return false;
		case VF_GATE_LOST:
			error = vf_db_try(prepare, d);
			if (error != NULL)
				fail(d, error);
			return false;
		case VF_GATE_STOPPED:
			d->stop = true;
			return false;
	}
	return false;
}

/* ---- waves ---- */

typedef struct Claim
{
	Drain	   *drain;
	const VfBucket *bucket;
	VfWave	   *wave;
	bool		versions;		/* every version of a key is to go */
} Claim;

/*
 * Orphans have the time that the keys of rows leave; one entry at a time, as
 * each key is asked for by itself.
 */
static void
take_entries(const Claim *c, TimestampTz now)
{
	VfWave	   *wave = c->wave;
	VfOutboxClaim claim = {
		.kind = VF_OUTBOX_DELETE,
		.endpoint = c->bucket->endpoint,
		.bucket = c->bucket->bucket,
		.now = now,
		.lease_until = wave->lease_until,
		.max = c->versions ? 1 : vf_s3_concurrency
	};

	wave->entries = vf_outbox_claim(&claim, &wave->n);
	if (wave->n > 0)
		return;
	claim.orphans = true;
	claim.max = 1;
	wave->entries = vf_outbox_claim(&claim, &wave->n);
	wave->orphans = wave->n > 0;
}

/*
 * Lease the next entries and cancel the keys that live rows reference: a
 * VfDbBody.  Leaves the wave empty if there is nothing to do.
 */
static void
claim(void *arg)
{
	Claim	   *c = arg;
	Drain	   *d = c->drain;
	const VfBucket *bucket = c->bucket;
	VfWave	   *wave = c->wave;
	TimestampTz now = GetCurrentTimestamp();

	vf_source_recheck(d->source);
	wave->lease_until = now + VF_WAVE_LEASE * USECS_PER_SEC;
	take_entries(c, now);
	if (wave->n == 0)
		return;
	vf_wave_defer_undo(wave);
	vf_wave_defer_copied(wave);
	vf_wave_cancel_outside(wave, &d->result->counts.cancelled);
	if (wave->orphans)
		vf_wave_cancel_changed(wave, bucket->id,
							   &d->result->counts.cancelled);
	vf_wave_cancel_referenced(wave, d->source,
							  &d->result->counts.cancelled);

	/* What a purge has taken from a row to undo since the first look. */
	vf_wave_defer_undo(wave);
	vf_wave_prepare(wave);
}

/* Note in the bucket's row how it answered. */
static bool
note_answer(Drain *d, const VfBucket *bucket, const VfWave *wave)
{
	if (wave->has_offset)
		vf_bucket_set_offset(bucket, wave->offset);
	if (wave->bucket_failure.code[0] != '\0')
	{
		note_failure(d, bucket, wave->bucket_failure.code,
					 wave->bucket_failure.message,
					 wave->bucket_failure.retry_after);
		return false;
	}
	if (wave->answered)
		vf_bucket_answered(bucket);
	return true;
}

static void
show_in_flight(Drain *d, int64 keys)
{
	if (d->opt->slot != NULL)
		pg_atomic_write_u64(&d->opt->slot->keys_in_flight, keys);
}

/* Ask for each orphan, unless they may be another database's. */
static bool
ask_orphans(Claim *c, VfS3Client *client)
{
	Drain	   *d = c->drain;
	VfNeighbours all;
	char	   *others;

	vf_lease_neighbours(client, c->bucket, VF_WAVE_TIMEOUT, d->opt->tick,
						d->opt->tick_arg, &all);
	others = all.failed ? all.problem : vf_lease_overlap(&all);
	if (others == NULL)
		return vf_wave_ask_orphans(c->wave, client, d->opt->tick,
								   d->opt->tick_arg);
	vf_wave_hold_orphans(c->wave, "SharedBucket", others);
	return d->opt->tick(d->opt->tick_arg);
}

/* A VfDbBody. */
static void
expand(void *arg)
{
	Claim	   *c = arg;

	vf_source_recheck(c->drain->source);
	if (!c->wave->orphans)
		vf_wave_expand_versions(c->wave, c->drain->source);
	else if (vf_source_count_references(c->drain->source,
										VF_REFERENCE_UNKNOWN) > 0)
		vf_wave_hold_orphans(c->wave, "UnknownReference",
							 "a column that may reference objects has come: see vf_references");
	else
		vf_wave_expand_orphans(c->wave, c->drain->source);
}

/*
 * Put the versions of each key in its place, or what an orphan is by now.  An
 * orphan leaves its versions under a marker: whoever took it for one may err.
 */
static void
ask_first(Claim *c, VfS3Client *client)
{
	Drain	   *d = c->drain;
	ErrorData  *error;

	d->stop = c->wave->orphans ?
		!ask_orphans(c, client) :
		!vf_wave_list_versions(c->wave, client, d->opt->tick,
							   d->opt->tick_arg);
	if (d->stop)
		return;
	error = vf_db_try(expand, c);
	if (error != NULL)
		fail(d, error);
	vf_db_commit();
	vf_db_assert_idle("the drain");
}

/*
 * Is every version of a key to go?  False, with the failure noted, if that
 * cannot be known or done.
 */
static bool
look_at_versions(Drain *d, VfS3Client *client, const VfBucket *bucket,
				 bool *versions)
{
	VfS3Answer	answer;
	VfS3Versioning versioning;
	bool		mfa_delete;

	*versions = false;
	if (!vf_s3_delete_versions)
		return true;
	vf_db_commit();
	vf_db_assert_idle("the look at versioning");
	vf_s3_get_versioning(client, VF_WAVE_TIMEOUT, d->opt->tick,
						 d->opt->tick_arg, &answer, &versioning, &mfa_delete);
	if (answer.class != VF_S3_OK)
	{
		note_failure(d, bucket, answer.code, answer.message,
					 answer.retry_after);
		return false;
	}
	*versions = versioning != VF_S3_VERSIONING_OFF;
	if (!*versions || !mfa_delete)
		return true;
	note_failure(d, bucket, "MfaDelete",
				 "the bucket deletes versions with a second factor only",
				 HOLD_SECONDS);
	return false;
}

/* One wave; false when the bucket has nothing more, fails, or we must stop. */
static bool
run_wave(Drain *d, VfS3Client *client, const VfBucket *bucket, VfPace *pace,
		 bool versions)
{
	VfWave		wave;
	Claim		c = {d, bucket, &wave, versions};
	VfOutboxCounts before = d->result->counts;
	ErrorData  *error;
	bool		more;

	memset(&wave, 0, sizeof(wave));
	wave.pace = pace;
	wave.stubborn = bucket->failures >= STUBBORN;
	error = vf_db_try(claim, &c);
	if (error != NULL)
		fail(d, error);

	/*
	 * The purge's commit is on disk with this one: no crash may bring back a
	 * row whose object is about to go.
	 */
	vf_db_commit_flushed();
	if (wave.n == 0)
		return false;
	vf_db_assert_idle("the drain");
	show_in_flight(d, vf_wave_keys(&wave));
	if (versions || wave.orphans)
		ask_first(&c, client);
	if (!d->stop)
		d->stop = !vf_wave_send(&wave, client, d->opt->tick,
								d->opt->tick_arg);
	show_in_flight(d, 0);
	vf_wave_settle(&wave, &d->result->counts);
	if (wave.orphans)
		vf_wave_forget_orphans(&wave, bucket->id);
	if (pace->changed)
		vf_bucket_store_pace(bucket, pace);
	more = note_answer(d, bucket, &wave);
	vf_db_commit();
	if (d->opt->slot != NULL)
		pg_atomic_fetch_add_u64(&d->opt->slot->keys_confirmed,
								d->result->counts.confirmed -
								before.confirmed);
	return more && !d->stop;
}

/* Between waves: credentials that end soon. */
static bool
renew(Drain *d, VfS3Client *client, const VfBucket *bucket)
{
	VfS3Answer	answer;

	if (vf_drain_cred_renew(client, bucket, d->opt->tick, d->opt->tick_arg,
							&answer))
		return true;
	note_failure(d, bucket, answer.code, answer.message, 0);
	return false;
}

static bool
enough(const Drain *d)
{
	const VfOutboxCounts *c = &d->result->counts;

	return (d->opt->max_keys > 0 &&
			c->confirmed + c->again + c->dead + c->cancelled >=
			d->opt->max_keys) ||
		(d->opt->until != 0 && GetCurrentTimestamp() >= d->opt->until);
}

static void
drain_bucket(Drain *d, const VfBucket *bucket)
{
	VfS3Answer	answer;
	VfS3Client *client = vf_drain_cred_client(d->context, bucket,
											  d->opt->tick, d->opt->tick_arg,
											  &answer);
	VfPace		pace;
	bool		versions;
	int64		max_age = VF_LEASE_BEGIN;
	MemoryContext old;
	bool		more;

	if (client == NULL)
	{
		note_failure(d, bucket, answer.code, answer.message, 0);
		return;
	}
	if (bucket->probe && !bucket->probed && !probe(d, client, bucket))
	{
		vf_s3_close(client);
		return;
	}
	if (!vf_drain_look_up(client, bucket, d->opt->tick, d->opt->tick_arg,
						  &answer))
	{
		note_failure(d, bucket, answer.code, answer.message,
					 answer.retry_after);
		vf_s3_close(client);
		return;
	}
	if (!look_at_versions(d, client, bucket, &versions))
	{
		vf_s3_close(client);
		return;
	}
	vf_bucket_load_pace(bucket, &pace);

	/* What was read so far must not be held while the lease is asked for. */
	vf_db_commit();
	do
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(d->wave_context);
		old = MemoryContextSwitchTo(d->wave_context);
		more = hold_lease(d, client, bucket, max_age) &&
			run_wave(d, client, bucket, &pace, versions) &&
			renew(d, client, bucket);
		max_age = VF_LEASE_RENEW;
		MemoryContextSwitchTo(old);
	} while (more && !enough(d));
	vf_s3_close(client);
}

/* ---- the run ---- */

static void
finish(Drain *d)
{
	VfRunCounts counts = vf_drain_run_counts(&d->result->counts);

	if (d->result->run_id != 0)
		vf_runlog_finish(d->result->run_id, d->stop ? "stopped" :
						 d->result->failing > 0 ? "failed" : "ok", &counts,
						 d->result->failing > 0 ?
						 "a bucket failed; see vf_outbox_stats" : NULL);
	else if (d->opt->record_idle)
		vf_runlog_idle("drain", d->opt->caller, false, &counts);
	vf_lookup_prune(GetCurrentTimestamp() - vf_run_history * USECS_PER_SEC);
	vf_db_commit();
	d->result->stopped = d->stop;
	d->result->more = enough(d);
}

void
vf_drain_run(const VfDrainOptions *opt, VfDrainResult *result)
{
	MemoryContext old = CurrentMemoryContext;
	Drain		d;
	VfBucket   *buckets;
	int			n;
	ErrorData  *error;

	vf_preflight_primary();
	memset(&d, 0, sizeof(d));
	memset(result, 0, sizeof(*result));
	d.opt = opt;
	d.result = result;
	d.context = AllocSetContextCreate(old, "voiceframe drain",
									  ALLOCSET_DEFAULT_SIZES);
	d.wave_context = AllocSetContextCreate(d.context, "voiceframe drain wave",
										   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(d.context);

	vf_db_commit();
	for (;;)
	{
		buckets = vf_bucket_ready(VF_OUTBOX_DELETE,
								  GetCurrentTimestamp(), &n);
		if (n == 0 || d.stop || enough(&d))
			break;
		if (result->run_id == 0)
		{
			error = vf_db_try(prepare, &d);
			if (error != NULL)
				fail(&d, error);
			result->run_id = vf_runlog_start("drain", opt->caller, false);
			vf_db_commit();
		}
		for (int i = 0; i < n && !d.stop && !enough(&d); i++)
			drain_bucket(&d, &buckets[i]);
	}
	finish(&d);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(d.context);
}
