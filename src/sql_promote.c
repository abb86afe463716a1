/*-------------------------------------------------------------------------
 *
 * sql_promote.c
 *	  Desk: vf_promote.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "db.h"
#include "promote.h"
#include "sql_rights.h"

PG_FUNCTION_INFO_V1(vf_sql_promote);

/* A VfPromotedRow. */
static void
put_file(void *arg, const VfPromoted *file)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[5] = {0};
	bool		nulls[5] = {false};

	values[0] = CStringGetTextDatum(file->session_id);
	values[1] = CStringGetTextDatum(file->column);
	values[2] = CStringGetTextDatum(file->key);
	nulls[3] = file->target == NULL;
	if (!nulls[3])
		values[3] = CStringGetTextDatum(file->target);
	values[4] = CStringGetTextDatum(file->result);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
vf_sql_promote(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VfPromoteQueue opt = {0};

	vf_sql_require_owner("vf_promote()");
	if (!PG_ARGISNULL(1) && PG_GETARG_INT64(1) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_files must be greater than 0"),
				 errhint("Leave it out to queue all files that are at risk.")));
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("keep_session must not be null"),
				 errhint("Leave it out to let sessions name the copies.")));
	InitMaterializedSRF(fcinfo, 0);
	opt.caller = "vf_promote";
	opt.token = PG_ARGISNULL(0) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(0));
	opt.max_files = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT64(1);
	opt.keep_session = PG_GETARG_BOOL(2);
	vf_db_open(false);
	(void) vf_promote_queue(&opt, put_file, rsinfo);
	vf_db_close();
	return (Datum) 0;
}
