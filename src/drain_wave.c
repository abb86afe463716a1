/*-------------------------------------------------------------------------
 *
 * drain_wave.c
 *	  A few leased entries, their requests and what became of each key.
 *
 * Each entry is one request, but for keys that XML cannot carry (one request
 * each, by path) and bodies that would grow too large for the bucket's pace.
 * What an answer's class does to the keys is decided here, in judge_request()
 * and judge_key().
 *
 * A request that fails as a batch is halved at once, in the same wave, so that
 * one key at fault does not delay the others: those are done with this wave.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "drain_client.h"
#include "drain_wave.h"
#include "schedule.h"
#include "settings.h"
#include "undo.h"
#include "wake.h"

/* How often we look up while the pace makes us wait, ms. */
#define PACE_SLICE 100

/* What a body has beside its keys, at most, bytes. */
#define FRAME 1000

/* How long a key that failed waits at first, and at most, ms. */
#define KEY_BACKOFF_BASE 5000
#define KEY_BACKOFF_CAP (60 * 60 * 1000)

/* ---- keys that must stay ---- */

/* How long a key waits for somebody who is putting its row back, s. */
#define UNDO_PAUSE 30

static char **
all_keys(const VfWave *wave, int *n)
{
	char	  **all;

	*n = 0;
	for (int i = 0; i < wave->n; i++)
		*n += wave->entries[i].nkeys;
	all = palloc(sizeof(char *) * Max(*n, 1));
	*n = 0;
	for (int i = 0; i < wave->n; i++)
		for (int k = 0; k < wave->entries[i].nkeys; k++)
			all[(*n)++] = wave->entries[i].keys[k];
	return all;
}

/*
 * Until when each named key has to wait: its undo window; or, that being over,
 * a while if somebody puts rows of its batch back, which he has said before
 * (vf_undo_lock) and whom the look at references that follows will see.
 */
static void
judge_named(VfUndoKey *named, int n, TimestampTz now)
{
	for (int i = 0; i < n; i++)
	{
		if (named[i].until > now)
			continue;
		named[i].until = vf_undo_is_locked(named[i].batch) ?
			now + UNDO_PAUSE * USECS_PER_SEC : DT_NOBEGIN;
	}
}

static int
compare_named(const void *a, const void *b)
{
	return strcmp(((const VfUndoKey *) a)->key, ((const VfUndoKey *) b)->key);
}

/* The latest time that a named key has to wait for. */
static TimestampTz
wait_of(const char *key, const VfUndoKey *named, int n)
{
	VfUndoKey	wanted = {.key = unconstify(char *, key)};
	const VfUndoKey *found = bsearch(&wanted, named, n, sizeof(VfUndoKey),
									 compare_named);
	TimestampTz until = DT_NOBEGIN;

	if (found == NULL)
		return until;
	while (found > named && compare_named(found - 1, &wanted) == 0)
		found--;
	for (; found < named + n && compare_named(found, &wanted) == 0; found++)
		until = Max(until, found->until);
	return until;
}

void
vf_wave_defer_undo(VfWave *wave)
{
	int			n_all;
	char	  **all = all_keys(wave, &n_all);
	int			n;
	VfUndoKey  *named = vf_undo_named(all, n_all, &n);

	if (n == 0)
		return;
	qsort(named, n, sizeof(VfUndoKey), compare_named);
	judge_named(named, n, GetCurrentTimestamp());
	for (int i = 0; i < wave->n; i++)
	{
		VfOutboxEntry *entry = &wave->entries[i];
		bool	   *marked = palloc(sizeof(bool) * entry->nkeys);
		TimestampTz until = DT_NOBEGIN;

		for (int k = 0; k < entry->nkeys; k++)
		{
			TimestampTz wait = wait_of(entry->keys[k], named, n);

			marked[k] = !TIMESTAMP_IS_NOBEGIN(wait);
			until = Max(until, wait);
		}
		if (!TIMESTAMP_IS_NOBEGIN(until))
			vf_outbox_defer_keys(entry, marked, until, "UndoWindow",
								 "a purged row that can be put back names the object");
	}
}

/* Take the marked keys out of the entry. */
static void
drop(VfOutboxEntry *entry, const bool *marked, const char *code,
	 const char *message, int64 *cancelled)
{
	int			before = entry->nkeys;

	vf_outbox_drop_keys(entry, marked, code, message);
	*cancelled += before - entry->nkeys;
}

void
vf_wave_cancel_outside(VfWave *wave, int64 *cancelled)
{
	List	   *prefixes = vf_settings_list(vf_deletable_prefixes);

	for (int i = 0; i < wave->n; i++)
	{
		VfOutboxEntry *entry = &wave->entries[i];
		bool	   *marked = palloc(sizeof(bool) * entry->nkeys);
		bool		any = false;

		for (int k = 0; k < entry->nkeys; k++)
		{
			marked[k] = !vf_outbox_deletable(prefixes, entry->keys[k],
											 (int) strlen(entry->keys[k]));
			any |= marked[k];
		}
		if (any)
			drop(entry, marked, "OutsidePrefixes", VF_OUTSIDE_MESSAGE,
				 cancelled);
	}
}

static int
compare_keys(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

static bool
mark_referenced(const VfOutboxEntry *entry, char **referenced, int n,
				bool *marked)
{
	bool		any = false;

	for (int i = 0; i < entry->nkeys; i++)
	{
		marked[i] = bsearch(&entry->keys[i], referenced, n, sizeof(char *),
						  compare_keys) != NULL;
		any |= marked[i];
	}
	return any;
}

void
vf_wave_cancel_referenced(VfWave *wave, const VfSource *source,
						  int64 *cancelled)
{
	int			n_all;
	char	  **all = all_keys(wave, &n_all);
	char	  **referenced;
	int			n;

	referenced = vf_source_referenced(source, all, n_all, &n);
	if (n == 0)
		return;
	qsort(referenced, n, sizeof(char *), compare_keys);
	for (int i = 0; i < wave->n; i++)
	{
		VfOutboxEntry *entry = &wave->entries[i];
		bool	   *marked = palloc(sizeof(bool) * Max(entry->nkeys, 1));

		if (mark_referenced(entry, referenced, n, marked))
			drop(entry, marked, "Referenced",
				 "a row of sessions or orders references the object",
				 cancelled);
	}
}

/* ---- requests ---- */

static VfWaveRequest *
new_request(VfWave *wave, int entry)
{
	VfWaveRequest *r = palloc0(sizeof(VfWaveRequest));

	if (wave->n_requests == wave->max_requests)
	{
		wave->max_requests = Max(wave->max_requests * 2, 16);
		wave->requests = wave->requests == NULL ?
			palloc(sizeof(VfWaveRequest *) * wave->max_requests) :
			repalloc(wave->requests,
					 sizeof(VfWaveRequest *) * wave->max_requests);
	}
	wave->requests[wave->n_requests++] = r;
	r->entry = entry;
	r->del.keys = palloc(sizeof(VfS3Key) * VF_S3_MAX_KEYS);
	r->del.timeout_ms = VF_WAVE_TIMEOUT;
	r->del.tag = r;
	r->position = palloc(sizeof(int) * VF_S3_MAX_KEYS);
	return r;
}

static void
add_key(VfWave *wave, VfWaveRequest *r, const char *key, size_t len,
		int position)
{
	VfS3Key    *k = &r->del.keys[r->del.nkeys];

	memset(k, 0, sizeof(*k));
	k->key = key;
	k->len = len;
	r->position[r->del.nkeys++] = position;
	r->counts[vf_pace_place(wave->pace, key, len)]++;
	r->bytes += (int) vf_s3_key_body_bytes(key, len);
}

static void
set_outcome(VfKeyOutcome *o, VfKeyFate fate, const char *code,
			const char *message)
{
	o->fate = fate;
	o->code = code;
	o->message = message;
	o->next_attempt = GetCurrentTimestamp();
}

/* Distribute one entry's keys to requests; dead ones are judged at once. */
static void
prepare_entry(VfWave *wave, int e)
{
	const VfOutboxEntry *entry = &wave->entries[e];
	VfWaveRequest *bulk = NULL;
	int			max_keys = vf_pace_request_keys(wave->pace);

	wave->outcomes[e] = palloc0(sizeof(VfKeyOutcome) * Max(entry->nkeys, 1));
	for (int i = 0; i < entry->nkeys; i++)
	{
		size_t		len;
		char	   *key = vf_drain_utf8(entry->keys[i], &len);
		const char *fault = key == NULL ? "KeyNotUtf8" :
			vf_s3_key_fault(key, len);
		size_t		cost;

		set_outcome(&wave->outcomes[e][i], VF_FATE_AGAIN_FREE, "NotSent",
					"the lease would have ended before the answer");
		if (fault != NULL)
		{
			set_outcome(&wave->outcomes[e][i], VF_FATE_DEAD, fault,
						"the key cannot be sent");
			continue;
		}
		if (vf_s3_key_needs_path(key, len))
		{
			add_key(wave, new_request(wave, e), key, len, i);
			continue;
		}
		cost = vf_s3_key_body_bytes(key, len);
		if (bulk == NULL || bulk->del.nkeys >= max_keys ||
			bulk->bytes + cost > (size_t) wave->pace->batch_bytes - FRAME)
			bulk = new_request(wave, e);
		add_key(wave, bulk, key, len, i);
	}
}

void
vf_wave_prepare(VfWave *wave)
{
	wave->outcomes = palloc0(sizeof(VfKeyOutcome *) * wave->n);
	for (int i = 0; i < wave->n; i++)
		prepare_entry(wave, i);
}

int64
vf_wave_keys(const VfWave *wave)
{
	int64		keys = 0;

	for (int i = 0; i < wave->n_requests; i++)
		keys += wave->requests[i]->del.nkeys;
	return keys;
}

/* Does a request that starts now end before the lease? */
static bool
fits_lease(const VfWave *wave)
{
	return GetCurrentTimestamp() +
		(VF_WAVE_TIMEOUT + VF_WAVE_MARGIN) * INT64CONST(1000) <
		wave->lease_until;
}

/* A store that is busy asks for patience, not for the key's life. */
static bool
is_slow_down(const char *code)
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
static bool
is_about_batch(const VfWave *wave, const VfS3Answer *answer)
{
	return wave->answered && !is_slow_down(answer->code) &&
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

	if (!r->finished || r->split || r->del.nkeys < 2 || !fits_lease(wave))
		return false;
	if (a->class == VF_S3_BATCH || is_about_batch(wave, a))
		return true;
	return a->class == VF_S3_BUCKET && wave->stubborn && !r->half &&
		!is_slow_down(a->code) && (a->status >= 500 || a->uncertain);
}

static void
split_request(VfWave *wave, VfWaveRequest *r)
{
	int			middle = r->del.nkeys / 2;
	VfWaveRequest *halves[2];

	halves[0] = new_request(wave, r->entry);
	halves[1] = new_request(wave, r->entry);
	halves[0]->half = halves[1]->half = true;
	r->split = true;
	for (int i = 0; i < r->del.nkeys; i++)
		add_key(wave, halves[i < middle ? 0 : 1], r->del.keys[i].key,
				r->del.keys[i].len, r->position[i]);
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
	int			too_many;		/* keys of the smallest that took too long */
	int			too_large;		/* bytes of the smallest that was refused */
} Account;

static bool
asks_for_patience(const VfS3Answer *a)
{
	return is_slow_down(a->code) || a->status == 503 || a->status == 429;
}

static void
account_failure(Account *account, const VfWaveRequest *r)
{
	const VfS3Answer *a = &r->del.answer;

	for (int i = 0; i < VF_PACE_PREFIXES; i++)
		account->slow[i] |= r->counts[i] > 0 && asks_for_patience(a);
	if ((a->status == 413 || a->status == 416) && r->del.nkeys > 1)
		account->too_large = account->too_large == 0 ? r->bytes + FRAME :
			Min(account->too_large, r->bytes + FRAME);
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

		if (is_slow_down(key->code) ||
			strcmp(key->code, "InternalError") == 0)
			account->slow[place] = true;
		else
			account->fine[place]++;
	}
	vf_pace_carried(pace, r->del.nkeys, r->bytes + FRAME);
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
		if (account.slow[p])
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

/* ---- judgement ---- */

/* Counted against s3_max_attempts: again later, or dead. */
static void
count_attempt(const VfOutboxEntry *entry, VfKeyOutcome *o, const char *code,
			  const char *message)
{
	int			attempts = entry->attempts + 1;
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		backoff = vf_schedule_backoff_ms(attempts, KEY_BACKOFF_BASE,
												 KEY_BACKOFF_CAP, random);

	set_outcome(o, attempts >= vf_s3_max_attempts ? VF_FATE_DEAD :
				VF_FATE_AGAIN, code, message);
	o->next_attempt = vf_schedule_next(o->next_attempt, backoff, 0);
}

/* One key of an answer that was carried out. */
static void
judge_key(const VfOutboxEntry *entry, VfKeyOutcome *o, const VfS3Key *k)
{
	switch (k->class)
	{
		case VF_S3_OK:
			set_outcome(o, VF_FATE_CONFIRMED, NULL, NULL);
			return;
		case VF_S3_KEY_FINAL:
			set_outcome(o, VF_FATE_DEAD, k->code, k->message);
			return;
		case VF_S3_KEY_PASSING:
		case VF_S3_BATCH:
		case VF_S3_BUCKET:
			count_attempt(entry, o, k->code, k->message);
			if (k->class == VF_S3_BUCKET || is_slow_down(k->code))
				o->fate = VF_FATE_AGAIN_FREE;
			return;
	}
}

/* A whole request that failed, by its number. */
static void
judge_failure(VfWave *wave, int part, VfKeyOutcome *o, int k)
{
	const VfWaveRequest *r = wave->requests[part];
	const VfS3Answer *a = &r->del.answer;
	const VfOutboxEntry *entry = &wave->entries[r->entry];

	if (a->class == VF_S3_BUCKET && !is_about_batch(wave, a))
		set_outcome(o, VF_FATE_AGAIN_FREE, a->code, a->message);
	else if (r->del.nkeys > 1)
	{
		/* No time was left to halve it: the halves part company. */
		set_outcome(o, VF_FATE_AGAIN_FREE, a->code, a->message);
		o->part = part * 2 + (k < r->del.nkeys / 2 ? 1 : 2);
	}
	else if (a->class == VF_S3_KEY_FINAL)
		set_outcome(o, VF_FATE_DEAD, a->code, a->message);
	else
		count_attempt(entry, o, a->code, a->message);
}

/*
 * What became of the keys of a request, by its number.  Keys of a half that
 * there was no time to send wait apart from the others.
 */
static void
judge_request(VfWave *wave, int number)
{
	const VfWaveRequest *r = wave->requests[number];
	VfKeyOutcome *outcomes = wave->outcomes[r->entry];

	if (r->del.unasked > 0)
		ereport(LOG,
				(errmsg("the bucket answered for %d keys that outbox row %lld did not ask about",
						r->del.unasked,
						(long long) wave->entries[r->entry].id)));
	for (int k = 0; k < r->del.nkeys; k++)
	{
		VfKeyOutcome *o = &outcomes[r->position[k]];

		if (!r->finished)
			o->part = number * 2 + 1;
		else if (r->del.answer.class == VF_S3_OK)
			judge_key(&wave->entries[r->entry], o, &r->del.keys[k]);
		else
			judge_failure(wave, number, o, k);
	}
}

/* What the answers together say of the bucket. */
static void
judge_bucket(VfWave *wave)
{
	for (int i = 0; i < wave->n_requests; i++)
	{
		const VfWaveRequest *r = wave->requests[i];

		if (!r->finished)
			continue;
		if (r->del.answer.class != VF_S3_BUCKET)
			wave->answered = true;
		if (r->del.answer.has_offset)
		{
			wave->has_offset = true;
			wave->offset = r->del.answer.offset;
		}
	}
	for (int i = 0; i < wave->n_requests; i++)
	{
		const VfWaveRequest *r = wave->requests[i];

		if (r->finished && !r->split && r->del.answer.class == VF_S3_BUCKET &&
			!is_about_batch(wave, &r->del.answer))
			wave->bucket_failure = r->del.answer;
	}
}

/* An entry with a request on the wire that nobody waits for any more. */
static bool
has_abandoned(const VfWave *wave, int entry)
{
	for (int i = 0; i < wave->n_requests; i++)
	{
		const VfWaveRequest *r = wave->requests[i];

		if (r->entry == entry && r->started && !r->finished)
			return true;
	}
	return false;
}

void
vf_wave_settle(VfWave *wave, VfOutboxCounts *counts)
{
	judge_bucket(wave);
	for (int i = 0; i < wave->n_requests; i++)
	{
		const VfWaveRequest *r = wave->requests[i];

		if (!r->split && (r->finished || (r->half && !r->started)))
			judge_request(wave, i);
	}
	for (int e = 0; e < wave->n; e++)
	{
		const VfOutboxEntry *entry = &wave->entries[e];

		if (entry->nkeys == 0 || has_abandoned(wave, e))
			continue;
		if (!vf_outbox_settle(entry, wave->outcomes[e], counts))
			ereport(LOG,
					(errmsg("outbox row %lld was settled too late: its lease had passed to another drainer",
							(long long) entry->id)));
	}
}
