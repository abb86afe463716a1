/*-------------------------------------------------------------------------
 *
 * sql_scan.c
 *	  Desk: vf_s3_scan() and what the views read of the inventory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "db.h"
#include "scan.h"
#include "sql_rights.h"
#include "watch.h"

PG_FUNCTION_INFO_V1(vf_sql_s3_scan);
PG_FUNCTION_INFO_V1(vf_sql_find_missing);
PG_FUNCTION_INFO_V1(vf_sql_find_shared);
PG_FUNCTION_INFO_V1(vf_sql_find_at_risk);
PG_FUNCTION_INFO_V1(vf_sql_count_at_risk);

static void
report_failure(const VfScanResult *r)
{
	ereport(ERROR,
			(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			 errmsg("the scan stopped: %s", r->answer.code),
			 errdetail("The store says: %s. %lld objects were listed before; the next call goes on behind them.",
					   r->answer.message, (long long) r->objects),
			 errhint("%s", vf_s3_cure(r->answer.code))));
}

Datum
vf_sql_s3_scan(PG_FUNCTION_ARGS)
{
	VfScanOptions opt = {0};
	VfScanResult r;

	vf_sql_require_owner("vf_s3_scan()");
	vf_sql_require_top_level(fcinfo, "vf_s3_scan",
							 "Call it on its own, after the COMMIT.");
	if (!PG_ARGISNULL(0) && PG_GETARG_INT64(0) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_pages must be greater than 0"),
				 errhint("Leave it out to scan to the end.")));
	opt.caller = "vf_s3_scan";
	opt.tick = vf_sql_tick;
	opt.max_pages = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);
	vf_db_open(true);
	vf_scan_run(&opt, &r);
	vf_db_close();
	if (r.failed)
		report_failure(&r);
	ereport(INFO,
			(r.complete ?
			 errmsg("listed %lld objects; the scan is complete",
					(long long) r.objects) :
			 errmsg("listed %lld objects; the scan is not at its end",
					(long long) r.objects),
			 r.complete ? errhint("See vf_s3_usage and vf_s3_missing.") :
			 errhint("The next call goes on; see vf_progress.")));
	if (r.uploads_error[0] != '\0')
		ereport(NOTICE,
				(errmsg("not all is known of unfinished uploads"),
				 errdetail("The store says: %s.", r.uploads_error),
				 errhint("Allow s3:ListBucketMultipartUploads and s3:ListMultipartUploadParts, if the store knows them; nothing else waits for it.")));
	PG_RETURN_VOID();
}

/* A VfWatchRow. */
static void
put_row(void *arg, const Datum *values, const bool *nulls)
{
	ReturnSetInfo *rsinfo = arg;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
						 unconstify(Datum *, values),
						 unconstify(bool *, nulls));
}

Datum
vf_sql_find_missing(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	vf_sql_require_owner("vf_s3_missing");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_watch_missing(put_row, rsinfo);
	vf_db_close();
	return (Datum) 0;
}

Datum
vf_sql_find_shared(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_watch_shared(put_row, rsinfo);
	vf_db_close();
	return (Datum) 0;
}

Datum
vf_sql_find_at_risk(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	vf_sql_require_owner("vf_at_risk");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_watch_at_risk(put_row, rsinfo);
	vf_db_close();
	return (Datum) 0;
}

Datum
vf_sql_count_at_risk(PG_FUNCTION_ARGS)
{
	TupleDesc	desc;
	TimestampTz deadline;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "the function must return a row");
	vf_db_open(false);
	values[0] = Int64GetDatum(vf_watch_count_at_risk(&deadline));
	vf_db_close();
	values[1] = TimestampTzGetDatum(deadline);
	nulls[1] = TIMESTAMP_IS_NOBEGIN(deadline);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}
