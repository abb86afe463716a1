/*-------------------------------------------------------------------------
 *
 * promote.c
 *	  Copies of paid files: making what was queued.
 *
 * A file of a paying order that lies under a temporary key only is copied to
 * the order's permanent key.  One file at a time:
 *
 *	1. in one transaction: lease its entry, then look whether the order still
 *	   wants the copy; commit.  A crash from here on costs the lease.
 *	2. with no transaction open: the lease on the bucket (lease.c), then the
 *	   requests (promote_copy.c).  Until the end nothing names the copy.
 *	3. in one transaction: the order names it, the session does where it named
 *	   the source, the order's migration is complete with its last file, the
 *	   source is queued for deletion, and the entry goes.
 *
 * At every moment the rows name a file that exists: the temporary one before
 * the last commit, the permanent one after it, and the temporary one is not
 * deleted for an hour from then.
 *
 * promote_queue.c queues copies.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain_client.h"
#include "drain_cred.h"
#include "drain_gate.h"
#include "errors.h"
#include "lease.h"
#include "outbox_copy.h"
#include "promote.h"
#include "promote_copy.h"
#include "runlog.h"
#include "schedule.h"
#include "settings.h"
#include "source_copy.h"

/* How long a file that failed waits at first, and at most, ms. */
#define FILE_BACKOFF_BASE 5000
#define FILE_BACKOFF_CAP (60 * 60 * 1000)

/* How long one waits that was not at fault, s. */
#define FREE_PAUSE 5

/*
 * How long the temporary file stays when it is named no more, s: pages that
 * are open show it, and links that were handed out lead to it.
 */
#define SOURCE_STAYS 3600

typedef struct Promote
{
	const VfPromoteOptions *opt;
	VfPromoteResult *result;
	VfSource   *source;
	MemoryContext context;
	MemoryContext copy_context;
	bool		stop;
} Promote;

/* A file on its way. */
typedef struct File
{
	Promote    *promote;
	const VfBucket *bucket;
	VfOutboxEntry *entry;		/* NULL: nothing waits */
	VfCopyJob	job;
	VfSourceCopy copy;			/* of the job, for the rows */
	TimestampTz claimed_at;
	TimestampTz lease_until;
	bool		wanted;			/* else it is settled already */
	bool		held;			/* it was still ours to settle */
	VfCopyEnd	end;
} File;

/* End the run with its error on record, and raise it. */
static void
fail(Promote *p, ErrorData *error)
{
	vf_drain_run_failed("promote", p->opt->caller, p->result->run_id,
						&p->result->counts, error);
}

/* A VfDbBody. */
static void
prepare(void *arg)
{
	Promote    *p = arg;

	p->source = vf_drain_gate_source();
}

static void
note_failure(Promote *p, const VfBucket *bucket, const VfS3Answer *answer)
{
	vf_drain_note_failure(bucket, answer->code, answer->message,
						  answer->retry_after);
	p->result->failing++;
}

/* ---- settling ---- */

static void
tell_too_late(const File *f)
{
	ereport(LOG,
			(errmsg("outbox row %lld was settled too late: its lease had passed to another process",
					(long long) f->entry->id)));
}

static void
settle(File *f, VfKeyFate fate, const char *code, const char *message)
{
	VfKeyOutcome o = {.fate = fate, .code = code, .message = message};
	double		random = pg_prng_double(&pg_global_prng_state);
	int			attempts = f->entry->attempts + 1;

	o.next_attempt = GetCurrentTimestamp() + FREE_PAUSE * USECS_PER_SEC;
	if (fate == VF_FATE_AGAIN)
	{
		if (attempts >= vf_s3_max_attempts)
			o.fate = VF_FATE_DEAD;
		o.next_attempt =
			vf_schedule_next(GetCurrentTimestamp(),
							 vf_schedule_backoff_ms(attempts,
													FILE_BACKOFF_BASE,
													FILE_BACKOFF_CAP,
													random), 0);
	}
	f->held = vf_outbox_settle(f->entry, &o, &f->promote->result->counts);
	if (!f->held)
		tell_too_late(f);
}

/* What others are doing is no fault of this file. */
static bool
is_conflict(const ErrorData *error)
{
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_TRANSACTION_ROLLBACK ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Does an error concern all files? */
static bool
is_general(const ErrorData *error)
{
	return error->sqlerrcode == VF_ERRCODE_REGISTRATION ||
		error->sqlerrcode == VF_ERRCODE_NOT_ADOPTED;
}

/* What the rows refused concerns one file; raised if it concerns all. */
static void
settle_error(File *f, ErrorData *error)
{
	if (is_general(error))
		fail(f->promote, error);
	settle(f, is_conflict(error) ? VF_FATE_AGAIN_FREE : VF_FATE_AGAIN,
		   is_conflict(error) ? "RowBusy" : "RowRefused", error->message);
}

/* Cancel a copy that nobody wants any more; false if it is wanted. */
static bool
cancel_unwanted(File *f, VfCopyNeed need)
{
	switch (need)
	{
		case VF_COPY_WANTED:
			return false;
		case VF_COPY_NO_ORDER:
			settle(f, VF_FATE_CANCELLED, "OrderGone",
				   "the order is gone, or is another session's");
			break;
		case VF_COPY_UNPAID:
			settle(f, VF_FATE_CANCELLED, "OrderUnpaid",
				   "the order does not pay any more");
			break;
		case VF_COPY_FILLED:
			settle(f, VF_FATE_CANCELLED, "CopyNamed",
				   "the order names a copy already");
			break;
	}
	return true;
}

/* ---- 1: the claim ---- */

/* A VfDbBody. */
static void
claim(void *arg)
{
	File	   *f = arg;
	Promote    *p = f->promote;
	TimestampTz now = GetCurrentTimestamp();
	VfOutboxClaim claim = {
		.kind = VF_OUTBOX_COPY,
		.endpoint = f->bucket->endpoint,
		.bucket = f->bucket->bucket,
		.now = now,
		.max = 1
	};
	int			n;

	vf_source_recheck(p->source);
	f->lease_until = now + VF_COPY_LEASE * USECS_PER_SEC;
	claim.lease_until = f->lease_until;
	f->entry = vf_outbox_claim(&claim, &n);
	if (n == 0)
	{
		f->entry = NULL;
		return;
	}
	vf_outbox_read_copy(f->entry, &f->job, &f->claimed_at);
	f->copy.session_id = f->job.session_id;
	f->copy.order_id = f->job.order_id;
	f->copy.column = f->job.column;
	f->copy.source = f->job.source;
	f->copy.target = f->job.target;
}

/* Does the order still want it?  A VfDbBody. */
static void
look(void *arg)
{
	File	   *f = arg;

	f->wanted = !cancel_unwanted(f, vf_source_needs_copy(f->promote->source,
														 &f->copy));
}

/* ---- 3: the rows ---- */

/* The temporary file is named by nobody: an hour, and it goes. */
static void
let_go(File *f, const char *code, const char *message)
{
	vf_outbox_queue_source(f->promote->result->run_id, f->bucket->endpoint,
						   f->bucket->bucket, f->job.source,
						   GetCurrentTimestamp() +
						   SOURCE_STAYS * USECS_PER_SEC, code, message);
}

static bool
is_temporary(const char *key)
{
	return vf_outbox_deletable(vf_settings_list(vf_deletable_prefixes), key,
							   (int) strlen(key));
}

/*
 * The session names the copy from now on.  A file that is the permanent one of
 * another order stays what it is, and so does what the session was given
 * meanwhile.
 */
static void
move_session(File *f)
{
	char	   *current;

	if (!is_temporary(f->job.source))
		return;
	if (f->job.keep_session)
	{
		vf_outbox_keep_source(f->promote->result->run_id,
							  f->bucket->endpoint, f->bucket->bucket,
							  f->job.source, "SessionKept",
							  "the file was copied; the session names it still, as was asked for");
		return;
	}
	switch (vf_source_move_session(f->promote->source, &f->copy, &current))
	{
		case VF_SESSION_MOVED:
			let_go(f, NULL, NULL);
			break;
		case VF_SESSION_CHANGED:
			/* Another order's copy is no change of the customer's. */
			if (current == NULL || is_temporary(current))
				let_go(f, "SessionChanged",
					   "the file was copied; the session was changed meanwhile and left as it is");
			else
				let_go(f, NULL, NULL);
			break;
		case VF_SESSION_GONE:
			let_go(f, NULL, NULL);
			break;
	}
}

/* The rows, and the entry: a VfDbBody. */
static void
complete(void *arg)
{
	File	   *f = arg;
	VfSource   *source = f->promote->source;

	vf_source_recheck(source);
	f->held = vf_outbox_lock_claimed(f->entry);
	if (!f->held)
	{
		tell_too_late(f);
		return;
	}
	vf_db_defer_nothing();
	if (cancel_unwanted(f, vf_source_store_copy(source, &f->copy)))
		return;
	move_session(f);
	settle(f, VF_FATE_CONFIRMED, NULL, NULL);
}

static void
end_file(File *f)
{
	VfOutboxCounts before = f->promote->result->counts;
	ErrorData  *error;

	if (f->end.fate != VF_FATE_CONFIRMED)
	{
		settle(f, f->end.fate, f->end.code, f->end.message);
		return;
	}
	error = vf_db_try(complete, f);
	if (error == NULL)
		return;
	f->promote->result->counts = before;
	settle_error(f, error);
}

/* ---- a bucket ---- */

/* Note in the bucket's row how it answered; false if it has to wait. */
static bool
note_answer(File *f)
{
	const VfS3Answer *answer = &f->end.answer;

	if (answer->has_offset)
		vf_bucket_set_offset(f->bucket, answer->offset);
	if (f->end.of_bucket)
	{
		note_failure(f->promote, f->bucket, answer);
		return false;
	}
	if (answer->class == VF_S3_OK)
		vf_bucket_answered(f->bucket);
	return true;
}

/* One file; false when there are no more, the bucket fails or we must stop. */
static bool
run_file(Promote *p, VfS3Client *client, const VfBucket *bucket)
{
	VfS3Asker	asker = {client, p->opt->tick, p->opt->tick_arg};
	File		f;
	ErrorData  *error;
	bool		more;
	VfRunCounts counts;

	memset(&f, 0, sizeof(f));
	f.promote = p;
	f.bucket = bucket;
	error = vf_db_try(claim, &f);
	if (error != NULL)
		fail(p, error);
	if (f.entry == NULL)
		return false;
	error = vf_db_try(look, &f);
	if (error != NULL)
		settle_error(&f, error);
	vf_db_commit_flushed();
	if (!f.wanted)
		return true;
	vf_db_assert_idle("the copying");
	vf_promote_copy(&asker, &f.job, f.claimed_at, f.lease_until, &f.end);
	if (f.end.stopped)
	{
		/* Its bytes may be travelling: the lease stays. */
		p->stop = true;
		return false;
	}
	end_file(&f);
	more = note_answer(&f);
	counts = vf_drain_run_counts(&p->result->counts);
	vf_runlog_progress(p->result->run_id, &counts);
	vf_db_commit();
	return more;
}

static bool
hold_lease(Promote *p, VfS3Client *client, const VfBucket *bucket)
{
	ErrorData  *error;

	switch (vf_drain_gate_lease(client, bucket, VF_LEASE_BEGIN, p->opt->tick,
								p->opt->tick_arg))
	{
		case VF_GATE_OPEN:
			return true;
		case VF_GATE_SHUT:
			p->result->failing++;
			return false;
		case VF_GATE_LOST:
			error = vf_db_try(prepare, p);
			if (error != NULL)
				fail(p, error);
			return false;
		case VF_GATE_STOPPED:
			p->stop = true;
			return false;
	}
	return false;
}

static bool
renew(Promote *p, VfS3Client *client, const VfBucket *bucket)
{
	VfS3Answer	answer;

	if (vf_drain_cred_renew(client, bucket, p->opt->tick, p->opt->tick_arg,
							&answer))
		return true;
	note_failure(p, bucket, &answer);
	return false;
}

static bool
enough(const Promote *p)
{
	const VfOutboxCounts *c = &p->result->counts;

	return (p->opt->max_files > 0 &&
			c->confirmed + c->again + c->dead + c->cancelled >=
			p->opt->max_files) ||
		(p->opt->until != 0 && GetCurrentTimestamp() >= p->opt->until);
}

static void
run_bucket(Promote *p, const VfBucket *bucket)
{
	VfS3Answer	answer;
	VfS3Client *client = vf_drain_cred_client(p->context, bucket,
											  p->opt->tick, p->opt->tick_arg,
											  &answer);
	MemoryContext old;
	bool		more;

	if (client == NULL)
	{
		note_failure(p, bucket, &answer);
		return;
	}
	if (bucket->probe && !bucket->probed &&
		!vf_drain_gate_probe(client, bucket, p->source, p->opt->tick,
							 p->opt->tick_arg))
	{
		p->result->failing++;
		vf_s3_close(client);
		return;
	}

	/* What was read so far must not be held while the lease is asked for. */
	vf_db_commit();
	do
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(p->copy_context);
		old = MemoryContextSwitchTo(p->copy_context);
		more = hold_lease(p, client, bucket) &&
			run_file(p, client, bucket) && renew(p, client, bucket);
		MemoryContextSwitchTo(old);
	} while (more && !enough(p));
	vf_s3_close(client);
}

/* ---- the run ---- */

static void
finish(Promote *p)
{
	VfRunCounts counts = vf_drain_run_counts(&p->result->counts);

	if (p->result->run_id == 0)
		return;
	vf_runlog_finish(p->result->run_id, p->stop ? "stopped" :
					 p->result->failing > 0 ? "failed" : "ok", &counts,
					 p->result->failing > 0 ?
					 "a bucket failed; see vf_outbox_stats" : NULL);
	vf_db_commit();
}

void
vf_promote_run(const VfPromoteOptions *opt, VfPromoteResult *result)
{
	MemoryContext old = CurrentMemoryContext;
	Promote		p;
	VfBucket   *buckets;
	int			n;
	ErrorData  *error;

	memset(&p, 0, sizeof(p));
	memset(result, 0, sizeof(*result));
	p.opt = opt;
	p.result = result;
	p.context = AllocSetContextCreate(old, "voiceframe promote",
									  ALLOCSET_DEFAULT_SIZES);
	p.copy_context = AllocSetContextCreate(p.context, "voiceframe copy",
										   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(p.context);

	vf_db_commit();
	for (;;)
	{
		buckets = vf_bucket_ready(VF_OUTBOX_COPY, GetCurrentTimestamp(), &n);
		if (n == 0 || p.stop || enough(&p))
			break;
		if (result->run_id == 0)
		{
			error = vf_db_try(prepare, &p);
			if (error != NULL)
				fail(&p, error);
			result->run_id = vf_runlog_start("promote", opt->caller, false);
			vf_db_commit();
		}
		for (int i = 0; i < n && !p.stop && !enough(&p); i++)
			run_bucket(&p, &buckets[i]);
	}
	finish(&p);
	result->stopped = p.stop;
	result->more = enough(&p);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(p.context);
}
