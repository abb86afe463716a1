/*-------------------------------------------------------------------------
 *
 * lifecycle.h
 *	  The lifecycle rules of the registered bucket: wanted, found, written.
 *
 * Each call asks the store while its statement runs, for 10 seconds in all
 * at most, and can be cancelled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_LIFECYCLE_H
#define VF_LIFECYCLE_H

#include "bucket.h"
#include "s3.h"

/* A rule, and what is or would be with it; texts are NULL where none are. */
typedef struct VfLifecycleRow
{
	char	   *rule;			/* its ID, "" if it has none */
	const char *state;
	char	   *prefix;			/* "" if it is for none */
	char	   *before;			/* in the bucket, XML */
	char	   *after;			/* wanted, or to be written */
} VfLifecycleRow;

typedef struct VfLifecycleRows
{
	int			n;
	VfLifecycleRow *list;
} VfLifecycleRows;

/* Every rule, ours and others'; what is found is put on record. */
extern void vf_lifecycle_status(VfHttpTick tick, void *arg,
								VfLifecycleRows *rows);

/* What a change is to do. */
typedef struct VfLifecycleOrder
{
	bool		dry_run;
	int64		accept_loss;	/* -1: not given */
	VfHttpTick	tick;
	void	   *arg;
} VfLifecycleOrder;

/* What is chosen anew; NULL or -1: as before. */
typedef struct VfLifecycleChoice
{
	char	   *archive_class;
	char	   *infrequent_class;
	int			noncurrent;
	int			waveforms;
	int			previews;
	int			delete_markers;
	int			uploads;
} VfLifecycleChoice;

/*
 * Change the document, or show how it would be changed.  Rules of others stay
 * as they are.  Raises VF_ERRCODE_BRAKE where expiring rules would take what is
 * still referenced, 55000 where the document has changed meanwhile.
 */
extern void vf_lifecycle_apply(const VfLifecycleOrder *order,
							   const VfLifecycleChoice *choice,
							   VfLifecycleRows *rows);
extern void vf_lifecycle_remove(const VfLifecycleOrder *order,
								VfLifecycleRows *rows);
/* Put a kept one back; kept_id 0: the last. */
extern void vf_lifecycle_restore(const VfLifecycleOrder *order,
								 int64 kept_id, bool overwrite,
								 VfLifecycleRows *rows);

/*
 * The wanted document, merged with what the bucket has or alone; palloc'd.
 * archive_class is for this call; NULL: as it was chosen.
 */
extern char *vf_lifecycle_document(bool json, char *archive_class,
								   bool merged, VfHttpTick tick, void *arg);

/* References that expiring rules take too early (lifecycle_loss.c). */
typedef void (*VfLifecycleLoss) (void *arg, const Datum *values,
								 const bool *nulls);
extern void vf_lifecycle_losses(VfLifecycleLoss row, void *arg);

/*
 * For the scan: look whether the rules are in place, and note it in the
 * transaction that is then open.  Commits before it asks; raises nothing for
 * what the store answers.
 */
extern void vf_lifecycle_watch(VfS3Client *client, const VfBucket *bucket,
							   bool versioned, VfHttpTick tick, void *arg);

#endif							/* VF_LIFECYCLE_H */
