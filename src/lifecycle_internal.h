/*-------------------------------------------------------------------------
 *
 * lifecycle_internal.h
 *	  What the files of the room lifecycle share.
 *
 * lifecycle.c: what is wanted and found, the calls.  lifecycle_change.c: a
 * document replaced by another.  lifecycle_loss.c: what would be lost.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_LIFECYCLE_INTERNAL_H
#define VF_LIFECYCLE_INTERNAL_H

#include "lclog.h"
#include "lifecycle.h"
#include "s3_lcdoc.h"

/* A document as it was read, or an empty one. */
typedef struct VfLcFound
{
	VfS3Lifecycle answer;
	VfLcDoc    *doc;
} VfLcFound;

typedef struct VfLcJob
{
	VfBucket   *bucket;
	VfS3Client *client;
	VfHttpTick	tick;
	void	   *arg;
	int64		deadline;		/* of vf_s3_clock_ms() */
	int64		last_deadline;	/* for putting back what went wrong */
	VfLcChoices choices;
	VfLcFound	found;
} VfLcJob;

/* lifecycle.c */

/* The document goes with the context; an error if it is NULL. */
extern VfLcDoc *vf_lifecycle_own(VfLcDoc *doc);
/* A malloc'd text, palloc'd; an error if it is NULL. */
extern char *vf_lifecycle_text(char *text);
/* Raise an error unless there was memory; true if it says so. */
extern bool vf_lifecycle_yes(int answer);
extern int	vf_lifecycle_time_left(const VfLcJob *job);
extern bool vf_lifecycle_try_read(const VfLcJob *job, int timeout_ms,
								  VfLcFound *found, VfS3Answer *answer);
extern void vf_lifecycle_add_row(VfLifecycleRows *rows, const VfLcDoc *before,
								 int i, const VfLcDoc *after, int j,
								 const char *state);
/* Our rules as found against wanted ones: NULL, or what is not as it is. */
extern char *vf_lifecycle_drift(const VfLcDoc *wanted, const VfLcDoc *doc);

/* lifecycle_change.c */

/* A change of the document that was found to another. */
typedef struct VfLcChange
{
	const char *name;			/* apply, remove or restore */
	VfLcDoc    *next;
	const char *minimum;
	const VfLifecycleOrder *order;
} VfLcChange;

typedef enum VfLcOutcome
{
	VF_LC_DONE,					/* the bucket has it, and job->found is it */
	VF_LC_DRY,					/* nothing was to be done */
	VF_LC_UNKNOWN				/* a warning has said so */
} VfLcOutcome;

extern VfLcOutcome vf_lifecycle_change(VfLcJob *job, const VfLcChange *change,
									   VfLifecycleRows *rows);

/* lifecycle_loss.c */

/*
 * How many objects would be lost under these prefixes; *detail says of which
 * columns.
 */
extern int64 vf_lifecycle_count_losses(char *const *prefixes, int n,
									   char **detail);

#endif							/* VF_LIFECYCLE_INTERNAL_H */
