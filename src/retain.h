/*-------------------------------------------------------------------------
 *
 * retain.h
 *	  Holding sessions, and releasing them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_RETAIN_H
#define VF_RETAIN_H

#include "datatype/timestamp.h"

/*
 * Hold the sessions of a token until then, waiting for a purge that has one of
 * them in hand; returns how many.  Raises 42704 where there is none.
 */
extern int64 vf_retain_hold(const char *token, TimestampTz until,
							const char *reason);

/* End their holds; returns how many there were. */
extern int64 vf_retain_release(const char *token);

#endif							/* VF_RETAIN_H */
