/*-------------------------------------------------------------------------
 *
 * sql_purge.c
 *	  Desk: vf_purge_now, vf_purge, vf_purge_preview, and the trigger that
 *	  queues the keys of sessions deleted by the application.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "catalog/pg_type.h"

#include "db.h"
#include "purge.h"
#include "purge_deleted.h"
#include "register.h"
#include "source.h"
#include "sql_rights.h"

PG_FUNCTION_INFO_V1(vf_sql_purge_now);
PG_FUNCTION_INFO_V1(vf_sql_purge);
PG_FUNCTION_INFO_V1(vf_sql_purge_preview);
PG_FUNCTION_INFO_V1(vf_sql_queue_deleted);

/* max_sessions and confirm, arguments 0 and 1 of both calls. */
static void
read_options(FunctionCallInfo fcinfo, VfPurgeOptions *opt)
{
	if (!PG_ARGISNULL(0) && PG_GETARG_INT32(0) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_sessions must be greater than 0"),
				 errhint("Leave it out to purge everything that is due.")));
	if (!PG_ARGISNULL(1) && PG_GETARG_INT64(1) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("confirm must be greater than 0"),
				 errhint("It is the number of due sessions that the brake's error gives.")));
	opt->max_sessions = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	opt->confirm = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	if (opt->confirm > 0)
		vf_sql_require_superuser("confirming above the brake");
	opt->by_person = true;
}

/* One line for people, whoever calls. */
static void
tell(const VfPurgeResult *r)
{
	ereport(INFO,
			(errmsg("purged %lld sessions (%lld expired, %lld unpaid), queued %lld keys, kept %lld paid, put off %lld",
					(long long) (r->counts.expired + r->counts.unpaid),
					(long long) r->counts.expired,
					(long long) r->counts.unpaid,
					(long long) r->counts.keys_queued,
					(long long) r->counts.kept_paid,
					(long long) r->counts.put_off)));
}

/*
 * A superuser's first call in a database where nothing is registered: the
 * strict rule, without touching any table.
 */
static bool
register_strictly(void)
{
	VfConfigureOptions opt = {0};
	VfReport	report = {0};

	if (!superuser() || vf_source_registered())
		return false;
	opt.columns = "{}";
	vf_register_configure(&opt, &report);
	return true;
}

static Datum
result_row(FunctionCallInfo fcinfo, const VfPurgeResult *r, bool registered)
{
	TupleDesc	desc;
	Datum		values[9];
	bool		nulls[9] = {false};
	char		seconds[32];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vf_purge_now() must return a row");
	snprintf(seconds, sizeof(seconds), "%.3f", r->seconds);
	values[0] = Int64GetDatum(r->run_id);
	values[1] = Int64GetDatum(r->counts.expired);
	values[2] = Int64GetDatum(r->counts.unpaid);
	values[3] = Int64GetDatum(r->counts.keys_queued);
	values[4] = Int64GetDatum(r->counts.keys_cancelled);
	values[5] = Int64GetDatum(r->counts.kept_paid);
	values[6] = Int64GetDatum(r->counts.put_off);
	values[7] = DirectFunctionCall3(numeric_in, CStringGetDatum(seconds),
									ObjectIdGetDatum(InvalidOid),
									Int32GetDatum(-1));
	nulls[8] = r->bucket && !registered;
	if (!nulls[8])
		values[8] = CStringGetTextDatum(registered ?
										"registered sessions and orders without the payment guard; see vf_config" :
										"no bucket is registered: keys wait for vf_configure_bucket()");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

Datum
vf_sql_purge_now(PG_FUNCTION_ARGS)
{
	VfPurgeOptions opt = {0};
	VfPurgeResult result;
	bool		registered;

	vf_sql_require_owner("vf_purge_now()");
	read_options(fcinfo, &opt);
	opt.caller = "vf_purge_now";
	opt.full = true;
	vf_db_open(false);
	registered = register_strictly();
	vf_purge_run(&opt, &result);
	vf_db_close();
	tell(&result);
	return result_row(fcinfo, &result, registered);
}

Datum
vf_sql_purge(PG_FUNCTION_ARGS)
{
	VfPurgeOptions opt = {0};
	VfPurgeResult result;

	vf_sql_require_owner("vf_purge()");
	vf_sql_require_top_level(fcinfo, "vf_purge",
							 "Call it on its own, or use vf_purge_now() inside a transaction.");
	read_options(fcinfo, &opt);
	opt.caller = "vf_purge";
	opt.commits = true;
	opt.full = PG_ARGISNULL(2) || PG_GETARG_BOOL(2);
	vf_db_open(true);
	vf_purge_run(&opt, &result);
	vf_db_close();
	tell(&result);
	PG_RETURN_VOID();
}

static Datum
text_array(char **texts, int n)
{
	Datum	   *elems = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elems[i] = CStringGetTextDatum(texts[i]);
	return PointerGetDatum(construct_array(elems, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

Datum
vf_sql_purge_preview(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VfPreviewLine *lines;
	int			n;

	vf_sql_require_owner("vf_purge_preview()");
	if (PG_GETARG_INT32(0) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_examples must not be negative"),
				 errhint("It is the number of session ids to show for each rule; 0 shows none.")));
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	lines = vf_purge_preview(PG_GETARG_INT32(0), &n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[6];
		bool		nulls[6] = {false};

		values[0] = CStringGetTextDatum(lines[i].rule);
		values[1] = Int64GetDatum(lines[i].sessions);
		values[2] = Int64GetDatum(lines[i].keys);
		values[3] = TimestampTzGetDatum(lines[i].oldest);
		nulls[3] = TIMESTAMP_IS_NOBEGIN(lines[i].oldest);
		values[4] = TimestampTzGetDatum(lines[i].newest);
		nulls[4] = TIMESTAMP_IS_NOBEGIN(lines[i].newest);
		values[5] = text_array(lines[i].examples, lines[i].n_examples);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	vf_db_close();
	return (Datum) 0;
}

/* Before a row it would swallow the application's own change. */
static bool
is_our_trigger(FunctionCallInfo fcinfo)
{
	TriggerEvent event;

	if (!CALLED_AS_TRIGGER(fcinfo))
		return false;
	event = ((TriggerData *) fcinfo->context)->tg_event;
	return TRIGGER_FIRED_AFTER(event) && TRIGGER_FIRED_FOR_STATEMENT(event) &&
		TRIGGER_FIRED_BY_DELETE(event);
}

Datum
vf_sql_queue_deleted(PG_FUNCTION_ARGS)
{
	if (!is_our_trigger(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("vf_queue_deleted() can only be called as a trigger after DELETE, for each statement"),
				 errhint("It is installed by vf_configure(queue_deletes => true).")));
	vf_purge_queue_deleted((TriggerData *) fcinfo->context);
	return PointerGetDatum(NULL);
}
