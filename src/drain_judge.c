/*-------------------------------------------------------------------------
 *
 * drain_judge.c
 *	  What became of each key of a wave.
 *
 * What an answer's class does to the keys is decided here, in judge_request()
 * and judge_key().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "drain_wave_internal.h"
#include "schedule.h"
#include "settings.h"

/* How long a key that failed waits at first, and at most, ms. */
#define KEY_BACKOFF_BASE 5000
#define KEY_BACKOFF_CAP (60 * 60 * 1000)

/* Counted against s3_max_attempts: again later, or dead. */
void
vf_wave_count_attempt(const VfOutboxEntry *entry, VfKeyOutcome *o,
					  const char *code, const char *message)
{
	int			attempts = entry->attempts + 1;
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		backoff = vf_schedule_backoff_ms(attempts, KEY_BACKOFF_BASE,
												 KEY_BACKOFF_CAP, random);

	vf_wave_set_outcome(o, attempts >= vf_s3_max_attempts ? VF_FATE_DEAD :
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
			vf_wave_set_outcome(o, VF_FATE_CONFIRMED, NULL, NULL);
			return;
		case VF_S3_KEY_FINAL:
			if (k->etag != NULL && strcmp(k->code, "PreconditionFailed") == 0)
				vf_wave_set_outcome(o, VF_FATE_CANCELLED, VF_ORPHAN_CHANGED,
									VF_ORPHAN_CHANGED_MESSAGE);
			else
				vf_wave_set_outcome(o, VF_FATE_DEAD, k->code, k->message);
			return;
		case VF_S3_KEY_PASSING:
		case VF_S3_BATCH:
		case VF_S3_BUCKET:
			vf_wave_count_attempt(entry, o, k->code, k->message);
			if (k->class == VF_S3_BUCKET || vf_wave_is_slow_down(k->code))
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

	if (a->class == VF_S3_BUCKET && !vf_wave_is_about_batch(wave, a))
		vf_wave_set_outcome(o, VF_FATE_AGAIN_FREE, a->code, a->message);
	else if (r->del.nkeys > 1)
	{
		/* No time was left to halve it: the halves part company. */
		vf_wave_set_outcome(o, VF_FATE_AGAIN_FREE, a->code, a->message);
		o->part = part * 2 + (k < r->del.nkeys / 2 ? 1 : 2);
	}
	else if (a->class == VF_S3_KEY_FINAL)
		vf_wave_set_outcome(o, VF_FATE_DEAD, a->code, a->message);
	else
		vf_wave_count_attempt(entry, o, a->code, a->message);
}

/*
 * One of several versions of a key: the key is gone when all of them are, and
 * what is worst decides.
 */
static void
merge_version(VfWave *wave, int entry, int position,
			  const VfKeyOutcome *of_version)
{
	VfKeyOutcome *o = &wave->outcomes[entry][position];

	if (of_version->fate == VF_FATE_CONFIRMED)
	{
		if (--wave->pending[entry][position] == 0)
			*o = *of_version;
		return;
	}
	if (o->fate != VF_FATE_DEAD)
		*o = *of_version;
}

/*
 * What became of the keys of a request, by its number.  Keys of a half that
 * there was no time to send wait apart from the others.
 */
static void
judge_request(VfWave *wave, int number)
{
	const VfWaveRequest *r = wave->requests[number];

	if (r->del.unasked > 0)
		ereport(LOG,
				(errmsg("the bucket answered for %d keys that outbox row %lld did not ask about",
						r->del.unasked,
						(long long) wave->entries[r->entry].id)));
	for (int k = 0; k < r->del.nkeys; k++)
	{
		VfKeyOutcome *o = &wave->outcomes[r->entry][r->position[k]];
		VfKeyOutcome mine = *o;

		if (!r->finished)
			mine.part = number * 2 + 1;
		else if (r->del.answer.class == VF_S3_OK)
			judge_key(&wave->entries[r->entry], &mine, &r->del.keys[k]);
		else
			judge_failure(wave, number, &mine, k);
		if (r->del.keys[k].version == NULL)
			*o = mine;
		else
			merge_version(wave, r->entry, r->position[k], &mine);
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
			!vf_wave_is_about_batch(wave, &r->del.answer))
			wave->bucket_failure = r->del.answer;
	}
}

void
vf_wave_judge(VfWave *wave)
{
	judge_bucket(wave);
	for (int i = 0; i < wave->n_requests; i++)
	{
		const VfWaveRequest *r = wave->requests[i];

		if (!r->split && (r->finished || (r->half && !r->started)))
			judge_request(wave, i);
	}
}
