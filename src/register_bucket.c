/*-------------------------------------------------------------------------
 *
 * register_bucket.c
 *	  Registering the bucket that new keys go to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "bucket.h"
#include "outbox.h"
#include "register.h"
#include "s3.h"
#include "wake.h"

static void
refuse(const char *what, const char *value, const char *fault,
	   const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" cannot be used", what, value),
			 errdetail("%s", fault),
			 errhint("%s", hint)));
}

/* Fill in what was left out, and check what was given. */
static void
complete(const VfBucketOptions *opt, VfBucket *b)
{
	const char *fault;

	if (opt->bucket == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the bucket must not be null"),
				 errhint("Name it: vf_configure_bucket('bucket', 'region').")));
	if ((fault = vf_s3_bucket_fault(opt->bucket)) != NULL)
		refuse("bucket", opt->bucket, fault,
			   "Give the bucket's name alone, without scheme or path.");
	if (opt->region == NULL && opt->endpoint == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a bucket on AWS needs its region"),
				 errhint("Call vf_configure_bucket(bucket => ..., region => 'us-east-2'), or name the endpoint of another store.")));
	b->bucket = opt->bucket;
	b->region = opt->region != NULL ? opt->region : "us-east-1";
	if (strspn(b->region, "abcdefghijklmnopqrstuvwxyz0123456789-") !=
		strlen(b->region) || b->region[0] == '\0')
		refuse("region", b->region,
			   "A region has lower-case letters, digits and hyphens.",
			   "Give a region such as us-east-2.");
	b->endpoint = opt->endpoint != NULL ? opt->endpoint :
		vf_s3_default_endpoint(b->region);
	b->path_style = opt->path_style != NULL ? opt->path_style : "auto";
	b->profile = opt->profile;
	b->probe = opt->probe;
	b->expected_owner = opt->expected_owner;
	b->request_payer = opt->request_payer;
	if (opt->expected_owner != NULL &&
		(strlen(opt->expected_owner) != 12 ||
		 strspn(opt->expected_owner, "0123456789") != 12))
		refuse("expected owner", opt->expected_owner,
			   "It is no account id of AWS, which has 12 digits.",
			   "Leave it out, unless the bucket is on AWS.");
	if (strchr(b->endpoint, '@') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an endpoint has no user name or password"),
				 errhint("Credentials belong in the file that voiceframe.s3_credentials_file names.")));
	if ((fault = vf_s3_endpoint_fault(b->endpoint)) != NULL)
		refuse("endpoint", b->endpoint, fault,
			   "An endpoint is scheme, host and port, such as https://s3.us-east-2.amazonaws.com or http://127.0.0.1:9000.");
	if (strcmp(b->path_style, "auto") != 0 &&
		strcmp(b->path_style, "path") != 0 &&
		strcmp(b->path_style, "virtual") != 0)
		refuse("path style", b->path_style, "It is none of those known.",
			   "Use auto, path or virtual.");
}

void
vf_register_bucket(const VfBucketOptions *opt, VfReport *report)
{
	VfBucket	b;
	int64		taken;

	memset(&b, 0, sizeof(b));
	complete(opt, &b);
	vf_bucket_store(&b);
	taken = vf_outbox_take_in(b.endpoint, b.bucket);
	if (taken > 0)
		vf_wake_at_commit();
	vf_report_add(report, "bucket", b.bucket);
	vf_report_add(report, "endpoint", b.endpoint);
	vf_report_add(report, "region", b.region);
	vf_report_add(report, "path style", b.path_style);
	vf_report_add(report, "profile",
				  b.profile != NULL ? b.profile : "default");
	vf_report_add(report, "probe before first drain", b.probe ? "yes" : "no");
	if (b.expected_owner != NULL)
		vf_report_add(report, "expected owner", b.expected_owner);
	if (b.request_payer)
		vf_report_add(report, "requester pays", "yes");
	vf_report_add(report, "waiting keys taken in",
				  psprintf("%lld", (long long) taken));
	vf_report_add(report, "next", "check it with vf_s3_check()");
}
