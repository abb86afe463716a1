/*-------------------------------------------------------------------------
 *
 * purge_deleted.h
 *	  Keys of sessions that the application deletes itself.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PURGE_DELETED_H
#define VF_PURGE_DELETED_H

struct TriggerData;

/*
 * Queue the keys of the rows in the transition table, in the application's
 * transaction.  Does nothing for the rows that a purge deletes.
 */
extern void vf_purge_queue_deleted(struct TriggerData *trigger);

#endif							/* VF_PURGE_DELETED_H */
