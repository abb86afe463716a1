/*-------------------------------------------------------------------------
 *
 * purge.h
 *	  Purging due sessions: one engine for the function, the procedure, the
 *	  preview and the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PURGE_H
#define VF_PURGE_H

#include "datatype/timestamp.h"

#include "runlog.h"

typedef struct VfPurgeOptions
{
	const char *caller;			/* for the record */
	bool		commits;		/* per batch; SPI is then open nonatomic */
	bool		full;			/* look at every session */
	int64		max_sessions;	/* 0: no limit */
	int64		confirm;		/* 0: brakes hold */
	bool		by_person;		/* lets the worker purge from now on */
	bool		(*keep_going) (void);	/* NULL: always */
} VfPurgeOptions;

typedef struct VfPurgeResult
{
	int64		run_id;			/* 0: an idle run without a record of its own */
	VfRunCounts counts;
	double		seconds;
	bool		bucket;			/* the keys have a bucket to go to */
} VfPurgeResult;

/*
 * Purge.  SPI is open.  Raises what the registration, the settings and the
 * brakes raise; with commits, what happened until then is on record.
 */
extern void vf_purge_run(const VfPurgeOptions *opt, VfPurgeResult *result);

/* One line of the preview. */
typedef struct VfPreviewLine
{
	char	   *rule;			/* expired, unpaid, kept: paid, ... */
	int64		sessions;
	int64		keys;
	TimestampTz oldest;			/* due since; DT_NOBEGIN if none */
	TimestampTz newest;
	char	  **examples;		/* ids */
	int			n_examples;
} VfPreviewLine;

extern VfPreviewLine *vf_purge_preview(int max_examples, int *n);

#endif							/* VF_PURGE_H */
