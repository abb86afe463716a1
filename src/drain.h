/*-------------------------------------------------------------------------
 *
 * drain.h
 *	  Deleting the queued keys from their buckets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_DRAIN_H
#define VF_DRAIN_H

#include "datatype/timestamp.h"

#include "http.h"
#include "outbox.h"
#include "stats.h"

typedef struct VfDrainOptions
{
	const char *caller;			/* for the record */
	bool		record_idle;	/* also a run that finds nothing to do */
	int64		max_keys;		/* about; 0: until nothing waits */
	TimestampTz until;			/* no new wave after this; 0: no limit */
	VfHttpTick	tick;			/* false stops; may raise errors */
	void	   *tick_arg;
	VfSlot	   *slot;			/* the worker's, or NULL */
} VfDrainOptions;

typedef struct VfDrainResult
{
	int64		run_id;			/* 0: nothing was to be done */
	VfOutboxCounts counts;
	bool		stopped;		/* by tick */
	int			failing;		/* buckets that wait after a failure */
	bool		more;			/* max_keys or until ended it */
} VfDrainResult;

/*
 * Drain all buckets that are ready.  SPI is open nonatomic; commits as it
 * goes.  Raises what the registration and the settings raise; a bucket that
 * fails is no error, its row says why.
 */
extern void vf_drain_run(const VfDrainOptions *opt, VfDrainResult *result);

#endif							/* VF_DRAIN_H */
