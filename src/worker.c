/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The worker of one database: it purges every naptime and drains when
 *	  woken.
 *
 * The loop: wait, reset the latch, reload, let the heart beat for the leases
 * on the buckets, purge if it is time, drain.  Three
 * memory contexts: the process's, the cycle's (reset each time round), and
 * those of purge and drain, which reset theirs with every batch and wave.
 *
 * Each piece of work has transactions of its own.  An error in one is caught
 * here and nowhere else: reported, its transaction aborted, and the loop goes
 * on after a pause.  SIGTERM takes effect at once, also while a request is in
 * flight, because every wait looks for interrupts.
 *
 * The lease of a bucket is held as long as the process lives.  It is given
 * back when the transaction is gone and before the slot: whoever waits for
 * the slot waits for the lease.
 *
 * DROP, RENAME and TEMPLATE of the database must not have to wait for us: at
 * least once a second we try, without waiting, the lock that a starting
 * backend takes on its database, and leave when it is not to be had.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "db.h"
#include "drain.h"
#include "lease.h"
#include "promote.h"
#include "purge.h"
#include "scan.h"
#include "settings.h"
#include "source.h"
#include "stats.h"
#include "undo.h"
#include "wake.h"
#include "worker.h"

/* How often the outbox is looked at when nobody wakes us, ms. */
#define POLL_INTERVAL 10000

/* How often we make sure that nobody wants the database for himself, ms. */
#define LOCK_INTERVAL 1000

/* How long a scan lists before purge and drain have their turn, ms. */
#define SCAN_SLICE 10000

/* ... and at least, ms. */
#define SCAN_LEAST 1000

/* The pause after a scan that failed, ms. */
#define SCAN_PAUSE 3600000

/* How often files are looked for that were not copied, ms. */
#define PROMOTE_INTERVAL 3600000

/* The pause after an error, ms. */
#define ERROR_PAUSE 30000

/* How often a worker tries to get into a database that it cannot. */
#define MAX_CONNECTS 3

static VfSlot *slot = NULL;
static MemoryContext cycle_context = NULL;
static TimestampTz lock_looked_at = 0;

static TimestampTz
ms_from_now(int64 ms)
{
	return GetCurrentTimestamp() + ms * 1000;
}

/* ---- the database is ours to work in ---- */

static bool
database_is_free(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) ==
		LOCKACQUIRE_NOT_AVAIL)
		return false;
	LockRelease(&tag, RowExclusiveLock, true);
	return true;
}

/*
 * May we go on?  Cheap enough to be asked all the time: between two looks the
 * answer is the last one, so that a no is not lost on who asks next.
 */
static bool
keep_going(void)
{
	static bool is_free = true;
	TimestampTz now = GetCurrentTimestamp();

	CHECK_FOR_INTERRUPTS();
	if (!TimestampDifferenceExceeds(lock_looked_at, now, LOCK_INTERVAL))
		return is_free;
	lock_looked_at = now;
	is_free = database_is_free();
	return is_free;
}

static bool
tick(void *arg)
{
	(void) arg;
	return keep_going();
}

/*
 * Leave.  With again, the postmaster starts a worker that was started by hand
 * anew after its pause; the launcher looks for itself.
 */
static void
leave(const char *why, bool again)
{
	ereport(DEBUG1,
			(errmsg("voiceframe_retention worker leaves: %s", why)));
	proc_exit(again ? 1 : 0);
}

/* ---- one piece of work ---- */

typedef bool (*Work) (void);

/*
 * Do a piece of work in transactions of its own, with SPI open; false if it
 * failed.
 */
static bool
run_work(Work work, const char *activity)
{
	bool		ok = true;

	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, activity);
	StartTransactionCommand();
	PortalContext = cycle_context;
	MemoryContextSwitchTo(cycle_context);
	PG_TRY();
	{
		vf_db_open_any(true);
		ok = work();
		vf_db_close();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		/* Nothing of the error outlives its report. */
		MemoryContextSwitchTo(cycle_context);
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		RESUME_INTERRUPTS();
		pg_atomic_fetch_add_u64(&slot->errors, 1);
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cycle_context);
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	return ok;
}

/* Sets installed and allowed; never fails for what a user can have done. */
static bool installed;
static bool current;			/* our objects are of the library's version */
static bool allowed;

/* When the next purge is due; draining stops for it. */
static TimestampTz next_purge;

/* When the last purge ended, and how; 0 if there was none. */
static TimestampTz purged_at = 0;
static bool purge_failed = false;

/* Did the drain stop before the end? */
static bool more_to_drain;

static bool
look_around(void)
{
	static bool told = false;
	bool		active,
				paused;
	char	   *fault;

	installed = vf_db_installed();
	fault = installed ? vf_db_version_fault() : NULL;
	current = installed && fault == NULL;

	/* Also while nothing may be purged: undo data goes when it is over. */
	if (current && vf_source_registered())
		vf_undo_clean(GetCurrentTimestamp());
	allowed = current && vf_source_flags(&active, &paused) && active &&
		!paused;
	if (fault != NULL && !told)
		ereport(LOG,
				(errmsg("the worker waits: %s", fault),
				 errhint("Run ALTER EXTENSION voiceframe_retention UPDATE.")));
	told = fault != NULL;
	return true;
}

static bool
heartbeat(void)
{
	vf_lease_heartbeat(allowed, tick, NULL);
	return true;
}

/* A long purge makes way for a heartbeat, and goes on after it. */
static bool
keep_purging(void)
{
	return keep_going() && !vf_lease_overdue();
}

static bool
purge(void)
{
	VfPurgeOptions opt = {0};
	VfPurgeResult result;

	opt.caller = "worker";
	opt.commits = true;
	opt.keep_going = keep_purging;
	pg_atomic_write_u32(&slot->state, VF_WORKER_PURGING);
	vf_purge_run(&opt, &result);
	pg_atomic_write_u64(&slot->last_purge_at, GetCurrentTimestamp());
	return true;
}

static bool
drain(void)
{
	VfDrainOptions opt = {0};
	VfDrainResult result;

	opt.caller = "worker";
	opt.tick = tick;
	opt.slot = slot;
	opt.until = next_purge;
	pg_atomic_write_u32(&slot->state, VF_WORKER_DRAINING);
	vf_drain_run(&opt, &result);
	more_to_drain |= result.more;
	pg_atomic_write_u64(&slot->last_drain_at, GetCurrentTimestamp());
	return true;
}

/* When files are looked for next. */
static TimestampTz next_promote = 0;

static bool
look_for_paid_files(void)
{
	VfPromoteQueue opt = {0};

	next_promote = ms_from_now(PROMOTE_INTERVAL);
	opt.caller = "worker";
	opt.automatic = true;
	(void) vf_promote_queue(&opt, NULL, NULL);
	return true;
}

static bool
copy_files(void)
{
	VfPromoteOptions opt = {0};
	VfPromoteResult result;

	opt.caller = "worker";
	opt.tick = tick;
	opt.until = next_purge;
	pg_atomic_write_u32(&slot->state, VF_WORKER_COPYING);
	vf_promote_run(&opt, &result);
	more_to_drain |= result.more;
	return true;
}

/* A scan makes way for heartbeats at once, for all else when its turn ends. */
static bool
keep_scanning(void *arg)
{
	(void) arg;
	return keep_going() && !vf_lease_overdue();
}

/* When the next scan may begin or go on; also says so after a failure. */
static TimestampTz next_scan = 0;

static bool
scan(void)
{
	VfScanOptions opt = {0};
	VfScanResult result;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due;

	if (!vf_scan_due(&due) || due > now)
		return true;
	opt.caller = "worker";
	opt.tick = keep_scanning;
	opt.make_way = true;
	/* Where purges follow each other at once, the scan still gets on. */
	opt.until = Max(Min(next_purge, ms_from_now(SCAN_SLICE)),
					ms_from_now(SCAN_LEAST));
	pg_atomic_write_u32(&slot->state, VF_WORKER_SCANNING);
	vf_scan_run(&opt, &result);
	if (result.failed)
		next_scan = ms_from_now(SCAN_PAUSE);
	else if (result.pages == 0)
		next_scan = ms_from_now(POLL_INTERVAL);
	else if (result.patience > GetCurrentTimestamp())
		next_scan = result.patience;
	else if (!result.complete)
		vf_wake_worker(MyDatabaseId);
	return true;
}

/* ---- the loop ---- */

/* Wait until then, or until the latch is set; the only place that waits. */
static void
wait_until(TimestampTz until)
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		left = TimestampDifferenceMilliseconds(now, until);
		int			events;

		/* No work is under way that could be cancelled. */
		QueryCancelPending = false;
		if (!keep_going())
			leave("the database is wanted", true);
		if (left <= 0)
			return;
		events = WaitLatch(MyLatch,
						   WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						   Min(left, LOCK_INTERVAL), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		QueryCancelPending = false;
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (events & WL_LATCH_SET)
			return;
	}
}

/* Worked out anew each time, so that a reload of naptime counts at once. */
static TimestampTz
purge_due(void)
{
	int64		pause = vf_naptime * INT64CONST(1000);

	if (purge_failed)
		pause = Max(pause, ERROR_PAUSE);
	return purged_at == 0 ? 0 : purged_at + pause * 1000;
}

static void
loop(void)
{
	TimestampTz next_drain;
	bool		was_allowed = false;
	bool		drained;

	for (;;)
	{
		MemoryContextReset(cycle_context);
		if (run_work(look_around, "looking around") && !installed)
		{
			vf_lease_release_all();
			vf_stats_release(slot);
			vf_stats_free(slot);
			leave("the extension is not installed", false);
		}

		/* Before the first purge: a copy has to show before it deletes. */
		if (current && (vf_lease_due() || (allowed && !was_allowed)))
			(void) run_work(heartbeat, "holding the lease");
		was_allowed = allowed;
		next_purge = purge_due();
		if (allowed)
		{
			if (GetCurrentTimestamp() >= next_purge)
			{
				purge_failed = !run_work(purge, "purging sessions");
				purged_at = vf_lease_overdue() ? 0 : GetCurrentTimestamp();
				next_purge = purge_due();
			}
			more_to_drain = false;
			if (vf_promote_by_itself && GetCurrentTimestamp() >= next_promote)
				(void) run_work(look_for_paid_files, "looking for paid files");
			drained = run_work(copy_files, "copying paid files");
			drained &= run_work(drain, "draining the outbox");
			next_drain = !drained ? ms_from_now(ERROR_PAUSE) :
				ms_from_now(more_to_drain ? 0 : POLL_INTERVAL);
			if (!more_to_drain && GetCurrentTimestamp() >= next_scan &&
				!run_work(scan, "scanning the bucket"))
				next_scan = ms_from_now(SCAN_PAUSE);
			pg_atomic_write_u32(&slot->state, VF_WORKER_IDLE);
		}
		else
		{
			pg_atomic_write_u32(&slot->state, VF_WORKER_REFUSED);
			next_drain = ms_from_now(POLL_INTERVAL);
		}
		wait_until(allowed ? Min(next_purge, next_drain) : next_drain);
	}
}

static void
release_leases(int code, Datum arg)
{
	(void) code;
	(void) arg;
	vf_lease_release_all();
}

static void
release_slot(int code, Datum arg)
{
	(void) code;
	(void) arg;
	vf_stats_release(slot);
}

/* What a user could have set for us in the configuration, we set. */
static void
quiet_settings(void)
{
	static const char *const settings[][2] = {
		{"search_path", ""},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"client_min_messages", "error"},
		{"transaction_timeout", "0"},	/* from 17 on */
	};

	for (int i = 0; i < (int) lengthof(settings); i++)
	{
		if (GetConfigOption(settings[i][0], true, false) == NULL)
			continue;
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
	}
}

/*
 * The postmaster starts a worker anew though its database was dropped: nobody
 * but the worker can tell it to stop, and nobody can look for a database
 * before being connected to one.
 */
static void
connect_or_give_up(Oid database)
{
	if (pg_atomic_fetch_add_u32(&slot->connecting, 1) >= MAX_CONNECTS)
	{
		pg_atomic_write_u32(&slot->connecting, 0);
		ereport(LOG,
				(errmsg("voiceframe_retention worker gives up: database %u is gone or takes no connections",
						database)));
		proc_exit(0);
	}
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pg_atomic_write_u32(&slot->connecting, 0);
}

void
vf_worker_main(Datum arg)
{
	Oid			database = DatumGetObjectId(arg);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	slot = vf_stats_take(database);
	if (slot == NULL || pg_atomic_read_u32(&slot->stop) != 0 ||
		!vf_stats_claim(slot))
		proc_exit(0);
	before_shmem_exit(release_slot, (Datum) 0);
	before_shmem_exit(release_leases, (Datum) 0);
	connect_or_give_up(database);
	quiet_settings();
	cycle_context = AllocSetContextCreate(TopMemoryContext,
										  "voiceframe worker cycle",
										  ALLOCSET_DEFAULT_SIZES);
	loop();
}
