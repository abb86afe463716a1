/*-------------------------------------------------------------------------
 *
 * restore.h
 *	  Putting purged sessions back while their undo rows stand.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_RESTORE_H
#define VF_RESTORE_H

#include "c.h"

/* What became of one session. */
typedef struct VfRestored
{
	char	   *id;
	const char *outcome;		/* restored, uncertain, in flight, ... */
	char	   *detail;			/* NULL when it is simply back */
} VfRestored;

typedef void (*VfRestoredRow) (void *arg, const VfRestored *row);

/*
 * Put back all of a run, or with a token all sessions of that token, in the
 * caller's READ COMMITTED transaction.  Calls row for each session.  Raises
 * 42704 where there is nothing to put back.
 */
extern void vf_restore_run(int64 run_id, VfRestoredRow row, void *arg);
extern void vf_restore_token(const char *token, VfRestoredRow row, void *arg);

/*
 * For the payment guard: put back the session of an order that pays while its
 * undo window is open.  Touches no outbox row: the drain sees the reference.
 * False where there is nothing to put back.
 */
extern bool vf_restore_for_payment(const char *token);

/* Erase undo data of a run (0: all), or of a token; returns sessions. */
extern int64 vf_restore_discard_run(int64 run_id);
extern int64 vf_restore_discard_token(const char *token);

#endif							/* VF_RESTORE_H */
