/*-------------------------------------------------------------------------
 *
 * drain_cred.c
 *	  A registered bucket's credentials, found and renewed.
 *
 * They may come over the network.  A drain holds nothing of the database then
 * (P5); vf_s3_check() calls vf_drain_cred_find() within its own few seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "drain_cred.h"
#include "settings.h"

/* All requests for one set of credentials, ms. */
#define FIND_TIMEOUT 10000

bool
vf_drain_cred_find(const VfBucket *bucket, int timeout_ms, VfHttpTick tick,
				   void *arg, VfS3Credentials *cred, VfS3Answer *answer)
{
	VfS3CredQuery query;
	const char *code;
	char	   *fault;

	memset(answer, 0, sizeof(*answer));
	memset(&query, 0, sizeof(query));
	query.file = vf_s3_credentials_file;
	query.profile = bucket->profile;
	query.region = bucket->region;
	query.ca_file = vf_s3_ca_file;
	query.proxy = vf_s3_proxy;
	query.timeout_ms = timeout_ms;
	query.tick = tick;
	query.arg = arg;
	fault = vf_s3_cred_find(&query, cred, &code);
	if (fault == NULL)
		return true;
	answer->class = VF_S3_BUCKET;
	strlcpy(answer->code, code, sizeof(answer->code));
	strlcpy(answer->message, fault, sizeof(answer->message));
	return false;
}

VfS3Client *
vf_drain_cred_client(MemoryContext context, const VfBucket *bucket,
					 VfHttpTick tick, void *arg, VfS3Answer *answer)
{
	/* Whatever chose the bucket has read its row. */
	vf_db_commit();
	vf_db_assert_idle("the search for credentials");
	return vf_drain_client(context, bucket, FIND_TIMEOUT, tick, arg, answer);
}

bool
vf_drain_cred_renew(VfS3Client *client, const VfBucket *bucket,
					VfHttpTick tick, void *arg, VfS3Answer *answer)
{
	VfS3Credentials cred;

	if (!vf_s3_credentials_due(client, GetCurrentTimestamp()))
		return true;
	vf_db_assert_idle("the renewal of credentials");
	if (!vf_drain_cred_find(bucket, FIND_TIMEOUT, tick, arg, &cred, answer))
		return false;
	vf_s3_set_credentials(client, &cred);
	vf_s3_cred_wipe(&cred);
	return true;
}
