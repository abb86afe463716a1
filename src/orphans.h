/*-------------------------------------------------------------------------
 *
 * orphans.h
 *	  Objects that nothing references: finding them, queueing them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_ORPHANS_H
#define VF_ORPHANS_H

#include "db.h"

/*
 * Those of the registered bucket, in two complete scans at least a day apart:
 * key, bytes, storage class, last modified, first seen.  Warns if there are no
 * two such scans.
 */
extern void vf_orphans_find(VfDbRow row, void *arg);

typedef struct VfOrphansOptions
{
	int			max_objects;
	bool		dry_run;
	int64		confirm;		/* 0: nothing was confirmed */
} VfOrphansOptions;

typedef struct VfOrphansPrefix
{
	char	   *prefix;
	int64		objects;
	int64		bytes;
	int64		queued;
} VfOrphansPrefix;

typedef struct VfOrphansResult
{
	int			n;
	VfOrphansPrefix *prefixes;
	int64		objects;		/* of all of them */
	int64		queued;
} VfOrphansResult;

/*
 * Count the orphans and, unless it is a dry run, put up to max_objects of them
 * into the outbox, in the caller's transaction.  Raises VF_ERRCODE_BRAKE if
 * that would be more than a day may bring unconfirmed, and 55000 if it cannot
 * be known what is one.
 */
extern void vf_orphans_delete(const VfOrphansOptions *opt,
							  VfOrphansResult *result);

#endif							/* VF_ORPHANS_H */
