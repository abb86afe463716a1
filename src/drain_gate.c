/*-------------------------------------------------------------------------
 *
 * drain_gate.c
 *	  What has to be passed before anything is done in a bucket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "drain_gate.h"
#include "errors.h"
#include "lease.h"
#include "preflight.h"
#include "schedule.h"

/* How long a bucket that failed waits at first, and at most, ms. */
#define BACKOFF_BASE 1000
#define BACKOFF_CAP (5 * 60 * 1000)

/* How long a bucket without any known object is held before a new look, s. */
#define HOLD_SECONDS 300

VfSource *
vf_drain_gate_source(void)
{
	VfSource   *source;

	vf_preflight();
	source = vf_source_load(VF_SOURCE_DELETE);
	if (source->pause_reason != NULL)
		ereport(ERROR,
				(errcode(VF_ERRCODE_PAUSED),
				 errmsg("purging and draining are paused in this database"),
				 errdetail("Reason given: %s.", source->pause_reason),
				 errhint("Call vf_resume() to go on.")));
	return source;
}

VfRunCounts
vf_drain_run_counts(const VfOutboxCounts *counts)
{
	return (VfRunCounts) {
		.keys_confirmed = counts->confirmed,
		.keys_again = counts->again,
		.keys_dead = counts->dead,
		.keys_cancelled = counts->cancelled
	};
}

void
vf_drain_run_failed(const char *kind, const char *caller, int64 run_id,
					const VfOutboxCounts *counts, ErrorData *error)
{
	VfRunCounts run = vf_drain_run_counts(counts);

	if (run_id != 0)
		vf_runlog_finish(run_id, "failed", &run, error->message);
	else
		vf_runlog_refused(kind, caller, "failed", error->message);
	vf_db_commit();
	ReThrowError(error);
}

void
vf_drain_note_failure(const VfBucket *bucket, const char *code,
					  const char *message, int retry_after)
{
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		backoff = vf_schedule_backoff_ms(bucket->failures + 1,
												 BACKOFF_BASE, BACKOFF_CAP,
												 random);

	vf_bucket_failed(bucket,
					 vf_schedule_next(GetCurrentTimestamp(), backoff,
									  retry_after),
					 code, message);
	vf_db_commit();
}

bool
vf_drain_gate_probe(VfS3Client *client, const VfBucket *bucket,
					const VfSource *source, VfHttpTick tick, void *arg)
{
	VfS3Answer	answer;

	switch (vf_drain_probe(client, source, tick, arg, &answer))
	{
		case VF_PROBE_FOUND:
			break;
		case VF_PROBE_NONE_TO_LOOK_FOR:
			ereport(WARNING,
					(errmsg("bucket \"%s\" could not be checked before the first drain",
							bucket->bucket),
					 errdetail("No paying order and no young session names an object to look for.")));
			break;
		case VF_PROBE_NOT_FOUND:
			vf_drain_note_failure(bucket, "WrongBucket",
								  "none of the objects that must exist is in this bucket",
								  HOLD_SECONDS);
			return false;
		case VF_PROBE_FAILED:
			vf_drain_note_failure(bucket, answer.code, answer.message,
								  answer.retry_after);
			return false;
	}
	vf_bucket_set_probed(bucket);
	vf_db_commit();
	return true;
}

VfGate
vf_drain_gate_lease(VfS3Client *client, const VfBucket *bucket,
					int64 max_age, VfHttpTick tick, void *arg)
{
	VfS3Answer	answer;

	switch (vf_lease_hold(client, bucket, max_age, tick, arg, &answer))
	{
		case VF_LEASE_OURS:
		case VF_LEASE_UNGUARDED:
			return VF_GATE_OPEN;
		case VF_LEASE_HELD:
			return VF_GATE_SHUT;
		case VF_LEASE_LOST:
			return VF_GATE_LOST;
		case VF_LEASE_FAILED:
			break;
	}
	if (!tick(arg))
		return VF_GATE_STOPPED;
	vf_drain_note_failure(bucket, answer.code, answer.message,
						  answer.retry_after);
	return VF_GATE_SHUT;
}
