/*-------------------------------------------------------------------------
 *
 * drain_cred.h
 *	  A registered bucket's credentials, found and renewed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_DRAIN_CRED_H
#define VF_DRAIN_CRED_H

#include "bucket.h"
#include "s3.h"

/*
 * With the settings in force now.  False with the reason as an answer of
 * class VF_S3_BUCKET.
 */
extern bool vf_drain_cred_find(const VfBucket *bucket, int timeout_ms,
							   VfHttpTick tick, void *arg,
							   VfS3Credentials *cred, VfS3Answer *answer);

/*
 * For the drain: a client, with nothing of the database held while its
 * credentials are looked for.  Commits before that.
 */
extern VfS3Client *vf_drain_cred_client(MemoryContext context,
										const VfBucket *bucket,
										VfHttpTick tick, void *arg,
										VfS3Answer *answer);

/*
 * Between waves, with no transaction open: renew credentials that end soon.
 * False, with the reason, if there are none any more.
 */
extern bool vf_drain_cred_renew(VfS3Client *client, const VfBucket *bucket,
								VfHttpTick tick, void *arg,
								VfS3Answer *answer);

#endif							/* VF_DRAIN_CRED_H */
