/*-------------------------------------------------------------------------
 *
 * erase.h
 *	  Deleting one session for a customer who asks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_ERASE_H
#define VF_ERASE_H

#include "c.h"

typedef struct VfErased
{
	int64		run_id;
	int64		sessions;		/* rows deleted */
	int64		keys_queued;
	int64		undo_rows;		/* of sessions that were purged before */
} VfErased;

/*
 * Delete the sessions of a token and their undo rows and queue their keys, in
 * the caller's READ COMMITTED transaction.  Raises 55006 where an order or a
 * hold keeps one of them, 42704 where there is none.
 */
extern void vf_erase_token(const char *token, VfErased *erased);

#endif							/* VF_ERASE_H */
