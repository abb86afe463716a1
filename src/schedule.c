/*-------------------------------------------------------------------------
 *
 * schedule.c
 *	  When to try again: pure functions of values.
 *
 * No clock, no setting, no table: the time is always an argument.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "schedule.h"

/* A peer that asks for more patience than this, s, does not get it. */
#define MAX_RETRY_AFTER 3600

int64
vf_schedule_backoff_ms(int failures, int64 base_ms, int64 cap_ms,
					   double random)
{
	int64		ceiling = base_ms;
	int64		wait;

	for (int i = 1; i < failures && ceiling < cap_ms; i++)
		ceiling *= 2;
	ceiling = Min(ceiling, cap_ms);
	wait = (int64) (ceiling * random);
	return Min(Max(wait, base_ms / 10), cap_ms);
}

TimestampTz
vf_schedule_next(TimestampTz now, int64 backoff_ms, int retry_after)
{
	int64		asked_ms = (int64) Min(retry_after, MAX_RETRY_AFTER) * 1000;

	return now + Max(backoff_ms, asked_ms) * 1000;
}
