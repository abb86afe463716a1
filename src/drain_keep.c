/*-------------------------------------------------------------------------
 *
 * drain_keep.c
 *	  Which keys of a wave must stay, or wait.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "drain_wave_internal.h"
#include "outbox_copy.h"
#include "settings.h"
#include "undo.h"

/* How long a key waits for somebody who is putting its row back, s. */
#define UNDO_PAUSE 30

/* How long a key waits for a copy, s. */
#define COPY_PAUSE 60

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
	List	   *prefixes = vf_settings_list(wave->orphans ?
											vf_orphan_prefixes :
											vf_deletable_prefixes);

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
			drop(entry, marked, "OutsidePrefixes", wave->orphans ?
				 "the key is not under voiceframe.orphan_prefixes" :
				 VF_OUTSIDE_MESSAGE, cancelled);
	}
}

static bool
mark_referenced(const VfOutboxEntry *entry, char **referenced, int n,
				bool *marked)
{
	bool		any = false;

	for (int i = 0; i < entry->nkeys; i++)
	{
		marked[i] = bsearch(&entry->keys[i], referenced, n, sizeof(char *),
						  pg_qsort_strcmp) != NULL;
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
	qsort(referenced, n, sizeof(char *), pg_qsort_strcmp);
	for (int i = 0; i < wave->n; i++)
	{
		VfOutboxEntry *entry = &wave->entries[i];
		bool	   *marked = palloc(sizeof(bool) * Max(entry->nkeys, 1));

		if (mark_referenced(entry, referenced, n, marked))
			drop(entry, marked, VF_REFERENCED, VF_REFERENCED_MESSAGE,
				 cancelled);
	}
}

/*
 * A copy needs its source until it is made, and what lies at its destination
 * is about to be named by a row.
 */
void
vf_wave_defer_copied(VfWave *wave)
{
	int			n_all;
	char	  **all = all_keys(wave, &n_all);
	int			n;
	char	  **copied = vf_outbox_copied(all, n_all, &n);

	qsort(copied, n, sizeof(char *), pg_qsort_strcmp);
	for (int i = 0; i < wave->n && n > 0; i++)
	{
		VfOutboxEntry *entry = &wave->entries[i];
		bool	   *marked = palloc(sizeof(bool) * Max(entry->nkeys, 1));

		if (mark_referenced(entry, copied, n, marked))
			vf_outbox_defer_keys(entry, marked, GetCurrentTimestamp() +
								 COPY_PAUSE * USECS_PER_SEC, "CopyWaits",
								 "a copy that is still to be made names the object");
	}
}

/* ---- another look ---- */

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

/*
 * Each statement sees another moment, and the one over all references takes
 * its time.  What passes from undo, or from a copy, to a row meanwhile has to
 * be seen before it, and what a purge takes the other way after it.
 */
void
vf_wave_look_again(const VfSource *source, char *const *keys, int n,
				   VfWaveLook *look)
{
	look->undo = undo_keys(keys, n, &look->n_undo);
	look->copied = vf_outbox_copied(keys, n, &look->n_copied);
	qsort(look->copied, look->n_copied, sizeof(char *), pg_qsort_strcmp);
	look->referenced = vf_source_referenced(source, keys, n,
											&look->n_referenced);
	qsort(look->referenced, look->n_referenced, sizeof(char *),
		  pg_qsort_strcmp);
	look->undo_now = undo_keys(keys, n, &look->n_undo_now);
}

bool
vf_wave_still_goes(const VfWaveLook *look, const char *key, VfKeyOutcome *o)
{
	if (has_text(look->referenced, look->n_referenced, key))
	{
		vf_wave_set_outcome(o, VF_FATE_CANCELLED, VF_REFERENCED,
							VF_REFERENCED_MESSAGE);
		return false;
	}
	return !has_text(look->undo, look->n_undo, key) &&
		!has_text(look->undo_now, look->n_undo_now, key) &&
		!has_text(look->copied, look->n_copied, key);
}
