/*-------------------------------------------------------------------------
 *
 * sql_bucket.c
 *	  Desk: vf_drain, vf_s3_check, vf_worker_start, vf_worker_stop.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"

#include "check.h"
#include "db.h"
#include "drain.h"
#include "outbox.h"
#include "preflight.h"
#include "promote.h"
#include "sql_rights.h"
#include "stats.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(vf_sql_drain);
PG_FUNCTION_INFO_V1(vf_sql_s3_check);
PG_FUNCTION_INFO_V1(vf_sql_worker_start);
PG_FUNCTION_INFO_V1(vf_sql_worker_stop);

/* However the drain ends. */
static void
leave_drain(int code, Datum database)
{
	(void) code;
	vf_stats_by_hand(DatumGetObjectId(database), -1);
}

/* Copies first: they are files that somebody paid for. */
static void
run_both(const VfDrainOptions *opt, VfDrainResult *r, VfPromoteResult *copied)
{
	VfPromoteOptions copy = {0};

	copy.caller = opt->caller;
	copy.max_files = opt->max_keys;
	copy.tick = opt->tick;
	copy.tick_arg = opt->tick_arg;
	vf_promote_run(&copy, copied);
	vf_drain_run(opt, r);
}

/* While it runs, the worker does not give the lease away when it stops. */
static void
run_by_hand(const VfDrainOptions *opt, VfDrainResult *r,
			VfPromoteResult *copied)
{
	Datum		database = ObjectIdGetDatum(MyDatabaseId);

	vf_stats_by_hand(MyDatabaseId, 1);
	PG_ENSURE_ERROR_CLEANUP(leave_drain, database);
	{
		run_both(opt, r, copied);
	}
	PG_END_ENSURE_ERROR_CLEANUP(leave_drain, database);
	leave_drain(0, database);
}

Datum
vf_sql_drain(PG_FUNCTION_ARGS)
{
	VfDrainOptions opt = {0};
	VfDrainResult r;
	VfPromoteResult copied;
	int64		waiting;

	vf_sql_require_owner("vf_drain()");
	vf_sql_require_top_level(fcinfo, "vf_drain",
							 "Call it on its own, after the COMMIT.");
	if (!PG_ARGISNULL(0) && PG_GETARG_INT64(0) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_keys must be greater than 0"),
				 errhint("Leave it out to drain until nothing waits.")));
	opt.caller = "vf_drain";
	opt.record_idle = true;
	opt.max_keys = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	opt.tick = vf_sql_tick;
	vf_db_open(true);
	run_by_hand(&opt, &r, &copied);
	waiting = vf_outbox_waiting();
	vf_db_close();
	if (copied.run_id != 0)
		ereport(INFO,
				(errmsg("copied paid files: %lld copied, %lld to be tried again, %lld dead, %lld cancelled",
						(long long) copied.counts.confirmed,
						(long long) copied.counts.again,
						(long long) copied.counts.dead,
						(long long) copied.counts.cancelled)));
	ereport(INFO,
			(errmsg("drained the outbox: %lld keys confirmed gone, %lld to be tried again, %lld dead, %lld cancelled",
					(long long) r.counts.confirmed,
					(long long) r.counts.again, (long long) r.counts.dead,
					(long long) r.counts.cancelled)));
	if (r.failing > 0 || copied.failing > 0)
		ereport(WARNING,
				(errmsg("a bucket did not answer as it should"),
				 errhint("See vf_outbox_stats for the error and its cure; the keys wait.")));
	else if (waiting > 0)
		ereport(NOTICE,
				(errmsg("%lld keys are still in the outbox",
						(long long) waiting),
				 errhint("vf_outbox_stats shows what they wait for.")));
	PG_RETURN_VOID();
}

Datum
vf_sql_s3_check(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VfCheckLine *lines;
	int			n;

	vf_sql_require_superuser("vf_s3_check()");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	lines = vf_check_bucket(vf_sql_tick, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[4] = {0};
		bool		nulls[4] = {false};

		values[0] = CStringGetTextDatum(lines[i].check);
		values[1] = BoolGetDatum(lines[i].ok);
		nulls[1] = lines[i].skipped;
		values[2] = CStringGetTextDatum(lines[i].detail);
		nulls[3] = lines[i].cure == NULL;
		if (lines[i].cure != NULL)
			values[3] = CStringGetTextDatum(lines[i].cure);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	vf_db_close();
	return (Datum) 0;
}

Datum
vf_sql_worker_start(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	vf_sql_require_superuser("vf_worker_start()");
	vf_preflight_primary();
	PG_RETURN_INT32(vf_worker_start());
}

Datum
vf_sql_worker_stop(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	vf_sql_require_superuser("vf_worker_stop()");
	PG_RETURN_BOOL(vf_worker_stop());
}
