/*-------------------------------------------------------------------------
 *
 * drain_client.h
 *	  A client for a registered bucket, with the settings in force.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_DRAIN_CLIENT_H
#define VF_DRAIN_CLIENT_H

#include "bucket.h"
#include "s3.h"

/*
 * A client for the bucket in the given context, with credentials and
 * connection settings in force now.  On a failure NULL, with the reason as an
 * answer of class VF_S3_BUCKET.  Credentials may have to be fetched: that
 * takes timeout_ms at most.
 */
extern VfS3Client *vf_drain_client(MemoryContext context,
								   const VfBucket *bucket, int timeout_ms,
								   VfHttpTick tick, void *arg,
								   VfS3Answer *answer);

/*
 * Look for objects that must exist before the first drain into a bucket: a
 * wrong one would answer "Deleted" to everything.  Reads the keys in the
 * caller's transaction, then commits before it asks the store.
 */
typedef enum VfProbe
{
	VF_PROBE_FOUND,
	VF_PROBE_NONE_TO_LOOK_FOR,
	VF_PROBE_NOT_FOUND,
	VF_PROBE_FAILED				/* the answer says why */
} VfProbe;

struct VfSource;
extern VfProbe vf_drain_probe(VfS3Client *client,
							  const struct VfSource *source,
							  VfHttpTick tick, void *arg,
							  VfS3Answer *answer);

/*
 * Look for the objects of restored sessions that a request may have reached
 * (drain_lookup.c).  Reads and notes in transactions of its own.  False if the
 * bucket did not answer, with the reason.
 */
extern bool vf_drain_look_up(VfS3Client *client, const VfBucket *bucket,
							 VfHttpTick tick, void *arg, VfS3Answer *answer);

/* A key in UTF-8, or NULL if this database's encoding cannot say it so. */
extern char *vf_drain_utf8(const char *key, size_t *len);

#endif							/* VF_DRAIN_CLIENT_H */
