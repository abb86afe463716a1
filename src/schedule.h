/*-------------------------------------------------------------------------
 *
 * schedule.h
 *	  When to try again: pure functions of values.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SCHEDULE_H
#define VF_SCHEDULE_H

#include "datatype/timestamp.h"

/*
 * Exponential backoff with full jitter (uniform between nothing and the
 * ceiling of this failure), after the AWS architecture blog's "Exponential
 * Backoff And Jitter".  failures counts from 1, random lies in [0, 1).
 * Never below a tenth of base_ms, never above cap_ms.
 */
extern int64 vf_schedule_backoff_ms(int failures, int64 base_ms,
									int64 cap_ms, double random);

/* The later of now + backoff and now + what the peer asked for (seconds). */
extern TimestampTz vf_schedule_next(TimestampTz now, int64 backoff_ms,
									int retry_after);

#endif							/* VF_SCHEDULE_H */
