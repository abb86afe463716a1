/*-------------------------------------------------------------------------
 *
 * purge_part.c
 *	  Parts of a table, lists of row addresses, and statements over them.
 *
 * Rows are named by their address, always within one leaf table: an address
 * alone names the wrong row in a partitioned one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "db.h"
#include "purge_part.h"

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

void
vf_tids_sort(VfTids *tids)
{
	if (tids->n > 1)
		qsort(tids->at, tids->n, sizeof(ItemPointerData), compare_tids);
}

bool
vf_tids_has(const VfTids *sorted, const ItemPointerData *tid)
{
	return sorted->n > 0 &&
		bsearch(tid, sorted->at, sorted->n, sizeof(ItemPointerData),
				compare_tids) != NULL;
}

/* How many of a sorted list come before a row, or are the row itself. */
static int
count_before(const VfTids *sorted, const ItemPointerData *tid, bool or_equal)
{
	int			low = 0;
	int			high = sorted->n;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = compare_tids(&sorted->at[middle], tid);

		if (order < 0 || (or_equal && order == 0))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

VfTids
vf_tids_between(const VfTids *sorted, const ItemPointerData *first,
				const ItemPointerData *last)
{
	int			from = count_before(sorted, first, false);
	VfTids		piece = {NULL, count_before(sorted, last, true) - from, 0};

	if (piece.n > 0)
		piece.at = sorted->at + from;
	return piece;
}

/* ---- statements ---- */

static void
arg_tids(VfDbArgs *args, const VfTids *tids)
{
	static Oid	type = InvalidOid;
	Datum	   *elems = palloc(sizeof(Datum) * Max(tids->n, 1));

	if (!OidIsValid(type))
		type = get_array_type(TIDOID);
	for (int i = 0; i < tids->n; i++)
		elems[i] = PointerGetDatum(&tids->at[i]);
	vf_db_arg(args, type,
			  PointerGetDatum(construct_array(elems, tids->n, TIDOID,
											  sizeof(ItemPointerData), false,
											  TYPALIGN_SHORT)));
}

void
vf_part_other_args(const VfPass *pass, const VfTids *tids,
				   const VfTids *others, VfDbArgs *args)
{
	vf_rules_args(pass->source, pass->rules, args);
	arg_tids(args, others);
	vf_db_arg(args, TIDOID, PointerGetDatum(&tids->at[0]));
	vf_db_arg(args, TIDOID, PointerGetDatum(&tids->at[tids->n - 1]));
}

void
vf_part_list_args(const VfPass *pass, const VfTids *tids, VfDbArgs *args)
{
	vf_part_other_args(pass, tids, tids, args);
}

void
vf_part_args(const VfPass *pass, VfDbArgs *args)
{
	const VfPart *part = pass->part;
	ItemPointer first,
				end;

	if (part->by_list)
	{
		vf_part_list_args(pass, &part->list, args);
		return;
	}
	vf_rules_args(pass->source, pass->rules, args);
	first = palloc(sizeof(ItemPointerData));
	end = palloc(sizeof(ItemPointerData));
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

static char *
columns_of_rows(const VfPass *pass)
{
	const VfKept *kept = &pass->kept;
	StringInfoData buf;

	initStringInfo(&buf);
	if (kept->window > 0)
		appendStringInfo(&buf, ", s.%s::pg_catalog.text",
						 pass->source->quoted[VF_S_ID]);
	for (int i = 0; kept->window > 0 && i < kept->n_columns; i++)
		appendStringInfo(&buf, ", s.%s", kept->columns[i].quoted);
	return buf.data;
}

/*
 * Joins with orders are hashed, with room for it, or follow an index: merging
 * would read all sessions in the order of their tokens.
 */
uint64
vf_part_run(const VfPass *pass, const VfPartQuery *query)
{
	const VfPart *part = pass->part;
	char	   *schema = get_namespace_name(get_rel_namespace(part->leaf));
	VfDbName	extra[] = {
		{"leaf", quote_qualified_identifier(schema,
											get_rel_name(part->leaf))},
		{"rows", part->by_list ? VF_LISTED_ROWS :
		"s.ctid >= $7 AND s.ctid < $8"},
		{"listed", VF_LISTED_ROWS},
		{"keys", columns_of_keys(pass->source)},
		{"whole", columns_of_rows(pass)},
		{NULL, NULL}
	};
	VfDbSection section;
	char	   *sql;
	uint64		n;

	vf_db_enter_owner(&section, pass->source->sessions.owner);
	vf_db_set("work_mem", "32MB");
	vf_db_set("enable_mergejoin", "off");
	if (pass->kept.window > 0)
		vf_source_row_settings();
	if (query->lock_timeout > 0)
		vf_db_set("lock_timeout", psprintf("%d", query->lock_timeout));
	sql = vf_db_fill(query->template, vf_rules_names(pass->source, extra));
	n = query->row == NULL ? vf_db_run(sql, &query->args) :
		vf_db_each(sql, &query->args, query->row, query->row_arg);
	vf_db_leave(&section);
	return n;
}
