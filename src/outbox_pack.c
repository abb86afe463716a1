/*-------------------------------------------------------------------------
 *
 * outbox_pack.c
 *	  The outbox, table vf_outbox: putting keys in.
 *
 * Keys are collected, each counted once, and written as entries of up to
 * 1,000.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "port/pg_bitutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "db.h"
#include "outbox.h"
#include "settings.h"
#include "texts.h"
#include "wake.h"

/*
 * What no key of S3 comes near, an application's column may still hold: an
 * entry of such keys must stay a value that the database can store.
 */
#define MAX_ENTRY_BYTES (16 * 1024 * 1024)

/* How many keys a look into a hash table is begun before it is needed. */
#define FETCH_AHEAD 16

/* What a collected key becomes. */
typedef enum VfPackKind
{
	PACK_QUEUE,
	PACK_OUTSIDE,				/* not under a deletable prefix */
	PACK_KEEP,					/* an order keeps its session */
	PACK_AGAIN					/* the same as one before */
} VfPackKind;

typedef struct PackedKey
{
	uint32		hash;
	VfPackKind	kind;
} PackedKey;

struct VfOutboxPack
{
	int64		run_id;
	const char *endpoint;
	const char *bucket;
	TimestampTz not_before;		/* DT_NOBEGIN: at once */
	int64		undo_batch;		/* 0: none */
	int64		orphan_scan;	/* 0: none */
	List	   *prefixes;
	VfTexts		texts;			/* the keys themselves */
	PackedKey  *keys;			/* and what is known of each */
	int			max_keys;
	VfDbPlan   *insert;			/* while entries are written */
};

VfOutboxPack *
vf_outbox_pack(int64 run_id, const char *endpoint, const char *bucket)
{
	VfOutboxPack *pack = palloc0(sizeof(VfOutboxPack));

	pack->run_id = run_id;
	pack->endpoint = endpoint;
	pack->bucket = bucket;
	pack->not_before = DT_NOBEGIN;
	pack->prefixes = vf_settings_list(vf_deletable_prefixes);
	vf_texts_init(&pack->texts);
	pack->max_keys = VF_OUTBOX_MAX_KEYS;
	pack->keys = palloc(sizeof(PackedKey) * pack->max_keys);
	return pack;
}

void
vf_outbox_pack_clear(VfOutboxPack *pack)
{
	vf_texts_clear(&pack->texts);
	pack->not_before = DT_NOBEGIN;
	pack->undo_batch = 0;
}

void
vf_outbox_pack_hold(VfOutboxPack *pack, TimestampTz not_before,
					int64 undo_batch)
{
	pack->not_before = not_before;
	pack->undo_batch = undo_batch;
}

void
vf_outbox_pack_orphans(VfOutboxPack *pack, int64 orphan_scan)
{
	pack->orphan_scan = orphan_scan;
	pack->prefixes = vf_settings_list(vf_orphan_prefixes);
}

static bool
same_key(const VfOutboxPack *pack, int i, int j)
{
	const text *a,
			   *b;

	if (pack->keys[i].hash != pack->keys[j].hash)
		return false;
	a = vf_texts_get(&pack->texts, i);
	b = vf_texts_get(&pack->texts, j);
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

/*
 * Mark all but the first of equal keys; a reason to keep one keeps it.  Done
 * for all at once, so that the slots to come can be fetched ahead: each is far
 * from the last one, and waiting for memory is most of the work.
 */
static void
mark_duplicates(VfOutboxPack *pack)
{
	int			nkeys = pack->texts.n;
	uint32		n = pg_nextpower2_32((uint32) nkeys * 2 + 1);
	uint32		mask = n - 1;
	int		   *slots = MemoryContextAllocHuge(CurrentMemoryContext,
											   sizeof(int) * n);

	memset(slots, -1, sizeof(int) * n);
	for (int i = 0; i < nkeys; i++)
	{
		PackedKey  *key = &pack->keys[i];
		uint32		at = key->hash & mask;

		if (i + FETCH_AHEAD < nkeys)
			__builtin_prefetch(&slots[key[FETCH_AHEAD].hash & mask]);
		while (slots[at] >= 0 && !same_key(pack, slots[at], i))
			at = (at + 1) & mask;
		if (slots[at] < 0)
		{
			slots[at] = i;
			continue;
		}
		if (key->kind == PACK_KEEP &&
			pack->keys[slots[at]].kind == PACK_QUEUE)
			pack->keys[slots[at]].kind = PACK_KEEP;
		key->kind = PACK_AGAIN;
	}
	pfree(slots);
}

bool
vf_outbox_deletable(const List *prefixes, const char *key, int len)
{
	const ListCell *lc;

	foreach(lc, prefixes)
	{
		const char *prefix = lfirst(lc);

		size_t		n = strlen(prefix);

		if (len > 0 && n <= (size_t) len && memcmp(key, prefix, n) == 0)
			return true;
	}
	return false;
}

bool
vf_outbox_pack_queues(const VfOutboxPack *pack, const char *key, int len)
{
	return vf_outbox_deletable(pack->prefixes, key, len);
}

static void
collect(VfOutboxPack *pack, const char *key, int len, VfPackKind kind)
{
	PackedKey  *packed;

	if (key == NULL || len <= 0)
		return;
	if (pack->texts.n == pack->max_keys)
	{
		pack->max_keys *= 2;
		pack->keys = repalloc_huge(pack->keys,
								   sizeof(PackedKey) * pack->max_keys);
	}
	packed = &pack->keys[pack->texts.n];
	vf_texts_add(&pack->texts, key, len);
	packed->hash = hash_bytes((const unsigned char *) key, len);
	packed->kind = vf_outbox_deletable(pack->prefixes, key, len) ?
		kind : PACK_OUTSIDE;
}

void
vf_outbox_pack_add(VfOutboxPack *pack, const char *key, int len)
{
	collect(pack, key, len, PACK_QUEUE);
}

void
vf_outbox_pack_keep(VfOutboxPack *pack, const char *key, int len)
{
	collect(pack, key, len, PACK_KEEP);
}

/* The values of a new entry; its run, bucket and state stay for the next. */
enum
{
	NEW_RUN, NEW_ENDPOINT, NEW_BUCKET, NEW_STATE, NEW_CODE, NEW_MESSAGE,
	NEW_NOT_BEFORE, NEW_BATCH, NEW_SCAN, NEW_KEYS
};

/* Insert one entry. */
static void
insert_entry(VfOutboxPack *pack, VfDbArgs *args, Datum *keys, int n)
{
	if (n == 0)
		return;
	args->n = NEW_KEYS;
	vf_db_arg_text_datums(args, keys, n);
	if (pack->insert == NULL)
		pack->insert =
			vf_db_prepare("INSERT INTO {vf}.vf_outbox (run_id, endpoint,"
						  " bucket, state, last_error_code, last_error,"
						  " not_before, undo_batch, orphan_scan, keys, nkeys,"
						  " next_attempt_at) VALUES ($1, $2, $3, $4, $5, $6,"
						  " $7, $8, $9, $10, pg_catalog.cardinality($10),"
						  " coalesce($7, pg_catalog.clock_timestamp()))",
						  args);
	vf_db_run_plan(pack->insert, args);
	pfree(DatumGetPointer(args->values[NEW_KEYS]));
}

void
vf_outbox_lock(int timeout_ms)
{
	VfDbSection section;

	vf_db_enter_self(&section);
	vf_db_set("lock_timeout", psprintf("%d", timeout_ms));
	vf_db_runf("LOCK TABLE {vf}.vf_outbox IN ROW EXCLUSIVE MODE", NULL);
	vf_db_leave(&section);
}

/* Write the keys of one kind, in the state and with the code of args. */
static int64
write_kind(VfOutboxPack *pack, VfPackKind kind, const char *state,
		   const char *code, const char *message)
{
	VfDbArgs	args = {0};
	Datum		keys[VF_OUTBOX_MAX_KEYS];
	int64		total = 0;
	Size		bytes = 0;
	int			n = 0;

	vf_db_arg(&args, INT8OID, Int64GetDatum(pack->run_id));
	vf_db_arg_text(&args, pack->endpoint);
	vf_db_arg_text(&args, pack->bucket);
	vf_db_arg_text(&args, state);
	vf_db_arg_text(&args, code);
	vf_db_arg_text(&args, message);
	if (TIMESTAMP_IS_NOBEGIN(pack->not_before))
		vf_db_arg_null(&args, TIMESTAMPTZOID);
	else
		vf_db_arg(&args, TIMESTAMPTZOID,
				  TimestampTzGetDatum(pack->not_before));
	vf_db_arg_id(&args, pack->undo_batch);
	vf_db_arg_id(&args, pack->orphan_scan);
	for (int i = 0; i < pack->texts.n; i++)
	{
		text	   *key;

		if (pack->keys[i].kind != kind)
			continue;
		key = vf_texts_get(&pack->texts, i);
		if (n == VF_OUTBOX_MAX_KEYS ||
			bytes + VARSIZE(key) > MAX_ENTRY_BYTES)
		{
			insert_entry(pack, &args, keys, n);
			n = 0;
			bytes = 0;
		}
		keys[n++] = PointerGetDatum(key);
		bytes += VARSIZE(key);
		total++;
	}
	insert_entry(pack, &args, keys, n);
	return total;
}

void
vf_outbox_pack_write(VfOutboxPack *pack, int64 *queued, int64 *cancelled)
{
	VfDbSection section;

	mark_duplicates(pack);
	pack->insert = NULL;
	vf_db_enter_self(&section);
	*queued = write_kind(pack, PACK_QUEUE, "waiting", NULL, NULL);
	*cancelled = write_kind(pack, PACK_OUTSIDE, "cancelled",
							"OutsidePrefixes", VF_OUTSIDE_MESSAGE);
	*cancelled += write_kind(pack, PACK_KEEP, "cancelled", "KeptByOrder",
							 "an order keeps the session that was deleted");
	if (pack->insert != NULL)
		vf_db_free_plan(pack->insert);
	vf_db_leave(&section);
	if (*queued > 0)
		vf_wake_at_commit();
}

int64
vf_outbox_take_in(const char *endpoint, const char *bucket)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	vf_db_run_self("WITH u AS (UPDATE {vf}.vf_outbox"
						  " SET endpoint = $1, bucket = $2"
						  " WHERE bucket IS NULL RETURNING nkeys)"
						  " SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM u", &args);
	return vf_db_int(0, 0);
}
