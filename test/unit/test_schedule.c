/*-------------------------------------------------------------------------
 *
 * test_schedule.c
 *	  Backoff: it grows, it has a floor and a ceiling, and it obeys the peer.
 *	  Pace: it gives way at once, comes back slowly, and never stands still.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "schedule.h"
#include "schedule_pace.h"
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

static void
test_rate(void)
{
	TimestampTz now = INT64CONST(800000000) * SECOND;
	int			counts[VF_PACE_PREFIXES] = {0};
	VfPace		pace;
	int			photos,
				audio;

	vf_pace_init(&pace);
	photos = vf_pace_place(&pace, "temp_photos/a/b", 15);
	audio = vf_pace_place(&pace, "temp_audio/a", 12);
	CHECK(photos != audio);
	CHECK(vf_pace_place(&pace, "temp_photos/c", 13) == photos);
	CHECK(strcmp(pace.prefixes[photos].prefix, "temp_photos/") == 0);

	/* Unlimited until the store asks; then half of what it was sent. */
	counts[photos] = 1000;
	vf_pace_spend(&pace, counts, now);
	CHECK(vf_pace_ready(&pace, counts, now) == now);
	CHECK(vf_pace_request_keys(&pace) == 1000);
	vf_pace_slow(&pace, photos, 4000);
	CHECK(pace.changed && pace.prefixes[photos].rate == 2000);
	vf_pace_spend(&pace, counts, now);
	CHECK(vf_pace_ready(&pace, counts, now) == now + SECOND / 2);

	/* Of the other prefix nothing is asked. */
	counts[photos] = 0;
	counts[audio] = 1000;
	CHECK(vf_pace_ready(&pace, counts, now) == now);

	/* Half again, whatever was sent; never so little that nothing moves. */
	vf_pace_slow(&pace, photos, 100000);
	CHECK(pace.prefixes[photos].rate == 1000);
	for (int i = 0; i < 3; i++)
		vf_pace_slow(&pace, photos, 1);
	CHECK(pace.prefixes[photos].rate == 125);
	CHECK(vf_pace_request_keys(&pace) == 625);
	for (int i = 0; i < 100; i++)
		vf_pace_slow(&pace, photos, 0);
	CHECK(pace.prefixes[photos].rate == 50);
	CHECK(vf_pace_request_keys(&pace) == 250);

	/* A single key sent in a moment is no measure. */
	vf_pace_slow(&pace, audio, 3);
	CHECK(pace.prefixes[audio].rate == 1000);

	/* A second at the full rate adds the same each time, a part a part. */
	vf_pace_fine(&pace, photos, 50);
	CHECK(pace.prefixes[photos].rate == 150);
	vf_pace_fine(&pace, photos, 75);
	CHECK(pace.prefixes[photos].rate == 200);
	vf_pace_fine(&pace, photos, 0);
	vf_pace_fine(&pace, photos, 1000000);
	CHECK(pace.prefixes[photos].rate == 300);

	/* So fast that it is no limit any more. */
	for (int i = 0; i < 1000; i++)
		vf_pace_fine(&pace, photos, 1000000);
	CHECK(pace.prefixes[photos].rate == 0);
	vf_pace_fine(&pace, photos, 1000);
	CHECK(pace.prefixes[photos].rate == 0);
}

static void
test_sizes(void)
{
	VfPace		pace;

	vf_pace_init(&pace);
	CHECK(pace.batch_keys == 1000 && pace.batch_bytes == 1000000);

	/* What was refused counts, not what would have been allowed. */
	vf_pace_too_large(&pace, 80000);
	CHECK(pace.batch_bytes == 40000);
	vf_pace_too_large(&pace, 70000);
	CHECK(pace.batch_bytes == 20000);
	vf_pace_too_many(&pace, 300);
	CHECK(pace.batch_keys == 150);

	/* Neither ever comes down to nothing. */
	for (int i = 0; i < 100; i++)
	{
		vf_pace_too_large(&pace, 1);
		vf_pace_too_many(&pace, 1);
	}
	CHECK(pace.batch_keys == 1 && pace.batch_bytes == 2000);

	/* Sixteen full requests in a row, then the next is larger. */
	for (int i = 0; i < 15; i++)
		vf_pace_carried(&pace, 1, 100);
	CHECK(pace.batch_keys == 1);
	vf_pace_carried(&pace, 1, 100);
	CHECK(pace.batch_keys == 51 && pace.batch_bytes == 2000);
	for (int i = 0; i < 100; i++)
		vf_pace_carried(&pace, 50, 1799);
	CHECK(pace.batch_keys == 51 && pace.batch_bytes == 2000);
	for (int i = 0; i < 100000; i++)
		vf_pace_carried(&pace, pace.batch_keys, pace.batch_bytes);
	CHECK(pace.batch_keys == 1000 && pace.batch_bytes == 1000000);
}

static void
test_prefixes(void)
{
	VfPace		pace;
	char		key[VF_PACE_PREFIX_SIZE + 10];

	/* More prefixes than places, a key without one, one that is too long. */
	vf_pace_init(&pace);
	CHECK(vf_pace_place(&pace, "no slash", 8) == 0);
	memset(key, 'x', sizeof(key));
	key[VF_PACE_PREFIX_SIZE] = '/';
	CHECK(vf_pace_place(&pace, key, sizeof(key)) == 0);
	key[VF_PACE_PREFIX_SIZE - 2] = '/';
	CHECK(vf_pace_place(&pace, key, sizeof(key)) == 1);
	for (int i = 0; i < 100; i++)
	{
		snprintf(key, sizeof(key), "p%d/k", i);
		CHECK(vf_pace_place(&pace, key, strlen(key)) ==
			  Min(i + 2, VF_PACE_PREFIXES - 1));
	}
	CHECK(vf_pace_add(&pace, "", 0, 5) == 0);
}

int
main(void)
{
	test_backoff();
	test_next();
	test_rate();
	test_sizes();
	test_prefixes();
	return unit_end();
}
