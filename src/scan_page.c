/*-------------------------------------------------------------------------
 *
 * scan_page.c
 *	  What a page of a list means for the inventory.
 *
 * A key that the database's encoding cannot say is counted and no more: no
 * row can reference it, and no entry of the outbox could name it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "drain_client.h"
#include "scan_page.h"
#include "settings.h"

/* So many prefixes of a range are counted each by itself; others together. */
#define MAX_PREFIXES 200
#define OTHER "(other)"

void
vf_scan_tally_init(VfScanTally *tally)
{
	memset(tally, 0, sizeof(*tally));
	tally->prefixes = vf_settings_list(vf_deletable_prefixes);
}

/* ---- keys ---- */

char *
vf_scan_to_database(const char *key, size_t len)
{
	int			encoding = GetDatabaseEncoding();
	Oid			proc;
	char	   *text;

	if (strlen(key) != len || !pg_verify_mbstr(PG_UTF8, key, (int) len, true))
		return NULL;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pnstrdup(key, len);
	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(proc))
		return NULL;
	text = palloc(len * MAX_CONVERSION_GROWTH + 1);
	if (pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding,
									  (unsigned char *) key, (int) len,
									  (unsigned char *) text,
									  (int) len * MAX_CONVERSION_GROWTH + 1,
									  true) != (int) len)
		return NULL;
	return text;
}

/* ---- usage ---- */

/* How many bytes of the key are the prefix that it counts under? */
static size_t
prefix_length(const VfScanTally *tally, const char *key, size_t len)
{
	const char *slash = memchr(key, '/', len);
	size_t		longest = 0;
	ListCell   *lc;

	foreach(lc, tally->prefixes)
	{
		size_t		n = strlen(lfirst(lc));

		if (n > longest && n <= len && memcmp(key, lfirst(lc), n) == 0)
			longest = n;
	}
	if (longest > 0)
		return longest;
	return slash == NULL ? 0 : slash - key + 1;
}

/*
 * The prefix that a key counts under.  Lists are in order, so that a prefix
 * that differs from the last one is a new one, or nearly.
 */
static char *
prefix_of(VfScanTally *tally, const char *key, size_t len)
{
	char	   *prefix;
	size_t		n = prefix_length(tally, key, len);

	if (n >= sizeof(tally->last))
		return OTHER;
	prefix = vf_scan_to_database(pnstrdup(key, n), n);
	if (prefix == NULL)
		return OTHER;
	if (tally->n_seen == 0 || strncmp(tally->last, key, n) != 0 ||
		tally->last[n] != '\0')
	{
		if (tally->n_seen >= MAX_PREFIXES)
			return OTHER;
		tally->n_seen++;
		memcpy(tally->last, key, n);
		tally->last[n] = '\0';
	}
	return prefix;
}

static void
count(VfScanMerge *merge, char *prefix, const VfS3Found *found)
{
	VfUsageKind kind = found->upload != NULL ? VF_USAGE_UPLOAD :
		found->marker ? VF_USAGE_MARKER :
		found->latest ? VF_USAGE_CURRENT : VF_USAGE_NONCURRENT;
	VfUsage    *u;

	merge->listed++;
	merge->bytes += found->size;
	for (int i = 0; i < merge->n_usage; i++)
	{
		u = &merge->usage[i];
		if (u->kind == kind && strcmp(u->prefix, prefix) == 0 &&
			strcmp(u->storage_class, found->storage_class) == 0)
		{
			u->objects++;
			u->bytes += found->size;
			return;
		}
	}
	u = &merge->usage[merge->n_usage++];
	u->prefix = prefix;
	u->kind = kind;
	u->storage_class = found->storage_class;
	u->objects = 1;
	u->bytes = found->size;
}

/* ---- a page ---- */

static TimestampTz
time_of(double seconds)
{
	return (TimestampTz) ((seconds - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
						   (double) SECS_PER_DAY) * USECS_PER_SEC);
}

static void
add_object(VfScanMerge *merge, char *key, const VfS3Found *found)
{
	VfInventoryObject *object = &merge->objects[merge->n_objects++];

	object->key = key;
	object->bytes = found->size;
	object->etag = found->etag;
	object->storage_class = found->storage_class;
	object->modified = time_of(found->modified);
}

void
vf_scan_read_uploads(VfScanTally *tally, const VfS3Page *page,
					 VfScanMerge *merge)
{
	memset(merge, 0, sizeof(*merge));
	merge->usage = palloc(sizeof(VfUsage) * (page->n + 1));
	for (int i = 0; i < page->n; i++)
	{
		const VfS3Found *found = &page->found[i];

		if (found->size >= 0)
			count(merge, prefix_of(tally, found->key, found->len), found);
	}
}

/* Is the key behind the end of the range? */
static bool
is_behind(const VfS3Found *found, const char *high, size_t high_len)
{
	int			order;

	if (high == NULL)
		return false;
	order = memcmp(found->key, high, Min(found->len, high_len));
	return order > 0 || (order == 0 && found->len > high_len);
}

/* Remember where the next page begins, for longer than this page lives. */
static void
move_on(VfScanPart *part, const VfS3Page *page, const char *last, bool behind)
{
	MemoryContext old = CurrentMemoryContext;

	part->done = behind || !page->more;
	MemoryContextSwitchTo(MemoryContextGetParent(old));
	if (page->more)
	{
		pfree(part->at);
		pfree(part->at_version);
		part->at = pnstrdup(page->next_key, page->next_len);
		part->at_len = (int) page->next_len;
		part->at_version = pstrdup(page->next_version);
	}
	if (last != NULL)
	{
		if (part->merged_to != NULL)
			pfree(part->merged_to);
		part->merged_to = pstrdup(last);
	}
	MemoryContextSwitchTo(old);
}

void
vf_scan_read_page(VfScanTally *tally, const VfS3Page *page, VfScanPart *part,
				  VfScanMerge *merge)
{
	size_t		high_len = 0;
	char	   *high = part->high == NULL ? NULL :
		vf_drain_utf8(part->high, &high_len);
	char	   *last = NULL;
	bool		behind = false;

	memset(merge, 0, sizeof(*merge));
	merge->low = part->merged_to != NULL ? pstrdup(part->merged_to) :
		part->low;
	merge->objects = palloc(sizeof(VfInventoryObject) * (page->n + 1));
	merge->usage = palloc(sizeof(VfUsage) * (page->n + 1));
	for (int i = 0; i < page->n && !behind; i++)
	{
		const VfS3Found *found = &page->found[i];
		char	   *key;

		behind = is_behind(found, high, high_len);
		if (behind)
			break;
		count(merge, prefix_of(tally, found->key, found->len), found);
		key = vf_scan_to_database(found->key, found->len);
		if (key == NULL)
			continue;
		last = key;

		/* A store that is written to can say of two that they are it. */
		if (found->latest && !found->marker &&
			(merge->n_objects == 0 ||
			 strcmp(merge->objects[merge->n_objects - 1].key, key) != 0))
			add_object(merge, key, found);
	}
	move_on(part, page, last, behind);
	merge->high = part->done ? part->high :
		last != NULL ? last : merge->low == NULL ? "" : merge->low;
}
