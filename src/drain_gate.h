/*-------------------------------------------------------------------------
 *
 * drain_gate.h
 *	  What has to be passed before anything is done in a bucket.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_DRAIN_GATE_H
#define VF_DRAIN_GATE_H

#include "bucket.h"
#include "outbox.h"
#include "runlog.h"
#include "s3.h"
#include "source.h"

/*
 * The registration, where nothing stands against deleting and copying: raises
 * what the settings and the registration raise, and VF_ERRCODE_PAUSED.
 */
extern VfSource *vf_drain_gate_source(void);

/* What a run has done so far, for its record. */
extern VfRunCounts vf_drain_run_counts(const VfOutboxCounts *counts);

/*
 * End a run with its error on record, and raise it; run_id 0: it had not
 * started.
 */
extern void vf_drain_run_failed(const char *kind, const char *caller,
								int64 run_id, const VfOutboxCounts *counts,
								ErrorData *error);

/* Note a failure of the bucket, which then waits; commits. */
extern void vf_drain_note_failure(const VfBucket *bucket, const char *code,
								  const char *message, int retry_after);

/* Is it the right bucket?  Notes a failure if not; commits. */
extern bool vf_drain_gate_probe(VfS3Client *client, const VfBucket *bucket,
								const VfSource *source, VfHttpTick tick,
								void *arg);

typedef enum VfGate
{
	VF_GATE_OPEN,
	VF_GATE_SHUT,				/* the bucket's row says why */
	VF_GATE_LOST,				/* lost history: all stops */
	VF_GATE_STOPPED				/* by tick */
} VfGate;

/* May this server work in the bucket?  As vf_lease_hold(). */
extern VfGate vf_drain_gate_lease(VfS3Client *client, const VfBucket *bucket,
								  int64 max_age, VfHttpTick tick, void *arg);

#endif							/* VF_DRAIN_GATE_H */
