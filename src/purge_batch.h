/*-------------------------------------------------------------------------
 *
 * purge_batch.h
 *	  One batch of a purge: lock, check again and delete, queue the keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PURGE_BATCH_H
#define VF_PURGE_BATCH_H

#include "storage/block.h"
#include "storage/itemptr.h"

#include "bucket.h"
#include "runlog.h"
#include "source.h"

/* A bounded list of row addresses. */
typedef struct VfTids
{
	ItemPointerData *at;
	int			n;
	int			max;
} VfTids;

/* Why a session stayed although its time is up. */
typedef enum VfStay
{
	VF_STAY_PAID,
	VF_STAY_CHECKOUT,
	VF_STAY_LOCKED,				/* somebody else held the row */
	VF_STAY_FAILED				/* it could not be deleted */
} VfStay;

typedef void (*VfStayed) (void *arg, const char *id, VfStay why);

typedef struct VfPurgeBatch
{
	const VfSource *source;
	const VfRules *rules;
	const VfBucket *bucket;		/* NULL: keys wait for one */
	int64		run_id;
	Oid			leaf;			/* the table that holds the rows */

	/* Which rows to look at: a range of blocks, or a list. */
	bool		by_list;
	BlockNumber first;
	BlockNumber end;			/* exclusive */
	VfTids		list;
	VfTids	   *failed;			/* rows not to be tried again, may grow */
	int			limit;			/* rows to delete at most */

	/* Called for what stayed, when the pick was looked at to its end. */
	VfStayed	stayed;
	void	   *stayed_arg;

	/* Result; the caller zeroes it */
	VfRunCounts counts;
	int			deleted;
	bool		more;			/* the limit was reached: the pick has more */
	bool		gave_up;		/* too many rows failed: the rest is put off */
} VfPurgeBatch;

/* In the caller's transaction, which has to be READ COMMITTED. */
extern void vf_purge_batch(VfPurgeBatch *batch);

/* Is this backend deleting sessions for a purge right now? */
extern bool vf_purge_is_deleting(void);

extern void vf_tids_add(VfTids *tids, const ItemPointerData *tid);
extern Datum vf_tids_array(const VfTids *tids, int from, int to);

#endif							/* VF_PURGE_BATCH_H */
