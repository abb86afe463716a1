/*-------------------------------------------------------------------------
 *
 * promote.h
 *	  Copies of paid files: queueing them, and making what was queued.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PROMOTE_H
#define VF_PROMOTE_H

#include "datatype/timestamp.h"

#include "http.h"
#include "outbox.h"

/* ---- queueing ---- */

typedef struct VfPromoteQueue
{
	const char *caller;			/* for the record */
	const char *token;			/* of a session; NULL: all */
	int64		max_files;		/* 0: all */
	bool		keep_session;	/* sessions go on naming the temporary files */
	bool		automatic;		/* leave alone what a person or the application
								 * may be about */
} VfPromoteQueue;

typedef struct VfPromoted
{
	const char *session_id;
	const char *column;
	const char *key;
	const char *target;			/* NULL: none could be made */
	const char *result;
} VfPromoted;

typedef void (*VfPromotedRow) (void *arg, const VfPromoted *row);

/*
 * Queue a copy of each file that is at risk, in the caller's transaction; row
 * (may be NULL) hears of each.  Returns how many were queued.
 */
extern int64 vf_promote_queue(const VfPromoteQueue *opt, VfPromotedRow row,
							  void *arg);

/* ---- making them ---- */

typedef struct VfPromoteOptions
{
	const char *caller;			/* for the record */
	int64		max_files;		/* 0: until nothing waits */
	TimestampTz until;			/* no new copy after this; 0: no limit */
	VfHttpTick	tick;			/* false stops; may raise errors */
	void	   *tick_arg;
} VfPromoteOptions;

typedef struct VfPromoteResult
{
	int64		run_id;			/* 0: nothing was to be done */
	VfOutboxCounts counts;		/* of files; confirmed: copied */
	bool		stopped;		/* by tick */
	int			failing;		/* buckets that wait after a failure */
	bool		more;			/* max_files or until ended it */
} VfPromoteResult;

/*
 * Make the copies that are queued.  SPI is open nonatomic; commits as it goes.
 * Raises what the registration and the settings raise; a bucket that fails is
 * no error, its row says why.
 */
extern void vf_promote_run(const VfPromoteOptions *opt,
						   VfPromoteResult *result);

#endif							/* VF_PROMOTE_H */
