/*-------------------------------------------------------------------------
 *
 * worker_launch.c
 *	  Starting and stopping workers: the launcher, and by hand.
 *
 * The launcher exists only where the library is preloaded.  It sees only
 * shared catalogs, so it starts a worker in every database it serves, and the
 * worker leaves at once where the extension is not installed; such a database
 * is looked at again only now and then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "settings.h"
#include "stats.h"
#include "wake.h"
#include "worker.h"

/* How often the launcher looks for databases without a worker, ms. */
#define LAUNCH_INTERVAL 10000

/* How soon after a start it tries the same database again, ms. */
#define RETRY_INTERVAL 60000

/* How often it says that there is no process to spare, ms. */
#define WANT_INTERVAL (10 * 60 * 1000)

/* How long vf_worker_start() waits for the worker to be ready, ms. */
#define START_TIMEOUT 10000

/* How long vf_worker_stop() waits for the process to end, ms. */
#define STOP_TIMEOUT 10000

/* The launcher's memory of one database. */
typedef struct Tried
{
	Oid			database;		/* hash key */
	TimestampTz at;
} Tried;

static void
describe(BackgroundWorker *worker, const char *type, const char *function,
		 int restart)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = restart;
	snprintf(worker->bgw_library_name, sizeof(worker->bgw_library_name),
			 "voiceframe_retention");
	snprintf(worker->bgw_function_name, sizeof(worker->bgw_function_name),
			 "%s", function);
	snprintf(worker->bgw_type, BGW_MAXLEN, "voiceframe_retention %s", type);
	snprintf(worker->bgw_name, BGW_MAXLEN, "voiceframe_retention %s", type);
}

void
vf_worker_register_launcher(void)
{
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress)
		return;
	describe(&worker, "launcher", "vf_launcher_main", 5);
	RegisterBackgroundWorker(&worker);
}

/* ---- by hand ---- */

int
vf_worker_start(void)
{
	VfSlot	   *slot = vf_stats_take(MyDatabaseId);
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;
	TimestampTz until;
	pid_t		pid;

	if (slot == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("%d databases have a worker already, which is the limit",
						VF_STATS_SLOTS)));
	pg_atomic_write_u32(&slot->stop, 0);
	if (vf_stats_runs(slot))
		return (int) pg_atomic_read_u32(&slot->pid);

	/* Back after a crash of another process, until the server restarts. */
	describe(&worker, "worker", "vf_worker_main", 10);
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("the server has no process to spare for the worker"),
				 errhint("Raise max_worker_processes, or drain with CALL vf_drain().")));
	until = GetCurrentTimestamp() + START_TIMEOUT * INT64CONST(1000);
	while (WaitForBackgroundWorkerStartup(handle, &pid) == BGWH_STARTED &&
		   GetCurrentTimestamp() < until)
	{
		/* Running is not yet working: it has its slot to take. */
		if (vf_stats_runs(slot))
			return (int) pid;
		vf_wake_wait_until(GetCurrentTimestamp() + 10 * 1000, NULL);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("the worker did not start"),
			 errhint("The server's log says why.")));
}

bool
vf_worker_stop(void)
{
	VfSlot	   *slot = vf_stats_take(MyDatabaseId);
	TimestampTz until = GetCurrentTimestamp() + STOP_TIMEOUT * 1000;
	uint32		pid;

	if (slot == NULL)
		return false;
	pg_atomic_write_u32(&slot->stop, 1);
	if (!vf_stats_runs(slot))
		return false;
	pid = pg_atomic_read_u32(&slot->pid);
	if (pid != 0 && kill((pid_t) pid, SIGTERM) != 0 && errno != ESRCH)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not signal the worker: %m")));
	while (vf_stats_runs(slot))
	{
		if (GetCurrentTimestamp() >= until)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("the worker was told to stop and has not yet ended")));
		vf_wake_wait_until(GetCurrentTimestamp() + 20 * 1000, NULL);
	}
	return true;
}

/* ---- the launcher ---- */

static bool
is_served(const char *name)
{
	List	   *wanted = vf_settings_list(vf_databases);
	ListCell   *lc;

	if (wanted == NIL)
		return true;
	foreach(lc, wanted)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

/* No worker can be started: said now and then, not each time it is tried. */
static void
tell_of_want(TimestampTz now)
{
	static TimestampTz told = 0;

	if (!TimestampDifferenceExceeds(told, now, WANT_INTERVAL))
		return;
	told = now;
	ereport(LOG,
			(errmsg("voiceframe_retention has no process to spare for a worker"),
			 errhint("Raise max_worker_processes, or drain with CALL vf_drain().")));
}

/* Start a worker unless one runs, was stopped by hand, or was just tried. */
static void
launch(Oid database, HTAB *tried)
{
	VfSlot	   *slot = vf_stats_find(database);
	TimestampTz now = GetCurrentTimestamp();
	BackgroundWorker worker;
	Tried	   *t;
	bool		found;

	if (slot != NULL && (vf_stats_runs(slot) ||
						 pg_atomic_read_u32(&slot->stop) != 0))
		return;
	t = hash_search(tried, &database, HASH_ENTER, &found);
	if (found && !TimestampDifferenceExceeds(t->at, now, RETRY_INTERVAL))
		return;
	t->at = now;
	describe(&worker, "worker", "vf_worker_main", BGW_NEVER_RESTART);
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	if (RegisterDynamicBackgroundWorker(&worker, NULL))
		return;
	/* The process may be there the next time we look. */
	t->at = 0;
	tell_of_want(now);
}

/* The databases we serve, as a list of oids in the current context. */
static List *
list_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *result = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database db = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		if (!db->datallowconn || db->datistemplate ||
			!is_served(NameStr(db->datname)))
			continue;
		old = MemoryContextSwitchTo(context);
		result = lappend_oid(result, db->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result;
}

/* Slots of databases that are gone serve others. */
static void
free_slots(const List *databases)
{
	VfSlot	   *slot;

	for (int i = 0; (slot = vf_stats_slot(i)) != NULL; i++)
	{
		uint32		database = pg_atomic_read_u32(&slot->database);

		if (!list_member_oid(databases, database))
			vf_stats_free(slot);
	}
}

void
vf_launcher_main(Datum arg)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Tried)};
	HTAB	   *tried = hash_create("voiceframe databases", 16, &ctl,
									HASH_ELEM | HASH_BLOBS);
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "voiceframe launcher",
												  ALLOCSET_DEFAULT_SIZES);

	(void) arg;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("voiceframe_retention launcher");
	for (;;)
	{
		List	   *databases;
		ListCell   *lc;

		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		databases = list_databases();
		free_slots(databases);
		foreach(lc, databases)
			launch(lfirst_oid(lc), tried);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LAUNCH_INTERVAL, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}
