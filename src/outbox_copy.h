/*-------------------------------------------------------------------------
 *
 * outbox_copy.h
 *	  Copies in the outbox: entries whose one key is to be copied, not deleted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_OUTBOX_COPY_H
#define VF_OUTBOX_COPY_H

#include "outbox.h"

typedef struct VfCopyJob
{
	char	   *session_id;
	char	   *order_id;
	char	   *column;			/* of sessions, which names the source */
	char	   *source;
	char	   *target;
	bool		keep_session;	/* the session goes on naming the source */
} VfCopyJob;

/* What became of a copy that was to be queued. */
typedef enum VfCopyQueued
{
	VF_COPY_QUEUED,
	VF_COPY_WAITS,				/* it was queued already */
	VF_COPY_DEAD				/* and is a dead letter */
} VfCopyQueued;

/*
 * Queue copies, each once whoever else queues it at the same time; he is waited
 * for no longer than that (55P03), 0: until he is done.
 */
extern void vf_outbox_queue_copies(int64 run_id, const char *endpoint,
								   const char *bucket, const VfCopyJob *jobs,
								   int n, int timeout_ms,
								   VfCopyQueued *results);

/* What a claimed entry is about, and when it was claimed first. */
extern void vf_outbox_read_copy(const VfOutboxEntry *entry, VfCopyJob *job,
								TimestampTz *claimed_at);

/*
 * Lock a claimed entry for the transaction; false if the lease is no longer
 * the entry's.
 */
extern bool vf_outbox_lock_claimed(const VfOutboxEntry *entry);

/* The source of a copy that was made: to be deleted then ... */
extern void vf_outbox_queue_source(int64 run_id, const char *endpoint,
								   const char *bucket, const char *key,
								   TimestampTz when, const char *code,
								   const char *message);
/* ... or to stay, for that reason. */
extern void vf_outbox_keep_source(int64 run_id, const char *endpoint,
								  const char *bucket, const char *key,
								  const char *code, const char *message);

/* Those of the keys that copies still to be made name, as source or target. */
extern char **vf_outbox_copied(char *const *keys, int n, int *found);

/* Copies that wait or are being made. */
extern int64 vf_outbox_copies(void);

#endif							/* VF_OUTBOX_COPY_H */
