/*-------------------------------------------------------------------------
 *
 * drain_send.c
 *	  Sending a wave, as fast as the bucket takes it.
 *
 * A request that fails as a batch is halved at once, in the same wave, so that
 * one key at fault does not delay the others: those are done with this wave.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "drain_wave_internal.h"
#include "settings.h"
#include "wake.h"

/* More failing keys than one of so many are the store's affair. */
#define MANY_FAILED 20

/* How often we look up while the pace makes us wait, ms. */
#define PACE_SLICE 100

/* A store that is busy asks for patience, not for the key's life. */
bool
vf_wave_is_slow_down(const char *code)
{
	return strcmp(code, "SlowDown") == 0;
}

/*
 * Wait until the pace lets a request go; false if tick stopped it.  Nothing of
 * the database is held.
 */
static bool
wait_for_pace(const VfWave *wave, const VfWaveRequest *r, VfHttpTick tick,
			  void *arg)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		TimestampTz ready = vf_pace_ready(wave->pace, r->counts, now);

		if (ready <= now)
			return true;
		if (tick != NULL && !tick(arg))
			return false;
		vf_wake_wait_until(Min(ready, now + PACE_SLICE * 1000), NULL);
	}
}

/* Does its turn come in time to be answered before the lease ends? */
static bool
comes_in_time(const VfWave *wave, const VfWaveRequest *r)
{
	TimestampTz ready = vf_pace_ready(wave->pace, r->counts,
									  GetCurrentTimestamp());

	return ready + (VF_WAVE_TIMEOUT + VF_WAVE_MARGIN) * INT64CONST(1000) <
		wave->lease_until;
}

/*
 * Send the requests from next on; false if tick stopped it.  While others are
 * in flight their answers are waited for, not the pace.
 */
static bool
send_from(VfWave *wave, int next, VfS3Client *client, VfHttpTick tick,
		  void *arg)
{
	for (;;)
	{
		VfS3Delete *done;

		while (next < wave->n_requests &&
			   vf_s3_in_flight(client) < vf_s3_concurrency)
		{
			VfWaveRequest *r = wave->requests[next];
			TimestampTz now = GetCurrentTimestamp();

			if (!comes_in_time(wave, r))
			{
				next++;
				continue;
			}
			if (vf_pace_ready(wave->pace, r->counts, now) > now)
			{
				if (vf_s3_in_flight(client) > 0)
					break;
				if (!wait_for_pace(wave, r, tick, arg))
					return false;
			}
			vf_pace_spend(wave->pace, r->counts, GetCurrentTimestamp());
			r->started = true;
			vf_s3_delete_start(client, &r->del);
			next++;
		}
		if (vf_s3_in_flight(client) == 0)
			return true;
		done = vf_s3_delete_wait(client, tick, arg);
		if (done == NULL)
			return false;
		((VfWaveRequest *) done->tag)->finished = true;
	}
}

/*
 * A failure of the bucket's kind, 5xx or cut off, while another request of the
 * same wave was carried out, says something about this batch.
 */
bool
vf_wave_is_about_batch(const VfWave *wave, const VfS3Answer *answer)
{
	return wave->answered && !vf_wave_is_slow_down(answer->code) &&
		(answer->status >= 500 || answer->uncertain);
}

/*
 * Is a failed request to be halved?  Where no other was carried out, a bucket
 * that fails again and again may have only this batch left, with a key in it
 * that makes it fail: then one halving tells.
 */
static bool
is_to_be_split(const VfWave *wave, const VfWaveRequest *r)
{
	const VfS3Answer *a = &r->del.answer;

	if (!r->finished || r->split || r->del.nkeys < 2 ||
		!vf_wave_fits_lease(wave))
		return false;
	if (a->class == VF_S3_BATCH || vf_wave_is_about_batch(wave, a))
		return true;
	return a->class == VF_S3_BUCKET && wave->stubborn && !r->half &&
		!vf_wave_is_slow_down(a->code) && (a->status >= 500 || a->uncertain);
}

static void
split_request(VfWave *wave, VfWaveRequest *r)
{
	int			middle = r->del.nkeys / 2;
	VfWaveRequest *halves[2];

	halves[0] = vf_wave_new_request(wave, r->entry);
	halves[1] = vf_wave_new_request(wave, r->entry);
	halves[0]->half = halves[1]->half = true;
	r->split = true;
	for (int i = 0; i < r->del.nkeys; i++)
		vf_wave_add_key(wave, halves[i < middle ? 0 : 1], &r->del.keys[i],
						r->position[i]);
}

/* Halve what failed as a batch; false if there was nothing to halve. */
static bool
split_failed(VfWave *wave)
{
	int			n = wave->n_requests;

	for (int i = 0; i < n; i++)
		if (wave->requests[i]->finished &&
			wave->requests[i]->del.answer.class != VF_S3_BUCKET)
			wave->answered = true;
	for (int i = 0; i < n; i++)
	{
		if (is_to_be_split(wave, wave->requests[i]))
			split_request(wave, wave->requests[i]);
	}
	return wave->n_requests > n;
}

/* ---- the pace ---- */

/* What the keys of a wave, by prefix, came to. */
typedef struct Account
{
	int			sent[VF_PACE_PREFIXES];
	int			fine[VF_PACE_PREFIXES];
	bool		slow[VF_PACE_PREFIXES];
	int			failed[VF_PACE_PREFIXES];	/* InternalError of the key */
	int			too_many;		/* keys of the smallest that took too long */
	int			too_large;		/* bytes of the smallest that was refused */
} Account;

static bool
asks_for_patience(const VfS3Answer *a)
{
	return vf_wave_is_slow_down(a->code) || a->status == 503 ||
		a->status == 429;
}

static void
account_failure(Account *account, const VfWaveRequest *r)
{
	const VfS3Answer *a = &r->del.answer;

	for (int i = 0; i < VF_PACE_PREFIXES; i++)
		account->slow[i] |= r->counts[i] > 0 && asks_for_patience(a);
	if ((a->status == 413 || a->status == 416) && r->del.nkeys > 1)
	{
		int			bytes = r->bytes + VF_WAVE_FRAME;

		account->too_large = account->too_large == 0 ? bytes :
			Min(account->too_large, bytes);
	}
	if (strcmp(a->code, "Timeout") == 0 && a->uncertain && r->del.nkeys > 1)
		account->too_many = account->too_many == 0 ? r->del.nkeys :
			Min(account->too_many, r->del.nkeys);
}

static void
account_keys(Account *account, VfPace *pace, const VfWaveRequest *r)
{
	for (int k = 0; k < r->del.nkeys; k++)
	{
		const VfS3Key *key = &r->del.keys[k];
		int			place = vf_pace_place(pace, key->key, key->len);

		if (vf_wave_is_slow_down(key->code))
			account->slow[place] = true;
		else if (strcmp(key->code, "InternalError") == 0)
			account->failed[place]++;
		else
			account->fine[place]++;
	}
	vf_pace_carried(pace, r->del.nkeys, r->bytes + VF_WAVE_FRAME);
}

/*
 * Learn from the wave, once for each prefix: requests that were in flight
 * together tell the same.
 */
static void
adapt_pace(VfWave *wave, int64 usecs)
{
	Account		account;
	double		seconds = Max(usecs, 1000) / (double) USECS_PER_SEC;

	memset(&account, 0, sizeof(account));
	for (int i = 0; i < wave->n_requests; i++)
	{
		const VfWaveRequest *r = wave->requests[i];

		if (!r->finished)
			continue;
		for (int p = 0; p < VF_PACE_PREFIXES; p++)
			account.sent[p] += r->counts[p];
		if (r->del.answer.class == VF_S3_OK)
			account_keys(&account, wave->pace, r);
		else
			account_failure(&account, r);
	}
	for (int p = 0; p < wave->pace->n; p++)
	{
		/* One key may be what fails; one of many is the store. */
		if (account.slow[p] ||
			account.failed[p] * MANY_FAILED > account.sent[p])
			vf_pace_slow(wave->pace, p, account.sent[p] / seconds);
		else
			vf_pace_fine(wave->pace, p, account.fine[p]);
	}
	if (account.too_many > 0)
		vf_pace_too_many(wave->pace, account.too_many);
	if (account.too_large > 0)
		vf_pace_too_large(wave->pace, account.too_large);
}

/* ---- sending all ---- */

bool
vf_wave_send(VfWave *wave, VfS3Client *client, VfHttpTick tick, void *arg)
{
	TimestampTz started = GetCurrentTimestamp();
	int			sent = 0;
	bool		ok;

	do
	{
		int			next = sent;

		sent = wave->n_requests;
		ok = send_from(wave, next, client, tick, arg);
	} while (ok && split_failed(wave));
	adapt_pace(wave, GetCurrentTimestamp() - started);
	return ok;
}
