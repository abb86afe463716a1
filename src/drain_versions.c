/*-------------------------------------------------------------------------
 *
 * drain_versions.c
 *	  Every version of a key, where voiceframe.s3_delete_versions is on.
 *
 * First the lists, with no transaction open; then, in a new one, another look
 * at the references, for the lists take their time; then requests that name
 * each version.  A key is gone when all its versions are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "drain_wave_internal.h"
#include "outbox_copy.h"
#include "settings.h"
#include "undo.h"

/* The list of a key, and where the key stands. */
struct VfWaveListing
{
	VfS3Listing list;
	int			entry;
	int			position;
};

bool
vf_wave_list_versions(VfWave *wave, VfS3Client *client, VfHttpTick tick,
					  void *arg)
{
	int			n = (int) vf_wave_keys(wave);
	VfS3Listing *lists = palloc0(sizeof(VfS3Listing) * Max(n, 1));
	int64		left = (wave->lease_until - GetCurrentTimestamp()) / 1000 -
		2 * (VF_WAVE_TIMEOUT + VF_WAVE_MARGIN);
	bool		ok;

	wave->listings = palloc0(sizeof(VfWaveListing) * Max(n, 1));
	wave->n_listings = 0;
	for (int i = 0; i < wave->n_requests; i++)
	{
		const VfWaveRequest *r = wave->requests[i];

		for (int k = 0; k < r->del.nkeys; k++)
		{
			lists[wave->n_listings].key = r->del.keys[k].key;
			lists[wave->n_listings].len = r->del.keys[k].len;
			lists[wave->n_listings].timeout_ms = VF_WAVE_TIMEOUT;
			wave->listings[wave->n_listings].entry = r->entry;
			wave->listings[wave->n_listings++].position = r->position[k];
		}
	}
	wave->n_requests = 0;
	ok = vf_s3_list_versions(client, lists, n, vf_s3_concurrency,
							 vf_s3_clock_ms() + left, tick, arg);
	for (int i = 0; i < n; i++)
		wave->listings[i].list = lists[i];
	if (!ok)
		wave->n_listings = 0;
	return ok;
}

static VfKeyOutcome *
outcome_of(VfWave *wave, const VfWaveListing *l)
{
	return &wave->outcomes[l->entry][l->position];
}

static const char *
key_of(const VfWave *wave, const VfWaveListing *l)
{
	return wave->entries[l->entry].keys[l->position];
}

/*
 * Judge what needs no request: what could not be listed, what has no version,
 * what a row has come to name meanwhile.
 */
static bool
is_settled(VfWave *wave, const VfWaveListing *l)
{
	const VfS3Answer *a = &l->list.answer;
	VfKeyOutcome *o = outcome_of(wave, l);

	if (!l->list.done)
		return true;
	if (a->class == VF_S3_BUCKET)
	{
		wave->bucket_failure = *a;
		vf_wave_set_outcome(o, VF_FATE_AGAIN_FREE,
							wave->bucket_failure.code,
							wave->bucket_failure.message);
	}
	else if (a->class != VF_S3_OK)
		vf_wave_count_attempt(&wave->entries[l->entry], o, a->code,
							  a->message);
	else if (l->list.n == 0)
		vf_wave_set_outcome(o, VF_FATE_CONFIRMED, NULL, NULL);
	else
		return false;
	return true;
}

static bool
has_text(char *const *sorted, int n, const char *text)
{
	return bsearch(&text, sorted, n, sizeof(char *), pg_qsort_strcmp) != NULL;
}

/* Keys that a purged row names which can still be put back, sorted. */
static char **
undo_keys(char *const *keys, int n, int *found)
{
	VfUndoKey  *named = vf_undo_named(keys, n, found);
	char	  **result = palloc(sizeof(char *) * Max(*found, 1));
	TimestampTz now = GetCurrentTimestamp();
	int			open = 0;

	for (int i = 0; i < *found; i++)
		if (named[i].until > now)
			result[open++] = named[i].key;
	*found = open;
	qsort(result, open, sizeof(char *), pg_qsort_strcmp);
	return result;
}

void
vf_wave_expand_versions(VfWave *wave, const VfSource *source)
{
	VfWaveRequest *bulk = NULL;
	VfWaveListing **open = palloc(sizeof(VfWaveListing *) *
								  Max(wave->n_listings, 1));
	char	  **keys = palloc(sizeof(char *) * Max(wave->n_listings, 1));
	char	  **referenced;
	char	  **copied;
	char	  **undo;
	int			n = 0;
	int			n_referenced;
	int			n_copied;
	int			n_undo;

	wave->pending = palloc(sizeof(int *) * Max(wave->n, 1));
	for (int e = 0; e < wave->n; e++)
		wave->pending[e] = palloc0(sizeof(int) *
								   Max(wave->entries[e].nkeys, 1));
	for (int i = 0; i < wave->n_listings; i++)
	{
		if (is_settled(wave, &wave->listings[i]))
			continue;
		keys[n] = unconstify(char *, key_of(wave, &wave->listings[i]));
		open[n++] = &wave->listings[i];
	}
	referenced = vf_source_referenced(source, keys, n, &n_referenced);
	qsort(referenced, n_referenced, sizeof(char *), pg_qsort_strcmp);
	copied = vf_outbox_copied(keys, n, &n_copied);
	qsort(copied, n_copied, sizeof(char *), pg_qsort_strcmp);
	undo = undo_keys(keys, n, &n_undo);
	for (int i = 0; i < n; i++)
	{
		const VfWaveListing *l = open[i];
		VfS3Key		key = {.key = l->list.key, .len = l->list.len};

		if (i > 0 && l->entry != open[i - 1]->entry)
			bulk = NULL;
		if (has_text(referenced, n_referenced, keys[i]))
		{
			vf_wave_set_outcome(outcome_of(wave, l), VF_FATE_CANCELLED,
								VF_REFERENCED, VF_REFERENCED_MESSAGE);
			continue;
		}
		if (has_text(undo, n_undo, keys[i]) ||
			has_text(copied, n_copied, keys[i]))
			continue;
		wave->pending[l->entry][l->position] = l->list.n;
		for (int v = 0; v < l->list.n; v++)
		{
			key.version = l->list.versions[v];
			vf_wave_put_key(wave, l->entry, &bulk, &key, l->position);
		}
	}
}
