/*-------------------------------------------------------------------------
 *
 * purge_batch.c
 *	  One batch of a purge: lock, check again and delete, queue the keys.
 *
 * Two statements, each with a snapshot of its own:
 *
 *	1. lock the due rows, skipping those that others hold.  A payment under
 *	   way holds its session FOR KEY SHARE through the guard; from here on
 *	   a new one waits for us.
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
 * A row that cannot be deleted (a foreign key, a trigger of its owner) fails
 * its statement; the batch is then halved until the row stands alone, and the
 * rest goes on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "db.h"
#include "outbox.h"
#include "purge_batch.h"

/*
 * How long the SHARE lock waits for payments under way, ms.  It must give up
 * before deadlock_timeout (1 s) looks for a victim: that could be the payment.
 */
#define SHARE_LOCK_TIMEOUT 500

/*
 * Each failing row costs a dozen statements to find.  After this many in one
 * table the batches they stand in are put off instead.
 */
#define MAX_FAILED 500

static bool deleting = false;

bool
vf_purge_is_deleting(void)
{
	return deleting;
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

Datum
vf_tids_array(const VfTids *tids, int from, int to)
{
	Datum	   *elems = palloc(sizeof(Datum) * Max(to - from, 1));

	for (int i = from; i < to; i++)
		elems[i - from] = PointerGetDatum(&tids->at[i]);
	return PointerGetDatum(construct_array(elems, to - from, TIDOID,
										   sizeof(ItemPointerData), false,
										   TYPALIGN_SHORT));
}

static void
arg_tids(VfDbArgs *args, const VfTids *tids, int from, int to)
{
	static Oid	type = InvalidOid;

	if (!OidIsValid(type))
		type = get_array_type(TIDOID);
	vf_db_arg(args, type, vf_tids_array(tids, from, to));
}

/* ---- statements ---- */

/* $7 and on: the pick. */
static void
arg_pick(const VfPurgeBatch *b, VfDbArgs *args)
{
	if (b->by_list)
		arg_tids(args, &b->list, 0, b->list.n);
	else
	{
		ItemPointer first = palloc(sizeof(ItemPointerData));
		ItemPointer end = palloc(sizeof(ItemPointerData));

		ItemPointerSet(first, b->first, 0);
		ItemPointerSet(end, b->end, 0);
		vf_db_arg(args, TIDOID, PointerGetDatum(first));
		vf_db_arg(args, TIDOID, PointerGetDatum(end));
	}
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

static char *
fill(const VfPurgeBatch *b, const char *template)
{
	char	   *schema = get_namespace_name(get_rel_namespace(b->leaf));
	VfDbName	extra[] = {
		{"leaf", quote_qualified_identifier(schema, get_rel_name(b->leaf))},
		{"pick", b->by_list ? "s.ctid = ANY ($7)" :
		"s.ctid >= $7 AND s.ctid < $8"},
		{"failed", b->by_list ? "$8" : "$9"},
		{"limit", b->by_list ? "$9" : "$10"},
		{"keys", columns_of_keys(b->source)},
		{NULL, NULL}
	};

	return vf_db_fill(template, vf_rules_names(b->source, extra));
}

/* ---- passes ---- */

/* Statement 1: lock what is due. */
static void
lock_due(VfPurgeBatch *b, VfTids *locked)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	uint64		n;

	vf_rules_args(b->source, b->rules, &args);
	arg_pick(b, &args);
	arg_tids(&args, b->failed, 0, b->failed->n);
	vf_db_arg(&args, INT4OID, Int32GetDatum(b->limit));

	vf_db_enter_owner(&section, b->source->sessions.owner);
	n = vf_db_run(fill(b, "SELECT s.ctid FROM ONLY {leaf} s"
					   " WHERE {pick} AND {time_due} AND NOT {blocked}"
					   " AND s.ctid <> ALL ({failed})"
					   " LIMIT {limit} FOR UPDATE OF s SKIP LOCKED"), &args);
	vf_db_leave(&section);
	for (uint64 i = 0; i < n; i++)
		vf_tids_add(locked,
					(ItemPointer) DatumGetPointer(vf_db_datum(i, 0)));
	b->more = n == (uint64) b->limit &&
		!(b->by_list && locked->n == b->list.n);
}

/* Keep payments from slipping between the two statements. */
static void
hold_payments(VfPurgeBatch *b)
{
	Oid			orders = b->source->orders.relid;
	VfGuardState guard = vf_source_guard_state(b->source);

	if (guard == VF_GUARD_STANDS)
	{
		vf_db_lock(orders, RowExclusiveLock, SHARE_LOCK_TIMEOUT);
		guard = vf_source_guard_state(b->source);
	}
	if (guard != VF_GUARD_STANDS)
		vf_db_lock(orders, ShareLock, SHARE_LOCK_TIMEOUT);
}

/* A run of locked rows that is deleted in one statement. */
typedef struct Part
{
	VfPurgeBatch *batch;
	const VfTids *locked;
	int			from;
	int			to;
	int64		expired;
	int64		unpaid;
	int64		queued;
	int64		cancelled;
} Part;

/* Statement 2, and the outbox rows with it: a VfDbBody. */
static void
delete_part(void *arg)
{
	Part	   *part = arg;
	VfPurgeBatch *b = part->batch;
	VfDbArgs	args = {0};
	VfDbSection section;
	VfOutboxPack *pack;
	uint64		n;

	vf_rules_args(b->source, b->rules, &args);
	arg_tids(&args, part->locked, part->from, part->to);
	vf_db_enter_owner(&section, b->source->sessions.owner);
	n = vf_db_run(fill(b, "DELETE FROM ONLY {leaf} s"
					   " WHERE s.ctid = ANY ($7) AND {time_due}"
					   " AND NOT {blocked}"
					   " RETURNING ({rule}) = 'expired'{keys}"), &args);
	vf_db_leave(&section);

	pack = vf_outbox_pack(b->run_id,
						  b->bucket != NULL ? b->bucket->endpoint : NULL,
						  b->bucket != NULL ? b->bucket->bucket : NULL);
	for (uint64 i = 0; i < n; i++)
	{
		if (vf_db_bool(i, 0))
			part->expired++;
		else
			part->unpaid++;
		for (int k = 0; k < b->source->sessions.nkeys; k++)
			vf_outbox_pack_add(pack, vf_db_text(i, k + 1));
	}
	vf_outbox_pack_write(pack, &part->queued, &part->cancelled);
}

/*
 * Note one row that cannot be deleted, and say why to whoever looks.  What a
 * trigger of the application has to say may contain the session's token, so
 * only the server's own words about constraints are passed on.
 */
static void
note_failed(VfPurgeBatch *b, const ItemPointerData *tid, ErrorData *error)
{
	bool		constraint = ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION &&
		error->constraint_name != NULL;

	vf_tids_add(b->failed, tid);
	if (b->failed->n > 1)
		return;					/* told once for each table */
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("a session in \"%s\" was put off: %s %s",
					get_rel_name(b->leaf),
					constraint ? "constraint" : "error",
					constraint ? error->constraint_name :
					unpack_sql_state(error->sqlerrcode)),
			 errdetail("The other sessions go on; this one, and any more like it, is tried again in the next full sweep.")));
}

/* Delete locked rows from..to, halving where one of them fails. */
static void
delete_rows(VfPurgeBatch *b, const VfTids *locked, int from, int to)
{
	Part		part = {b, locked, from, to, 0, 0, 0, 0};
	ErrorData  *error;

	if (from >= to || b->gave_up)
		return;
	deleting = true;
	error = vf_db_try(delete_part, &part);
	deleting = false;
	if (error == NULL)
	{
		b->counts.expired += part.expired;
		b->counts.unpaid += part.unpaid;
		b->counts.keys_queued += part.queued;
		b->counts.keys_cancelled += part.cancelled;
		b->deleted += (int) (part.expired + part.unpaid);
	}
	else if (b->failed->n >= MAX_FAILED)
		b->gave_up = true;
	else if (to - from == 1)
		note_failed(b, &locked->at[from], error);
	else
	{
		int			middle = from + (to - from) / 2;

		delete_rows(b, locked, from, middle);
		delete_rows(b, locked, middle, to);
	}
}

static bool
has_failed(const VfPurgeBatch *b, ItemPointer at)
{
	for (int i = 0; i < b->failed->n; i++)
	{
		if (ItemPointerEquals(&b->failed->at[i], at))
			return true;
	}
	return false;
}

/* What is left of the pick stays, and why. */
static void
look_at_rest(VfPurgeBatch *b)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	uint64		n;

	vf_rules_args(b->source, b->rules, &args);
	arg_pick(b, &args);
	vf_db_enter_owner(&section, b->source->sessions.owner);
	n = vf_db_run(fill(b, "WITH l AS MATERIALIZED ("
					   "SELECT s.{id} AS id, s.{token} AS token,"
					   " s.ctid AS at FROM ONLY {leaf} s WHERE {pick} AND {time_due})"
					   " SELECT l.id::pg_catalog.text,"
					   " coalesce(pg_catalog.bool_or({pays})"
					   " FILTER (WHERE o.{order_token} IS NOT NULL), false),"
					   " coalesce(pg_catalog.bool_or({keeps})"
					   " FILTER (WHERE o.{order_token} IS NOT NULL), false),"
					   " l.at FROM l LEFT JOIN {orders} o"
					   " ON o.{order_token} = l.token GROUP BY l.id, l.at"),
				  &args);
	vf_db_leave(&section);
	for (uint64 i = 0; i < n; i++)
	{
		ItemPointer at = (ItemPointer) DatumGetPointer(vf_db_datum(i, 3));
		VfStay		why = vf_db_bool(i, 1) ? VF_STAY_PAID :
			vf_db_bool(i, 2) ? VF_STAY_CHECKOUT :
			b->gave_up || has_failed(b, at) ? VF_STAY_FAILED :
			VF_STAY_LOCKED;

		if (why == VF_STAY_PAID)
			b->counts.kept_paid++;
		else
			b->counts.put_off++;
		b->stayed(b->stayed_arg, vf_db_text(i, 0), why);
	}
}

void
vf_purge_batch(VfPurgeBatch *b)
{
	VfTids		locked = {NULL, 0, 0};

	vf_source_recheck(b->source);
	lock_due(b, &locked);
	if (locked.n > 0)
	{
		hold_payments(b);
		delete_rows(b, &locked, 0, locked.n);
		b->more &= !b->gave_up;
	}
	if (!b->more)
		look_at_rest(b);
}
