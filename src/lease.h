/*-------------------------------------------------------------------------
 *
 * lease.h
 *	  The lease on a bucket: which of several copies of a database drains.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_LEASE_H
#define VF_LEASE_H

#include "bucket.h"
#include "s3.h"

/*
 * How old our heartbeat may be, ms: when a drain begins, and while it goes on
 * or the worker idles.  Past the limit nothing more is sent.  What lives for
 * others is VF_S3_MARKER_STALE (15 minutes): the rest is for a wave to end.
 */
#define VF_LEASE_BEGIN (60 * INT64CONST(1000))
#define VF_LEASE_RENEW (5 * 60 * INT64CONST(1000))
#define VF_LEASE_LIMIT (10 * 60 * INT64CONST(1000))

typedef enum VfLease
{
	VF_LEASE_OURS,				/* go on */
	VF_LEASE_UNGUARDED,			/* no right to the marker: go on without */
	VF_LEASE_HELD,				/* by a living other, or not to be judged */
	VF_LEASE_LOST,				/* lost history: now on record, all stops */
	VF_LEASE_FAILED				/* the answer says why */
} VfLease;

/*
 * Make sure that this start of the server holds the lease, with a heartbeat
 * not older than max_age, ms.  Nothing may be open in the transaction; commits
 * as it goes, and talks to the store in between.  What holds the bucket up is
 * put into its row, but for VF_LEASE_FAILED, where *answer has it.
 */
extern VfLease vf_lease_hold(VfS3Client *client, const VfBucket *bucket,
							 int64 max_age, VfHttpTick tick, void *arg,
							 VfS3Answer *answer);

/* ---- for the worker, which holds what it took until it leaves ---- */

/* Is it time for vf_lease_heartbeat()?  Asks nobody. */
extern bool vf_lease_due(void);

/* Is it so late that other work should make way for it? */
extern bool vf_lease_overdue(void);

/*
 * Renew what is held; may_take: also take the current bucket's lease, so that
 * a copy shows before it deletes anything.  SPI is open nonatomic.
 */
extern void vf_lease_heartbeat(bool may_take, VfHttpTick tick, void *arg);

/*
 * The process ends: give back what it holds, within 2 s in all, without the
 * database.  Never raises.
 */
extern void vf_lease_release_all(void);

/* ---- for vf_s3_check() ---- */

typedef struct VfLeaseLook
{
	bool		ok;
	char	   *detail;			/* palloc'd */
	const char *cure;			/* NULL if ok */
} VfLeaseLook;

/* What the marker says now; writable: a key of our own could be written. */
extern void vf_lease_look(VfS3Client *client, const VfBucket *bucket,
						  bool writable, int timeout_ms, VfHttpTick tick,
						  void *arg, VfLeaseLook *look);

#endif							/* VF_LEASE_H */
