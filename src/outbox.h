/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  The keys that are to be deleted, and every way their entries change.
 *
 * An entry holds up to 1,000 keys of one bucket, one DeleteObjects request.
 * States: waiting, claimed (leased to a drainer), dead, cancelled.  A confirmed
 * entry is gone.  vf_outbox_settle() is the only way out of claimed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_OUTBOX_H
#define VF_OUTBOX_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

#define VF_OUTBOX_MAX_KEYS 1000

#define VF_OUTSIDE_MESSAGE "the key is not under voiceframe.deletable_prefixes"

/* ---- putting keys in ---- */

typedef struct VfOutboxPack VfOutboxPack;

/*
 * Collect keys in the current memory context.  endpoint and bucket may both be
 * NULL: the keys then wait until a bucket is registered.
 */
extern VfOutboxPack *vf_outbox_pack(int64 run_id, const char *endpoint,
									const char *bucket);

/* Begin again with none; the memory stays. */
extern void vf_outbox_pack_clear(VfOutboxPack *pack);

/*
 * Add a key: null and empty ones are none, one that is there already counts
 * once, one outside voiceframe.deletable_prefixes is cancelled for that reason.
 */
extern void vf_outbox_pack_add(VfOutboxPack *pack, const char *key, int len);

/* The same for a key that must stay: an order keeps its session. */
extern void vf_outbox_pack_keep(VfOutboxPack *pack, const char *key, int len);

/* Would the key be queued, not cancelled? */
extern bool vf_outbox_pack_queues(const VfOutboxPack *pack, const char *key,
								  int len);

/* Is the key under one of voiceframe.deletable_prefixes? */
extern bool vf_outbox_deletable(const List *prefixes, const char *key,
								int len);

/*
 * Take the lock that writing needs, waiting timeout_ms at most (55P03), while
 * the caller holds nothing that others wait for.
 */
extern void vf_outbox_lock(int timeout_ms);

/*
 * Hold what is written from now on until then, for the undo of a batch; the
 * next vf_outbox_pack_clear() ends it.
 */
extern void vf_outbox_pack_hold(VfOutboxPack *pack, TimestampTz not_before,
								int64 undo_batch);

/*
 * What is written from now on are orphans, that this scan had seen as they
 * are: keys under voiceframe.orphan_prefixes are queued.
 */
extern void vf_outbox_pack_orphans(VfOutboxPack *pack, int64 orphan_scan);

/* Write the entries, in the caller's transaction. */
extern void vf_outbox_pack_write(VfOutboxPack *pack, int64 *queued,
								 int64 *cancelled);

/* Give the entries without a bucket to this one; returns keys. */
extern int64 vf_outbox_take_in(const char *endpoint, const char *bucket);

/* ---- taking keys out ---- */

/* What is to be done with the keys of an entry (outbox_copy.h has copies). */
#define VF_OUTBOX_DELETE "delete"
#define VF_OUTBOX_COPY "copy"

typedef struct VfOutboxEntry
{
	int64		id;
	int64		token;			/* of the lease */
	int			attempts;
	bool		first_claim;	/* no request was made before this claim */
	int64		orphan_scan;	/* of orphans: the scan that had seen them as
								 * they are; 0: keys of rows that went */
	bool		copy;			/* else its keys are to be deleted */
	int			nkeys;
	char	  **keys;
} VfOutboxEntry;

typedef struct VfOutboxClaim
{
	const char *kind;
	const char *endpoint;
	const char *bucket;
	TimestampTz now;
	TimestampTz lease_until;
	bool		orphans;		/* entries of orphans, or those of rows */
	int			max;
} VfOutboxClaim;

/*
 * Lease up to max entries of a kind and a bucket whose time has come, oldest
 * first, skipping those that others hold; an entry whose lease has ended
 * counts as waiting.  The caller commits before it acts on them.
 */
extern VfOutboxEntry *vf_outbox_claim(const VfOutboxClaim *claim, int *n);

typedef enum VfKeyFate
{
	VF_FATE_CONFIRMED,			/* deleted, or never there */
	VF_FATE_AGAIN,				/* waiting, one attempt more */
	VF_FATE_AGAIN_FREE,			/* waiting, attempt not counted */
	VF_FATE_DEAD,
	VF_FATE_CANCELLED
} VfKeyFate;

typedef struct VfKeyOutcome
{
	VfKeyFate	fate;
	int			part;			/* keys of different parts part company */
	const char *code;			/* NULL when confirmed */
	const char *message;
	TimestampTz next_attempt;	/* for the two AGAINs */
} VfKeyOutcome;

typedef struct VfOutboxCounts
{
	int64		confirmed;
	int64		again;
	int64		dead;
	int64		cancelled;
} VfOutboxCounts;

/*
 * Settle a claimed entry, key by key.  Returns false, having changed nothing,
 * if the lease is no longer the entry's: another drainer has it.
 */
extern bool vf_outbox_settle(const VfOutboxEntry *entry,
							 const VfKeyOutcome *outcomes,
							 VfOutboxCounts *counts);

/*
 * In the claiming transaction: take the keys marked out of the entry, as
 * cancelled for that reason.  An entry left empty is gone (nkeys = 0).
 */
extern void vf_outbox_drop_keys(VfOutboxEntry *entry, const bool *drop,
								const char *code, const char *message);

/* The same, but the keys wait until then, their attempt not counted. */
extern void vf_outbox_defer_keys(VfOutboxEntry *entry, const bool *defer,
								 TimestampTz until, const char *code,
								 const char *message);

/* ---- undo ---- */

/* What became of the keys that a batch of a purge queued. */
typedef enum VfHeldState
{
	VF_HELD_SAFE,				/* never claimed, cancelled or dead */
	VF_HELD_UNCERTAIN,			/* it was claimed, and waits again */
	VF_HELD_IN_FLIGHT			/* a lease has not ended */
} VfHeldState;

typedef struct VfOutboxHeld
{
	int64		id;
	char	   *endpoint;		/* NULL: no bucket yet */
	char	   *bucket;
	VfHeldState state;
	bool		cancelled;		/* it has been taken out already */
	int			nkeys;
	char	  **keys;
	bool	   *taken;			/* by vf_outbox_take_keys(); all false */
} VfOutboxHeld;

/*
 * Lock the entries of an undo batch and read them; none can be claimed until
 * the transaction ends.
 */
extern VfOutboxHeld *vf_outbox_hold_batch(int64 undo_batch, int *n);

/*
 * Take the keys marked out of the entry: cancelled for that reason, or, with
 * no code, to be deleted without waiting any longer.  Returns how many.
 */
extern int64 vf_outbox_take_keys(const VfOutboxHeld *held, const char *code,
								 const char *message);

/* Let a batch's entries (0: of all batches) go without waiting any longer. */
extern void vf_outbox_release_batch(int64 undo_batch);

/* Dead entries (id 0: all) wait again; returns keys. */
extern int64 vf_outbox_retry(int64 id);

/* Cancel a waiting or dead entry; returns keys, 0 if there is none such. */
extern int64 vf_outbox_cancel(int64 id, const char *reason);

/* Keys waiting, claimed or dead. */
extern int64 vf_outbox_pending(void);
/* Keys waiting or claimed. */
extern int64 vf_outbox_waiting(void);
/* Forget them all (vf_unconfigure(discard => true)). */
extern void vf_outbox_discard(void);
/* Forget cancelled keys older than this. */
extern void vf_outbox_prune(TimestampTz before);

#endif							/* VF_OUTBOX_H */
