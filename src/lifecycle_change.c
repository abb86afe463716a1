/*-------------------------------------------------------------------------
 *
 * lifecycle_change.c
 *	  A lifecycle document replaced by another, and put back if that fails.
 *
 * Order of things: the difference; what would be lost; then, unless it is a
 * dry run, the document is read once more (it is everybody's, and no store
 * takes a condition), kept, replaced, and read back.  A store that did not
 * keep what was written (one that knows no Filter makes a rule of it that is
 * for the whole bucket) gets the old document again, at once.
 *
 * An error undoes what we put on record, so none is raised while the bucket
 * may have another document than before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "db.h"
#include "errors.h"
#include "lifecycle_internal.h"
#include "wake.h"

/* How often we look for a change that a store shows late, ms. */
#define LOOK_INTERVAL 250

/* ---- the difference ---- */

/* A rule of the other document that is the same, or -1. */
static int
find_same(const VfLcDoc *doc, const VfLcDoc *with, int j)
{
	int			n = vf_s3_lcdoc_count(doc);

	for (int i = 0; i < n; i++)
		if (vf_lifecycle_yes(vf_s3_lcdoc_same_rule(doc, i, with, j)))
			return i;
	return -1;
}

static int
find_id(const VfLcDoc *doc, const char *id)
{
	return id[0] == '\0' ? -1 : vf_s3_lcdoc_find(doc, id);
}

static void
show_difference(const VfLcDoc *now, const VfLcDoc *next,
				VfLifecycleRows *rows)
{
	int			n = vf_s3_lcdoc_count(now);

	for (int i = 0; i < n; i++)
	{
		int			j = find_same(next, now, i);

		if (j >= 0)
			vf_lifecycle_add_row(rows, now, i, next, j,
								 vf_s3_lcdoc_is_ours(now, i) ? "keep" :
								 "foreign");
		else if ((j = find_id(next, vf_s3_lcdoc_id(now, i))) >= 0)
			vf_lifecycle_add_row(rows, now, i, next, j, "change");
		else
			vf_lifecycle_add_row(rows, now, i, NULL, -1, "remove");
	}
	n = vf_s3_lcdoc_count(next);
	for (int j = 0; j < n; j++)
		if (find_same(now, next, j) < 0 &&
			find_id(now, vf_s3_lcdoc_id(next, j)) < 0)
			vf_lifecycle_add_row(rows, NULL, -1, next, j, "add");
}

/* ---- what would be lost ---- */

static void
refuse_loss(int64 lost, const char *detail, bool dry_run)
{
	ereport(dry_run ? WARNING : ERROR,
			(errcode(VF_ERRCODE_BRAKE),
			 errmsg("expiring lifecycle rules would delete %lld objects that are still referenced",
					(long long) lost),
			 errdetail("%s.", detail),
			 errhint("vf_find_lifecycle_losses() names them. Copy or release them, or accept their loss with accept_loss => %lld.",
					 (long long) lost)));
}

/* Count it for the rules that come, or come to be otherwise. */
static void
check_loss(const VfLcDoc *now, const VfLcChange *change)
{
	const VfLcDoc *next = change->next;
	int			count = vf_s3_lcdoc_count(next);
	char	  **prefixes = palloc(sizeof(char *) * Max(count, 1));
	int			n = 0;
	char	   *detail = NULL;
	int64		lost;

	for (int j = 0; j < count; j++)
		if (vf_s3_lcdoc_expires(next, j) && find_same(now, next, j) < 0)
			prefixes[n++] = pstrdup(vf_s3_lcdoc_prefix(next, j));
	if (n == 0)
		return;
	lost = vf_lifecycle_count_losses(prefixes, n, &detail);
	if (lost > 0 && lost != change->order->accept_loss)
		refuse_loss(lost, detail, change->order->dry_run);
}

/* ---- writing ---- */

static bool
is_empty(const VfLcDoc *doc)
{
	return vf_lifecycle_yes(vf_s3_lcdoc_same(doc, vf_lifecycle_own(
									vf_s3_lcdoc_wish(NULL, NULL)), true));
}

/*
 * Make the bucket's document this one.  There is no empty one: where none is
 * left it is deleted, and proof shows that the store knows what that means.
 */
static void
write_document(const VfLcJob *job, const VfLcDoc *doc, const char *minimum,
			   const VfS3Lifecycle *proof, int timeout_ms, VfS3Answer *answer)
{
	char	   *text;

	memset(answer, 0, sizeof(*answer));
	if (is_empty(doc))
	{
		if (proof->exists)
			vf_s3_delete_lifecycle(job->client, proof, timeout_ms, job->tick,
								   job->arg, answer);
		return;
	}
	text = vf_lifecycle_text(vf_s3_lcdoc_text(doc, VF_LC_XML, false));
	vf_s3_put_lifecycle(job->client, text, strlen(text), minimum, timeout_ms,
						job->tick, job->arg, answer);
}

/* Does the bucket have what was written, in its own words? */
static bool
is_kept(const VfLcChange *change, const VfLcFound *back)
{
	return vf_lifecycle_yes(vf_s3_lcdoc_same(change->next, back->doc, true));
}

/*
 * Read what was written.  AWS may show for a while what was there before: as
 * long as that is all that is seen, it is looked again.  False if there is no
 * answer.
 */
static bool
read_back(const VfLcJob *job, int64 deadline, const VfLcDoc *stale,
		  VfLcFound *back, VfS3Answer *answer)
{
	for (;;)
	{
		int64		left = deadline - vf_s3_clock_ms();

		if (!vf_lifecycle_try_read(job, (int) Max(left, 1), back, answer))
			return false;
		if (stale == NULL || left <= LOOK_INTERVAL ||
			!vf_lifecycle_yes(vf_s3_lcdoc_same(back->doc, stale, true)))
			return true;
		vf_wake_wait_until(GetCurrentTimestamp() +
						   LOOK_INTERVAL * INT64CONST(1000), NULL);
	}
}

static void
keep_document(const VfLcJob *job, const VfLcChange *change)
{
	VfLcKept	kept = {0};

	kept.exists = job->found.answer.exists;
	kept.text = job->found.answer.text;
	kept.len = (int) job->found.answer.len;
	kept.minimum = pstrdup(job->found.answer.minimum);
	vf_lclog_keep(job->bucket->endpoint, job->bucket->bucket, change->name,
				  &kept);

	/*
	 * What we put on record is lost if the server dies before it is
	 * committed; its log is not.
	 */
	ereport(LOG,
			(errmsg("lifecycle rules of bucket \"%s\" are being changed by %s",
					job->bucket->bucket, change->name),
			 errdetail("The document before: %s", kept.exists ?
					   vf_lifecycle_text(vf_s3_lcdoc_text(job->found.doc,
														  VF_LC_XML, true)) :
					   "none.")));
}

/* The document is everybody's: is it still what the difference was made of? */
static void
read_again(VfLcJob *job)
{
	VfLcFound	again;
	VfS3Answer	answer;

	if (!vf_lifecycle_try_read(job, vf_lifecycle_time_left(job), &again,
							   &answer))
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("the bucket's lifecycle rules cannot be read again: %s",
						answer.code),
				 errdetail("%s. Nothing was written.", answer.message),
				 errhint("%s", vf_s3_cure(answer.code))));
	if (again.answer.exists == job->found.answer.exists &&
		strcmp(again.answer.minimum, job->found.answer.minimum) == 0 &&
		vf_lifecycle_yes(vf_s3_lcdoc_same(again.doc, job->found.doc, true)))
	{
		job->found = again;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the bucket's lifecycle rules were changed meanwhile"),
			 errdetail("Somebody else wrote the document since it was read. Nothing was written."),
			 errhint("Look at it with vf_s3_lifecycle_status(), then call again.")));
}

/* ---- when it fails ---- */

/* The time that is left for putting back. */
static int
last_time_left(const VfLcJob *job)
{
	return (int) Max(job->last_deadline - vf_s3_clock_ms(), 1);
}

static char *
what_differs(const VfLcChange *change, const VfLcFound *back)
{
	StringInfoData buf;
	int			n = vf_s3_lcdoc_count(change->next);

	initStringInfo(&buf);
	for (int j = 0; j < n; j++)
	{
		int			at;

		if (find_same(back->doc, change->next, j) >= 0)
			continue;
		at = find_id(back->doc, vf_s3_lcdoc_id(change->next, j));
		appendStringInfo(&buf, "%s%s", buf.len == 0 ? "" : " ",
						 vf_lifecycle_text(vf_s3_lcdoc_rule_text(change->next,
																 j, VF_LC_XML,
																 true)));
		appendStringInfo(&buf, " became %s.", at < 0 ? "nothing" :
						 vf_lifecycle_text(vf_s3_lcdoc_rule_text(back->doc, at,
																 VF_LC_XML,
																 true)));
	}
	if (buf.len == 0)
		appendStringInfoString(&buf, "There are rules that were not written.");
	return buf.data;
}

/*
 * The bucket has another document than was written: the one before comes back.
 * True if it is there; then nothing has happened.
 */
static bool
put_back(const VfLcJob *job, const VfLcFound *back)
{
	VfS3Answer	answer;
	VfLcFound	after;

	write_document(job, job->found.doc, job->found.answer.minimum,
				   &back->answer, last_time_left(job), &answer);
	return read_back(job, job->last_deadline, back->doc, &after, &answer) &&
		vf_lifecycle_yes(vf_s3_lcdoc_same(after.doc, job->found.doc, true));
}

static void
refuse_altered(const VfLcJob *job, const VfLcChange *change,
			   const VfLcFound *back)
{
	char	   *differs = what_differs(change, back);
	bool		restored = put_back(job, back);

	ereport(restored ? ERROR : WARNING,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 restored ?
			 errmsg("the store did not keep the lifecycle rules as they were written; the document from before is back") :
			 errmsg("the store did not keep the lifecycle rules as they were written, and the document from before could not be put back"),
			 errdetail("%s", differs),
			 restored ?
			 errhint("The store lacks something that a rule asks for: leave it out, such as with noncurrent_versions => false or archive_class => 'none'.") :
			 errhint("Put it back now with vf_s3_lifecycle_restore(dry_run => false), or with another client; vf_lifecycle_kept has it.")));
}

static void
refuse_unwritten(const VfS3Answer *answer)
{
	bool		denied = answer->status == 403;

	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("the store did not take the lifecycle rules: %s",
					answer->code),
			 errdetail("The store says: %s. The bucket's rules are as they were.",
					   answer->message),
			 errhint("%s", denied ?
					 "Give the credentials the rights s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration on the bucket." :
					 vf_s3_cure(answer->code))));
}

/* The store says yes and shows no. */
static void
warn_stale(void)
{
	ereport(WARNING,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("the store took the lifecycle rules and still shows those from before"),
			 errhint("Some stores show a change late: look with vf_s3_lifecycle_status() in a minute.")));
}

static void
warn_unknown(const VfS3Answer *answer)
{
	ereport(WARNING,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("nobody can tell whether the lifecycle rules were written: %s",
					answer->code),
			 errdetail("The store says: %s.", answer->message),
			 errhint("Look with vf_s3_lifecycle_status(); the document before is kept in vf_lifecycle_kept.")));
}

/* ---- a change ---- */

static VfLcOutcome
write_and_look(VfLcJob *job, const VfLcChange *change)
{
	VfS3Answer	written;
	VfS3Answer	answer;
	VfLcFound	back;
	bool		refused;

	write_document(job, change->next, change->minimum, &job->found.answer,
				   vf_lifecycle_time_left(job), &written);
	refused = written.class != VF_S3_OK &&
		(written.status != 0 || !written.uncertain);
	if (!read_back(job, Max(job->deadline, vf_s3_clock_ms() + LOOK_INTERVAL),
				   refused ? NULL : job->found.doc, &back, &answer))
	{
		if (refused && !written.uncertain)
			refuse_unwritten(&written);
		warn_unknown(written.class != VF_S3_OK ? &written : &answer);
		return VF_LC_UNKNOWN;
	}
	if (is_kept(change, &back))
	{
		job->found = back;
		return VF_LC_DONE;
	}
	if (!vf_lifecycle_yes(vf_s3_lcdoc_same(back.doc, job->found.doc, true)))
		refuse_altered(job, change, &back);
	else if (refused)
		refuse_unwritten(&written);
	else if (written.class != VF_S3_OK)
		warn_unknown(&written);
	else
		warn_stale();
	return VF_LC_UNKNOWN;
}

VfLcOutcome
vf_lifecycle_change(VfLcJob *job, const VfLcChange *change,
					VfLifecycleRows *rows)
{
	VfLcOutcome outcome;

	show_difference(job->found.doc, change->next, rows);
	check_loss(job->found.doc, change);
	if (change->order->dry_run)
		return VF_LC_DRY;
	if (vf_lifecycle_yes(vf_s3_lcdoc_same(job->found.doc, change->next,
										  true)))
		return VF_LC_DONE;
	read_again(job);
	keep_document(job, change);
	CHECK_FOR_INTERRUPTS();

	/*
	 * For the seconds that are left nothing may come between the bucket and
	 * the record: a cancel that comes now comes too late.  An error ends the
	 * hold by itself.
	 */
	HOLD_INTERRUPTS();
	outcome = write_and_look(job, change);
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
	return outcome;
}
