/*-------------------------------------------------------------------------
 *
 * watch.h
 *	  What the views read of the application's tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_WATCH_H
#define VF_WATCH_H

#include "c.h"

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
} VfWatchStorage;

extern VfWatchStorage *vf_watch_storage(int *n);

typedef struct VfWatchAlerts
{
	char	   *unknown_statuses;	/* a list with counts, or NULL */
	int64		null_timestamps;
	int64		late_payments;
} VfWatchAlerts;

extern void vf_watch_alerts(VfWatchAlerts *alerts);

#endif							/* VF_WATCH_H */
