/*-------------------------------------------------------------------------
 *
 * hold.h
 *	  Sessions that are not due whatever the rules say: table vf_hold.
 *
 * A hold names a session by id; its token serves a batch that has rows in hand
 * and asks whether anybody has come with a hold since they were picked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_HOLD_H
#define VF_HOLD_H

#include "datatype/timestamp.h"

/* A session to be held; its token may be NULL. */
typedef struct VfHeld
{
	char	   *id;
	char	   *token;
} VfHeld;

/*
 * Hold sessions until then (DT_NOEND: until they are released).  With shorten
 * false a hold that lasts longer stays as it is.
 */
extern void vf_hold_set(const VfHeld *sessions, int n, TimestampTz until,
						const char *reason, bool shorten);

/* End the holds of a token; returns how many there were. */
extern int64 vf_hold_end(const char *token);

/* Is one of the sessions with these tokens (text datums) held now? */
extern bool vf_hold_among(Datum *tokens, int n);

/* Forget holds that ended before then. */
extern void vf_hold_prune(TimestampTz before);

#endif							/* VF_HOLD_H */
