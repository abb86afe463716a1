/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  What the views read of the application's tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_WATCH_H
#define VF_WATCH_H

#include "datatype/timestamp.h"

typedef struct VfWatchState
{
	bool		registered;
	char	   *problem;		/* NULL: the registration holds */
	const char *guard;			/* one word, NULL with a problem */
	char	   *settings_fault;	/* NULL: all lines are in force */
} VfWatchState;

/* Never raises what a broken registration raises: it is the answer. */
extern void vf_watch_state(VfWatchState *state);

typedef struct VfWatchSessions
{
	int64		sessions;
	int64		expired;
	int64		older;			/* than unpaid_after */
	int64		due;
	int64		paying;
} VfWatchSessions;

extern void vf_watch_sessions(VfWatchSessions *counts);

typedef struct VfWatchStorage
{
	char	   *type;
	int64		keys;
	int64		objects;		/* that the last complete scan found of them */
	int64		bytes;
	bool		scanned;		/* there was one */
} VfWatchStorage;

extern VfWatchStorage *vf_watch_storage(int *n);

/*
 * References whose object the last complete scan did not find: table, column,
 * id of the row, key, each a text.  The function gets them one by one and must
 * not run statements.
 */
typedef void (*VfWatchRow) (void *arg, const Datum *values, const bool *nulls);
extern void vf_watch_missing(VfWatchRow row, void *arg);

/*
 * Who else works under our prefixes: ours, theirs (empty: the whole bucket),
 * name, system identifier and host of the database, its last heartbeat, its
 * marker, and the problem where that is not known, each a text.
 */
extern void vf_watch_shared(VfWatchRow row, void *arg);

typedef struct VfWatchAlerts
{
	char	   *unknown_statuses;	/* a list with counts, or NULL */
	int64		null_timestamps;
	int64		late_payments;
} VfWatchAlerts;

extern void vf_watch_alerts(VfWatchAlerts *alerts);

/*
 * Files of paying orders that were not copied: id of the session, status of
 * the order, column, key, when a lifecycle rule on temp_ takes it (null: it
 * does not), and whether the last complete scan found it (null: none).
 */
extern void vf_watch_at_risk(VfWatchRow row, void *arg);
/*
 * How many files, but for those that are gone, and the first such time;
 * DT_NOBEGIN if there is none.
 */
extern int64 vf_watch_count_at_risk(TimestampTz *deadline);

#endif							/* VF_WATCH_H */
