/*-------------------------------------------------------------------------
 *
 * promote_copy.h
 *	  One file and the store: what promote.c asks for, between transactions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PROMOTE_COPY_H
#define VF_PROMOTE_COPY_H

#include "outbox_copy.h"
#include "s3_copy.h"

/*
 * Seconds that the lease on a copy lasts, and milliseconds that its requests
 * may take.  None starts unless it ends, with this margin (ms), before the
 * lease; all of them together do.
 */
#define VF_COPY_LEASE 360
#define VF_COPY_TIMEOUT 20000
#define VF_COPY_TIMEOUT_LONG 120000
#define VF_COPY_MARGIN 5000

/* What came of it. */
typedef struct VfCopyEnd
{
	VfKeyFate	fate;			/* VF_FATE_CONFIRMED: the copy stands */
	char		code[64];
	char		message[256];
	bool		of_bucket;		/* answer is a failure of the bucket */
	bool		stopped;		/* by tick: a request may be under way */
	VfS3Answer	answer;			/* the last one */
} VfCopyEnd;

/*
 * Have the copy of a file in the store, with all that belongs to it.  It is
 * not named by any row yet.  claimed_at: since when a request of ours may have
 * made it.
 */
extern void vf_promote_copy(const VfS3Asker *asker, const VfCopyJob *job,
							TimestampTz claimed_at, TimestampTz lease_until,
							VfCopyEnd *end);

#endif							/* VF_PROMOTE_COPY_H */
