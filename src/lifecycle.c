/*-------------------------------------------------------------------------
 *
 * lifecycle.c
 *	  The lifecycle rules of the registered bucket: wanted, found, written.
 *
 * A person asks, so bytes are on the wire while a statement runs: 10 seconds
 * in all, of which the last few are kept for putting a document back.  Only
 * the look that follows a scan waits with nothing of the database held.
 *
 * Order of things: documents and texts; a job; what is wanted; rows; the
 * calls; the look.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "mb/pg_wchar.h"

#include "db.h"
#include "drain_client.h"
#include "errors.h"
#include "lifecycle_internal.h"
#include "preflight.h"
#include "source.h"

/* Of all requests, and of those before the last ones, ms. */
#define BUDGET_MS 10000
#define MAIN_BUDGET_MS 7000

/* Of what is said about drift. */
#define MAX_DRIFT 1000

/* ---- documents and texts ---- */

static void
free_document(void *arg)
{
	vf_s3_lcdoc_free(arg);
}

static void
fail_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("A lifecycle document does not fit.")));
}

VfLcDoc *
vf_lifecycle_own(VfLcDoc *doc)
{
	MemoryContextCallback *callback;

	if (doc == NULL)
		fail_memory();
	callback = palloc(sizeof(MemoryContextCallback));
	callback->func = free_document;
	callback->arg = doc;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return doc;
}

char *
vf_lifecycle_text(char *text)
{
	char	   *copy;

	if (text == NULL)
		fail_memory();
	copy = pstrdup(text);
	free(text);
	return copy;
}

bool
vf_lifecycle_yes(int answer)
{
	if (answer < 0)
		fail_memory();
	return answer != 0;
}

/* In others not every letter of a document can be said. */
static bool
is_ascii(void)
{
	return GetDatabaseEncoding() != PG_UTF8;
}

/* A short text of a document. */
static char *
show(const char *text)
{
	char	   *copy = pstrdup(text);

	for (char *p = copy; is_ascii() && *p != '\0'; p++)
		if (IS_HIGHBIT_SET(*p))
			*p = '?';
	return copy;
}

/* ---- a job ---- */

int
vf_lifecycle_time_left(const VfLcJob *job)
{
	return (int) Max(job->deadline - vf_s3_clock_ms(), 1);
}

static void
refuse_answer(const VfS3Answer *answer)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("the bucket's lifecycle rules cannot be read: %s",
					answer->code),
			 errdetail("%s.", answer->message),
			 errhint("%s", answer->status == 403 ?
					 "Give the credentials the rights s3:GetLifecycleConfiguration and s3:PutLifecycleConfiguration on the bucket." :
					 vf_s3_cure(answer->code))));
}

/* What is read, as a document; false if it is none. */
static bool
parse(VfLcFound *found, VfS3Answer *answer)
{
	const char *fault = NULL;
	VfLcDoc    *doc;

	if (!found->answer.exists)
	{
		found->doc = vf_lifecycle_own(vf_s3_lcdoc_wish(NULL, NULL));
		return true;
	}
	doc = vf_s3_lcdoc_read(found->answer.text, found->answer.len, &fault);
	if (doc != NULL)
	{
		found->doc = vf_lifecycle_own(doc);
		return true;
	}
	answer->class = VF_S3_BUCKET;
	strlcpy(answer->code, "MalformedAnswer", sizeof(answer->code));
	strlcpy(answer->message, fault, sizeof(answer->message));
	return false;
}

bool
vf_lifecycle_try_read(const VfLcJob *job, int timeout_ms, VfLcFound *found,
					  VfS3Answer *answer)
{
	vf_s3_get_lifecycle(job->client, timeout_ms, job->tick, job->arg, answer,
						&found->answer);
	return answer->class == VF_S3_OK && parse(found, answer);
}

static void
find_bucket(VfLcJob *job, VfHttpTick tick, void *arg)
{
	memset(job, 0, sizeof(*job));
	job->tick = tick;
	job->arg = arg;
	job->deadline = vf_s3_clock_ms() + MAIN_BUDGET_MS;
	job->last_deadline = vf_s3_clock_ms() + BUDGET_MS;
	job->bucket = vf_bucket_current();
	if (job->bucket == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no bucket is registered in this database"),
				 errhint("Call vf_configure_bucket().")));
	vf_lclog_load(job->bucket->endpoint, job->bucket->bucket, &job->choices);
}

/* Reach the bucket and read its document. */
static void
open_job(VfLcJob *job)
{
	VfS3Answer	answer;

	job->client = vf_drain_client(CurrentMemoryContext, job->bucket,
								  vf_lifecycle_time_left(job), job->tick,
								  job->arg, &answer);
	if (job->client == NULL ||
		!vf_lifecycle_try_read(job, vf_lifecycle_time_left(job), &job->found,
							   &answer))
		refuse_answer(&answer);
}

static void
close_job(VfLcJob *job)
{
	vf_s3_close(job->client);
}

/* ---- what is wanted ---- */

static const char *
class_of(const char *class)
{
	return class == NULL || strcmp(class, VF_LC_NO_CLASS) == 0 ? NULL : class;
}

/* Does the bucket keep versions?  A store that cannot tell keeps none. */
static bool
is_versioned(const VfLcJob *job)
{
	VfS3Answer	answer;
	VfS3Versioning versioning;
	bool		mfa_delete;

	vf_s3_get_versioning(job->client, vf_lifecycle_time_left(job), job->tick,
						 job->arg, &answer, &versioning, &mfa_delete);
	if (answer.class != VF_S3_OK && answer.status != 501 &&
		answer.status != 405 && answer.status != 403)
		refuse_answer(&answer);
	return answer.class == VF_S3_OK && versioning != VF_S3_VERSIONING_OFF;
}

static VfLcDoc *
wanted_document(const VfLcChoices *choices, bool versioned,
				const VfLcDoc *like)
{
	VfLcWish	wish;

	wish.infrequent_class = class_of(choices->infrequent_class);
	wish.archive_class = class_of(choices->archive_class);
	wish.noncurrent = choices->noncurrent < 0 ? versioned :
		choices->noncurrent != 0;
	wish.waveforms = choices->waveforms;
	wish.previews = choices->previews;
	wish.delete_markers = choices->delete_markers;
	wish.uploads = choices->uploads;
	return vf_lifecycle_own(vf_s3_lcdoc_wish(like, &wish));
}

static VfLcDoc *
wanted(const VfLcJob *job)
{
	return wanted_document(&job->choices, job->choices.noncurrent < 0 &&
						   is_versioned(job), job->found.doc);
}

/* The same document once more, to be changed. */
static VfLcDoc *
copy_found(const VfLcJob *job)
{
	VfLcFound	copy = job->found;
	VfS3Answer	answer;

	if (!parse(&copy, &answer))
		elog(ERROR, "a document that was read cannot be read");
	return copy.doc;
}

static void
merge(VfLcDoc *doc, const VfLcDoc *ours)
{
	if (!vf_s3_lcdoc_merge(doc, ours))
		fail_memory();
}

/* ---- rows ---- */

static char *
rule_text(const VfLcDoc *doc, int n)
{
	return doc == NULL ? NULL :
		vf_lifecycle_text(vf_s3_lcdoc_rule_text(doc, n, VF_LC_XML,
												is_ascii()));
}

void
vf_lifecycle_add_row(VfLifecycleRows *rows, const VfLcDoc *before, int i,
					 const VfLcDoc *after, int j, const char *state)
{
	const VfLcDoc *doc = after != NULL ? after : before;
	int			n = after != NULL ? j : i;
	VfLifecycleRow *row;

	if (rows->list == NULL)
		rows->list = palloc(sizeof(VfLifecycleRow));
	else
		rows->list = repalloc(rows->list,
							  sizeof(VfLifecycleRow) * (rows->n + 1));
	row = &rows->list[rows->n++];
	row->rule = show(vf_s3_lcdoc_id(doc, n));
	row->state = state;
	row->prefix = show(vf_s3_lcdoc_prefix(doc, n));
	row->before = rule_text(before, i);
	row->after = rule_text(after, j);
}

/* Is it the rule of its ID that counts, and is it wanted? */
static bool
is_wanted(const VfLcDoc *ours, const VfLcDoc *doc, int n)
{
	const char *id = vf_s3_lcdoc_id(doc, n);

	return vf_s3_lcdoc_find(ours, id) >= 0 && vf_s3_lcdoc_find(doc, id) == n;
}

static void
compare(const VfLcDoc *ours, const VfLcDoc *doc, VfLifecycleRows *rows)
{
	int			n = vf_s3_lcdoc_count(ours);

	for (int j = 0; j < n; j++)
	{
		int			i = vf_s3_lcdoc_find(doc, vf_s3_lcdoc_id(ours, j));

		if (i < 0)
			vf_lifecycle_add_row(rows, NULL, -1, ours, j, "missing");
		else
			vf_lifecycle_add_row(rows, doc, i, ours, j,
								 vf_lifecycle_yes(vf_s3_lcdoc_same_rule(doc, i,
																		ours,
																		j)) ?
								 "in place" : "different");
	}
	n = vf_s3_lcdoc_count(doc);
	for (int i = 0; i < n; i++)
	{
		if (!vf_s3_lcdoc_is_ours(doc, i))
			vf_lifecycle_add_row(rows, doc, i, NULL, -1, "foreign");
		else if (!is_wanted(ours, doc, i))
			vf_lifecycle_add_row(rows, doc, i, NULL, -1, "not wanted");
	}
}

char *
vf_lifecycle_drift(const VfLcDoc *ours, const VfLcDoc *doc)
{
	VfLifecycleRows rows = {0};
	StringInfoData buf;

	compare(ours, doc, &rows);
	initStringInfo(&buf);
	for (int i = 0; i < rows.n && buf.len < MAX_DRIFT; i++)
	{
		const VfLifecycleRow *row = &rows.list[i];

		if (strcmp(row->state, "in place") != 0 &&
			strcmp(row->state, "foreign") != 0)
			appendStringInfo(&buf, "%s%s %s", buf.len == 0 ? "" : ", ",
							 row->rule, row->state);
	}
	return buf.len == 0 ? NULL : buf.data;
}

/* A standby, or a read-only transaction, has nothing to write it to. */
static bool
may_note(void)
{
	return !RecoveryInProgress() && !XactReadOnly;
}

static void
note(const VfLcJob *job, const char *drift)
{
	if (may_note())
		vf_lclog_note(job->bucket->endpoint, job->bucket->bucket, drift);
}

/* After a change: is what the bucket has now what is wanted now? */
static void
note_outcome(VfLcJob *job, VfLcOutcome outcome)
{
	switch (outcome)
	{
		case VF_LC_DRY:
			break;
		case VF_LC_UNKNOWN:
			note(job, "nobody can tell what the last change has done");
			break;
		case VF_LC_DONE:
			vf_lclog_load(job->bucket->endpoint, job->bucket->bucket,
						  &job->choices);
			note(job, job->choices.wanted ?
				 vf_lifecycle_drift(wanted(job), job->found.doc) : NULL);
			break;
	}
}

/* ---- the calls ---- */

void
vf_lifecycle_status(VfHttpTick tick, void *arg, VfLifecycleRows *rows)
{
	VfLcJob		job;
	VfLcDoc    *ours;

	find_bucket(&job, tick, arg);
	open_job(&job);
	ours = wanted(&job);
	compare(ours, job.found.doc, rows);
	note(&job, job.choices.wanted ?
		 vf_lifecycle_drift(ours, job.found.doc) : NULL);
	close_job(&job);
	if (job.choices.archive_class == NULL)
		ereport(NOTICE,
				(errmsg("no archive class has been chosen for permanent/"),
				 errhint("vf_s3_lifecycle_apply() says what there is to choose.")));
}

static void
choose(VfLcChoices *choices, const VfLifecycleChoice *choice)
{
	choices->wanted = true;
	if (choice->archive_class != NULL)
		choices->archive_class = choice->archive_class;
	if (choice->infrequent_class != NULL)
		choices->infrequent_class = choice->infrequent_class;
	if (choice->noncurrent >= 0)
		choices->noncurrent = choice->noncurrent;
	if (choice->waveforms >= 0)
		choices->waveforms = choice->waveforms != 0;
	if (choice->previews >= 0)
		choices->previews = choice->previews != 0;
	if (choice->delete_markers >= 0)
		choices->delete_markers = choice->delete_markers != 0;
	if (choice->uploads >= 0)
		choices->uploads = choice->uploads != 0;
}

static void
require_archive_class(const VfLcChoices *choices)
{
	if (choices->archive_class == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("archive_class has to be chosen"),
				 errdetail("After %d days the files under permanent/ move to it. What is in GLACIER or DEEP_ARCHIVE cannot be read without a restore that takes minutes to days: a printed QR code that points at it plays nothing. What is in GLACIER_IR is read at once.",
						   VF_LC_ARCHIVE_DAYS),
				 errhint("Call vf_s3_lifecycle_apply(archive_class => 'GLACIER_IR'); or 'GLACIER', 'DEEP_ARCHIVE', a class of the store's own, or 'none' for no such rule.")));
}

static void
warn_unplayable(const VfLcChoices *choices)
{
	const char *class = choices->archive_class;

	if (strcmp(class, "GLACIER") == 0 || strcmp(class, "DEEP_ARCHIVE") == 0)
		ereport(WARNING,
				(errmsg("files in %s cannot be played from a printed QR code without a restore",
						class),
				 errhint("GLACIER_IR costs more to keep and is read at once.")));
}

/* A copy of the database has the bucket's keys, and no say about its rules. */
static void
require_whole(void)
{
	if (vf_source_registered() && !vf_source_is_whole())
		ereport(ERROR,
				(errcode(VF_ERRCODE_NOT_ADOPTED),
				 errmsg("this database is a copy of another one, or has lost history"),
				 errhint("Call vf_adopt() if it is the one that goes on.")));
}

/* Before something is changed: may it be, and by nobody else meanwhile. */
static void
prepare(const VfLcJob *job, const VfLifecycleOrder *order)
{
	if (order->dry_run)
		return;
	vf_preflight();
	require_whole();
	vf_lclog_lock(job->bucket->endpoint, job->bucket->bucket);
}

void
vf_lifecycle_apply(const VfLifecycleOrder *order,
				   const VfLifecycleChoice *choice, VfLifecycleRows *rows)
{
	VfLcJob		job;
	VfLcChange	change = {.name = "apply", .order = order};
	VfLcOutcome outcome;

	vf_source_load(order->dry_run ? VF_SOURCE_LOOK : VF_SOURCE_DELETE);
	find_bucket(&job, order->tick, order->arg);
	prepare(&job, order);
	if (!order->dry_run)
		vf_lclog_load(job.bucket->endpoint, job.bucket->bucket, &job.choices);
	choose(&job.choices, choice);
	require_archive_class(&job.choices);
	warn_unplayable(&job.choices);
	open_job(&job);
	change.next = copy_found(&job);
	merge(change.next, wanted(&job));
	change.minimum = job.found.answer.minimum;
	outcome = vf_lifecycle_change(&job, &change, rows);
	if (outcome != VF_LC_DRY)
		vf_lclog_store(job.bucket->endpoint, job.bucket->bucket,
					   &job.choices);
	note_outcome(&job, outcome);
	close_job(&job);
}

void
vf_lifecycle_remove(const VfLifecycleOrder *order, VfLifecycleRows *rows)
{
	VfLcJob		job;
	VfLcChange	change = {.name = "remove", .order = order};
	VfLcOutcome outcome;

	find_bucket(&job, order->tick, order->arg);
	prepare(&job, order);
	open_job(&job);
	change.next = copy_found(&job);
	merge(change.next,
		  vf_lifecycle_own(vf_s3_lcdoc_wish(job.found.doc, NULL)));
	change.minimum = job.found.answer.minimum;
	outcome = vf_lifecycle_change(&job, &change, rows);
	if (outcome == VF_LC_DONE)
	{
		vf_lclog_load(job.bucket->endpoint, job.bucket->bucket, &job.choices);
		job.choices.wanted = false;
		vf_lclog_store(job.bucket->endpoint, job.bucket->bucket,
					   &job.choices);
	}
	note_outcome(&job, outcome);
	close_job(&job);
}

static VfLcDoc *
read_kept(const VfLcKept *kept)
{
	const char *fault = NULL;
	VfLcDoc    *doc;

	if (!kept->exists)
		return vf_lifecycle_own(vf_s3_lcdoc_wish(NULL, NULL));
	doc = vf_s3_lcdoc_read(kept->text, kept->len, &fault);
	if (doc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the kept lifecycle document %lld cannot be read",
						(long long) kept->id),
				 errdetail("%s.", fault),
				 errhint("Put another one of vf_lifecycle_kept back.")));
	return vf_lifecycle_own(doc);
}

static void
find_kept(const VfLcJob *job, int64 id, VfLcKept *kept)
{
	if (vf_lclog_find(job->bucket->endpoint, job->bucket->bucket, id, kept))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 id == 0 ? errmsg("no lifecycle document of this bucket is kept") :
			 errmsg("no lifecycle document of this bucket is kept as number %lld",
					(long long) id),
			 errhint("vf_lifecycle_kept has those that were replaced.")));
}

static void
require_same_foreign(const VfLcJob *job, const VfLcDoc *kept)
{
	if (vf_lifecycle_yes(vf_s3_lcdoc_same(job->found.doc, kept, false)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("rules of others have changed since the document was kept"),
			 errdetail("Putting it back would undo that."),
			 errhint("vf_s3_lifecycle_remove() takes our rules away alone; vf_s3_lifecycle_restore(overwrite => true, dry_run => true) shows what putting it back would change.")));
}

void
vf_lifecycle_restore(const VfLifecycleOrder *order, int64 kept_id,
					 bool overwrite, VfLifecycleRows *rows)
{
	VfLcJob		job;
	VfLcKept	kept;
	VfLcChange	change = {.name = "restore", .order = order};
	VfLcOutcome outcome;

	vf_source_load(order->dry_run ? VF_SOURCE_LOOK : VF_SOURCE_DELETE);
	find_bucket(&job, order->tick, order->arg);
	prepare(&job, order);
	find_kept(&job, kept_id, &kept);
	open_job(&job);
	change.next = read_kept(&kept);
	if (!overwrite)
		require_same_foreign(&job, change.next);
	change.minimum = kept.minimum;
	outcome = vf_lifecycle_change(&job, &change, rows);
	if (outcome == VF_LC_DONE)
		vf_lclog_choose_again(kept.id);
	note_outcome(&job, outcome);
	close_job(&job);
}

char *
vf_lifecycle_document(bool json, char *archive_class, bool merged,
					  VfHttpTick tick, void *arg)
{
	VfLcJob		job;
	VfLcDoc    *doc;

	find_bucket(&job, tick, arg);
	if (archive_class != NULL)
		job.choices.archive_class = archive_class;
	require_archive_class(&job.choices);
	open_job(&job);
	doc = copy_found(&job);
	if (merged)
		merge(doc, wanted(&job));
	else
		doc = wanted(&job);
	close_job(&job);
	return vf_lifecycle_text(vf_s3_lcdoc_text(doc, json ? VF_LC_JSON :
											  VF_LC_XML_LINES, is_ascii()));
}

/* ---- the look ---- */

/* Will another look find the same? */
static bool
is_lasting(const VfS3Answer *answer)
{
	return strcmp(answer->code, "LifecycleUnknown") == 0 ||
		(answer->status >= 200 && answer->status < 500 &&
		 answer->status != 408 && answer->status != 429);
}

void
vf_lifecycle_watch(VfS3Client *client, const VfBucket *bucket, bool versioned,
				   VfHttpTick tick, void *arg)
{
	VfLcJob		job;
	VfS3Answer	answer;
	bool		found;

	find_bucket(&job, tick, arg);
	if (!job.choices.wanted || job.bucket->id != bucket->id)
		return;
	job.client = client;
	vf_db_commit();
	vf_db_assert_idle("the look at the lifecycle rules");
	found = vf_lifecycle_try_read(&job, vf_lifecycle_time_left(&job),
								  &job.found, &answer);
	if (found)
		vf_lclog_note(bucket->endpoint, bucket->bucket,
					  vf_lifecycle_drift(wanted_document(&job.choices,
														 versioned,
														 job.found.doc),
										 job.found.doc));
	else if (is_lasting(&answer))
		vf_lclog_note(bucket->endpoint, bucket->bucket,
					  psprintf("cannot be read: %s", answer.code));
}
