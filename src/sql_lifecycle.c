/*-------------------------------------------------------------------------
 *
 * sql_lifecycle.c
 *	  Desk: vf_s3_lifecycle_status and its kin.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "db.h"
#include "lifecycle.h"
#include "sql_rights.h"

PG_FUNCTION_INFO_V1(vf_sql_lifecycle_status);
PG_FUNCTION_INFO_V1(vf_sql_lifecycle_document);
PG_FUNCTION_INFO_V1(vf_sql_lifecycle_apply);
PG_FUNCTION_INFO_V1(vf_sql_lifecycle_remove);
PG_FUNCTION_INFO_V1(vf_sql_lifecycle_restore);
PG_FUNCTION_INFO_V1(vf_sql_find_lifecycle_losses);

#define MAX_CLASS 64

/* ---- arguments ---- */

static char *
text_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* A storage class, or null. */
static char *
class_or_null(FunctionCallInfo fcinfo, int n, const char *name)
{
	char	   *class = text_or_null(fcinfo, n);
	size_t		len;

	if (class == NULL || strcmp(class, "none") == 0)
		return class;
	len = strspn(class, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
	if (class[len] == '\0' && len > 0 && len <= MAX_CLASS)
		return class;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s is no name of a storage class", name),
			 errdetail("Such a name has capital letters, digits, _ and -, %d at most.",
					   MAX_CLASS),
			 errhint("Such as 'STANDARD_IA', 'GLACIER_IR' or 'GLACIER', or 'none' for none.")));
}

/* -1 is null. */
static int
flag_or_null(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? -1 : PG_GETARG_BOOL(n);
}

/* A null is the safe one. */
static bool
is_dry(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) || PG_GETARG_BOOL(n);
}

static int64
accepted(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		return -1;
	if (PG_GETARG_INT64(n) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("accept_loss must not be less than 0"),
				 errhint("It is the number of objects that may be lost, as the refusal gives it.")));
	return PG_GETARG_INT64(n);
}

/*
 * The bucket knows no rollback: with it the record would go, of what was there
 * before.
 */
static void
require_no_block(const char *what)
{
	if (!IsTransactionBlock() && !IsSubTransaction())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			 errmsg("%s cannot run inside a transaction block", what),
			 errdetail("A ROLLBACK could not bring the bucket's rules back, and would forget what they were."),
			 errhint("Call it on its own, or with dry_run => true.")));
}

static void
read_order(FunctionCallInfo fcinfo, const char *what, int dry_run,
		   int accept_loss, VfLifecycleOrder *order)
{
	vf_sql_require_superuser(what);
	order->dry_run = is_dry(fcinfo, dry_run);
	order->accept_loss = accept_loss < 0 ? -1 : accepted(fcinfo, accept_loss);
	order->tick = vf_sql_tick;
	order->arg = NULL;
}

/* ---- rows ---- */

static Datum
text_datum(const char *text, bool *null)
{
	*null = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/* before_first: the order of the last two columns. */
static void
put_rows(FunctionCallInfo fcinfo, const VfLifecycleRows *rows,
		 bool before_first)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	for (int i = 0; i < rows->n; i++)
	{
		const VfLifecycleRow *row = &rows->list[i];
		Datum		values[5] = {0};
		bool		nulls[5] = {false};

		values[0] = CStringGetTextDatum(row->rule);
		values[1] = CStringGetTextDatum(row->state);
		values[2] = CStringGetTextDatum(row->prefix);
		values[3] = text_datum(before_first ? row->before : row->after,
							   &nulls[3]);
		values[4] = text_datum(before_first ? row->after : row->before,
							   &nulls[4]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
}

static void
tell_dry(const VfLifecycleOrder *order)
{
	if (order->dry_run)
		ereport(NOTICE,
				(errmsg("nothing was written: this was a dry run"),
				 errhint("Call it again with dry_run => false.")));
}

/* ---- the functions ---- */

Datum
vf_sql_lifecycle_status(PG_FUNCTION_ARGS)
{
	VfLifecycleRows rows = {0};

	vf_sql_require_owner("vf_s3_lifecycle_status()");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_lifecycle_status(vf_sql_tick, NULL, &rows);
	put_rows(fcinfo, &rows, false);
	vf_db_close();
	return (Datum) 0;
}

Datum
vf_sql_lifecycle_document(PG_FUNCTION_ARGS)
{
	char	   *format;
	char	   *class;
	bool		json;
	char	   *text;
	Datum		result;
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;

	vf_sql_require_owner("vf_s3_lifecycle_document()");
	format = text_or_null(fcinfo, 0);
	class = class_or_null(fcinfo, 1, "archive_class");
	json = format == NULL || strcmp(format, "json") == 0;
	if (!json && strcmp(format, "xml") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the format must be json or xml"),
				 errhint("json is what AWS's tools take, xml what is sent.")));
	vf_db_open(false);
	text = vf_lifecycle_document(json, class, PG_ARGISNULL(2) ||
								 PG_GETARG_BOOL(2), vf_sql_tick, NULL);
	old = MemoryContextSwitchTo(context);
	result = CStringGetTextDatum(text);
	MemoryContextSwitchTo(old);
	vf_db_close();
	PG_RETURN_DATUM(result);
}

Datum
vf_sql_lifecycle_apply(PG_FUNCTION_ARGS)
{
	VfLifecycleRows rows = {0};
	VfLifecycleOrder order;
	VfLifecycleChoice choice;

	read_order(fcinfo, "vf_s3_lifecycle_apply()", 1, 2, &order);
	choice.archive_class = class_or_null(fcinfo, 0, "archive_class");
	choice.infrequent_class = class_or_null(fcinfo, 3, "infrequent_class");
	choice.noncurrent = flag_or_null(fcinfo, 4);
	choice.waveforms = flag_or_null(fcinfo, 5);
	choice.previews = flag_or_null(fcinfo, 6);
	choice.delete_markers = flag_or_null(fcinfo, 7);
	choice.uploads = flag_or_null(fcinfo, 8);
	if (!order.dry_run)
		require_no_block("vf_s3_lifecycle_apply()");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_lifecycle_apply(&order, &choice, &rows);
	put_rows(fcinfo, &rows, true);
	vf_db_close();
	tell_dry(&order);
	return (Datum) 0;
}

Datum
vf_sql_lifecycle_remove(PG_FUNCTION_ARGS)
{
	VfLifecycleRows rows = {0};
	VfLifecycleOrder order;

	read_order(fcinfo, "vf_s3_lifecycle_remove()", 0, -1, &order);
	if (!order.dry_run)
		require_no_block("vf_s3_lifecycle_remove()");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_lifecycle_remove(&order, &rows);
	put_rows(fcinfo, &rows, true);
	vf_db_close();
	tell_dry(&order);
	return (Datum) 0;
}

Datum
vf_sql_lifecycle_restore(PG_FUNCTION_ARGS)
{
	VfLifecycleRows rows = {0};
	VfLifecycleOrder order;
	int64		kept_id = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT64(0);

	read_order(fcinfo, "vf_s3_lifecycle_restore()", 1, 2, &order);
	if (!PG_ARGISNULL(0) && kept_id <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kept_id must be greater than 0"),
				 errhint("Leave it out for the document that was replaced last.")));
	if (!order.dry_run)
		require_no_block("vf_s3_lifecycle_restore()");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_lifecycle_restore(&order, kept_id,
						 !PG_ARGISNULL(3) && PG_GETARG_BOOL(3), &rows);
	put_rows(fcinfo, &rows, true);
	vf_db_close();
	tell_dry(&order);
	return (Datum) 0;
}

/* A VfLifecycleLoss. */
static void
put_loss(void *arg, const Datum *values, const bool *nulls)
{
	ReturnSetInfo *rsinfo = arg;

	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc,
						 unconstify(Datum *, values),
						 unconstify(bool *, nulls));
}

Datum
vf_sql_find_lifecycle_losses(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	vf_sql_require_owner("vf_find_lifecycle_losses()");
	InitMaterializedSRF(fcinfo, 0);
	vf_db_open(false);
	vf_lifecycle_losses(put_loss, rsinfo);
	vf_db_close();
	return (Datum) 0;
}
