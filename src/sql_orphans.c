/*-------------------------------------------------------------------------
 *
 * sql_orphans.c
 *	  Desk: references beside those of sessions and orders, and orphans.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "db.h"
#include "orphans.h"
#include "source.h"
#include "sql_rights.h"

PG_FUNCTION_INFO_V1(vf_sql_find_orphans);
PG_FUNCTION_INFO_V1(vf_sql_delete_orphans);
PG_FUNCTION_INFO_V1(vf_sql_add_reference);
PG_FUNCTION_INFO_V1(vf_sql_waive_reference);
PG_FUNCTION_INFO_V1(vf_sql_drop_reference);
PG_FUNCTION_INFO_V1(vf_sql_find_references);

/* A VfDbRow. */
static void
put_row(void *arg, const Datum *values, const bool *nulls)
{
	ReturnSetInfo *rsinfo = arg;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
						 unconstify(Datum *, values),
						 unconstify(bool *, nulls));
}

Datum
vf_sql_find_orphans(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	vf_sql_require_owner("vf_s3_orphans");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_orphans_find(put_row, rsinfo);
	vf_db_close();
	return (Datum) 0;
}

static void
read_options(FunctionCallInfo fcinfo, VfOrphansOptions *opt)
{
	opt->dry_run = PG_GETARG_BOOL(0);
	opt->max_objects = PG_GETARG_INT32(1);
	opt->confirm = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);
	if (opt->max_objects <= 0 || opt->max_objects > 1000000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_objects must be between 1 and 1000000"),
				 errhint("What is left goes with the next call.")));
	if (!PG_ARGISNULL(2) && opt->confirm <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("confirm must be greater than 0"),
				 errhint("It is the number of orphans that the brake's error gives.")));
	if (opt->confirm > 0)
		vf_sql_require_superuser("confirming above the brake");
}

static void
tell(const VfOrphansOptions *opt, const VfOrphansResult *r)
{
	if (opt->dry_run)
		ereport(NOTICE,
				(errmsg("dry run: %lld orphans, nothing was queued",
						(long long) r->objects),
				 errhint("vf_s3_delete_orphans(dry_run => false) queues them.")));
	else if (r->queued < r->objects)
		ereport(NOTICE,
				(errmsg("queued %lld of %lld orphans", (long long) r->queued,
						(long long) r->objects),
				 errhint("The next call queues more.")));
}

Datum
vf_sql_delete_orphans(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VfOrphansOptions opt = {0};
	VfOrphansResult r;

	vf_sql_require_owner("vf_s3_delete_orphans()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("dry_run and max_objects must not be null"),
				 errhint("Leave them out: a dry run of all orphans.")));
	read_options(fcinfo, &opt);
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_orphans_delete(&opt, &r);
	for (int i = 0; i < r.n; i++)
	{
		Datum		values[4] = {
			CStringGetTextDatum(r.prefixes[i].prefix),
			Int64GetDatum(r.prefixes[i].objects),
			Int64GetDatum(r.prefixes[i].bytes),
			Int64GetDatum(r.prefixes[i].queued)
		};
		bool		nulls[4] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	vf_db_close();
	tell(&opt, &r);
	return (Datum) 0;
}

/* ---- references ---- */

/* Arguments that must not be null; name says what wants them. */
static void
require_all(FunctionCallInfo fcinfo, const char *name)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("no argument of %s may be null", name),
					 errhint("See vf_references for the columns that look like keys.")));
}

Datum
vf_sql_add_reference(PG_FUNCTION_ARGS)
{
	VfSource   *source;
	int64		keys;

	vf_sql_require_owner("vf_add_reference()");
	require_all(fcinfo, "vf_add_reference()");
	vf_db_open(false);
	source = vf_source_load(VF_SOURCE_LOOK);
	keys = vf_source_add_reference(source, PG_GETARG_OID(0),
								   text_to_cstring(PG_GETARG_TEXT_PP(1)));
	vf_db_close();
	PG_RETURN_INT64(keys);
}

Datum
vf_sql_waive_reference(PG_FUNCTION_ARGS)
{
	char	   *reason;

	vf_sql_require_superuser("vf_waive_reference()");
	require_all(fcinfo, "vf_waive_reference()");
	reason = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (reason[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the reason must not be empty"),
				 errhint("It stays on record with the column.")));
	vf_db_open(false);
	vf_source_waive_reference(vf_source_load(VF_SOURCE_LOOK),
							  PG_GETARG_OID(0),
							  text_to_cstring(PG_GETARG_TEXT_PP(1)), reason);
	vf_db_close();
	PG_RETURN_VOID();
}

Datum
vf_sql_drop_reference(PG_FUNCTION_ARGS)
{
	bool		dropped;

	vf_sql_require_superuser("vf_drop_reference()");
	require_all(fcinfo, "vf_drop_reference()");
	vf_db_open(false);
	dropped = vf_source_drop_reference(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									   text_to_cstring(PG_GETARG_TEXT_PP(1)));
	vf_db_close();
	PG_RETURN_BOOL(dropped);
}

static const char *
state_word(VfReferenceState state)
{
	switch (state)
	{
		case VF_REFERENCE_REGISTERED:
			return "registered";
		case VF_REFERENCE_ADDED:
			return "added";
		case VF_REFERENCE_GONE:
			return "gone";
		case VF_REFERENCE_WAIVED:
			return "waived";
		case VF_REFERENCE_UNKNOWN:
			return "unknown";
	}
	elog(ERROR, "unknown state %d of a reference", (int) state);
}

Datum
vf_sql_find_references(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	VfReference *refs;
	int			n;

	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	refs = vf_source_list_references(vf_source_load(VF_SOURCE_LOOK), &n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[3] = {
			CStringGetTextDatum(refs[i].table),
			CStringGetTextDatum(refs[i].column),
			CStringGetTextDatum(state_word(refs[i].state))
		};
		bool		nulls[3] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	vf_db_close();
	return (Datum) 0;
}
