/*-------------------------------------------------------------------------
 *
 * purge_batch.c
 *	  Deleting one batch of sessions, with its outbox rows.
 *
 * There are two ways, and the same three things in each: take the rows, so
 * that a payment's guard has to wait for us; hold payments whose guard would
 * not; and look at orders under a snapshot younger than both.
 *
 * Quickly: delete the rows that have not been written since the pick and that
 * nobody has locked, then look for orders written since that keep one of them.
 * What nobody wrote is still as the pick saw it.  Nothing is waited for.  Where
 * a row is locked at the last moment or such an order turns up, everything is
 * taken back.  Not where deleting a row runs a trigger or changes other tables:
 * that could take from the orders what we are about to look for.
 *
 * Carefully: lock the rows, skipping those that others hold, then delete them
 * with the whole condition repeated.  A payment committed between the first
 * snapshot and the lock is seen by the second.  This costs a pass more and its
 * WAL, and a look at all orders of the batch.
 *
 * Where the guard does not stand, a SHARE lock on orders does its work.  Where
 * it stands, a lock on orders in ROW EXCLUSIVE mode, after which we look once
 * more, keeps it from being disabled until we commit.
 *
 * A batch belongs to one subtransaction: a row locked by one and deleted by
 * another would cost a multixact each.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "db.h"
#include "hold.h"
#include "outbox.h"
#include "pages.h"
#include "purge_batch.h"
#include "purge_pick.h"

/*
 * How long the SHARE lock waits for payments under way, ms.  It must give up
 * before deadlock_timeout (1 s) looks for a victim: that could be the payment.
 */
#define SHARE_LOCK_TIMEOUT 500

/*
 * The quick way waits for nobody; 0 would mean for ever.  A locker leaves its
 * mark in xmax, so only one that comes while we delete is met at all.
 */
#define NO_WAIT_TIMEOUT 1

/*
 * Bytes of a key that an undo row can name: an index takes no longer ones.
 * S3 takes 1,024, in UTF-8, so that a longer one is never asked for.
 */
#define MAX_KEPT_KEY 2048

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

/* ---- payments ---- */

void
vf_purge_hold_payments(const VfSource *source)
{
	Oid			orders = source->orders.relid;
	VfGuardState guard = vf_source_guard_state(source);

	if (guard == VF_GUARD_STANDS)
	{
		vf_db_lock(orders, RowExclusiveLock, SHARE_LOCK_TIMEOUT);
		guard = vf_source_guard_state(source);
		if (vf_source_guard_failing())
			ereport(ERROR,
					(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
					 errmsg("a payment is under way that the payment guard could not link to its session"),
					 errhint("The sessions are looked at again in the next run.")));
	}
	if (guard != VF_GUARD_STANDS)
		vf_db_lock(orders, ShareLock, SHARE_LOCK_TIMEOUT);
}

/* ---- deleting ---- */

/* What our DELETE has taken. */
typedef struct Taken
{
	VfPass	   *pass;			/* its pack and tokens are filled */
	VfTids		tids;
} Taken;

/* What our DELETEs return: with {keys} the keys, with {whole} the row. */
#define RETURNING_TAKEN \
	" RETURNING s.ctid, {first_expired}, s.{token}::pg_catalog.text" \
	"{keys}{whole}"

enum
{
	AT_TID, AT_EXPIRED, AT_TOKEN, AT_KEYS
};

/* Keep the whole row, from the column at on, and the keys that it queues. */
static void
keep_row(VfPass *pass, const Datum *values, const bool *nulls, int at)
{
	VfKept	   *kept = &pass->kept;
	int			nkeys = pass->source->sessions.nkeys;
	VfUndoRow  *row;

	if (kept->n == kept->max)
	{
		kept->max = Max(kept->max * 2, 64);
		kept->rows = kept->rows == NULL ?
			palloc(sizeof(VfUndoRow) * kept->max) :
			repalloc_huge(kept->rows, sizeof(VfUndoRow) * kept->max);
	}
	row = &kept->rows[kept->n++];
	row->id = TextDatumGetCString(values[at]);
	row->token = nulls[AT_TOKEN] ? NULL :
		TextDatumGetCString(values[AT_TOKEN]);
	row->keys = palloc(sizeof(char *) * Max(nkeys, 1));
	row->nkeys = 0;
	for (int i = 0; i < nkeys; i++)
	{
		char	   *key = nulls[AT_KEYS + i] ? NULL :
			TextDatumGetCString(values[AT_KEYS + i]);

		if (key != NULL && strlen(key) <= MAX_KEPT_KEY &&
			vf_outbox_pack_queues(pass->pack, key, (int) strlen(key)))
			row->keys[row->nkeys++] = key;
	}
	row->values = vf_source_row_texts(kept->columns, kept->n_columns,
									  values + at + 1, nulls + at + 1);
}

/* A VfDbRow. */
static void
take(void *arg, const Datum *values, const bool *nulls)
{
	Taken	   *taken = arg;
	VfPass	   *pass = taken->pass;

	vf_tids_add(&taken->tids, (ItemPointer) DatumGetPointer(values[AT_TID]));
	if (!nulls[AT_EXPIRED] && DatumGetBool(values[AT_EXPIRED]))
		pass->counts.expired++;
	else
		pass->counts.unpaid++;
	if (!nulls[AT_TOKEN])
	{
		text	   *token = DatumGetTextPP(values[AT_TOKEN]);

		vf_texts_add(&pass->tokens, VARDATA_ANY(token),
					 (int) VARSIZE_ANY_EXHDR(token));
	}
	for (int i = 0; i < pass->source->sessions.nkeys; i++)
	{
		if (!nulls[AT_KEYS + i])
		{
			text	   *key = DatumGetTextPP(values[AT_KEYS + i]);

			vf_outbox_pack_add(pass->pack, VARDATA_ANY(key),
							   (int) VARSIZE_ANY_EXHDR(key));
		}
	}
	if (pass->kept.window > 0)
		keep_row(pass, values, nulls, AT_KEYS + pass->source->sessions.nkeys);
}

static void
init_taken(VfPass *pass, Taken *taken)
{
	memset(taken, 0, sizeof(*taken));
	taken->pass = pass;
	vf_outbox_pack_clear(pass->pack);
	vf_texts_clear(&pass->tokens);
	pass->kept.rows = NULL;
	pass->kept.n = pass->kept.max = 0;
}

/*
 * Check the tables anew, and whether the batch's addresses mean anything.
 *
 * The locks that deleting and queueing need are taken before any row is ours,
 * so that no payment waits for a row while we wait for a CREATE INDEX.  They
 * also hold off new foreign keys, triggers and rules, which are looked for
 * after them.
 */
static bool
still_stands(VfPass *pass, int lock_timeout)
{
	pass->gone = false;
	vf_source_recheck(pass->source);
	pass->gone = !vf_purge_part_stands(pass);
	if (pass->gone)
		return false;
	vf_db_lock(pass->part->leaf, RowExclusiveLock, lock_timeout);
	vf_outbox_lock(lock_timeout);
	if (pass->kept.window > 0)
		vf_undo_lock_slot(pass->kept.slot, lock_timeout);
	vf_source_check_dangers(pass->source);
	return true;
}

void
vf_purge_as_ours(VfDbBody body, void *arg)
{
	deleting = trigger_depth() + 1;
	PG_TRY();
	{
		body(arg);
	}
	PG_FINALLY();
	{
		deleting = -1;
	}
	PG_END_TRY();
}

/* A statement that deletes rows of the part. */
typedef struct Deletion
{
	const VfPass *pass;
	const VfPartQuery *query;
} Deletion;

/* A VfDbBody. */
static void
run_query(void *arg)
{
	const Deletion *d = arg;

	vf_part_run(d->pass, d->query);
}

/* Run a DELETE on the part, known to our own trigger. */
static void
run_delete(VfPass *pass, VfPartQuery *query, Taken *taken)
{
	Deletion	deletion = {pass, query};

	query->row = take;
	query->row_arg = taken;
	pass->deleting = true;
	vf_purge_as_ours(run_query, &deletion);
	pass->deleting = false;
}

/* Write what is kept for undo, and hold the keys for as long. */
static void
write_kept(VfPass *pass)
{
	const VfKept *kept = &pass->kept;
	VfUndoBatch batch = {
		.run_id = pass->run_id,
		.slot = kept->slot,
		.until = GetCurrentTimestamp() + kept->window * USECS_PER_SEC,
		.n_columns = kept->n_columns
	};

	batch.columns = palloc(sizeof(char *) * Max(kept->n_columns, 1));
	for (int i = 0; i < kept->n_columns; i++)
		batch.columns[i] = kept->columns[i].name;
	vf_undo_write(&batch, kept->rows, kept->n);
	vf_outbox_pack_hold(pass->pack, batch.until, batch.id);
}

/* Write the outbox rows; add to left what is in the batch and not taken. */
static void
settle(VfPass *pass, Taken *taken)
{
	if (pass->kept.n > 0)
		write_kept(pass);
	vf_outbox_pack_write(pass->pack, &pass->counts.keys_queued,
						 &pass->counts.keys_cancelled);
	if (taken->tids.n == pass->batch.n)
		return;
	vf_tids_sort(&taken->tids);
	for (int i = 0; i < pass->batch.n; i++)
	{
		if (!vf_tids_has(&taken->tids, &pass->batch.at[i]))
			vf_tids_add(pass->left, &pass->batch.at[i]);
	}
}

/* ---- quickly ---- */

static void
not_quickly(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
			 errmsg("something has changed since the sessions were picked")));
}

/* Does an order written since the pick keep one of those that were taken? */
static bool
order_came(const VfPass *pass)
{
	const VfPart *part = pass->part;
	VfPartQuery query = {
		.template = "SELECT 1 FROM {orders} o WHERE pg_catalog.age(o.xmin) <= $7"
		" AND o.{order_token} = ANY ($8) AND {keeps}"
	};

	if (part->orders_quiet &&
		!vf_pages_written(pass->source->orders.relid, part->horizon,
						  part->orders_lsn))
		return false;
	vf_rules_args(pass->source, pass->rules, &query.args);
	vf_db_arg(&query.args, INT4OID,
			  Int32GetDatum(vf_db_age(pass->part->horizon)));
	vf_db_arg_text_datums(&query.args, vf_texts_datums(&pass->tokens),
						  pass->tokens.n);
	return vf_part_run(pass, &query) > 0;
}

/*
 * Is one of those that were taken held?  Who holds it had to lock its row, so
 * what is not seen now finds it gone.
 */
static bool
hold_came(const VfPass *pass)
{
	return vf_hold_among(vf_texts_datums(&pass->tokens), pass->tokens.n);
}

/*
 * Name the rows of the batch by the shorter list.  Where that is the one of
 * the rows that are kept, what lies between and has not been written since the
 * pick is what was picked.
 */
static void
name_rows(const VfPass *pass, VfPartQuery *query)
{
	const VfTids *batch = &pass->batch;

	if (pass->part->knows_kept)
	{
		VfTids		kept = vf_tids_between(&pass->part->kept, &batch->at[0],
										   &batch->at[batch->n - 1]);

		vf_part_other_args(pass, batch, &kept, &query->args);
	}
	else
		vf_part_list_args(pass, batch, &query->args);
	vf_db_arg(&query->args, INT4OID,
			  Int32GetDatum(vf_db_age(pass->part->horizon)));
}

/* Not written since the pick, nor locked, by anybody that we could see. */
#define UNTOUCHED " AND pg_catalog.age(s.xmin) > $10" \
	" AND s.xmax OPERATOR(pg_catalog.=) 0 AND {time_due}"

void
vf_purge_delete_quickly(void *arg)
{
	VfPass	   *pass = arg;
	VfPartQuery query = {
		.template = pass->part->knows_kept ?
		"DELETE FROM ONLY {leaf} s WHERE " VF_OTHER_ROWS
		UNTOUCHED RETURNING_TAKEN :
		"DELETE FROM ONLY {leaf} s WHERE {listed}"
		UNTOUCHED RETURNING_TAKEN,
		.lock_timeout = NO_WAIT_TIMEOUT
	};
	Taken		taken;

	init_taken(pass, &taken);
	if (!still_stands(pass, NO_WAIT_TIMEOUT))
		return;
	if (!vf_purge_pick_holds(pass) || vf_db_delete_fires(pass->part->leaf))
		not_quickly();
	name_rows(pass, &query);
	run_delete(pass, &query, &taken);
	if (taken.tids.n > 0)
	{
		vf_purge_hold_payments(pass->source);
		if (order_came(pass) || hold_came(pass) || !vf_purge_pick_holds(pass))
			not_quickly();
	}
	settle(pass, &taken);
}

/* ---- carefully ---- */

/* Rows that we hold, and the tokens by which orders name them. */
typedef struct Locked
{
	VfTids		tids;
	Datum		tokens;			/* text[] */
} Locked;

static void
lock_rows(VfPass *pass, Locked *locked)
{
	VfPartQuery query = {
		.template = "SELECT s.ctid, s.{token}::pg_catalog.text FROM ONLY {leaf} s"
		" WHERE {listed} AND {time_due} FOR UPDATE OF s SKIP LOCKED"
	};
	Datum	   *tokens;
	int			n_tokens = 0;
	uint64		n;

	vf_part_list_args(pass, &pass->batch, &query.args);
	n = vf_part_run(pass, &query);
	memset(locked, 0, sizeof(*locked));
	tokens = palloc(sizeof(Datum) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
	{
		vf_tids_add(&locked->tids,
					(ItemPointer) DatumGetPointer(vf_db_datum(i, 0)));
		if (!vf_db_is_null(i, 1))
			tokens[n_tokens++] = vf_db_datum(i, 1);
	}
	locked->tokens = vf_db_text_array(tokens, n_tokens);
	pfree(tokens);
	vf_tids_sort(&locked->tids);
}

/*
 * The orders that keep a session are looked up for the batch's tokens at once:
 * by their index, or in one reading of orders, which is cheaper than to hash
 * all of them anew for each batch.
 */
void
vf_purge_delete_carefully(void *arg)
{
	VfPass	   *pass = arg;
	VfPartQuery query = {
		.template = "DELETE FROM ONLY {leaf} s WHERE {listed} AND {time_due}"
		" AND NOT {held} AND (s.{token} <> ALL (ARRAY(SELECT o.{order_token}"
		" FROM {orders} o WHERE o.{order_token} = ANY ($10)"
		" AND {keeps}))) IS NOT FALSE" RETURNING_TAKEN
	};
	Locked		locked;
	Taken		taken;

	/* An error in the last batch may have left it set. */
	pass->deleting = false;
	init_taken(pass, &taken);
	if (!still_stands(pass, SHARE_LOCK_TIMEOUT))
		return;
	lock_rows(pass, &locked);
	if (locked.tids.n > 0)
	{
		vf_purge_hold_payments(pass->source);
		vf_part_list_args(pass, &locked.tids, &query.args);
		vf_db_arg(&query.args, TEXTARRAYOID, locked.tokens);
		run_delete(pass, &query, &taken);
	}
	settle(pass, &taken);
}
