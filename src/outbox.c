/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  The outbox: table vf_outbox.
 *
 * Entries are packed, up to 1,000 keys each, so that claiming and settling
 * cost one row change per request, not per key.  A claimed entry's
 * next_attempt_at is the end of its lease: one index and one comparison find
 * both what waits and what a dead drainer left behind.  When only part of an
 * entry is done, the entry goes and the keys left over come back as new ones.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "utils/builtins.h"
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
	List	   *prefixes;
	VfTexts		texts;			/* the keys themselves */
	PackedKey  *keys;			/* and what is known of each */
	int			max_keys;
	VfDbPlan   *insert;			/* while entries are written */
};

/* ---- putting keys in ---- */

VfOutboxPack *
vf_outbox_pack(int64 run_id, const char *endpoint, const char *bucket)
{
	VfOutboxPack *pack = palloc0(sizeof(VfOutboxPack));

	pack->run_id = run_id;
	pack->endpoint = endpoint;
	pack->bucket = bucket;
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
	NEW_KEYS
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
						  " bucket, state, last_error_code, last_error, keys,"
						  " nkeys) VALUES ($1, $2, $3, $4, $5, $6, $7,"
						  " pg_catalog.cardinality($7))", args);
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

/* Run a statement of ours that returns one number. */
static int64
run_for_number(const char *template, const VfDbArgs *args)
{
	return vf_db_run_self(template, args) > 0 ? vf_db_int(0, 0) : 0;
}

int64
vf_outbox_take_in(const char *endpoint, const char *bucket)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	return run_for_number("WITH u AS (UPDATE {vf}.vf_outbox"
						  " SET endpoint = $1, bucket = $2"
						  " WHERE bucket IS NULL RETURNING nkeys)"
						  " SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM u", &args);
}

/* ---- taking keys out ---- */

static int64
new_token(void)
{
	int64		token;

	if (!pg_strong_random(&token, sizeof(token)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a lease token")));
	return token;
}

VfOutboxEntry *
vf_outbox_claim(const char *endpoint, const char *bucket, TimestampTz now,
				TimestampTz lease_until, int max, int *n)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfOutboxEntry *entries;
	int64		token = new_token();

	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(lease_until));
	vf_db_arg(&args, INT4OID, Int32GetDatum(max));
	vf_db_arg(&args, INT8OID, Int64GetDatum(token));
	vf_db_arg(&args, INT4OID, Int32GetDatum(MyProcPid));

	vf_db_enter_self(&section);
	*n = (int) vf_db_runf("WITH pick AS MATERIALIZED ("
						  "SELECT id FROM {vf}.vf_outbox"
						  " WHERE state IN ('waiting', 'claimed')"
						  " AND next_attempt_at <= $3"
						  " AND endpoint = $1 AND bucket = $2"
						  " ORDER BY next_attempt_at, id LIMIT $5"
						  " FOR UPDATE SKIP LOCKED)"
						  " UPDATE {vf}.vf_outbox o SET state = 'claimed',"
						  " next_attempt_at = $4, lease_token = $6,"
						  " lease_pid = $7 FROM pick WHERE o.id = pick.id"
						  " RETURNING o.id, o.attempts::int8, o.keys", &args);
	vf_db_leave(&section);

	entries = palloc0(sizeof(VfOutboxEntry) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		entries[i].id = vf_db_int(i, 0);
		entries[i].token = token;
		entries[i].attempts = (int) vf_db_int(i, 1);
		entries[i].keys = vf_db_texts(i, 2, &entries[i].nkeys);
	}
	return entries;
}

/* Do two outcomes share a row in the outbox? */
static bool
same_row(const VfKeyOutcome *a, const VfKeyOutcome *b)
{
	return a->fate == b->fate && a->part == b->part &&
		strcmp(a->code, b->code) == 0;
}

/*
 * Insert the keys that share outcome i's row, as what becomes of them.  The
 * new entry keeps the run, the bucket and the age of the settled one, whose
 * values come in args ($1 run, $2 endpoint, $3 bucket, $4 queued_at).
 */
static void
insert_rest(const VfOutboxEntry *entry, const VfKeyOutcome *outcomes, int i,
			bool *done, VfDbArgs args, VfOutboxCounts *counts)
{
	const VfKeyOutcome *o = &outcomes[i];
	bool		again = o->fate == VF_FATE_AGAIN ||
		o->fate == VF_FATE_AGAIN_FREE;
	char	   *keys[VF_OUTBOX_MAX_KEYS];
	int			n = 0;

	for (int j = i; j < entry->nkeys; j++)
	{
		if (done[j] || outcomes[j].fate == VF_FATE_CONFIRMED ||
			!same_row(o, &outcomes[j]))
			continue;
		done[j] = true;
		keys[n++] = entry->keys[j];
	}
	if (again)
		counts->again += n;
	else if (o->fate == VF_FATE_DEAD)
		counts->dead += n;
	else
		counts->cancelled += n;

	vf_db_arg_texts(&args, keys, n);
	vf_db_arg_text(&args, again ? "waiting" :
				   o->fate == VF_FATE_DEAD ? "dead" : "cancelled");
	vf_db_arg(&args, INT4OID,
			  Int32GetDatum(entry->attempts +
							(o->fate != VF_FATE_AGAIN_FREE)));
	vf_db_arg(&args, TIMESTAMPTZOID,
			  TimestampTzGetDatum(again ? o->next_attempt :
								  GetCurrentTimestamp()));
	vf_db_arg_text(&args, o->code);
	vf_db_arg_text(&args, o->message);
	vf_db_runf("INSERT INTO {vf}.vf_outbox (run_id, endpoint, bucket,"
			   " queued_at, keys, nkeys, state, attempts, next_attempt_at,"
			   " last_error_code, last_error)"
			   " VALUES ($1, $2, $3, $4, $5, pg_catalog.cardinality($5), $6,"
			   " $7, $8, $9, $10)", &args);
}

/* Take the entry out if the lease still holds; its values go to args. */
static bool
remove_claimed(const VfOutboxEntry *entry, VfDbArgs *rest)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->id));
	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->token));
	if (vf_db_runf("DELETE FROM {vf}.vf_outbox"
				   " WHERE id = $1 AND lease_token = $2 AND state = 'claimed'"
				   " RETURNING run_id, endpoint, bucket, queued_at",
				   &args) == 0)
		return false;
	vf_db_arg(rest, INT8OID, Int64GetDatum(vf_db_int(0, 0)));
	vf_db_arg_text(rest, vf_db_text(0, 1));
	vf_db_arg_text(rest, vf_db_text(0, 2));
	vf_db_arg(rest, TIMESTAMPTZOID, TimestampTzGetDatum(vf_db_time(0, 3)));
	return true;
}

/* All keys wait again for one reason: the row stays, only its state changes. */
static bool
put_back(const VfOutboxEntry *entry, const VfKeyOutcome *o)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->id));
	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->token));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(o->next_attempt));
	vf_db_arg(&args, INT4OID, Int32GetDatum(o->fate == VF_FATE_AGAIN));
	vf_db_arg_text(&args, o->code);
	vf_db_arg_text(&args, o->message);
	return vf_db_runf("UPDATE {vf}.vf_outbox SET state = 'waiting',"
					  " lease_token = NULL, lease_pid = NULL,"
					  " next_attempt_at = $3, attempts = attempts + $4,"
					  " last_error_code = $5, last_error = $6"
					  " WHERE id = $1 AND lease_token = $2"
					  " AND state = 'claimed' RETURNING 1", &args) > 0;
}

/* Is the whole entry to wait again, in one piece? */
static bool
waits_whole(const VfOutboxEntry *entry, const VfKeyOutcome *outcomes)
{
	if (outcomes[0].fate != VF_FATE_AGAIN &&
		outcomes[0].fate != VF_FATE_AGAIN_FREE)
		return false;
	for (int i = 1; i < entry->nkeys; i++)
	{
		if (outcomes[i].fate == VF_FATE_CONFIRMED ||
			!same_row(&outcomes[0], &outcomes[i]))
			return false;
	}
	return true;
}

bool
vf_outbox_settle(const VfOutboxEntry *entry, const VfKeyOutcome *outcomes,
				 VfOutboxCounts *counts)
{
	VfDbSection section;
	VfDbArgs	rest = {0};
	bool	   *done = palloc0(sizeof(bool) * entry->nkeys);
	bool		held;

	vf_db_enter_self(&section);
	if (waits_whole(entry, outcomes))
	{
		held = put_back(entry, &outcomes[0]);
		if (held)
			counts->again += entry->nkeys;
		vf_db_leave(&section);
		return held;
	}
	held = remove_claimed(entry, &rest);
	for (int i = 0; held && i < entry->nkeys; i++)
	{
		if (outcomes[i].fate == VF_FATE_CONFIRMED)
			counts->confirmed++;
		else if (!done[i])
			insert_rest(entry, outcomes, i, done, rest, counts);
	}
	vf_db_leave(&section);
	return held;
}

void
vf_outbox_drop_keys(VfOutboxEntry *entry, const bool *drop, const char *code,
					const char *message)
{
	VfKeyOutcome *outcomes = palloc0(sizeof(VfKeyOutcome) * entry->nkeys);
	VfOutboxCounts ignored = {0};
	VfDbSection section;
	VfDbArgs	args = {0};
	char	  **kept = palloc(sizeof(char *) * entry->nkeys);
	int			n = 0;

	for (int i = 0; i < entry->nkeys; i++)
	{
		outcomes[i].fate = VF_FATE_CANCELLED;
		outcomes[i].code = code;
		outcomes[i].message = message;
		if (!drop[i])
			kept[n++] = entry->keys[i];
	}
	if (n == 0)
	{
		(void) vf_outbox_settle(entry, outcomes, &ignored);
		entry->nkeys = 0;
		return;
	}

	/* The dropped ones go to a row of their own; the entry keeps its lease. */
	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->id));
	vf_db_arg_texts(&args, kept, n);
	vf_db_arg_text(&args, code);
	vf_db_arg_text(&args, message);
	vf_db_enter_self(&section);
	vf_db_runf("WITH gone AS (SELECT run_id, endpoint, bucket, queued_at,"
			   " ARRAY(SELECT k FROM pg_catalog.unnest(keys) k"
			   " WHERE k <> ALL ($2)) AS keys"
			   " FROM {vf}.vf_outbox WHERE id = $1)"
			   " INSERT INTO {vf}.vf_outbox (run_id, endpoint, bucket,"
			   " queued_at, keys, nkeys, state, last_error_code, last_error)"
			   " SELECT run_id, endpoint, bucket, queued_at, keys,"
			   " pg_catalog.cardinality(keys), 'cancelled', $3, $4 FROM gone",
			   &args);
	args.n = 2;
	vf_db_runf("UPDATE {vf}.vf_outbox SET keys = $2,"
			   " nkeys = pg_catalog.cardinality($2) WHERE id = $1", &args);
	vf_db_leave(&section);
	entry->keys = kept;
	entry->nkeys = n;
}

/* ---- what people do ---- */

int64
vf_outbox_retry(int64 id)
{
	VfDbArgs	args = {0};
	int64		keys;

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	keys = run_for_number("WITH u AS (UPDATE {vf}.vf_outbox"
						  " SET state = 'waiting', attempts = 0,"
						  " next_attempt_at = pg_catalog.now()"
						  " WHERE state = 'dead' AND (id = $1 OR $1 = 0)"
						  " RETURNING nkeys)"
						  " SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM u", &args);
	if (keys > 0)
		vf_wake_at_commit();
	return keys;
}

int64
vf_outbox_cancel(int64 id, const char *reason)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	vf_db_arg_text(&args, reason);
	return run_for_number("WITH u AS (UPDATE {vf}.vf_outbox"
						  " SET state = 'cancelled',"
						  " next_attempt_at = pg_catalog.now(),"
						  " last_error_code = 'Cancelled', last_error = $2"
						  " WHERE state IN ('waiting', 'dead') AND id = $1"
						  " RETURNING nkeys)"
						  " SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM u", &args);
}

int64
vf_outbox_pending(void)
{
	return run_for_number("SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM {vf}.vf_outbox WHERE state <> 'cancelled'",
						  NULL);
}

int64
vf_outbox_waiting(void)
{
	return run_for_number("SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM {vf}.vf_outbox"
						  " WHERE state IN ('waiting', 'claimed')", NULL);
}

void
vf_outbox_discard(void)
{
	vf_db_run_self("DELETE FROM {vf}.vf_outbox", NULL);
}

void
vf_outbox_prune(TimestampTz before)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(before));
	vf_db_run_self("DELETE FROM {vf}.vf_outbox WHERE id IN"
				   " (SELECT id FROM {vf}.vf_outbox"
				   " WHERE state = 'cancelled' AND next_attempt_at < $1"
				   " FOR UPDATE SKIP LOCKED)", &args);
}
