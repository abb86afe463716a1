/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  Shared memory: which workers run, and how far they are.
 *
 * No locks: a slot is taken by compare-and-swap of its database, claimed by
 * compare-and-swap of its pid.  A pid whose process is gone counts as none, so
 * a killed worker leaves nothing to clean up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "stats.h"

typedef struct Shared
{
	VfSlot		slots[VF_STATS_SLOTS];
} Shared;

static Shared *shared = NULL;
static shmem_request_hook_type previous_request_hook = NULL;

static void
init_shared(void *ptr)
{
	Shared	   *s = ptr;

	for (int i = 0; i < VF_STATS_SLOTS; i++)
	{
		VfSlot	   *slot = &s->slots[i];

		pg_atomic_init_u32(&slot->database, InvalidOid);
		pg_atomic_init_u32(&slot->pid, 0);
		pg_atomic_init_u32(&slot->state, VF_WORKER_STARTING);
		pg_atomic_init_u32(&slot->stop, 0);
		pg_atomic_init_u64(&slot->started_at, 0);
		pg_atomic_init_u64(&slot->last_purge_at, 0);
		pg_atomic_init_u64(&slot->last_drain_at, 0);
		pg_atomic_init_u64(&slot->keys_in_flight, 0);
		pg_atomic_init_u64(&slot->keys_confirmed, 0);
		pg_atomic_init_u64(&slot->errors, 0);
		pg_atomic_init_u32(&slot->by_hand, 0);
		pg_atomic_init_u32(&slot->connecting, 0);
	}
}

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(sizeof(Shared));
}

void
vf_stats_init(void)
{
	if (!process_shared_preload_libraries_in_progress ||
		!vf_compat_reserves_shmem())
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
}

/*
 * Memory that another version of the library made has another size, which the
 * server takes for an internal error.
 */
static void
map_shared(void)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		shared = vf_compat_shmem("voiceframe_retention", sizeof(Shared),
								 init_shared);
	}
	PG_CATCH();
	{
		int			code = geterrcode();

		if (code != ERRCODE_INTERNAL_ERROR)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the server still runs with another version of the voiceframe_retention library"),
				 errdetail("That version made the shared memory of the workers."),
				 errhint("Restart the server.")));
	}
	PG_END_TRY();
}

static Shared *
attach(void)
{
	if (shared == NULL)
		map_shared();
	return shared;
}

void
vf_stats_attach(void)
{
	(void) attach();
}

VfSlot *
vf_stats_slot(int n)
{
	return n < VF_STATS_SLOTS ? &attach()->slots[n] : NULL;
}

VfSlot *
vf_stats_find(Oid database)
{
	Shared	   *s = attach();

	for (int i = 0; i < VF_STATS_SLOTS; i++)
		if (pg_atomic_read_u32(&s->slots[i].database) == database)
			return &s->slots[i];
	return NULL;
}

VfSlot *
vf_stats_take(Oid database)
{
	Shared	   *s = attach();
	VfSlot	   *slot = vf_stats_find(database);

	for (int i = 0; slot == NULL && i < VF_STATS_SLOTS; i++)
	{
		uint32		none = InvalidOid;

		if (pg_atomic_compare_exchange_u32(&s->slots[i].database, &none,
										   database) ||
			none == database)
			slot = &s->slots[i];
	}
	return slot;
}

/* Where no slot is to be had, there is no worker that would ask. */
void
vf_stats_by_hand(Oid database, int change)
{
	VfSlot	   *slot = vf_stats_take(database);

	if (slot != NULL)
		pg_atomic_fetch_add_u32(&slot->by_hand, change);
}

bool
vf_stats_drains_by_hand(Oid database)
{
	VfSlot	   *slot = vf_stats_find(database);

	return slot != NULL && pg_atomic_read_u32(&slot->by_hand) != 0;
}

static bool
alive(uint32 pid)
{
	return pid != 0 && vf_compat_proc_by_pid((int) pid) != NULL;
}

bool
vf_stats_runs(VfSlot *slot)
{
	return alive(pg_atomic_read_u32(&slot->pid));
}

bool
vf_stats_claim(VfSlot *slot)
{
	uint32		pid = pg_atomic_read_u32(&slot->pid);

	while (!alive(pid))
	{
		if (pg_atomic_compare_exchange_u32(&slot->pid, &pid, MyProcPid))
		{
			pg_atomic_write_u32(&slot->state, VF_WORKER_STARTING);
			pg_atomic_write_u64(&slot->started_at, GetCurrentTimestamp());
			pg_atomic_write_u64(&slot->keys_in_flight, 0);
			pg_atomic_write_u64(&slot->keys_confirmed, 0);
			return true;
		}
	}
	return (int) pid == MyProcPid;
}

void
vf_stats_release(VfSlot *slot)
{
	uint32		me = MyProcPid;

	pg_atomic_write_u64(&slot->keys_in_flight, 0);
	(void) pg_atomic_compare_exchange_u32(&slot->pid, &me, 0);
}

void
vf_stats_free(VfSlot *slot)
{
	uint32		database = pg_atomic_read_u32(&slot->database);

	if (database != InvalidOid && !vf_stats_runs(slot) &&
		pg_atomic_read_u32(&slot->stop) == 0 &&
		pg_atomic_read_u32(&slot->connecting) == 0 &&
		pg_atomic_read_u32(&slot->by_hand) == 0)
		(void) pg_atomic_compare_exchange_u32(&slot->database, &database,
											  InvalidOid);
}
