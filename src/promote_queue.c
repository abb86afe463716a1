/*-------------------------------------------------------------------------
 *
 * promote_queue.c
 *	  Copies of paid files: queueing them.
 *
 * The destination of a file is made of what it is, of its order's id and of
 * its ending: permanent/photos/<order id>.jpg.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "utils/timestamp.h"

#include "bucket.h"
#include "db.h"
#include "outbox_copy.h"
#include "preflight.h"
#include "promote.h"
#include "runlog.h"
#include "source_copy.h"

#define MAX_ENDING 10
#define SUFFIX "_s3_key"

/*
 * On its own accord nothing touches an order that was changed since, s: the
 * application copies its files itself, and may be at it.
 */
#define LEAVE_ALONE 3600

/* How long the worker waits for somebody who queues the same files, ms. */
#define QUEUE_LOCK_TIMEOUT 2000

/* ".jpg" of a key, or "": what is no plain ending is none. */
static const char *
ending_of(const char *key)
{
	const char *slash = strrchr(key, '/');
	const char *name = slash != NULL ? slash + 1 : key;
	const char *dot = strrchr(name, '.');
	size_t		len;

	if (dot == NULL || dot == name)
		return "";
	len = strlen(dot + 1);
	if (len == 0 || len > MAX_ENDING)
		return "";
	for (const char *p = dot + 1; *p != '\0'; p++)
		if (!isascii((unsigned char) *p) || !isalnum((unsigned char) *p))
			return "";
	return dot;
}

static const char *
folder_of(const char *column)
{
	static const char *const folders[][2] = {
		{"photo", "photos"}, {"waveform", "waveforms"}, {"pdf", "pdfs"}
	};
	size_t		len = strlen(column);
	char	   *name;

	if (len > strlen(SUFFIX) &&
		strcmp(column + len - strlen(SUFFIX), SUFFIX) == 0)
		len -= strlen(SUFFIX);
	name = pnstrdup(column, len);
	for (int i = 0; i < (int) lengthof(folders); i++)
		if (strcmp(name, folders[i][0]) == 0)
			return folders[i][1];
	return name;
}

/* An id that may stand in a key as it is. */
static bool
is_plain_id(const char *id)
{
	size_t		len = strlen(id);

	return len > 0 && len <= 100 &&
		strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == len;
}

static char *
target_of(const VfRiskyFile *file)
{
	if (!is_plain_id(file->order_id))
		return NULL;
	return psprintf("permanent/%s/%s%s", folder_of(file->column),
					file->order_id, ending_of(file->key));
}

static const char *
word_of(VfCopyQueued queued, bool keep_session)
{
	switch (queued)
	{
		case VF_COPY_QUEUED:
			return keep_session ?
				"queued; the session goes on naming the temporary file, which stays" :
				"queued";
		case VF_COPY_WAITS:
			return "was queued before";
		case VF_COPY_DEAD:
			return "was queued before and is a dead letter";
	}
	return "unknown";
}

static void
tell(const VfRiskyFile *file, const char *target, const char *result,
	 VfPromotedRow row, void *arg)
{
	const VfPromoted told = {file->session_id, file->column, file->key,
	target, result};

	if (row != NULL)
		row(arg, &told);
}

/* Queue some of the files; returns how many were not queued before. */
static int64
queue_some(const VfPromoteQueue *opt, int64 run_id, const VfBucket *bucket,
		   const VfRiskyFile *files, int n, VfPromotedRow row, void *arg)
{
	VfCopyJob  *jobs = palloc0(sizeof(VfCopyJob) * n);
	const VfRiskyFile **of = palloc(sizeof(VfRiskyFile *) * n);
	VfCopyQueued *results = palloc(sizeof(VfCopyQueued) * n);
	int			n_jobs = 0;
	int64		queued = 0;

	for (int i = 0; i < n; i++)
	{
		char	   *target = target_of(&files[i]);
		VfCopyJob  *job = &jobs[n_jobs];

		if (target == NULL || strcmp(target, files[i].key) == 0)
		{
			tell(&files[i], target, target == NULL ?
				 "the order's id makes no key" :
				 "the file lies at its destination", row, arg);
			continue;
		}
		of[n_jobs++] = &files[i];
		job->session_id = files[i].session_id;
		job->order_id = files[i].order_id;
		job->column = files[i].column;
		job->source = files[i].key;
		job->target = target;
		job->keep_session = opt->keep_session;
	}
	vf_outbox_queue_copies(run_id, bucket->endpoint, bucket->bucket, jobs,
						   n_jobs, opt->automatic ? QUEUE_LOCK_TIMEOUT : 0,
						   results);
	for (int i = 0; i < n_jobs; i++)
	{
		tell(of[i], jobs[i].target, word_of(results[i], opt->keep_session),
			 row, arg);
		queued += results[i] == VF_COPY_QUEUED;
	}
	return queued;
}

int64
vf_promote_queue(const VfPromoteQueue *opt, VfPromotedRow row, void *arg)
{
	VfSource   *source;
	VfBucket   *bucket;
	VfRiskyFile *files;
	VfRunCounts counts = {0};
	VfRiskyFiles which = {0};
	int64		run_id;
	int			n;

	vf_preflight();
	source = vf_source_load(VF_SOURCE_DELETE);
	bucket = vf_bucket_current();
	if (bucket == NULL && opt->automatic)
		return 0;
	if (bucket == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no bucket is registered"),
				 errhint("Call vf_configure_bucket().")));
	which.token = opt->token;
	which.before = opt->automatic ? GetCurrentTimestamp() -
		LEAVE_ALONE * USECS_PER_SEC : DT_NOEND;
	which.max = opt->max_files > 0 ? opt->max_files : PG_INT32_MAX;
	which.only_new = opt->automatic || opt->max_files > 0;
	which.but_refused = opt->automatic;
	files = vf_source_risky_files(source, &which, &n);
	if (n == 0)
		return 0;
	run_id = vf_runlog_start("promote", opt->caller, false);
	for (int at = 0; at < n; at += VF_OUTBOX_MAX_KEYS)
		counts.keys_queued += queue_some(opt, run_id, bucket, files + at,
										 Min(VF_OUTBOX_MAX_KEYS, n - at), row,
										 arg);
	vf_runlog_finish(run_id, counts.keys_queued > 0 ? "ok" : "idle", &counts,
					 NULL);
	return counts.keys_queued;
}
