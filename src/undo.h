/*-------------------------------------------------------------------------
 *
 * undo.h
 *	  The rows of purged sessions while they can be put back: tables vf_undo
 *	  and vf_undo_batch.
 *
 * A batch is what one batch of a purge deleted, with the end of its undo
 * window.  Who puts rows back holds a lock on their batch, shared, until his
 * transaction ends; who is about to delete objects asks for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_UNDO_H
#define VF_UNDO_H

#include "datatype/timestamp.h"

typedef struct VfUndoBatch
{
	int64		id;
	int64		run_id;
	int			slot;			/* which of the tables that take turns */
	TimestampTz until;
	char	  **columns;		/* names of the sessions table's columns */
	int			n_columns;
} VfUndoBatch;

typedef struct VfUndoRow
{
	char	   *id;
	char	   *token;			/* may be NULL */
	char	  **keys;			/* those that were queued */
	int			nkeys;
	Datum		values;			/* text[], by the batch's columns */
} VfUndoRow;

/* ---- putting rows in ---- */

/* The table whose turn it is to take rows for a window of that many seconds. */
extern int	vf_undo_slot(TimestampTz now, int window);

/*
 * Take the lock that writing there needs, waiting timeout_ms at most (55P03),
 * while the caller holds nothing that others wait for.
 */
extern void vf_undo_lock_slot(int slot, int timeout_ms);

/* Write a batch and its rows; fills in its id. */
extern void vf_undo_write(VfUndoBatch *batch, const VfUndoRow *rows, int n);

/* ---- what spares objects ---- */

/* A key that an undo row names. */
typedef struct VfUndoKey
{
	char	   *key;
	int64		batch;
	TimestampTz until;
} VfUndoKey;

/* Those of the keys that rows not restored name, in the order of strcmp. */
extern VfUndoKey *vf_undo_named(char *const *keys, int n, int *found);

/* Is somebody putting rows of the batch back right now? */
extern bool vf_undo_is_locked(int64 batch);

/* ---- taking rows out ---- */

/* Batches of a run (0: of all), or those with a row of the token. */
extern VfUndoBatch *vf_undo_batches(int64 run_id, const char *token, int *n);

/* Hold a batch against the drain until the transaction ends. */
extern void vf_undo_lock(int64 batch);

/* Lock and read the rows of a batch that were not restored (of one token). */
extern VfUndoRow *vf_undo_rows(const VfUndoBatch *batch, const char *token,
							   int *n);

/* They are back: what was kept of them goes. */
extern void vf_undo_set_restored(const VfUndoBatch *batch, char *const *ids,
								 int n);

/* Erase rows of a batch (of one token); returns how many. */
extern int64 vf_undo_erase(const VfUndoBatch *batch, const char *token);

/* Empty all tables, waiting for their locks no longer than that, ms. */
extern void vf_undo_empty(int lock_timeout);

/* Empty the tables whose windows are over, where nobody uses them. */
extern void vf_undo_clean(TimestampTz now);

#endif							/* VF_UNDO_H */
