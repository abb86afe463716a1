/*-------------------------------------------------------------------------
 *
 * purge_pick.c
 *	  What of a part is due, and what stays and why.
 *
 * One join over a large part of the table finds the rows that a purge will
 * take, and those that an order keeps.  Nothing is locked and nothing decided
 * yet: each batch asks again, for all that was written since.  For that the
 * pick remembers its horizon: what transactions before it wrote, it has seen.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "db.h"
#include "pages.h"
#include "purge_pick.h"

/* Transactions after which a row's age says nothing any more. */
#define MAX_AGE 1000000000

/* ---- the horizon ---- */

/*
 * The file of an ordinary table, InvalidOid for others.  A new file means other
 * addresses, and rows whose transactions tell nothing of when they came to be
 * here.
 */
static Oid
file_of(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Oid			file = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_class class = (Form_pg_class) GETSTRUCT(tuple);

		if (class->relkind == RELKIND_RELATION)
			file = class->relfilenode;
		ReleaseSysCache(tuple);
	}
	return file;
}

bool
vf_purge_part_stands(const VfPass *pass)
{
	const VfPart *part = pass->part;

	return file_of(part->leaf) == part->leaf_file &&
		vf_source_has_leaf(pass->source, part->leaf);
}

bool
vf_purge_pick_holds(const VfPass *pass)
{
	const VfPart *part = pass->part;
	Oid			orders = pass->source->orders.relid;

	return OidIsValid(part->orders_file) &&
		file_of(orders) == part->orders_file && !has_subclass(orders) &&
		file_of(part->leaf) == part->leaf_file &&
		vf_db_age(part->horizon) < MAX_AGE;
}

/* ---- pick ---- */

/* What the pick meets, by address. */
typedef struct Met
{
	const VfPass *pass;
	VfTids		due;
	VfTids		paid;			/* once for each order that keeps the session */
	VfTids		in_checkout;
} Met;

/* The columns of the pick's statement. */
enum
{
	AT_TID, AT_KEPT_ID, AT_PAYS
};

/* A VfDbRow. */
static void
meet(void *arg, const Datum *values, const bool *nulls)
{
	Met		   *met = arg;
	const VfPass *pass = met->pass;
	ItemPointer tid = (ItemPointer) DatumGetPointer(values[AT_TID]);

	if (nulls[AT_KEPT_ID])
		vf_tids_add(&met->due, tid);
	else if (!DatumGetBool(values[AT_PAYS]))
		vf_tids_add(&met->in_checkout, tid);
	else
	{
		vf_tids_add(&met->paid, tid);
		if (pass->stayed != NULL)
		{
			char	   *id = TextDatumGetCString(values[AT_KEPT_ID]);

			pass->stayed(pass->stayed_arg, id, VF_STAY_PAID);
			pfree(id);
		}
	}
}

/* Each row once, and none of those in another list. */
static void
thin(VfTids *tids, const VfTids *but)
{
	int			n = 0;

	vf_tids_sort(tids);
	for (int i = 0; i < tids->n; i++)
	{
		if ((n == 0 || !ItemPointerEquals(&tids->at[n - 1], &tids->at[i])) &&
			!vf_tids_has(but, &tids->at[i]))
			tids->at[n++] = tids->at[i];
	}
	tids->n = n;
}

static void
copy_tids(VfTids *to, const VfTids *from, MemoryContext context)
{
	Size		size = sizeof(ItemPointerData) * Max(from->n, 1);

	to->n = to->max = from->n;
	to->at = MemoryContextAllocHuge(context, size);
	if (from->n > 0)
		memcpy(to->at, from->at, size);
}

static void
store_met(VfPart *part, Met *met, MemoryContext context)
{
	static const VfTids none = {NULL, 0, 0};

	vf_tids_sort(&met->due);
	thin(&met->paid, &none);
	thin(&met->in_checkout, &met->paid);
	part->kept_paid = met->paid.n;
	part->in_checkout = met->in_checkout.n;
	copy_tids(&part->due, &met->due, context);
	part->knows_kept = !part->by_list &&
		part->kept_paid + part->in_checkout < part->due.n;
	if (part->knows_kept)
	{
		for (int i = 0; i < met->in_checkout.n; i++)
			vf_tids_add(&met->paid, &met->in_checkout.at[i]);
		vf_tids_sort(&met->paid);
		copy_tids(&part->kept, &met->paid, context);
	}
	part->picked = true;
}

/*
 * Prepare for the question of each batch whether an order was written since:
 * where the batches are large, it is answered by the pages of orders.
 */
static void
look_at_pages(const VfPass *pass)
{
	VfPart	   *part = pass->part;
	Oid			orders = pass->source->orders.relid;

	part->orders_lsn = GetXLogInsertRecPtr();
	part->orders_quiet = OidIsValid(part->orders_file) &&
		vf_db_pages(orders) / 2 <= (BlockNumber) part->due.n &&
		!vf_pages_written(orders, part->horizon, InvalidXLogRecPtr);
}

/*
 * Orders are joined, not asked about row by row: an EXISTS whose answer is
 * part of the result looks up one session's orders after the other as soon as
 * orders outgrows a hash in memory, and a join goes on in pieces.
 */
void
vf_purge_pick(void *arg)
{
	VfPass	   *pass = arg;
	VfPart	   *part = pass->part;
	Met			met = {.pass = pass};
	VfPartQuery query = {
		.template = "SELECT s.ctid, CASE WHEN k.token IS NOT NULL"
		" THEN s.{id}::pg_catalog.text END, k.pays"
		" FROM ONLY {leaf} s LEFT JOIN"
		" (SELECT o.{order_token} AS token, {pays} AS pays"
		" FROM {orders} o WHERE {keeps}) k ON k.token = s.{token}"
		" WHERE {rows} AND {time_due} AND NOT {held}", .row = meet, .row_arg = &met
	};

	vf_source_recheck(pass->source);
	part->horizon = vf_db_horizon();
	part->leaf_file = file_of(part->leaf);
	part->orders_file = file_of(pass->source->orders.relid);
	if (vf_purge_part_stands(pass))
	{
		vf_part_args(pass, &query.args);
		vf_part_run(pass, &query);
	}
	store_met(part, &met, pass->context);
	look_at_pages(pass);
}

/* ---- look ---- */

static bool
has_failed(const VfPass *pass, Datum tid)
{
	ItemPointer at = (ItemPointer) DatumGetPointer(tid);

	for (int i = 0; i < pass->failed->n; i++)
	{
		if (ItemPointerEquals(&pass->failed->at[i], at))
			return true;
	}
	return false;
}

static void
note_left(VfPass *pass, const char *id, VfStay why)
{
	if (why == VF_STAY_PAID)
		pass->counts.kept_paid++;
	else
		pass->counts.put_off++;
	if (pass->stayed != NULL)
		pass->stayed(pass->stayed_arg, id, why);
}

void
vf_purge_look(void *arg)
{
	VfPass	   *pass = arg;
	VfPartQuery query = {
		.template = "SELECT s.{id}::pg_catalog.text, s.ctid, {blocked},"
		" EXISTS (SELECT 1 FROM {orders} o WHERE {matches} AND {pays}),"
		" {held}"
		" FROM ONLY {leaf} s WHERE {listed} AND {time_due}"
	};
	uint64		n;

	vf_source_recheck(pass->source);
	if (!vf_purge_part_stands(pass))
		return;
	vf_tids_sort(pass->left);
	vf_part_list_args(pass, pass->left, &query.args);
	n = vf_part_run(pass, &query);
	for (uint64 i = 0; i < n; i++)
		note_left(pass, vf_db_text(i, 0),
				  vf_db_bool(i, 3) ? VF_STAY_PAID :
				  vf_db_bool(i, 2) ? VF_STAY_CHECKOUT :
				  vf_db_bool(i, 4) ? VF_STAY_HELD :
				  has_failed(pass, vf_db_datum(i, 1)) ?
				  VF_STAY_FAILED : VF_STAY_LOCKED);
}
