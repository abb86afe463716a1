/*-------------------------------------------------------------------------
 *
 * purge_batch.c
 *	  The passes over a part of a table: pick what is due, delete it in
 *	  batches, look at what was left.
 *
 * Picking decides nothing: with one plan for a large part of the table it
 * finds the rows worth a batch, and counts those that an order keeps.  A batch
 * is two statements, each with a snapshot of its own:
 *
 *	1. lock the rows, skipping those that others hold.  A payment under way
 *	   holds its session FOR KEY SHARE through the guard; from here on a new
 *	   one waits for us.
 *	2. delete those rows, the whole condition repeated: a payment committed
 *	   between the first snapshot and the lock is seen by the second.
 *
 * Where the guard does not stand, a SHARE lock on orders between the two does
 * its work.  Where it stands, a lock on orders in ROW EXCLUSIVE mode, after
 * which we look once more, keeps it from being disabled until we commit.
 *
 * Rows are named by their address, which the lock keeps from changing, and
 * always within one leaf table: an address alone names the wrong row in a
 * partitioned one.
 *
 * Both statements belong to one subtransaction: a row locked by one and
 * deleted by another would cost a multixact each.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

#include "db.h"
#include "outbox.h"
#include "purge_batch.h"

/*
 * How long the SHARE lock waits for payments under way, ms.  It must give up
 * before deadlock_timeout (1 s) looks for a victim: that could be the payment.
 */
#define SHARE_LOCK_TIMEOUT 500

/* How deep a trigger of our own DELETE runs, -1 while there is none. */
static int	deleting = -1;

static int
trigger_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

bool
vf_purge_is_deleting(void)
{
	return deleting >= 0 && trigger_depth() == deleting;
}

/* ---- lists of row addresses ---- */

void
vf_tids_add(VfTids *tids, const ItemPointerData *tid)
{
	if (tids->n == tids->max)
	{
		tids->max = Max(tids->max * 2, 64);
		tids->at = tids->at == NULL ?
			palloc(sizeof(ItemPointerData) * tids->max) :
			repalloc_huge(tids->at, sizeof(ItemPointerData) * tids->max);
	}
	tids->at[tids->n++] = *tid;
}

static int
compare_tids(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) a, (ItemPointer) b);
}

static void
sort_tids(VfTids *tids)
{
	if (tids->n > 1)
		qsort(tids->at, tids->n, sizeof(ItemPointerData), compare_tids);
}

static void
arg_tids(VfDbArgs *args, const ItemPointerData *at, int n)
{
	static Oid	type = InvalidOid;
	Datum	   *elems = palloc(sizeof(Datum) * Max(n, 1));

	if (!OidIsValid(type))
		type = get_array_type(TIDOID);
	for (int i = 0; i < n; i++)
		elems[i] = PointerGetDatum(&at[i]);
	vf_db_arg(args, type,
			  PointerGetDatum(construct_array(elems, n, TIDOID,
											  sizeof(ItemPointerData), false,
											  TYPALIGN_SHORT)));
}

static ItemPointer
tid_at(uint64 row, int col)
{
	return (ItemPointer) DatumGetPointer(vf_db_datum(row, col));
}

/* ---- statements ---- */

/*
 * $7 to $9: a list of rows, in order, and the first and the last of them.  The
 * two ends let the planner read just the pages between them, where it would
 * otherwise read the whole table rather than fetch thousands of rows singly.
 */
#define LISTED_ROWS "s.ctid = ANY ($7) AND s.ctid >= $8 AND s.ctid <= $9"

static void
arg_list(VfDbArgs *args, const VfTids *tids)
{
	arg_tids(args, tids->at, tids->n);
	vf_db_arg(args, TIDOID, PointerGetDatum(&tids->at[0]));
	vf_db_arg(args, TIDOID, PointerGetDatum(&tids->at[tids->n - 1]));
}

/* The rows of the part: such a list, or $7 and $8, a range of blocks. */
static void
arg_rows(const VfPart *part, VfDbArgs *args)
{
	ItemPointer first = palloc(sizeof(ItemPointerData));
	ItemPointer end = palloc(sizeof(ItemPointerData));

	if (part->by_list)
	{
		arg_list(args, &part->list);
		return;
	}
	ItemPointerSet(first, part->first, 0);
	ItemPointerSet(end, part->end, 0);
	vf_db_arg(args, TIDOID, PointerGetDatum(first));
	vf_db_arg(args, TIDOID, PointerGetDatum(end));
}

static char *
columns_of_keys(const VfSource *source)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < source->sessions.nkeys; i++)
		appendStringInfo(&buf, ", s.%s", source->sessions.keys[i].quoted);
	return buf.data;
}

/*
 * Run a statement as the owner.  Joins with orders are hashed, with room for
 * it, or follow an index: merging would read all sessions in the order of
 * their tokens.
 */
static uint64
run_as_owner(const VfPart *part, const char *template, const VfDbArgs *args)
{
	char	   *schema = get_namespace_name(get_rel_namespace(part->leaf));
	VfDbName	extra[] = {
		{"leaf", quote_qualified_identifier(schema,
											get_rel_name(part->leaf))},
		{"rows", part->by_list ? LISTED_ROWS :
		"s.ctid >= $7 AND s.ctid < $8"},
		{"listed", LISTED_ROWS},
		{"keys", columns_of_keys(part->source)},
		{NULL, NULL}
	};
	VfDbSection section;
	uint64		n;

	vf_db_enter_owner(&section, part->source->sessions.owner);
	vf_db_set("work_mem", "32MB");
	vf_db_set("enable_mergejoin", "off");
	n = vf_db_run(vf_db_fill(template, vf_rules_names(part->source, extra)),
				  args);
	vf_db_leave(&section);
	return n;
}

/* ---- pick ---- */

static void
note_stay(VfPart *part, uint64 row, int id, VfStay why)
{
	if (why == VF_STAY_PAID)
		part->counts.kept_paid++;
	else
		part->counts.put_off++;
	part->stayed(part->stayed_arg, vf_db_text(row, id), why);
}

void
vf_purge_pick(void *arg)
{
	VfPart	   *part = arg;
	VfDbArgs	args = {0};
	uint64		n;
	int64		stays;

	vf_source_recheck(part->source);
	vf_rules_args(part->source, part->rules, &args);
	arg_rows(part, &args);

	/*
	 * One join for each question.  A single statement that asks both of each
	 * row falls back to looking up the orders of one session after the other
	 * as soon as orders outgrows a hash in memory; a join goes on in pieces.
	 */
	n = run_as_owner(part, "SELECT s.ctid FROM ONLY {leaf} s"
					 " WHERE {rows} AND {time_due} AND NOT {blocked}", &args);
	part->due->n = 0;
	for (uint64 i = 0; i < n; i++)
		vf_tids_add(part->due, tid_at(i, 0));
	sort_tids(part->due);

	n = run_as_owner(part, "SELECT s.{id}::pg_catalog.text"
					 " FROM ONLY {leaf} s WHERE {rows} AND {time_due}"
					 " AND EXISTS (SELECT 1 FROM {orders} o"
					 " WHERE {matches} AND {pays})", &args);
	for (uint64 i = 0; i < n; i++)
		note_stay(part, i, 0, VF_STAY_PAID);

	/* What is neither is in checkout. */
	run_as_owner(part, "SELECT pg_catalog.count(*) FROM ONLY {leaf} s"
				 " WHERE {rows} AND {time_due}", &args);
	stays = vf_db_int(0, 0) - part->due->n - (int64) n;
	part->counts.put_off += Max(stays, 0);
}

/* ---- delete ---- */

/* Rows that we hold, and the tokens by which orders name them. */
typedef struct Locked
{
	VfTids		tids;
	Datum	   *tokens;			/* in no order */
	int			n_tokens;
} Locked;

/* Statement 1: lock the rows of the batch. */
static void
lock_rows(VfPart *part, Locked *locked)
{
	VfDbArgs	args = {0};
	uint64		n;

	vf_rules_args(part->source, part->rules, &args);
	arg_list(&args, &part->batch);
	n = run_as_owner(part, "SELECT s.ctid, s.{token}::pg_catalog.text"
					 " FROM ONLY {leaf} s WHERE {listed} AND {time_due}"
					 " FOR UPDATE OF s SKIP LOCKED", &args);
	memset(locked, 0, sizeof(*locked));
	locked->tokens = palloc(sizeof(Datum) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		vf_tids_add(&locked->tids, tid_at(i, 0));
		if (!vf_db_is_null(i, 1))
			locked->tokens[locked->n_tokens++] =
				datumCopy(vf_db_datum(i, 1), false, -1);
	}
	sort_tids(&locked->tids);
}

/* Keep payments from slipping between the two statements. */
static void
hold_payments(const VfPart *part)
{
	Oid			orders = part->source->orders.relid;
	VfGuardState guard = vf_source_guard_state(part->source);

	if (guard == VF_GUARD_STANDS)
	{
		vf_db_lock(orders, RowExclusiveLock, SHARE_LOCK_TIMEOUT);
		guard = vf_source_guard_state(part->source);
		if (vf_source_guard_failing())
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("a payment is under way that the payment guard could not link to its session"),
					 errhint("The sessions are looked at again in the next run.")));
	}
	if (guard != VF_GUARD_STANDS)
		vf_db_lock(orders, ShareLock, SHARE_LOCK_TIMEOUT);
}

/*
 * Statement 2, and the outbox rows with it; gone lists the rows deleted.  The
 * orders that keep a session are looked up for the batch's tokens at once: by
 * their index, or in one reading of orders, which is cheaper than to hash all
 * of them anew for each batch.
 */
static void
delete_rows(VfPart *part, const Locked *locked, VfTids *gone)
{
	const VfBucket *bucket = part->bucket;
	VfDbArgs	args = {0};
	VfOutboxPack *pack;
	volatile uint64 n = 0;

	vf_rules_args(part->source, part->rules, &args);
	arg_list(&args, &locked->tids);
	vf_db_arg_text_datums(&args, locked->tokens, locked->n_tokens);
	part->deleting = true;
	deleting = trigger_depth() + 1;
	PG_TRY();
	{
		n = run_as_owner(part, "DELETE FROM ONLY {leaf} s"
						 " WHERE {listed} AND {time_due}"
						 " AND s.{token} <> ALL (ARRAY(SELECT o.{order_token}"
						 " FROM {orders} o WHERE o.{order_token} = ANY ($10)"
						 " AND {keeps}))"
						 " RETURNING s.ctid, ({rule}) = 'expired'{keys}",
						 &args);
	}
	PG_FINALLY();
	{
		deleting = -1;
	}
	PG_END_TRY();
	part->deleting = false;

	pack = vf_outbox_pack(part->run_id, bucket ? bucket->endpoint : NULL,
						  bucket ? bucket->bucket : NULL);
	for (uint64 i = 0; i < n; i++)
	{
		vf_tids_add(gone, tid_at(i, 0));
		if (vf_db_bool(i, 1))
			part->counts.expired++;
		else
			part->counts.unpaid++;
		for (int k = 0; k < part->source->sessions.nkeys; k++)
		{
			int			len = 0;
			const char *key = vf_db_bytes(i, k + 2, &len);

			vf_outbox_pack_add(pack, key, len);
		}
	}
	vf_outbox_pack_write(pack, &part->counts.keys_queued,
						 &part->counts.keys_cancelled);
}

/* Add to left what is in the batch and not among the rows that are gone. */
static void
note_left(VfPart *part, VfTids *gone)
{
	if (gone->n == part->batch.n)
		return;
	sort_tids(gone);
	for (int i = 0; i < part->batch.n; i++)
	{
		ItemPointer tid = &part->batch.at[i];

		if (gone->n == 0 ||
			bsearch(tid, gone->at, gone->n, sizeof(ItemPointerData),
					compare_tids) == NULL)
			vf_tids_add(part->left, tid);
	}
}

void
vf_purge_delete(void *arg)
{
	VfPart	   *part = arg;
	Locked		locked;
	VfTids		gone = {NULL, 0, 0};

	/* An error in the last batch may have left it set. */
	part->deleting = false;
	vf_source_recheck(part->source);
	lock_rows(part, &locked);
	if (locked.tids.n > 0)
	{
		hold_payments(part);
		delete_rows(part, &locked, &gone);
	}
	note_left(part, &gone);
}

/* ---- look ---- */

static bool
has_failed(const VfPart *part, ItemPointer at)
{
	for (int i = 0; i < part->failed->n; i++)
	{
		if (ItemPointerEquals(&part->failed->at[i], at))
			return true;
	}
	return false;
}

void
vf_purge_look(void *arg)
{
	VfPart	   *part = arg;
	VfDbArgs	args = {0};
	uint64		n;

	vf_source_recheck(part->source);
	sort_tids(part->left);
	vf_rules_args(part->source, part->rules, &args);
	arg_list(&args, part->left);
	n = run_as_owner(part, "SELECT s.{id}::pg_catalog.text,"
					 " s.ctid, {blocked}, EXISTS (SELECT 1 FROM {orders} o"
					 " WHERE {matches} AND {pays})"
					 " FROM ONLY {leaf} s"
					 " WHERE {listed} AND {time_due}", &args);
	for (uint64 i = 0; i < n; i++)
		note_stay(part, i, 0, vf_db_bool(i, 3) ? VF_STAY_PAID :
				  vf_db_bool(i, 2) ? VF_STAY_CHECKOUT :
				  has_failed(part, tid_at(i, 1)) ?
				  VF_STAY_FAILED : VF_STAY_LOCKED);
}
