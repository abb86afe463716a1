/*-------------------------------------------------------------------------
 *
 * purge_part.h
 *	  Parts of a table, lists of row addresses, and statements over them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PURGE_PART_H
#define VF_PURGE_PART_H

#include "access/xlogdefs.h"
#include "storage/block.h"
#include "storage/itemptr.h"

#include "runlog.h"
#include "source.h"
#include "texts.h"
#include "undo.h"

/* A list of row addresses, in the memory context of its first element. */
typedef struct VfTids
{
	ItemPointerData *at;
	int			n;
	int			max;
} VfTids;

extern void vf_tids_add(VfTids *tids, const ItemPointerData *tid);
extern void vf_tids_sort(VfTids *tids);
extern bool vf_tids_has(const VfTids *sorted, const ItemPointerData *tid);

/* The piece of a sorted list from first to last; not a copy. */
extern VfTids vf_tids_between(const VfTids *sorted,
							  const ItemPointerData *first,
							  const ItemPointerData *last);

/* A part of one leaf table, and what the pick found there. */
typedef struct VfPart
{
	Oid			leaf;			/* the table that holds the rows */

	/* The rows of the part: a range of blocks, or a list. */
	bool		by_list;
	BlockNumber first;
	BlockNumber end;			/* exclusive */
	VfTids		list;

	bool		picked;			/* the rest is valid */
	VfTids		due;			/* sorted */
	VfTids		kept;			/* sorted; the others whose time is up */
	bool		knows_kept;		/* kept is filled in: it is the shorter one */
	int64		kept_paid;
	int64		in_checkout;

	/* What the pick saw, by which a batch knows that it still holds. */
	TransactionId horizon;		/* all before it was over, and seen */
	Oid			leaf_file;
	Oid			orders_file;
	bool		orders_quiet;	/* then no order was being written, and */
	XLogRecPtr	orders_lsn;		/* all that come are on pages changed since */
} VfPart;

/* Why a session stayed although its time is up. */
typedef enum VfStay
{
	VF_STAY_PAID,
	VF_STAY_CHECKOUT,
	VF_STAY_HELD,				/* vf_hold() keeps it */
	VF_STAY_LOCKED,				/* somebody else held the row */
	VF_STAY_FAILED				/* it could not be deleted */
} VfStay;

typedef void (*VfStayed) (void *arg, const char *id, VfStay why);

/* What a run with an undo window keeps of the rows that it deletes. */
typedef struct VfKept
{
	int			window;			/* seconds; 0: nothing is kept */
	int			slot;			/* the table of undo rows whose turn it is */
	VfRowColumn *columns;
	int			n_columns;

	/* of the batch, in its memory */
	VfUndoRow  *rows;
	int			n;
	int			max;
} VfKept;

/* What a pass over a part needs, and what comes of it. */
typedef struct VfPass
{
	const VfSource *source;
	const VfRules *rules;
	int64		run_id;
	MemoryContext context;		/* of the run: findings live there */
	struct VfOutboxPack *pack;	/* of the run: keys of the batch */
	VfTexts		tokens;			/* of the run: those of the batch */
	VfKept		kept;			/* rows for undo */

	VfPart	   *part;
	VfTids		batch;			/* what delete is to take, a piece of due */
	VfTids	   *left;			/* delete adds what it could not take */
	const VfTids *failed;		/* rows that could not be deleted */
	bool		deleting;		/* an error comes from the rows themselves */
	bool		gone;			/* the part does not stand any more */

	/* pick and look call this for sessions that stay; may be NULL */
	VfStayed	stayed;
	void	   *stayed_arg;

	/* Result of one pass; the caller zeroes it */
	VfRunCounts counts;
} VfPass;

/*
 * $7 to $9: a list of rows, in order, and the first and the last of them.  The
 * two ends let the planner read just the pages between them, where it would
 * otherwise read the whole table rather than fetch thousands of rows singly.
 */
#define VF_LISTED_ROWS "s.ctid = ANY ($7) AND s.ctid >= $8 AND s.ctid <= $9"

/* The same list told by what lies between its ends and is not on it: $7. */
#define VF_OTHER_ROWS "s.ctid <> ALL ($7) AND s.ctid >= $8 AND s.ctid <= $9"

/* Arguments of the rules and of a list of rows: $1 to $9. */
extern void vf_part_list_args(const VfPass *pass, const VfTids *tids,
							  VfDbArgs *args);
extern void vf_part_other_args(const VfPass *pass, const VfTids *tids,
							   const VfTids *others, VfDbArgs *args);

/* The same for all rows of the part, by list or by range: {rows}. */
extern void vf_part_args(const VfPass *pass, VfDbArgs *args);

/* A statement over a part. */
typedef struct VfPartQuery
{
	const char *template;
	VfDbArgs	args;
	int			lock_timeout;	/* ms, 0 for the session's own */
	VfDbRow		row;			/* called for each row; NULL: keep them */
	void	   *row_arg;
} VfPartQuery;

/*
 * Run it as the owner of sessions.  Beside the names of the rules there are
 * {leaf}, {rows}, {listed} and {keys}, which is empty or begins with a comma,
 * and {whole}: likewise the id and all columns, if rows are kept for undo.
 */
extern uint64 vf_part_run(const VfPass *pass, const VfPartQuery *query);

#endif							/* VF_PURGE_PART_H */
