/*-------------------------------------------------------------------------
 *
 * purge_batch.h
 *	  Deleting one batch of sessions, with its outbox rows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PURGE_BATCH_H
#define VF_PURGE_BATCH_H

#include "purge_part.h"

/*
 * Delete the pass's batch, which has to be picked and not empty; what could not
 * go is added to left.  Both are VfDbBody's with a VfPass, in a READ COMMITTED
 * transaction; both check the tables anew.
 *
 * Quickly takes what nobody has touched since the pick, and raises an error
 * where anything is in its way: the batch is then for the careful one.  That
 * asks everything again, skips what is locked, and fails on rows that cannot
 * be deleted.  Both do nothing and set gone where the part does not stand.
 */
extern void vf_purge_delete_quickly(void *pass);
extern void vf_purge_delete_carefully(void *pass);

/*
 * With rows of sessions in hand: keep payments from slipping past them.  Raises
 * 55P03 where that would mean to wait for one under way.
 */
extern void vf_purge_hold_payments(const VfSource *source);

/* Run body(arg), whose DELETE queues its keys itself. */
extern void vf_purge_as_ours(VfDbBody body, void *arg);

/* Is this backend deleting sessions for a purge right now? */
extern bool vf_purge_is_deleting(void);

#endif							/* VF_PURGE_BATCH_H */
