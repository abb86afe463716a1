/*-------------------------------------------------------------------------
 *
 * test_schedule.c
 *	  Backoff: it grows, it has a floor and a ceiling, and it obeys the peer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "schedule.h"
#include "unit.h"

#define SECOND INT64CONST(1000000)

static void
test_backoff(void)
{
	/* With the largest draw the ceiling doubles until its cap. */
	CHECK(vf_schedule_backoff_ms(1, 1000, 300000, 0.999999) == 999);
	CHECK(vf_schedule_backoff_ms(2, 1000, 300000, 0.999999) == 1999);
	CHECK(vf_schedule_backoff_ms(9, 1000, 300000, 0.999999) == 255999);
	CHECK(vf_schedule_backoff_ms(10, 1000, 300000, 0.999999) == 299999);
	CHECK(vf_schedule_backoff_ms(2000000000, 1000, 300000, 0.5) == 150000);

	/* Full jitter reaches down to a tenth of the base, never to nothing. */
	CHECK(vf_schedule_backoff_ms(1, 1000, 300000, 0.0) == 100);
	CHECK(vf_schedule_backoff_ms(9, 1000, 300000, 0.0) == 100);

	/* A cap below the base holds. */
	CHECK(vf_schedule_backoff_ms(5, 1000, 50, 0.9) <= 50);
}

static void
test_next(void)
{
	TimestampTz now = INT64CONST(800000000) * SECOND;

	CHECK(vf_schedule_next(now, 250, 0) == now + SECOND / 4);
	CHECK(vf_schedule_next(now, 250, 7) == now + 7 * SECOND);
	CHECK(vf_schedule_next(now, 9000, 7) == now + 9 * SECOND);

	/* A peer that asks for years gets an hour. */
	CHECK(vf_schedule_next(now, 0, 2000000000) == now + 3600 * SECOND);
}

int
main(void)
{
	test_backoff();
	test_next();
	return unit_end();
}
