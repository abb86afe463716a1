/*-------------------------------------------------------------------------
 *
 * purge_batch.h
 *	  The passes over a part of a table: pick what is due, delete it in
 *	  batches, look at what was left.
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

/* A list of row addresses, in the memory context of its first element. */
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

typedef struct VfPart
{
	const VfSource *source;
	const VfRules *rules;
	const VfBucket *bucket;		/* NULL: keys wait for one */
	int64		run_id;
	Oid			leaf;			/* the table that holds the rows */

	/* The rows of the part: a range of blocks, or a list. */
	bool		by_list;
	BlockNumber first;
	BlockNumber end;			/* exclusive */
	VfTids		list;

	VfTids	   *due;			/* pick fills it */
	VfTids		batch;			/* what delete is to take, a piece of due */
	VfTids	   *left;			/* delete adds what it could not take */
	const VfTids *failed;		/* rows that could not be deleted */
	bool		deleting;		/* an error comes from the rows themselves */

	/* pick and look call this for every session that stays */
	VfStayed	stayed;
	void	   *stayed_arg;

	/* Result of one pass; the caller zeroes it */
	VfRunCounts counts;
} VfPart;

/*
 * The passes; each in the caller's transaction, which has to be READ
 * COMMITTED, and each with the tables checked anew.  They are VfDbBody's: the
 * argument is a VfPart.
 */
extern void vf_purge_pick(void *part);
extern void vf_purge_delete(void *part);
extern void vf_purge_look(void *part);

/* Is this backend deleting sessions for a purge right now? */
extern bool vf_purge_is_deleting(void);

extern void vf_tids_add(VfTids *tids, const ItemPointerData *tid);

#endif							/* VF_PURGE_BATCH_H */
