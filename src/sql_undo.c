/*-------------------------------------------------------------------------
 *
 * sql_undo.c
 *	  Desk: take back, hold, release, erase.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "db.h"
#include "erase.h"
#include "register.h"
#include "restore.h"
#include "retain.h"
#include "sql_rights.h"
#include "stats.h"

PG_FUNCTION_INFO_V1(vf_sql_undo_run);
PG_FUNCTION_INFO_V1(vf_sql_undo_token);
PG_FUNCTION_INFO_V1(vf_sql_undo_discard_all);
PG_FUNCTION_INFO_V1(vf_sql_undo_discard_run);
PG_FUNCTION_INFO_V1(vf_sql_undo_discard_token);
PG_FUNCTION_INFO_V1(vf_sql_undo_for_payment);
PG_FUNCTION_INFO_V1(vf_sql_hold);
PG_FUNCTION_INFO_V1(vf_sql_release);
PG_FUNCTION_INFO_V1(vf_sql_erase_session);
PG_FUNCTION_INFO_V1(vf_sql_renew);

static char *
token_argument(FunctionCallInfo fcinfo)
{
	char	   *token;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the session token must not be null"),
				 errhint("It is the value of the sessions table's token column.")));
	token = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (token[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the session token must not be empty"),
				 errhint("It is the value of the sessions table's token column.")));
	return token;
}

/* ---- undo ---- */

static int64
run_id_argument(FunctionCallInfo fcinfo, const char *hint)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("run_id must not be null"),
				 errhint("%s", hint)));
	if (PG_GETARG_INT64(0) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("run_id must be greater than 0"),
				 errhint("%s", hint)));
	return PG_GETARG_INT64(0);
}

/* A VfRestoredRow: the argument is the call's ReturnSetInfo. */
static void
put_row(void *arg, const VfRestored *row)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[3] = {0};
	bool		nulls[3] = {false};

	values[0] = CStringGetTextDatum(row->id);
	values[1] = CStringGetTextDatum(row->outcome);
	nulls[2] = row->detail == NULL;
	if (row->detail != NULL)
		values[2] = CStringGetTextDatum(row->detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
vf_sql_undo_run(PG_FUNCTION_ARGS)
{
	int64		run_id;

	vf_sql_require_owner("vf_undo_purge()");
	run_id = run_id_argument(fcinfo,
							 "vf_undo_runs lists the runs that can be taken back.");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_restore_run(run_id, put_row, fcinfo->resultinfo);
	vf_db_close();
	return (Datum) 0;
}

Datum
vf_sql_undo_token(PG_FUNCTION_ARGS)
{
	char	   *token = token_argument(fcinfo);

	vf_sql_require_owner("vf_undo_purge()");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_restore_token(token, put_row, fcinfo->resultinfo);
	vf_db_close();
	return (Datum) 0;
}

static int64
discard(int64 run_id)
{
	int64		erased;

	vf_db_open(false);
	erased = vf_restore_discard_run(run_id);
	vf_db_close();
	return erased;
}

Datum
vf_sql_undo_discard_all(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	vf_sql_require_owner("vf_undo_discard()");
	PG_RETURN_INT64(discard(0));
}

Datum
vf_sql_undo_discard_run(PG_FUNCTION_ARGS)
{
	vf_sql_require_owner("vf_undo_discard()");
	PG_RETURN_INT64(discard(run_id_argument(fcinfo,
											"Call vf_undo_discard() without an argument for all runs.")));
}

Datum
vf_sql_undo_discard_token(PG_FUNCTION_ARGS)
{
	char	   *token = token_argument(fcinfo);
	int64		erased;

	vf_sql_require_owner("vf_undo_discard()");
	vf_db_open(false);
	erased = vf_restore_discard_token(token);
	vf_db_close();
	PG_RETURN_INT64(erased);
}

Datum
vf_sql_undo_for_payment(PG_FUNCTION_ARGS)
{
	bool		restored;

	vf_sql_require_owner("vf_undo_for_payment()");
	vf_db_open(false);
	restored = vf_restore_for_payment(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	vf_db_close();
	PG_RETURN_BOOL(restored);
}

/* ---- hold, release, erase ---- */

Datum
vf_sql_hold(PG_FUNCTION_ARGS)
{
	TimestampTz until = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1);
	char	   *reason;
	int64		held;

	vf_sql_require_owner("vf_hold()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("vf_hold needs a session token and a reason"),
				 errhint("Only until may be null: the hold then lasts until vf_release().")));
	reason = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (reason[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the reason must not be empty"),
				 errhint("It stays on record with the hold.")));
	if (until <= GetCurrentTimestamp())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a hold must end in the future"),
				 errhint("Null holds the session until vf_release().")));
	vf_db_open(false);
	held = vf_retain_hold(token_argument(fcinfo), until, reason);
	vf_db_close();
	PG_RETURN_INT64(held);
}

Datum
vf_sql_release(PG_FUNCTION_ARGS)
{
	char	   *token = token_argument(fcinfo);
	int64		ended;

	vf_sql_require_owner("vf_release()");
	vf_db_open(false);
	ended = vf_retain_release(token);
	vf_db_close();
	PG_RETURN_INT64(ended);
}

Datum
vf_sql_erase_session(PG_FUNCTION_ARGS)
{
	char	   *token = token_argument(fcinfo);
	TupleDesc	desc;
	VfErased	erased;
	Datum		values[4];
	bool		nulls[4] = {false};

	vf_sql_require_owner("vf_erase_session()");
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "vf_erase_session() must return a row");
	vf_db_open(false);
	vf_erase_token(token, &erased);
	vf_db_close();
	values[0] = Int64GetDatum(erased.run_id);
	values[1] = Int64GetDatum(erased.sessions);
	values[2] = Int64GetDatum(erased.keys_queued);
	values[3] = Int64GetDatum(erased.undo_rows);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
											 nulls));
}

/* Called by the upgrade script alone. */
Datum
vf_sql_renew(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	vf_sql_require_superuser("vf_renew()");
	/* A worker of 1.0 knows nothing of undo windows: it must not go on. */
	vf_stats_attach();
	vf_db_open_any(false);
	vf_register_renew();
	vf_db_close();
	PG_RETURN_VOID();
}
