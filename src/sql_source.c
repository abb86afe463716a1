/*-------------------------------------------------------------------------
 *
 * sql_source.c
 *	  Desk: vf_configure, vf_unconfigure, vf_adopt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "db.h"
#include "preflight.h"
#include "register.h"
#include "sql_rights.h"

PG_FUNCTION_INFO_V1(vf_sql_configure);
PG_FUNCTION_INFO_V1(vf_sql_unconfigure);
PG_FUNCTION_INFO_V1(vf_sql_adopt);
PG_FUNCTION_INFO_V1(vf_sql_configure_bucket);

/* The rows of a report as the function's result. */
static void
put_report(FunctionCallInfo fcinfo, const VfReport *report)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int i = 0; i < report->n; i++)
	{
		Datum		values[2] = {
			CStringGetTextDatum(report->items[i]),
			CStringGetTextDatum(report->values[i])
		};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
}

static Oid
arg_oid(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? InvalidOid : PG_GETARG_OID(n);
}

static bool
arg_bool(FunctionCallInfo fcinfo, int n, bool otherwise)
{
	return PG_ARGISNULL(n) ? otherwise : PG_GETARG_BOOL(n);
}

static char *
arg_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static void
read_names(ArrayType *array, char ***names, int *n)
{
	Datum	   *elems;
	bool	   *nulls;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls,
					  n);
	*names = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("accept_foreign_keys must not contain null"),
					 errhint("Give the names of the foreign keys.")));
		(*names)[i] = TextDatumGetCString(elems[i]);
	}
}

Datum
vf_sql_configure(PG_FUNCTION_ARGS)
{
	VfConfigureOptions opt = {0};
	VfReport	report = {0};

	vf_sql_require_superuser("vf_configure()");
	vf_preflight_primary();
	InitMaterializedSRF(fcinfo, 0);
	opt.sessions = arg_oid(fcinfo, 0);
	opt.orders = arg_oid(fcinfo, 1);
	opt.guard = arg_bool(fcinfo, 2, true);
	opt.queue_deletes = arg_bool(fcinfo, 3, false);
	if (!PG_ARGISNULL(4))
		read_names(PG_GETARG_ARRAYTYPE_P(4), &opt.accepted_keys,
				   &opt.n_accepted);
	opt.columns = PG_ARGISNULL(5) ? "{}" :
		DatumGetCString(DirectFunctionCall1(jsonb_out, PG_GETARG_DATUM(5)));
	vf_db_open(false);
	vf_register_configure(&opt, &report);
	put_report(fcinfo, &report);
	vf_db_close();
	return (Datum) 0;
}

Datum
vf_sql_unconfigure(PG_FUNCTION_ARGS)
{
	vf_sql_require_superuser("vf_unconfigure()");
	vf_preflight_primary();
	vf_db_open(false);
	vf_register_unconfigure(PG_GETARG_BOOL(0));
	vf_db_close();
	PG_RETURN_VOID();
}

Datum
vf_sql_adopt(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	vf_sql_require_superuser("vf_adopt()");
	vf_preflight_primary();
	vf_db_open(false);
	vf_register_adopt();
	vf_db_close();
	PG_RETURN_VOID();
}

Datum
vf_sql_configure_bucket(PG_FUNCTION_ARGS)
{
	VfBucketOptions opt = {0};
	VfReport	report = {0};

	vf_sql_require_superuser("vf_configure_bucket()");
	vf_preflight_primary();
	InitMaterializedSRF(fcinfo, 0);
	opt.bucket = arg_text(fcinfo, 0);
	opt.region = arg_text(fcinfo, 1);
	opt.endpoint = arg_text(fcinfo, 2);
	opt.path_style = arg_text(fcinfo, 3);
	opt.profile = arg_text(fcinfo, 4);
	opt.probe = arg_bool(fcinfo, 5, true);
	if (PG_NARGS() > 6)			/* before 1.2 there were no more */
	{
		opt.expected_owner = arg_text(fcinfo, 6);
		opt.request_payer = arg_bool(fcinfo, 7, false);
	}
	vf_db_open(false);
	vf_register_bucket(&opt, &report);
	put_report(fcinfo, &report);
	vf_db_close();
	return (Datum) 0;
}
