/*-------------------------------------------------------------------------
 *
 * wake.c
 *	  Waking this database's worker at commit, and waiting.
 *
 * A latch that is set is not lost: a worker that is busy finds it set when it
 * waits next.  Where no worker runs nothing happens, and pg_cron or a person
 * drains.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "stats.h"
#include "wake.h"

/* How often keep_going is asked while waiting, ms. */
#define WAIT_SLICE 100

static bool wanted = false;

void
vf_wake_worker(Oid database)
{
	VfSlot	   *slot = vf_stats_find(database);
	PGPROC	   *proc = slot == NULL ? NULL :
		vf_compat_proc_by_pid((int) pg_atomic_read_u32(&slot->pid));

	if (proc != NULL)
		SetLatch(&proc->procLatch);
}

/* Runs after the commit is done, when no error may be raised any more. */
static void
at_xact_end(XactEvent event, void *arg)
{
	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	if (wanted && event == XACT_EVENT_COMMIT)
		vf_wake_worker(MyDatabaseId);
	wanted = false;
}

void
vf_wake_init(void)
{
	RegisterXactCallback(at_xact_end, NULL);
}

void
vf_wake_at_commit(void)
{
	/* Attach to shared memory now: the callback must not fail. */
	(void) vf_stats_find(MyDatabaseId);
	wanted = true;
}

void
vf_wake_wait_until(TimestampTz until, bool (*keep_going) (void))
{
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		left = TimestampDifferenceMilliseconds(now, until);

		CHECK_FOR_INTERRUPTS();
		if (left <= 0 || (keep_going != NULL && !keep_going()))
			return;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(left, WAIT_SLICE), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
