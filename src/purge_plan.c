/*-------------------------------------------------------------------------
 *
 * purge_plan.c
 *	  Which parts of the tables a run looks at.
 *
 * A full sweep walks each leaf table once, in ranges of blocks, so that it
 * needs no index and never meets the dead rows of its earlier batches.  Between
 * full sweeps a run looks only at what fell due since, and at what was put
 * off: two index ranges, however many paid sessions there are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "db.h"
#include "purge_plan.h"

/*
 * What a full sweep picks from at a time: large enough for one good plan over
 * orders, small enough for memory to stay a matter of megabytes.
 */
#define MAX_PART_ROWS 1000000
#define MAX_PART_BLOCKS 131072

static void
start_plan(VfPlan *plan, int max_parts)
{
	memset(plan, 0, sizeof(*plan));
	plan->parts = MemoryContextAllocHuge(CurrentMemoryContext,
										 sizeof(VfPart) * Max(max_parts, 1));
}

static VfPart *
add_part(VfPlan *plan, Oid leaf)
{
	VfPart	   *part = &plan->parts[plan->n++];

	memset(part, 0, sizeof(*part));
	part->leaf = leaf;
	return part;
}

/* ---- every session ---- */

/* Blocks of a leaf table, and about how many of them make a part. */
static BlockNumber
leaf_size(Oid leaf, BlockNumber *step)
{
	VfDbArgs	args = {0};
	double		rows_per_block;

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(leaf));
	vf_db_arg(&args, INT4OID, Int32GetDatum(BLCKSZ));
	if (vf_db_run_self("SELECT pg_catalog.pg_relation_size($1) / $2,"
					   " CASE WHEN reltuples > 0 AND relpages > 0"
					   " THEN (reltuples / relpages)::float8"
					   " ELSE 40.0::float8 END"
					   " FROM pg_catalog.pg_class WHERE oid = $1", &args) == 0)
		return 0;
	rows_per_block = DatumGetFloat8(vf_db_datum(0, 1));
	*step = (BlockNumber) Max(1, Min(MAX_PART_BLOCKS, MAX_PART_ROWS /
									 Max(rows_per_block, 1)));
	return (BlockNumber) vf_db_int(0, 0);
}

void
vf_plan_all(const VfSource *source, VfPlan *plan)
{
	int			n;
	Oid		   *leaves = vf_source_leaves(source, &n);
	BlockNumber *blocks = palloc(sizeof(BlockNumber) * Max(n, 1));
	BlockNumber *step = palloc(sizeof(BlockNumber) * Max(n, 1));
	int			parts = 0;

	for (int i = 0; i < n; i++)
	{
		blocks[i] = leaf_size(leaves[i], &step[i]);
		if (blocks[i] > 0)
			parts += (blocks[i] - 1) / step[i] + 1;
	}
	start_plan(plan, parts);
	plan->full = true;
	for (int i = 0; i < n; i++)
	{
		for (BlockNumber at = 0; at < blocks[i];)
		{
			VfPart	   *part = add_part(plan, leaves[i]);

			part->first = at;
			at += Min(step[i], blocks[i] - at);
			part->end = at;
		}
	}
}

/* ---- what is new ---- */

/* A part for each leaf of the result: leaf and address, in this order. */
static void
add_lists(VfPlan *plan, int n)
{
	VfPart	   *part = NULL;
	int			parts = 0;

	for (int i = 0; i < n; i++)
		parts += i == 0 || vf_db_int(i, 0) != vf_db_int(i - 1, 0);
	start_plan(plan, parts);
	for (int i = 0; i < n; i++)
	{
		Oid			leaf = (Oid) vf_db_int(i, 0);

		if (part == NULL || part->leaf != leaf)
		{
			part = add_part(plan, leaf);
			part->by_list = true;
		}
		vf_tids_add(&part->list,
					(ItemPointer) DatumGetPointer(vf_db_datum(i, 1)));
	}
}

bool
vf_plan_window(const VfSource *source, const VfRules *rules,
			   const VfSweep *sweep, int max, VfPlan *plan)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	char	  **looked_at;
	int			n_looked_at;
	int			n;

	looked_at = vf_sweep_put_off_due(rules->now, max, &n_looked_at);
	vf_rules_args(source, rules, &args);
	vf_rules_arg_time(source, VF_S_EXPIRES, sweep->expires_mark, &args);
	vf_rules_arg_time(source, VF_S_CREATED, sweep->created_mark, &args);
	vf_db_arg_texts(&args, looked_at, n_looked_at);
	vf_db_arg(&args, INT4OID, Int32GetDatum(max + 1));
	vf_db_enter_owner(&section, source->sessions.owner);
	n = (int) vf_db_run(vf_db_fill("SELECT s.tableoid::int8, s.ctid"
								   " FROM {sessions} s"
								   " WHERE s.{expires} >= $7"
								   " AND s.{expires} < $1"
								   " UNION SELECT s.tableoid::int8, s.ctid"
								   " FROM {sessions} s"
								   " WHERE s.{created} >= $8"
								   " AND s.{created} < $2"
								   " UNION SELECT s.tableoid::int8, s.ctid"
								   " FROM {sessions} s"
								   " WHERE s.{id} = ANY ($9::{id_type}[])"
								   " ORDER BY 1, 2 LIMIT $10",
								   vf_rules_names(source, NULL)), &args);
	vf_db_leave(&section);
	if (n > max)
		return false;
	add_lists(plan, n);
	plan->looked_at = looked_at;
	plan->n_looked_at = n_looked_at;
	return true;
}
