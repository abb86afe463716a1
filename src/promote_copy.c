/*-------------------------------------------------------------------------
 *
 * promote_copy.c
 *	  One file and the store: its copy, and what has to be like the original.
 *
 * The order of things, each a request or two:
 *
 *	1. the head of the source, and of what lies at the destination: nothing;
 *	   the same, for an earlier try, or the application, may have got so far;
 *	   or something else, which is left alone;
 *	2. the source's access control, then the copy;
 *	3. the copy's access control: what the source grants that it does not is
 *	   added.  Nothing is ever taken away;
 *	4. the head of the copy, and of the source once more: the one must be the
 *	   other, which must be what it was.
 *
 * No transaction is open.  Whatever ends it, the next try begins at the head.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "drain_client.h"
#include "promote_copy.h"

/* By how much the store's clock and its dates may be off for us, s. */
#define DATE_SLACK 2

typedef struct Copy
{
	const VfS3Asker *asker;
	const VfCopyJob *job;
	TimestampTz claimed_at;
	TimestampTz lease_until;
	VfCopyEnd  *end;

	char	   *source;
	size_t		source_len;
	char	   *target;
	size_t		target_len;
	VfS3Head	source_head;
	VfS3Head	target_head;
	VfS3Acl    *acl;			/* the source's */
	bool		has_acl;		/* which says more than that it is private */
	char		etag[128];		/* of the copy that was made just now */
} Copy;

/* ---- how it ends ---- */

static bool
finish(Copy *c, VfKeyFate fate, const char *code, const char *message)
{
	c->end->fate = fate;
	strlcpy(c->end->code, code, sizeof(c->end->code));
	strlcpy(c->end->message, message, sizeof(c->end->message));
	return false;
}

static bool
is_slow_down(const VfS3Answer *a)
{
	return a->status == 503 || a->status == 429 ||
		strcmp(a->code, "SlowDown") == 0 ||
		strcmp(a->code, "Throttling") == 0 ||
		strcmp(a->code, "RequestLimitExceeded") == 0;
}

/*
 * Does a failure say something about this file?  A refusal of rights may be
 * one of a single prefix, and an error of the store's one of a single object:
 * neither may hold up what is to be deleted.
 */
static bool
is_about_file(const VfS3Answer *a)
{
	static const char *const codes[] = {
		"AccessDenied", "InternalError", "InvalidObjectState",
		"InvalidRequest", "Timeout", "ConnectionCut", "MalformedAnswer",
		"AnswerTooLarge", "NoSuchKey", "NotImplemented", "MethodNotAllowed",
		"PreconditionFailed", "OperationAborted",
		"ConditionalRequestConflict", "BadDigest", "AclUnreadable",
		"AccessControlListNotSupported"
	};

	if (is_slow_down(a))
		return false;
	if (a->class != VF_S3_BUCKET || a->status >= 500)
		return true;
	for (int i = 0; i < (int) lengthof(codes); i++)
		if (strcmp(a->code, codes[i]) == 0)
			return true;
	return strncmp(a->code, "KMS.", 4) == 0;
}

/* A request failed; false, for it ends the copy. */
static bool
fail(Copy *c)
{
	const VfS3Answer *a = &c->end->answer;

	if (!c->asker->tick(c->asker->arg))
		c->end->stopped = true;
	c->end->of_bucket = !is_about_file(a);
	if (c->end->of_bucket)
		return finish(c, VF_FATE_AGAIN_FREE, a->code, a->message);
	if (strcmp(a->code, "AccessDenied") == 0)
		return finish(c, VF_FATE_AGAIN, "CopyDenied", a->message);
	return finish(c, VF_FATE_AGAIN, a->code, a->message);
}

/* May a request of that length begin? */
static bool
has_time(Copy *c, int timeout)
{
	if (GetCurrentTimestamp() + (timeout + VF_COPY_MARGIN) * INT64CONST(1000) <
		c->lease_until)
		return true;
	return finish(c, VF_FATE_AGAIN_FREE, "NotSent",
				  "the lease would have ended before the answer");
}

/* ---- the steps: false when the copy has come to its end ---- */

static bool
look(Copy *c, const char *key, size_t len, VfS3Head *head)
{
	if (!has_time(c, VF_COPY_TIMEOUT))
		return false;
	vf_s3_head_whole(c->asker, key, len, VF_COPY_TIMEOUT, &c->end->answer,
					 head);
	if (c->end->answer.status == 400 && c->end->answer.class == VF_S3_BATCH)
		return finish(c, VF_FATE_DEAD, "SourceEncrypted",
					  "the store does not show the object: it may be encrypted with a key that it is not told");
	if (c->end->answer.class != VF_S3_OK)
		return fail(c);
	return true;
}

static bool
look_at_source(Copy *c)
{
	if (!look(c, c->source, c->source_len, &c->source_head) ||
		!look(c, c->target, c->target_len, &c->target_head))
		return false;
	if (!c->source_head.exists)
		return finish(c, VF_FATE_DEAD, "SourceMissing",
					  c->target_head.exists ?
					  "the object is gone; one lies at the destination that can be compared with nothing" :
					  "the object is gone");
	if (c->source_head.customer_key)
		return finish(c, VF_FATE_DEAD, "SourceEncrypted",
					  "the object is encrypted with a key that only the application has");
	if (c->source_head.size < 0)
		return finish(c, VF_FATE_AGAIN, "MalformedAnswer",
					  "the store does not tell the object's size");
	if (c->source_head.size > VF_S3_MAX_COPY)
		return finish(c, VF_FATE_DEAD, "TooLargeToCopy",
					  "the object is larger than 5 GB");
	return true;
}

/* Was it written since a request of ours may have done so? */
static bool
may_be_ours(const Copy *c)
{
	double		ours;

	if (!c->target_head.has_modified || !c->end->answer.has_offset)
		return false;
	ours = (double) c->claimed_at / USECS_PER_SEC +
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (double) SECS_PER_DAY +
		c->end->answer.offset;
	return c->target_head.modified >= ours - DATE_SLACK;
}

/* Is what lies at the destination the file, as encrypted as it was? */
static bool
judge_target(Copy *c)
{
	switch (vf_s3_compare(&c->source_head, &c->target_head))
	{
		case VF_S3_SAME:
			break;
		case VF_S3_DIFFERENT:
			return finish(c, VF_FATE_DEAD, "TargetDiffers",
						  "another object lies at the destination");
		case VF_S3_UNKNOWN:
			if (may_be_ours(c))
				break;
			return finish(c, VF_FATE_DEAD, "TargetDiffers",
						  "an object lies at the destination that nothing proves to be the same");
	}
	if (strcmp(c->source_head.encryption, c->target_head.encryption) == 0 ||
		c->source_head.encryption[0] == '\0')
		return true;
	return finish(c, VF_FATE_DEAD, "TargetDiffers",
				  "the object at the destination is encrypted otherwise");
}

static bool
read_acl(Copy *c)
{
	if (!has_time(c, VF_COPY_TIMEOUT))
		return false;
	vf_s3_get_acl(c->asker, c->source, c->source_len, VF_COPY_TIMEOUT,
				  &c->end->answer, c->acl);
	if (c->end->answer.class == VF_S3_OK)
		c->has_acl = !vf_s3_acl_is_private(c->acl);
	else if (!vf_s3_has_no_acl(&c->end->answer))
		return fail(c);
	return true;
}

static bool
make(Copy *c)
{
	if (!has_time(c, VF_COPY_TIMEOUT_LONG))
		return false;
	vf_s3_copy_object(c->asker, c->source, c->source_len, &c->source_head,
					  c->target, c->target_len, VF_COPY_TIMEOUT_LONG,
					  &c->end->answer, c->etag);
	return c->end->answer.class == VF_S3_OK || fail(c);
}

/* The copy's grants are to be the source's, too; *missing: some were not. */
static bool
grant_once(Copy *c, bool *missing)
{
	VfS3Acl    *acl = palloc(sizeof(VfS3Acl));
	bool		full;

	*missing = false;
	if (!has_time(c, 2 * VF_COPY_TIMEOUT))
		return false;
	vf_s3_get_acl(c->asker, c->target, c->target_len, VF_COPY_TIMEOUT,
				  &c->end->answer, acl);
	if (c->end->answer.class != VF_S3_OK)
		return fail(c);
	*missing = vf_s3_acl_add(acl, c->acl, &full);
	if (!*missing)
		return true;
	if (full)
		return finish(c, VF_FATE_DEAD, "AclNotKept",
					  "the object at the destination has no room for the grants of the other");
	vf_s3_put_acl(c->asker, c->target, c->target_len, acl, VF_COPY_TIMEOUT,
				  &c->end->answer);
	return c->end->answer.class == VF_S3_OK || fail(c);
}

/* What one could read before, one can read there. */
static bool
grant(Copy *c)
{
	bool		missing;

	if (!c->has_acl)
		return true;
	if (!grant_once(c, &missing))
		return false;
	if (!missing)
		return true;
	if (!grant_once(c, &missing))
		return false;
	if (!missing)
		return true;
	return finish(c, VF_FATE_DEAD, "AclNotKept",
				  "the store took the grants and does not have them");
}

/* Not every store puts them into quotes everywhere. */
static bool
same_etag(const char *a, const char *b)
{
	size_t		len;

	a += a[0] == '"';
	b += b[0] == '"';
	len = strcspn(a, "\"");
	return len == strcspn(b, "\"") && memcmp(a, b, len) == 0;
}

static bool
verify(Copy *c)
{
	VfS3Head	now;

	if (!look(c, c->target, c->target_len, &c->target_head))
		return false;
	if (!c->target_head.exists)
		return finish(c, VF_FATE_AGAIN, "CopyMissing",
					  "the store made the copy and does not have it");
	if (c->etag[0] != '\0' && !same_etag(c->etag, c->target_head.etag))
		return finish(c, VF_FATE_AGAIN, "CopyChanged",
					  "somebody else writes to the destination");
	if (!judge_target(c) || !look(c, c->source, c->source_len, &now))
		return false;
	if (!now.exists || now.size != c->source_head.size ||
		!same_etag(now.etag, c->source_head.etag))
		return finish(c, VF_FATE_AGAIN, "SourceChanged",
					  "the object was replaced while it was copied");
	return true;
}

/* ---- all of them ---- */

/* Keys as the store has them; false if it cannot have them. */
static bool
write_keys(Copy *c)
{
	c->source = vf_drain_utf8(c->job->source, &c->source_len);
	c->target = vf_drain_utf8(c->job->target, &c->target_len);
	if (c->source == NULL || c->target == NULL)
		return finish(c, VF_FATE_DEAD, "KeyNotUtf8",
					  "the key cannot be sent");
	if (vf_s3_key_fault(c->source, c->source_len) != NULL)
		return finish(c, VF_FATE_DEAD,
					  vf_s3_key_fault(c->source, c->source_len),
					  "the key cannot be sent");
	return true;
}

static bool
copy(Copy *c)
{
	if (!write_keys(c) || !look_at_source(c))
		return false;
	if (c->target_head.exists && !judge_target(c))
		return false;
	if (!read_acl(c))
		return false;
	if (!c->target_head.exists && !make(c))
		return false;
	return grant(c) && verify(c);
}

void
vf_promote_copy(const VfS3Asker *asker, const VfCopyJob *job,
				TimestampTz claimed_at, TimestampTz lease_until,
				VfCopyEnd *end)
{
	Copy		c;

	memset(&c, 0, sizeof(c));
	c.asker = asker;
	c.job = job;
	c.claimed_at = claimed_at;
	c.lease_until = lease_until;
	c.end = end;

	memset(end, 0, sizeof(*end));
	c.acl = palloc0(sizeof(VfS3Acl));
	if (copy(&c))
		end->fate = VF_FATE_CONFIRMED;
}
