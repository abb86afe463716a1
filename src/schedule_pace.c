/*-------------------------------------------------------------------------
 *
 * schedule_pace.c
 *	  How fast to send keys, and how many at a time: pure functions of values.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "schedule_pace.h"

/* No store is slower than this for long, keys a second. */
#define MIN_RATE 50.0
/* Where no limit is known, it is looked for from here at the lowest. */
#define START_RATE 2000.0
/* Faster than this nothing is measured: the limit is forgotten. */
#define MAX_RATE 50000.0
/* What a second at the full rate adds to it. */
#define RATE_STEP 100.0

/* How much of a prefix's time one request takes, s. */
#define REQUEST_SECONDS 5

#define MIN_BYTES 2000

/* After so many full requests the next may be larger, by a twentieth. */
#define FULL_REQUESTS 16
#define KEYS_STEP (VF_PACE_MAX_KEYS / 20)
#define BYTES_STEP (VF_PACE_MAX_BYTES / 20)

void
vf_pace_init(VfPace *pace)
{
	memset(pace, 0, sizeof(*pace));
	pace->batch_keys = VF_PACE_MAX_KEYS;
	pace->batch_bytes = VF_PACE_MAX_BYTES;
}

int
vf_pace_add(VfPace *pace, const char *prefix, size_t len, double rate)
{
	VfPacePrefix *p;

	for (int i = 0; i < pace->n; i++)
	{
		if (strlen(pace->prefixes[i].prefix) == len &&
			memcmp(pace->prefixes[i].prefix, prefix, len) == 0)
			return i;
	}
	if (pace->n == VF_PACE_PREFIXES)
		return VF_PACE_PREFIXES - 1;
	p = &pace->prefixes[pace->n++];
	memcpy(p->prefix, prefix, len);
	p->prefix[len] = '\0';
	p->rate = rate;
	p->free_at = DT_NOBEGIN;
	return pace->n - 1;
}

int
vf_pace_place(VfPace *pace, const char *key, size_t len)
{
	const char *slash = memchr(key, '/', len);
	size_t		n = slash == NULL ? 0 : slash - key + 1;

	if (n >= VF_PACE_PREFIX_SIZE)
		n = 0;

	/* It is stored as it is, in a database of whatever encoding. */
	for (size_t i = 0; i < n; i++)
		if (IS_HIGHBIT_SET(key[i]))
			n = 0;
	return vf_pace_add(pace, key, n, 0);
}

int
vf_pace_request_keys(const VfPace *pace)
{
	int			keys = pace->batch_keys;

	for (int i = 0; i < pace->n; i++)
	{
		double		rate = pace->prefixes[i].rate;

		if (rate > 0 && rate * REQUEST_SECONDS < keys)
			keys = Max((int) (rate * REQUEST_SECONDS), 1);
	}
	return keys;
}

TimestampTz
vf_pace_ready(const VfPace *pace, const int *counts, TimestampTz now)
{
	TimestampTz at = now;

	for (int i = 0; i < pace->n; i++)
	{
		if (counts[i] > 0 && pace->prefixes[i].rate > 0)
			at = Max(at, pace->prefixes[i].free_at);
	}
	return at;
}

void
vf_pace_spend(VfPace *pace, const int *counts, TimestampTz now)
{
	for (int i = 0; i < pace->n; i++)
	{
		VfPacePrefix *p = &pace->prefixes[i];

		if (counts[i] > 0 && p->rate > 0)
			p->free_at = Max(p->free_at, now) +
				(TimestampTz) (counts[i] / p->rate * USECS_PER_SEC);
	}
}

void
vf_pace_slow(VfPace *pace, int place, double sent_rate)
{
	VfPacePrefix *p = &pace->prefixes[place];

	/* What little was sent, perhaps in a moment, says nothing of the limit. */
	if (p->rate == 0)
		p->rate = Min(Max(sent_rate, START_RATE), MAX_RATE);
	p->rate = Max(p->rate / 2, MIN_RATE);
	pace->changed = true;
}

void
vf_pace_fine(VfPace *pace, int place, int keys)
{
	VfPacePrefix *p = &pace->prefixes[place];

	if (p->rate == 0 || keys <= 0)
		return;
	p->rate += RATE_STEP * Min(keys / p->rate, 1.0);
	if (p->rate > MAX_RATE)
		p->rate = 0;
	pace->changed = true;
}

void
vf_pace_too_many(VfPace *pace, int keys)
{
	pace->batch_keys = Max(Min(pace->batch_keys, keys) / 2, 1);
	pace->full = 0;
	pace->changed = true;
}

void
vf_pace_too_large(VfPace *pace, int bytes)
{
	pace->batch_bytes = Max(Min(pace->batch_bytes, bytes) / 2, MIN_BYTES);
	pace->full = 0;
	pace->changed = true;
}

void
vf_pace_carried(VfPace *pace, int keys, int bytes)
{
	bool		many = pace->batch_keys < VF_PACE_MAX_KEYS &&
		keys >= pace->batch_keys;
	bool		large = pace->batch_bytes < VF_PACE_MAX_BYTES &&
		bytes >= pace->batch_bytes - pace->batch_bytes / 10;

	if ((!many && !large) || ++pace->full < FULL_REQUESTS)
		return;
	pace->full = 0;
	pace->changed = true;
	if (many)
		pace->batch_keys = Min(pace->batch_keys + KEYS_STEP,
							   VF_PACE_MAX_KEYS);
	if (large)
		pace->batch_bytes = Min(pace->batch_bytes + BYTES_STEP,
								VF_PACE_MAX_BYTES);
}
