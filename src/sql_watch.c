/*-------------------------------------------------------------------------
 *
 * sql_watch.c
 *	  Desk: the functions that the views read.
 *
 * They return aggregates only; EXECUTE is for pg_monitor and the owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "db.h"
#include "s3.h"
#include "stats.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(vf_sql_source_state);
PG_FUNCTION_INFO_V1(vf_sql_count_sessions);
PG_FUNCTION_INFO_V1(vf_sql_count_storage);
PG_FUNCTION_INFO_V1(vf_sql_count_alerts);
PG_FUNCTION_INFO_V1(vf_sql_worker_slots);
PG_FUNCTION_INFO_V1(vf_sql_error_cure);

static Datum
row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the function must return a row");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

/* A text column that may be null. */
static void
put_text(Datum *values, bool *nulls, int i, const char *text)
{
	nulls[i] = text == NULL;
	if (text != NULL)
		values[i] = CStringGetTextDatum(text);
}

Datum
vf_sql_source_state(PG_FUNCTION_ARGS)
{
	VfWatchState state;
	Datum		values[4] = {0};
	bool		nulls[4] = {false};
	MemoryContext context = CurrentMemoryContext;

	vf_db_open_any(false);
	vf_watch_state(&state);
	MemoryContextSwitchTo(context);
	values[0] = BoolGetDatum(state.registered);
	put_text(values, nulls, 1, state.problem);
	put_text(values, nulls, 2, state.guard);
	put_text(values, nulls, 3, state.settings_fault);
	vf_db_close();
	return row(fcinfo, values, nulls);
}

Datum
vf_sql_count_sessions(PG_FUNCTION_ARGS)
{
	VfWatchSessions c;
	Datum		values[5];
	bool		nulls[5] = {false};

	vf_db_open(false);
	vf_watch_sessions(&c);
	vf_db_close();
	values[0] = Int64GetDatum(c.sessions);
	values[1] = Int64GetDatum(c.expired);
	values[2] = Int64GetDatum(c.older);
	values[3] = Int64GetDatum(c.due);
	values[4] = Int64GetDatum(c.paying);
	return row(fcinfo, values, nulls);
}

Datum
vf_sql_count_storage(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VfWatchStorage *rows;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	rows = vf_watch_storage(&n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[4] = {
			CStringGetTextDatum(rows[i].type), Int64GetDatum(rows[i].keys),
			Int64GetDatum(rows[i].objects), Int64GetDatum(rows[i].bytes)
		};
		bool		nulls[4] = {false, false, !rows[i].scanned,
		!rows[i].scanned};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	vf_db_close();
	return (Datum) 0;
}

Datum
vf_sql_count_alerts(PG_FUNCTION_ARGS)
{
	VfWatchAlerts a;
	Datum		values[3] = {0};
	bool		nulls[3] = {false};
	MemoryContext context = CurrentMemoryContext;

	vf_db_open(false);
	vf_watch_alerts(&a);
	MemoryContextSwitchTo(context);
	put_text(values, nulls, 0, a.unknown_statuses);
	values[1] = Int64GetDatum(a.null_timestamps);
	values[2] = Int64GetDatum(a.late_payments);
	vf_db_close();
	return row(fcinfo, values, nulls);
}

static const char *
state_word(uint32 state)
{
	switch ((VfWorkerState) state)
	{
		case VF_WORKER_STARTING:
			return "starting";
		case VF_WORKER_IDLE:
			return "idle";
		case VF_WORKER_PURGING:
			return "purging";
		case VF_WORKER_DRAINING:
			return "draining";
		case VF_WORKER_SCANNING:
			return "scanning";
		case VF_WORKER_COPYING:
			return "copying";
		case VF_WORKER_REFUSED:
			return "waiting";
	}
	return "unknown";
}

/* A time from shared memory; 0 is none. */
static void
put_time(Datum *values, bool *nulls, int i, pg_atomic_uint64 *at)
{
	TimestampTz time = (TimestampTz) pg_atomic_read_u64(at);

	nulls[i] = time == 0;
	values[i] = TimestampTzGetDatum(time);
}

static void
put_slot(ReturnSetInfo *rsinfo, VfSlot *slot)
{
	Datum		values[9] = {0};
	bool		nulls[9] = {false};
	char	   *database;
	NameData	name;

	database = get_database_name(pg_atomic_read_u32(&slot->database));
	if (database == NULL)
		return;
	namestrcpy(&name, database);
	values[0] = NameGetDatum(&name);
	values[1] = Int32GetDatum((int) pg_atomic_read_u32(&slot->pid));
	put_text(values, nulls, 2, state_word(pg_atomic_read_u32(&slot->state)));
	put_time(values, nulls, 3, &slot->started_at);
	put_time(values, nulls, 4, &slot->last_purge_at);
	put_time(values, nulls, 5, &slot->last_drain_at);
	values[6] = Int64GetDatum(pg_atomic_read_u64(&slot->keys_in_flight));
	values[7] = Int64GetDatum(pg_atomic_read_u64(&slot->keys_confirmed));
	values[8] = Int64GetDatum(pg_atomic_read_u64(&slot->errors));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
vf_sql_worker_slots(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VfSlot	   *slot;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; (slot = vf_stats_slot(i)) != NULL; i++)
	{
		if (vf_stats_runs(slot))
			put_slot(rsinfo, slot);
	}
	return (Datum) 0;
}

Datum
vf_sql_error_cure(PG_FUNCTION_ARGS)
{
	char	   *code = text_to_cstring(PG_GETARG_TEXT_PP(0));

	PG_RETURN_TEXT_P(cstring_to_text(PG_GETARG_BOOL(1) ?
									 vf_s3_key_cure(code) :
									 vf_s3_cure(code)));
}
