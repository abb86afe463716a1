/*-------------------------------------------------------------------------
 *
 * drain_lookup.c
 *	  Looking for objects that a request may have reached although their rows
 *	  are back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "lookup.h"

/* How many objects one run looks for, and how long for each, ms. */
#define MAX_LOOKUPS 100
#define LOOKUP_TIMEOUT 10000

/* When an object is looked for again that could not be asked for, s. */
#define LOOKUP_PAUSE 600

bool
vf_drain_look_up(VfS3Client *client, const VfBucket *bucket, VfHttpTick tick,
				 void *arg, VfS3Answer *answer)
{
	int			n;
	char	  **keys = vf_lookup_due(bucket->endpoint, bucket->bucket,
									 GetCurrentTimestamp(), MAX_LOOKUPS, &n);

	for (int i = 0; i < n; i++)
	{
		bool		exists = false;
		size_t		len;
		char	   *utf8 = vf_drain_utf8(keys[i], &len);

		vf_db_commit();
		vf_db_assert_idle("the look for an object");
		if (utf8 != NULL && vf_s3_key_fault(utf8, len) == NULL)
		{
			vf_s3_head_object(client, utf8, len, LOOKUP_TIMEOUT, tick, arg,
							  answer, &exists);
			if (answer->class != VF_S3_OK)
			{
				vf_lookup_put_off(bucket->endpoint, bucket->bucket, keys[i],
								  GetCurrentTimestamp() +
								  LOOKUP_PAUSE * USECS_PER_SEC);

				/* Who may not list is refused what is not there. */
				if (answer->status == 403)
					continue;
				return false;
			}
		}
		vf_lookup_set(bucket->endpoint, bucket->bucket, keys[i], exists);
	}
	if (n > 0)
		vf_db_commit();
	return true;
}
