/*-------------------------------------------------------------------------
 *
 * stats.h
 *	  Shared memory: which workers run, and how far they are.
 *
 * Plain values and atomics only.  A slot belongs to one database; the worker
 * that holds it writes, everybody may read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_STATS_H
#define VF_STATS_H

#include "datatype/timestamp.h"
#include "port/atomics.h"

#define VF_STATS_SLOTS 64

typedef enum VfWorkerState
{
	VF_WORKER_STARTING,
	VF_WORKER_IDLE,
	VF_WORKER_PURGING,
	VF_WORKER_DRAINING,
	VF_WORKER_SCANNING,
	VF_WORKER_COPYING,
	VF_WORKER_REFUSED			/* paused, not adopted, not registered, brake */
} VfWorkerState;

typedef struct VfSlot
{
	pg_atomic_uint32 database;	/* InvalidOid: free */
	pg_atomic_uint32 pid;		/* 0: no worker */
	pg_atomic_uint32 state;
	pg_atomic_uint32 stop;		/* vf_worker_stop(): do not start again */
	pg_atomic_uint64 started_at;
	pg_atomic_uint64 last_purge_at;
	pg_atomic_uint64 last_drain_at;
	pg_atomic_uint64 keys_in_flight;
	pg_atomic_uint64 keys_confirmed;	/* since the worker started */
	pg_atomic_uint64 errors;
	pg_atomic_uint32 by_hand;	/* drains that are no worker's */
	pg_atomic_uint32 connecting;	/* times since it last could */
} VfSlot;

/* Reserve memory; by _PG_init, while preloaded libraries are loaded. */
extern void vf_stats_init(void);

/* Raise an error where another version of the library is still at work. */
extern void vf_stats_attach(void);

/* The slot of a database, or NULL. */
extern VfSlot *vf_stats_find(Oid database);

/* The same, taking a free one if there is none; NULL if all are taken. */
extern VfSlot *vf_stats_take(Oid database);

/*
 * Become the worker of the slot: false if another living process is.
 */
extern bool vf_stats_claim(VfSlot *slot);
extern void vf_stats_release(VfSlot *slot);

/* Give a slot without a worker to whichever database needs one next. */
extern void vf_stats_free(VfSlot *slot);

/*
 * Drains by hand that run in a database.  A process that is killed takes the
 * count with it, for the server then begins anew.
 */
extern void vf_stats_by_hand(Oid database, int change);
extern bool vf_stats_drains_by_hand(Oid database);

/* Does a living worker hold the slot? */
extern bool vf_stats_runs(VfSlot *slot);

/* Slot n, or NULL past the last. */
extern VfSlot *vf_stats_slot(int n);

#endif							/* VF_STATS_H */
