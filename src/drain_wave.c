/*-------------------------------------------------------------------------
 *
 * drain_wave.c
 *	  A few leased entries, their requests and what became of each key.
 *
 * Each entry is one request, but for keys that XML cannot carry (one request
 * each, by path) and bodies that would grow too large for the bucket's pace.
 * drain_keep.c takes out the keys that must stay, drain_versions.c puts the
 * versions of a key in its place, drain_orphans.c asks what an orphan is by
 * now, drain_send.c sends, drain_judge.c judges.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "drain_client.h"
#include "drain_wave_internal.h"

/* ---- requests ---- */

VfWaveRequest *
vf_wave_new_request(VfWave *wave, int entry)
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

void
vf_wave_add_key(VfWave *wave, VfWaveRequest *r, const VfS3Key *key,
				int position)
{
	VfS3Key    *k = &r->del.keys[r->del.nkeys];

	memset(k, 0, sizeof(*k));
	k->key = key->key;
	k->len = key->len;
	k->version = key->version;
	k->etag = key->etag;
	r->position[r->del.nkeys++] = position;
	r->counts[vf_pace_place(wave->pace, k->key, k->len)]++;
	r->bytes += (int) vf_wave_key_bytes(k);
}

void
vf_wave_set_outcome(VfKeyOutcome *o, VfKeyFate fate, const char *code,
			const char *message)
{
	o->fate = fate;
	o->code = code;
	o->message = message;
	o->next_attempt = GetCurrentTimestamp();
}

size_t
vf_wave_key_bytes(const VfS3Key *key)
{
	size_t		bytes = vf_s3_key_body_bytes(key->key, key->len);

	if (key->version != NULL)
		bytes += strlen(key->version) + strlen("<VersionId></VersionId>");
	if (key->etag != NULL)
		bytes += strlen(key->etag) + strlen("<ETag>&quot;&quot;</ETag>");
	return bytes;
}

void
vf_wave_put_key(VfWave *wave, int entry, VfWaveRequest **bulk,
				const VfS3Key *key, int position)
{
	if (vf_s3_key_needs_path(key->key, key->len))
	{
		vf_wave_add_key(wave, vf_wave_new_request(wave, entry), key, position);
		return;
	}
	if (*bulk == NULL ||
		(*bulk)->del.nkeys >= vf_pace_request_keys(wave->pace) ||
		(*bulk)->bytes + vf_wave_key_bytes(key) >
		(size_t) wave->pace->batch_bytes - VF_WAVE_FRAME)
		*bulk = vf_wave_new_request(wave, entry);
	vf_wave_add_key(wave, *bulk, key, position);
}

/* Distribute one entry's keys to requests; dead ones are judged at once. */
static void
prepare_entry(VfWave *wave, int e)
{
	const VfOutboxEntry *entry = &wave->entries[e];
	VfWaveRequest *bulk = NULL;

	wave->outcomes[e] = palloc0(sizeof(VfKeyOutcome) * Max(entry->nkeys, 1));
	for (int i = 0; i < entry->nkeys; i++)
	{
		VfS3Key		key = {0};
		char	   *utf8 = vf_drain_utf8(entry->keys[i], &key.len);
		const char *fault = utf8 == NULL ? "KeyNotUtf8" :
			vf_s3_key_fault(utf8, key.len);

		vf_wave_set_outcome(&wave->outcomes[e][i], VF_FATE_AGAIN_FREE,
							VF_WAVE_NOT_SENT,
							"the lease would have ended before the answer");
		key.key = utf8;
		if (fault != NULL)
			vf_wave_set_outcome(&wave->outcomes[e][i], VF_FATE_DEAD, fault,
								"the key cannot be sent");
		else
			vf_wave_put_key(wave, e, &bulk, &key, i);
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
bool
vf_wave_fits_lease(const VfWave *wave)
{
	return GetCurrentTimestamp() +
		(VF_WAVE_TIMEOUT + VF_WAVE_MARGIN) * INT64CONST(1000) <
		wave->lease_until;
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
	vf_wave_judge(wave);
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
