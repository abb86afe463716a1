/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Listing the bucket into the database, page by page.
 *
 * The keys are parted into ranges, and a page of each is on its way at a
 * time.  A page that has come is merged into what was known of its range, and
 * where the next one begins is stored with it, in one transaction: a scan that
 * is cut off goes on there.  Nothing of the database is held while we wait for
 * the store (P5), and no more than a page of each range is in memory (P7).
 *
 * When the store asks for patience, fewer ranges are listed at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "drain_cred.h"
#include "inventory.h"
#include "lease_shared.h"
#include "lifecycle.h"
#include "preflight.h"
#include "runlog.h"
#include "scan.h"
#include "scan_page.h"
#include "scan_uploads.h"
#include "scanlog.h"
#include "schedule.h"
#include "settings.h"
#include "wake.h"

/* How long a process has the scan to itself after its last page, s. */
#define LEASE 90

/* How long a page may take, ms. */
#define PAGE_TIMEOUT 30000

/* A scan that has made no progress for so long is begun anew. */
#define MAX_AGE USECS_PER_DAY

/* How often a page is asked for, and the pauses between, ms. */
#define MAX_TRIES 5
#define BACKOFF_BASE 1000
#define BACKOFF_CAP 30000

/* How often we look whether to stop while we are patient, ms. */
#define PATIENCE_TICK 500

/* A range being listed. */
typedef struct Lane
{
	VfS3Page	page;
	VfScanPart *part;
	VfScanTally tally;
	bool		waits;			/* its page is to be asked for */
	int			failures;		/* in a row */
} Lane;

typedef struct Scan
{
	const VfScanOptions *opt;
	VfScanResult *result;
	VfBucket   *bucket;
	VfS3Client *client;
	VfScan		scan;
	Lane	   *lanes;
	int			window;			/* pages on their way at most */
	TimestampTz patience;		/* no page is asked for before */
	MemoryContext context;
	MemoryContext page_context;
	int64		run_id;
	bool		stop;
	bool		uploads_listed;	/* the unfinished ones too */
	bool		worked;			/* the last answer was no failure */
	VfS3Answer	failure;		/* otherwise */
} Scan;

static TimestampTz
lease_end(void)
{
	return GetCurrentTimestamp() + LEASE * USECS_PER_SEC;
}

/* In others, the order of keys under "C" is not that of their UTF-8. */
static bool
can_order(void)
{
	int			encoding = GetDatabaseEncoding();

	return encoding == PG_UTF8 || encoding == PG_SQL_ASCII ||
		encoding == PG_LATIN1;
}

static void
require_encoding(void)
{
	if (can_order())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the bucket cannot be scanned into a database of encoding %s",
					GetDatabaseEncodingName()),
			 errdetail("Its order of keys is not that in which the store lists them."),
			 errhint("UTF8, LATIN1 and SQL_ASCII can be used.")));
}

/* ---- beginning ---- */

/* The store cannot tell, or will not: then only what is current is listed. */
static bool
cannot_tell(const VfS3Answer *answer)
{
	return answer->status == 403 || answer->status == 405 ||
		answer->status == 501;
}

/* Does the bucket keep versions?  False if there is no answer. */
static bool
look_at_versioning(Scan *s, bool *versions)
{
	VfS3Versioning versioning;
	bool		mfa_delete;
	VfS3Answer *answer = &s->result->answer;

	vf_db_commit();
	vf_db_assert_idle("the look at versioning");
	vf_s3_get_versioning(s->client, PAGE_TIMEOUT, s->opt->tick,
						 s->opt->tick_arg, answer, &versioning, &mfa_delete);
	*versions = answer->class == VF_S3_OK &&
		versioning != VF_S3_VERSIONING_OFF;
	return answer->class == VF_S3_OK || cannot_tell(answer);
}

/*
 * Keys that part the bucket: by what was found last time, and the first time
 * by the prefixes of the settings.
 */
static char **
find_boundaries(const Scan *s, int *n)
{
	char	  **boundaries = vf_inventory_split(s->bucket->id,
												vf_s3_concurrency, n);
	List	   *prefixes = vf_settings_list(vf_deletable_prefixes);
	ListCell   *lc;

	if (*n > 0)
		return boundaries;
	boundaries = palloc(sizeof(char *) * Max(list_length(prefixes), 1));
	foreach(lc, prefixes)
		boundaries[(*n)++] = lfirst(lc);
	qsort(boundaries, *n, sizeof(char *), pg_qsort_strcmp);
	return boundaries;
}

/* What its last answer tells of the store's clock; ours, if it told nothing. */
static TimestampTz
store_time(const VfS3Answer *answer)
{
	return GetCurrentTimestamp() + (answer->has_offset ?
									(int64) (answer->offset * USECS_PER_SEC) :
									0);
}

static void
refuse_busy(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("another process is scanning the bucket"),
			 errhint("vf_progress shows how far it is. One that was cancelled can be gone on with after %d seconds, in its own session at once.",
					 LEASE)));
}

/* False if another process has it, and we are to make way. */
static bool
begin(Scan *s, bool versions)
{
	TimestampTz now = GetCurrentTimestamp();
	char	  **boundaries;
	int			n;

	switch (vf_scanlog_take(s->bucket->id, now - MAX_AGE, lease_end(),
							&s->scan))
	{
		case VF_SCAN_TAKEN:
			return true;
		case VF_SCAN_BUSY:
			if (!s->opt->make_way)
				refuse_busy();
			return false;
		case VF_SCAN_NONE:
			break;
	}
	vf_inventory_keep_only(s->bucket->id);
	boundaries = find_boundaries(s, &n);
	if (!vf_scanlog_begin(s->bucket->id, versions, boundaries, n,
						  store_time(&s->result->answer), lease_end(),
						  &s->scan))
	{
		if (!s->opt->make_way)
			refuse_busy();
		return false;
	}
	return true;
}

/* Before its first page a range is at its lower end. */
static void
begin_behind(VfScanPart *part)
{
	size_t		len;

	if (part->at_len > 0 || part->low == NULL)
		return;
	part->at = vf_drain_utf8(part->low, &len);
	part->at_len = (int) len;
}

static void
open_lanes(Scan *s)
{
	s->lanes = palloc0(sizeof(Lane) * s->scan.n_parts);
	for (int i = 0; i < s->scan.n_parts; i++)
	{
		Lane	   *lane = &s->lanes[i];

		lane->part = &s->scan.parts[i];
		begin_behind(lane->part);
		vf_scan_tally_init(&lane->tally);
		lane->waits = !lane->part->done;
		lane->page.versions = s->scan.versions;
		lane->page.max_keys = VF_S3_MAX_KEYS;
		lane->page.timeout_ms = PAGE_TIMEOUT;
		lane->page.tag = lane;
	}
}

/* ---- pages ---- */

/* May another try find another answer? */
static bool
may_pass(const VfS3Answer *answer)
{
	if (strcmp(answer->code, "UnorderedList") == 0 ||
		strcmp(answer->code, "EndlessList") == 0)
		return false;
	return answer->status == 0 || answer->status >= 500 ||
		answer->status == 408 || answer->status == 429;
}

/* A failure: try again later and with fewer at a time, or give up. */
static void
note_failure(Scan *s, Lane *lane)
{
	const VfS3Answer *answer = &lane->page.answer;
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		backoff;

	lane->failures++;
	lane->waits = true;
	s->worked = false;
	s->failure = *answer;
	s->window = Max(s->window / 2, 1);
	if (!may_pass(answer) || lane->failures >= MAX_TRIES)
	{
		s->result->failed = true;
		s->result->answer = *answer;
		return;
	}
	backoff = vf_schedule_backoff_ms(lane->failures, BACKOFF_BASE,
									 BACKOFF_CAP, random);
	s->patience = vf_schedule_next(GetCurrentTimestamp(), backoff,
								   answer->retry_after);
}

/* Merge a page, and store where the next one begins. */
static void
store_page(Scan *s, Lane *lane)
{
	VfScanMerge merge;

	vf_scan_read_page(&lane->tally, &lane->page, lane->part, &merge);

	/* First: from here on nobody else can take the scan over, or forget it. */
	if (!vf_scanlog_count(&s->scan, merge.listed, merge.bytes, lease_end()))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the scan is no longer this process's"),
				 errdetail("It made no progress for more than %d seconds and another process went on with it, or its bucket was forgotten.",
						   LEASE)));
	vf_inventory_merge(s->bucket->id, s->scan.id, merge.low, merge.high,
					   merge.objects, merge.n_objects);
	vf_inventory_add_usage(s->scan.id, merge.usage, merge.n_usage);
	vf_scanlog_store_part(&s->scan, lane->part);
	s->result->objects += merge.listed;
	s->result->pages++;
}

static void
take_page(Scan *s, Lane *lane)
{
	MemoryContext old;

	if (lane->page.answer.class != VF_S3_OK)
	{
		vf_s3_page_free(&lane->page);
		note_failure(s, lane);
		return;
	}
	old = MemoryContextSwitchTo(s->page_context);
	store_page(s, lane);
	MemoryContextSwitchTo(old);
	vf_s3_page_free(&lane->page);

	/* A crash costs pages, not the truth: where we are goes with them. */
	vf_db_commit_unflushed();
	MemoryContextReset(s->page_context);
	lane->failures = 0;
	s->worked = true;
	lane->waits = !lane->part->done;
	if (s->window < vf_s3_concurrency)
		s->window++;
}

/* Ask for as many pages as may be on their way. */
static void
ask(Scan *s, int *in_flight)
{
	for (int i = 0; i < s->scan.n_parts && *in_flight < s->window; i++)
	{
		Lane	   *lane = &s->lanes[i];

		if (!lane->waits)
			continue;
		lane->page.after = lane->part->at;
		lane->page.after_len = lane->part->at_len;
		lane->page.after_version = lane->part->at_version;
		lane->waits = false;
		if (vf_s3_page_start(s->client, &lane->page))
			(*in_flight)++;
		else
		{
			s->result->failed = true;
			s->result->answer = lane->page.answer;
			return;
		}
	}
}

static bool
is_listed(const Scan *s)
{
	for (int i = 0; i < s->scan.n_parts; i++)
		if (!s->scan.parts[i].done)
			return false;
	return true;
}

static bool
is_enough(const Scan *s)
{
	return (s->opt->max_pages > 0 &&
			s->result->pages >= s->opt->max_pages) ||
		(s->opt->until != 0 && GetCurrentTimestamp() >= s->opt->until);
}

/* Credentials that end soon are renewed while nothing is on its way. */
static bool
renew(Scan *s, int in_flight)
{
	VfS3Answer	answer;

	if (in_flight > 0 ||
		vf_drain_cred_renew(s->client, s->bucket, s->opt->tick,
							s->opt->tick_arg, &answer))
		return true;
	s->result->failed = true;
	s->result->answer = answer;
	return false;
}

static void
list(Scan *s)
{
	int			in_flight = 0;

	while (!is_listed(s) && !s->result->failed && !s->stop)
	{
		VfS3Page   *page;

		if (!s->opt->tick(s->opt->tick_arg) || is_enough(s))
		{
			s->stop = true;
			break;
		}
		vf_db_assert_idle("the scan");
		if (in_flight == 0 && s->patience > GetCurrentTimestamp())
		{
			vf_wake_wait_until(Min(s->patience, GetCurrentTimestamp() +
								   PATIENCE_TICK * INT64CONST(1000)), NULL);
			continue;
		}
		if (!renew(s, in_flight))
			break;
		if (s->patience <= GetCurrentTimestamp() &&
			!vf_s3_credentials_due(s->client, GetCurrentTimestamp()))
			ask(s, &in_flight);
		if (in_flight == 0)
			continue;
		page = vf_s3_page_wait(s->client, s->opt->tick, s->opt->tick_arg);
		if (page == NULL)
		{
			s->stop = true;
			break;
		}
		in_flight--;
		take_page(s, page->tag);
	}
}

/* ---- the run ---- */

static void
count_uploads(Scan *s)
{
	char	   *error = NULL;

	if (!is_listed(s) || s->result->failed || s->stop)
		return;
	s->uploads_listed = vf_scan_uploads(s->client, s->bucket, &s->scan,
										s->opt, LEASE, &error);
	if (error != NULL)
		strlcpy(s->result->uploads_error, error,
				sizeof(s->result->uploads_error));
}

static void
finish(Scan *s)
{
	VfRunCounts counts = {0};
	VfScanResult *r = s->result;

	/* Whoever gives us little time must hear of it too. */
	if (!s->worked && r->pages == 0 && !r->failed && s->failure.code[0] != '\0')
	{
		r->failed = true;
		r->answer = s->failure;
	}
	if (!s->worked)
		r->patience = s->patience;
	counts.objects = r->objects;
	r->complete = !r->failed && is_listed(s) && s->uploads_listed;
	if (r->complete)
		r->complete = vf_scanlog_complete(&s->scan);
	else
		vf_scanlog_release(&s->scan, r->failed ? r->answer.code : NULL,
						   r->failed ? r->answer.message : NULL);
	vf_runlog_finish(s->run_id, r->failed ? "failed" : r->complete ? "ok" :
					 "stopped", &counts,
					 r->failed ? psprintf("%s: %s", r->answer.code,
										  r->answer.message) : NULL);
	vf_scanlog_prune(GetCurrentTimestamp() - vf_run_history * USECS_PER_SEC);
	vf_db_commit();
}

/* The store did not answer before the scan could begin. */
static void
fail_early(Scan *s)
{
	s->result->failed = true;
	vf_runlog_refused("scan", s->opt->caller, "failed",
					  psprintf("%s: %s", s->result->answer.code,
							   s->result->answer.message));
	vf_db_commit();
}

static VfBucket *
find_bucket(void)
{
	VfBucket   *bucket = vf_bucket_current();

	if (bucket == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no bucket is registered"),
				 errhint("Call vf_configure_bucket().")));
	return bucket;
}

static void
run(Scan *s)
{
	bool		versions;

	s->bucket = find_bucket();
	s->client = vf_drain_cred_client(s->context, s->bucket, s->opt->tick,
									 s->opt->tick_arg, &s->result->answer);
	if (s->client == NULL)
	{
		fail_early(s);
		return;
	}
	if (!look_at_versioning(s, &versions))
	{
		fail_early(s);
		vf_s3_close(s->client);
		return;
	}
	vf_lease_look_around(s->client, s->bucket, s->opt->tick,
						 s->opt->tick_arg);
	if (!begin(s, versions))
	{
		vf_s3_close(s->client);
		return;
	}
	s->run_id = vf_runlog_start("scan", s->opt->caller, false);
	open_lanes(s);
	vf_db_commit();
	list(s);
	count_uploads(s);
	if (is_listed(s) && !s->result->failed)
		vf_lifecycle_watch(s->client, s->bucket, s->scan.versions,
						   s->opt->tick, s->opt->tick_arg);
	vf_s3_close(s->client);
	finish(s);
}

void
vf_scan_run(const VfScanOptions *opt, VfScanResult *result)
{
	MemoryContext old = CurrentMemoryContext;
	Scan		s;

	vf_preflight_primary();
	require_encoding();
	memset(&s, 0, sizeof(s));
	memset(result, 0, sizeof(*result));
	s.opt = opt;
	s.result = result;
	s.window = vf_s3_concurrency;
	s.context = AllocSetContextCreate(old, "voiceframe scan",
									  ALLOCSET_DEFAULT_SIZES);
	s.page_context = AllocSetContextCreate(s.context, "voiceframe scan page",
										   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(s.context);
	vf_db_commit();
	run(&s);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(s.context);
}

bool
vf_scan_due(TimestampTz *due)
{
	VfBucket   *bucket = vf_bucket_current();
	TimestampTz last;

	if (bucket == NULL || vf_scan_interval == 0 || !can_order())
		return false;
	last = vf_scanlog_last(bucket->id);
	*due = TIMESTAMP_IS_NOBEGIN(last) ? 0 :
		last + vf_scan_interval * USECS_PER_SEC;
	return true;
}
