/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Probing the registered bucket, step by step.
 *
 * The one place where bytes are on the wire while a statement runs: a person
 * asked, it can be cancelled, and 10 seconds is all it takes.  The only object
 * touched is one of our own, written and deleted again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "bucket.h"
#include "check.h"
#include "drain_client.h"
#include "lease.h"
#include "lease_shared.h"
#include "s3_class.h"
#include "settings.h"
#include "shared.h"

#define BUDGET_MS 10000
#define MAX_LINES 11

/* A clock this far off still signs right, but not for long, s. */
#define SKEW_WARNING 300

#define OWN_KEY ".voiceframe_retention/check"

typedef struct Check
{
	VfBucket   *bucket;
	VfS3Client *client;
	VfHttpTick	tick;
	void	   *arg;
	TimestampTz deadline;
	VfCheckLine *lines;
	int			n;
	bool		failed;
	bool		not_written;	/* a key of our own */
	VfS3Answer	first;			/* the first request's, for what it tells */
} Check;

static void
add_line(Check *c, const char *check, bool ok, char *detail, const char *cure)
{
	VfCheckLine *line = &c->lines[c->n++];

	Assert(c->n <= MAX_LINES);
	line->check = check;
	line->ok = ok;
	line->skipped = false;
	line->detail = detail;
	line->cure = ok ? NULL : cure;
}

static void
skip(Check *c, const char *check)
{
	add_line(c, check, true, "not tried: another check failed", NULL);
	c->lines[c->n - 1].skipped = true;
}

static int
time_left(const Check *c)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
													   c->deadline);

	return (int) Max(left, 1);
}

static char *
said(const VfS3Answer *a)
{
	return a->message[0] != '\0' ? psprintf("%s: %s", a->code, a->message) :
		pstrdup(a->code);
}

/* A line for an answer: fine, or what it says. */
static void
add_answer(Check *c, const char *check, const VfS3Answer *a, char *fine)
{
	if (a->class == VF_S3_OK)
		add_line(c, check, true, fine, NULL);
	else
		add_line(c, check, false, said(a), vf_s3_cure(a->code));
}

static bool
code_is(const VfS3Answer *a, const char *code)
{
	return strcmp(a->code, code) == 0;
}

/* Reached at all?  No status means that no HTTP answer came. */
static void
check_connection(Check *c)
{
	bool		tls = strncmp(c->bucket->endpoint, "https:", 6) == 0;
	bool		tls_failed = code_is(&c->first, "TlsError");
	bool		reached = c->first.status != 0 || tls_failed ||
		c->first.class == VF_S3_OK;

	add_line(c, "resolve and connect", reached,
			 reached ? psprintf("%s answers", c->bucket->endpoint) :
			 said(&c->first), vf_s3_cure(c->first.code));
	if (!tls)
		add_line(c, "tls", true, "not in use: the endpoint is http", NULL);
	else if (!reached)
		skip(c, "tls");
	else
		add_line(c, "tls", !tls_failed, tls_failed ? said(&c->first) :
				 "certificate and host name are good",
				 vf_s3_cure(c->first.code));
	c->failed = !reached || tls_failed;
}

/*
 * The answer to HEAD has no body; a GET tells bad keys, a wrong region and a
 * missing bucket apart.
 */
static void
check_bucket_answer(Check *c, const VfS3Answer *a)
{
	static const char *const of_keys[] = {
		"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
		"InvalidToken", "AccessDenied", "Forbidden", NULL
	};
	bool		bad_keys = false;

	for (int i = 0; of_keys[i] != NULL; i++)
		bad_keys |= code_is(a, of_keys[i]);
	if (a->class == VF_S3_OK || !bad_keys)
		add_line(c, "credentials", true, "accepted", NULL);
	else
		add_answer(c, "credentials", a, NULL);
	if (bad_keys)
		skip(c, "bucket and region");
	else
		add_answer(c, "bucket and region", a,
				   psprintf("bucket \"%s\" answers in region %s",
							c->bucket->bucket, c->bucket->region));
	c->failed = a->class != VF_S3_OK;
}

static void
check_skew(Check *c)
{
	double		offset = c->first.offset;

	if (!c->first.has_offset)
		skip(c, "clock skew");
	else
		add_line(c, "clock skew", fabs(offset) < SKEW_WARNING,
				 psprintf("the store's clock is %.0f s %s this server's",
						  fabs(offset), offset < 0 ? "behind" : "ahead of"),
				 vf_s3_cure("RequestTimeTooSkewed"));
}

static void
check_versioning(Check *c)
{
	VfS3Answer	a;
	VfS3Versioning versioning;
	bool		mfa_delete;

	vf_s3_get_versioning(c->client, time_left(c), c->tick, c->arg, &a,
						 &versioning, &mfa_delete);
	if (a.class == VF_S3_OK && versioning != VF_S3_VERSIONING_OFF &&
		vf_s3_delete_versions)
		add_line(c, "versioning", !mfa_delete, mfa_delete ?
				 "versions are deleted with a second factor only" :
				 "enabled: every version of a key is deleted",
				 vf_s3_cure("MfaDelete"));
	else if (a.class == VF_S3_OK && versioning == VF_S3_VERSIONING_ENABLED)
		add_line(c, "versioning", false,
				 "enabled: a delete leaves the bytes under a delete marker",
				 "Switch voiceframe.s3_delete_versions on, or add a lifecycle rule that expires noncurrent versions; else objects stay in storage and in the bill.");
	else
		add_answer(c, "versioning", &a,
				   versioning == VF_S3_VERSIONING_SUSPENDED ?
				   "suspended: versions from before stay" : "off");
}

static void
check_delete(Check *c)
{
	VfS3Answer	a;
	VfS3Delete	del;
	VfS3Key		key;

	vf_s3_put_object(c->client, OWN_KEY, strlen(OWN_KEY), "check", 5,
					 time_left(c), c->tick, c->arg, &a);
	if (a.class != VF_S3_OK)
	{
		c->not_written = code_is(&a, "AccessDenied");

		/* The right to write is not needed; without it nothing is shown. */
		add_line(c, "delete", true,
				 psprintf("not tried: a key of our own cannot be written (%s)",
						  a.code), NULL);
		c->lines[c->n - 1].skipped = true;
		return;
	}
	memset(&del, 0, sizeof(del));
	memset(&key, 0, sizeof(key));
	key.key = OWN_KEY;
	key.len = strlen(OWN_KEY);
	del.keys = &key;
	del.nkeys = 1;
	del.timeout_ms = time_left(c);
	vf_s3_delete_start(c->client, &del);
	if (vf_s3_delete_wait(c->client, c->tick, c->arg) == NULL)
		add_line(c, "delete", false, "stopped before the answer",
				 vf_s3_cure("Timeout"));
	else if (del.answer.class == VF_S3_OK && key.class != VF_S3_OK)
		add_line(c, "delete", false,
				 psprintf("%s: %s", key.code, key.message),
				 vf_s3_key_cure(key.code));
	else
		add_answer(c, "delete", &del.answer,
				   "an object of our own was written and deleted");
}

static void
check_lease(Check *c)
{
	VfLeaseLook look;

	vf_lease_look(c->client, c->bucket, !c->not_written, time_left(c),
				  c->tick, c->arg, &look);
	add_line(c, "lease", look.ok, look.detail, look.cure);
}

/* Whose are the objects that nothing here references? */
static void
check_shared(Check *c)
{
	VfNeighbours all;
	char	   *overlap;

	vf_lease_neighbours(c->client, c->bucket, time_left(c), c->tick, c->arg,
						&all);
	if (all.failed)
	{
		add_line(c, "shared bucket", false, all.problem, VF_SHARED_UNKNOWN_CURE);
		return;
	}
	overlap = vf_lease_overlap(&all);
	if (overlap != NULL)
		add_line(c, "shared bucket", false, overlap, VF_SHARED_CURE);
	else
		add_line(c, "shared bucket", true, all.n == 0 ?
				 "no other database has a marker in the bucket" :
				 "other databases work in the bucket, under other prefixes",
				 NULL);
}

/* Only a number of vf_s3_usage: no failure. */
static void
check_uploads(Check *c)
{
	VfS3Page	page = {.uploads = true, .after = "", .after_version = "",
	.max_keys = 1, .timeout_ms = time_left(c)};

	if (vf_s3_page_start(c->client, &page) &&
		vf_s3_page_wait(c->client, c->tick, c->arg) == NULL)
		strlcpy(page.answer.code, "Timeout", sizeof(page.answer.code));
	add_line(c, "unfinished uploads", true, page.answer.code[0] == '\0' ?
			 "can be listed" :
			 psprintf("cannot be listed (%s): vf_s3_usage has none",
					  page.answer.code), NULL);
	c->lines[c->n - 1].skipped = page.answer.code[0] != '\0';
	vf_s3_page_free(&page);
}

/* Everything that needs an answer from the bucket. */
static void
ask(Check *c)
{
	VfS3Answer	a;

	vf_s3_head_bucket(c->client, time_left(c), c->tick, c->arg, &c->first);
	check_connection(c);
	if (c->failed)
	{
		skip(c, "credentials");
		skip(c, "bucket and region");
		skip(c, "clock skew");
	}
	else
	{
		vf_s3_list_probe(c->client, "", time_left(c), c->tick, c->arg, &a);
		check_bucket_answer(c, &a);
		check_skew(c);
	}
	if (c->failed)
	{
		skip(c, "versioning");
		skip(c, "list");
		skip(c, "delete");
		skip(c, "lease");
		skip(c, "shared bucket");
		skip(c, "unfinished uploads");
		return;
	}
	check_versioning(c);
	add_answer(c, "list", &a, "allowed");
	check_delete(c);
	check_lease(c);
	check_shared(c);
	check_uploads(c);
}

VfCheckLine *
vf_check_bucket(VfHttpTick tick, void *arg, int *n)
{
	Check		c;
	VfS3Answer	a;

	memset(&c, 0, sizeof(c));
	c.tick = tick;
	c.arg = arg;
	c.deadline = GetCurrentTimestamp() + BUDGET_MS * INT64CONST(1000);
	c.lines = palloc0(sizeof(VfCheckLine) * MAX_LINES);
	c.bucket = vf_bucket_current();
	if (c.bucket == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no bucket is registered in this database"),
				 errhint("Call vf_configure_bucket().")));
	c.client = vf_drain_client(CurrentMemoryContext, c.bucket, time_left(&c),
							   c.tick, c.arg, &a);
	if (c.client == NULL)
	{
		skip(&c, "resolve and connect");
		skip(&c, "tls");
		add_answer(&c, "credentials", &a, NULL);
		skip(&c, "bucket and region");
		skip(&c, "clock skew");
		skip(&c, "versioning");
		skip(&c, "list");
		skip(&c, "delete");
		skip(&c, "lease");
		skip(&c, "shared bucket");
		skip(&c, "unfinished uploads");
	}
	else
	{
		ask(&c);
		vf_s3_close(c.client);
	}
	*n = c.n;
	return c.lines;
}
