/*-------------------------------------------------------------------------
 *
 * scan_uploads.c
 *	  Unfinished uploads, as a scan counts them.
 *
 * They are in no list of objects, and cost like objects.  Their list says
 * nothing of their size: that takes a request for the parts of each, so that
 * only so many are asked for.  Pages come one after the other, when the
 * objects have been listed; what a page counted and where the next one begins
 * are stored in one transaction, and nothing of the database is held while
 * the store is asked (P5).
 *
 * Whatever goes wrong here costs the scan this number and no more (P6).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain_cred.h"
#include "inventory.h"
#include "scan_page.h"
#include "scan_uploads.h"
#include "schedule.h"
#include "wake.h"

/* One request, ms. */
#define TIMEOUT 30000

/* So many requests for parts in a scan; and of a page no longer than, ms. */
#define MAX_REQUESTS 200
#define PARTS_TIME 20000

/* More pages than these are not counted. */
#define MAX_PAGES 1000

/* How often a page is asked for, and the pauses between, ms. */
#define MAX_TRIES 3
#define BACKOFF_BASE 1000
#define BACKOFF_CAP 5000
#define PATIENCE_TICK 500

typedef struct Uploads
{
	VfS3Client *client;
	const VfBucket *bucket;
	const VfScan *scan;
	const VfScanOptions *opt;
	int			lease;
	VfScanTally tally;
	VfScanUploads state;
	bool		no_parts;		/* their sizes are refused, or odd */
	int			failures;		/* in a row */
	MemoryContext context;		/* what lives longer than a page */
} Uploads;

static bool
go_on(const Uploads *u)
{
	return u->opt->tick(u->opt->tick_arg) &&
		(u->opt->until == 0 || GetCurrentTimestamp() < u->opt->until);
}

static void
store(Uploads *u)
{
	if (!vf_scanlog_store_uploads(u->scan, &u->state,
								  GetCurrentTimestamp() +
								  u->lease * USECS_PER_SEC))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the scan is no longer this process's"),
				 errdetail("It made no progress for more than %d seconds and another process went on with it, or its bucket was forgotten.",
						   u->lease)));
}

/* They are not known, and that is all. */
static void
give_up(Uploads *u, const VfS3Answer *answer)
{
	MemoryContext old = MemoryContextSwitchTo(u->context);

	u->state.error = psprintf("%s: %s", answer->code, answer->message);
	u->state.done = true;
	MemoryContextSwitchTo(old);
	store(u);
	vf_inventory_drop_uploads(u->scan->id);
	vf_db_commit();
}

/* ---- their parts ---- */

/* The size of one; negative if it has come to its end meanwhile. */
static void
measure(Uploads *u, VfS3Found *found)
{
	VfS3Answer	answer;
	int			left = MAX_REQUESTS - u->state.requests;

	vf_s3_count_parts(u->client, found, &left, TIMEOUT, u->opt->tick,
					  u->opt->tick_arg, &answer, &found->size);
	u->state.requests = MAX_REQUESTS - left;
	if (answer.class == VF_S3_OK)
		return;
	found->size = 0;
	if (strcmp(answer.code, "NoSuchUpload") == 0)
		found->size = -1;
	else
	{
		u->no_parts = true;
		u->state.error = psprintf("not all bytes are known: %s: %s",
								  answer.code, answer.message);
	}
}

/* False if told to stop. */
static bool
measure_all(Uploads *u, VfS3Page *page)
{
	int64		deadline = vf_s3_clock_ms() + PARTS_TIME;

	for (int i = 0; i < page->n; i++)
	{
		if (u->no_parts || u->state.requests >= MAX_REQUESTS ||
			vf_s3_clock_ms() >= deadline)
			return true;
		measure(u, &page->found[i]);
		if (!u->opt->tick(u->opt->tick_arg))
			return false;
	}
	return true;
}

/* ---- pages ---- */

/*
 * What a page counted; and where the next one begins.
 * False, with nothing stored, if told to stop.
 */
static bool
take_page(Uploads *u, VfS3Page *page)
{
	MemoryContext old = CurrentMemoryContext;
	VfScanMerge merge;

	if (!measure_all(u, page))
		return false;
	vf_scan_read_uploads(&u->tally, page, &merge);
	u->state.pages++;
	u->state.done = !page->more || u->state.pages >= MAX_PAGES;
	MemoryContextSwitchTo(u->context);
	if (page->more)
	{
		pfree(u->state.at);
		pfree(u->state.at_upload);
		u->state.at = pnstrdup(page->next_key, page->next_len);
		u->state.at_len = (int) page->next_len;
		u->state.at_upload = pstrdup(page->next_version);
	}
	if (page->more && u->state.done)
		u->state.error = pstrdup("there are more than were counted");
	else if (u->state.error != NULL)
		u->state.error = pstrdup(u->state.error);
	MemoryContextSwitchTo(old);
	store(u);
	vf_inventory_add_usage(u->scan->id, merge.usage, merge.n_usage);
	return true;
}

/* Wait for another try; false to stop. */
static bool
be_patient(Uploads *u, int retry_after)
{
	double		random = pg_prng_double(&pg_global_prng_state);
	int64		backoff = vf_schedule_backoff_ms(u->failures, BACKOFF_BASE,
												 BACKOFF_CAP, random);
	TimestampTz until = vf_schedule_next(GetCurrentTimestamp(), backoff,
										 Min(retry_after,
											 BACKOFF_CAP / 1000));

	while (GetCurrentTimestamp() < until)
	{
		if (!go_on(u))
			return false;
		vf_wake_wait_until(Min(until, GetCurrentTimestamp() +
							   PATIENCE_TICK * INT64CONST(1000)), NULL);
	}
	return true;
}

/* What cannot be understood is no better the next time. */
static bool
may_pass(const VfS3Answer *answer)
{
	if (strcmp(answer->code, "MalformedAnswer") == 0 ||
		strcmp(answer->code, "EndlessList") == 0)
		return false;
	return answer->status == 0 || answer->status == 408 ||
		answer->status == 429 ||
		(answer->status >= 500 && answer->status != 501);
}

static bool
renew(Uploads *u, VfS3Answer *answer)
{
	return vf_drain_cred_renew(u->client, u->bucket, u->opt->tick,
							   u->opt->tick_arg, answer);
}

/* A page, or another try at it; false if told to stop. */
static bool
step(Uploads *u)
{
	VfS3Page	page = {.uploads = true, .max_keys = VF_S3_MAX_KEYS,
	.timeout_ms = TIMEOUT};
	bool		stopped = false;

	vf_db_assert_idle("the list of unfinished uploads");
	page.after = u->state.at;
	page.after_len = u->state.at_len;
	page.after_version = u->state.at_upload;
	if (renew(u, &page.answer) && vf_s3_page_start(u->client, &page))
	{
		if (vf_s3_page_wait(u->client, u->opt->tick, u->opt->tick_arg) == NULL)
			return false;
	}
	if (page.answer.class == VF_S3_OK)
	{
		stopped = !take_page(u, &page);
		u->failures = 0;
	}
	vf_s3_page_free(&page);
	vf_db_commit();
	if (stopped)
		return false;
	if (page.answer.class == VF_S3_OK)
		return true;
	if (may_pass(&page.answer) && ++u->failures < MAX_TRIES)
		return be_patient(u, page.answer.retry_after);
	give_up(u, &page.answer);
	return true;
}

bool
vf_scan_uploads(VfS3Client *client, const VfBucket *bucket,
				const VfScan *scan, const VfScanOptions *opt, int lease,
				char **error)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "voiceframe scan uploads",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	Uploads		u = {.client = client, .bucket = bucket, .scan = scan,
	.opt = opt, .lease = lease, .context = CurrentMemoryContext};

	vf_scan_tally_init(&u.tally);
	vf_scanlog_load_uploads(scan, &u.state);
	vf_db_commit();
	while (!u.state.done && go_on(&u))
	{
		bool		more;

		old = MemoryContextSwitchTo(context);
		more = step(&u);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
		if (!more)
			break;
	}
	MemoryContextDelete(context);
	*error = u.state.error;
	return u.state.done;
}
