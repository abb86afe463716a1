/*-------------------------------------------------------------------------
 *
 * lease_shared.h
 *	  Other databases in the same bucket: what their owner markers say.
 *
 * A marker says under which prefixes its database's objects lie.  It stands
 * whether its heartbeat lives or not: a database that is switched off, or no
 * longer registered, still has its objects.  Only a person who deletes the
 * marker's object says that they are nobody's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_LEASE_SHARED_H
#define VF_LEASE_SHARED_H

#include "bucket.h"
#include "s3.h"
#include "s3_marker.h"

/* Another database's marker. */
typedef struct VfNeighbour
{
	char		marker[40];		/* its object's name */
	bool		readable;		/* else all that is known is that it is */
	VfS3Marker	says;			/* prefixes always */
} VfNeighbour;

typedef struct VfNeighbours
{
	int			n;
	VfNeighbour *list;			/* palloc'd */
	bool		failed;			/* some could not be read ... */
	char	   *problem;		/* ... and why, a whole sentence */
} VfNeighbours;

/*
 * Read them, in so many ms in all.  Nothing is written, here or there, so
 * that it may run in a transaction, as one of the probes a person calls.
 */
extern void vf_lease_neighbours(VfS3Client *client, const VfBucket *bucket,
								int timeout_ms, VfHttpTick tick, void *arg,
								VfNeighbours *all);

/* Keep what was read, for vf_shared_own(). */
extern void vf_lease_keep_neighbours(const VfBucket *bucket,
									 const VfNeighbours *all);

/*
 * Both, after our own marker was made sure of: others have to know of us
 * too.  Nothing may be open in the transaction; commits.
 */
extern void vf_lease_look_around(VfS3Client *client, const VfBucket *bucket,
								 VfHttpTick tick, void *arg);

/*
 * In words: whether one of them works under a prefix of ours.  NULL if none
 * does, or palloc'd.
 */
extern char *vf_lease_overlap(const VfNeighbours *all);

#endif							/* VF_LEASE_SHARED_H */
