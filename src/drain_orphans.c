/*-------------------------------------------------------------------------
 *
 * drain_orphans.c
 *	  Orphans: gone only if they are still what the scans saw.
 *
 * What was queued as an orphan may have been uploaded again since.  So in the
 * claiming transaction the last scan must still have it as it was; then, with
 * no transaction open, the store is asked for each; then, in a new one, another
 * look is taken at the references.  The request carries the ETag for stores
 * that look at it; for others the time between the two requests is what
 * remains.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/timestamp.h"

#include "drain_wave_internal.h"
#include "inventory.h"
#include "settings.h"

/* A HEAD tells whole seconds, a list may tell parts of them. */
#define SAME_SECOND 1.0

/* How long they wait for a person, s. */
#define HELD 3600

static int
compare_known(const void *key, const void *object)
{
	return strcmp(key, ((const VfInventoryObject *) object)->key);
}

static const VfInventoryObject *
find_known(const VfWave *wave, const char *key)
{
	return bsearch(key, wave->known, wave->n_known,
				   sizeof(VfInventoryObject), compare_known);
}

void
vf_wave_cancel_changed(VfWave *wave, int bucket_id, int64 *cancelled)
{
	VfOutboxEntry *entry = &wave->entries[0];
	int			before = entry->nkeys;
	bool	   *marked = palloc(sizeof(bool) * Max(before, 1));
	bool		any = false;

	if (before == 0)
		return;
	wave->known = vf_inventory_find(bucket_id, entry->orphan_scan,
									entry->keys, before, &wave->n_known);
	for (int i = 0; i < before; i++)
	{
		marked[i] = find_known(wave, entry->keys[i]) == NULL;
		any |= marked[i];
	}
	if (!any)
		return;
	vf_outbox_drop_keys(entry, marked, VF_ORPHAN_CHANGED,
						VF_ORPHAN_CHANGED_MESSAGE);
	*cancelled += before - entry->nkeys;
}

void
vf_wave_hold_orphans(VfWave *wave, const char *code, const char *message)
{
	for (int i = 0; i < wave->entries[0].nkeys; i++)
	{
		VfKeyOutcome *o = &wave->outcomes[0][i];

		if (o->fate == VF_FATE_DEAD)
			continue;
		vf_wave_set_outcome(o, VF_FATE_AGAIN_FREE, code, message);
		o->next_attempt += HELD * USECS_PER_SEC;
	}
	wave->n_requests = 0;
	wave->n_heads = 0;
}

bool
vf_wave_ask_orphans(VfWave *wave, VfS3Client *client, VfHttpTick tick,
					void *arg)
{
	int64		left = (wave->lease_until - GetCurrentTimestamp()) / 1000 -
		2 * (VF_WAVE_TIMEOUT + VF_WAVE_MARGIN);

	wave->heads = palloc0(sizeof(VfS3Look) * Max(vf_wave_keys(wave), 1));
	wave->n_heads = 0;
	for (int i = 0; i < wave->n_requests; i++)
	{
		VfWaveRequest *r = wave->requests[i];

		for (int k = 0; k < r->del.nkeys; k++)
		{
			VfS3Look   *head = &wave->heads[wave->n_heads++];

			head->key = r->del.keys[k].key;
			head->len = r->del.keys[k].len;
			head->timeout_ms = VF_WAVE_TIMEOUT;
			head->tag = &r->position[k];
		}
	}
	wave->n_requests = 0;
	return vf_s3_heads(client, wave->heads, wave->n_heads, vf_s3_concurrency,
					   vf_s3_clock_ms() + left, tick, arg);
}

/* An ETag without its quotes. */
static const char *
bare(const char *etag, size_t *len)
{
	size_t		n = strlen(etag);

	if (n >= 2 && etag[0] == '"' && etag[n - 1] == '"')
	{
		etag++;
		n -= 2;
	}
	*len = n;
	return etag;
}

/* Is it the object that the scans saw? */
static bool
is_same(const VfInventoryObject *known, const VfS3Look *head)
{
	size_t		len,
				known_len;
	const char *etag = bare(head->etag, &len);
	const char *known_etag = bare(known->etag, &known_len);
	double		modified = (double) known->modified / USECS_PER_SEC +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (double) SECS_PER_DAY;

	return len > 0 && len == known_len && memcmp(etag, known_etag, len) == 0 &&
		head->has_modified && fabs(head->modified - modified) <= SAME_SECOND;
}

/*
 * Judge what needs no request: what was not asked for in time, what is gone,
 * what has changed.  That one object may not be looked at says nothing of the
 * bucket.
 */
static bool
is_settled(VfWave *wave, const VfS3Look *head, const char *key,
		   VfKeyOutcome *o)
{
	const VfS3Answer *a = &head->answer;

	if (!head->done)
		return true;
	wave->answered |= a->class == VF_S3_OK;
	if (a->class == VF_S3_BUCKET && a->status != 403)
	{
		wave->bucket_failure = *a;
		vf_wave_set_outcome(o, VF_FATE_AGAIN_FREE, wave->bucket_failure.code,
							wave->bucket_failure.message);
	}
	else if (a->class != VF_S3_OK)
		vf_wave_count_attempt(&wave->entries[0], o, a->code, a->message);
	else if (!head->exists)
		vf_wave_set_outcome(o, VF_FATE_CONFIRMED, NULL, NULL);
	else if (!is_same(find_known(wave, key), head))
		vf_wave_set_outcome(o, VF_FATE_CANCELLED, VF_ORPHAN_CHANGED,
							VF_ORPHAN_CHANGED_MESSAGE);
	else
		return false;
	return true;
}

void
vf_wave_expand_orphans(VfWave *wave, const VfSource *source)
{
	const VfOutboxEntry *entry = &wave->entries[0];
	VfWaveRequest *bulk = NULL;
	VfWaveLook	look;

	vf_wave_look_again(source, entry->keys, entry->nkeys, &look);
	for (int i = 0; i < wave->n_heads; i++)
	{
		const VfS3Look *head = &wave->heads[i];
		int			position = *(int *) head->tag;
		VfKeyOutcome *o = &wave->outcomes[0][position];
		const char *name = entry->keys[position];
		VfS3Key		key = {.key = head->key, .len = head->len};

		if (is_settled(wave, head, name, o) ||
			!vf_wave_still_goes(&look, name, o))
			continue;
		key.etag = head->etag;
		vf_wave_put_key(wave, 0, &bulk, &key, position);
	}
}

/* What is gone is no orphan any more, though no scan has told yet. */
void
vf_wave_forget_orphans(const VfWave *wave, int bucket_id)
{
	const VfOutboxEntry *entry = &wave->entries[0];
	char	  **gone = palloc(sizeof(char *) * Max(entry->nkeys, 1));
	int			n = 0;

	for (int i = 0; i < entry->nkeys; i++)
		if (wave->outcomes[0][i].fate == VF_FATE_CONFIRMED)
			gone[n++] = entry->keys[i];
	if (n > 0)
		vf_inventory_forget(bucket_id, entry->orphan_scan, gone, n);
}
