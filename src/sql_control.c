/*-------------------------------------------------------------------------
 *
 * sql_control.c
 *	  Desk: pause and resume, the outbox's dead letters, and DROP EXTENSION.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/event_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"

#include "bucket.h"
#include "db.h"
#include "errors.h"
#include "outbox.h"
#include "preflight.h"
#include "source.h"
#include "sql_rights.h"
#include "wake.h"

PG_FUNCTION_INFO_V1(vf_sql_pause);
PG_FUNCTION_INFO_V1(vf_sql_resume);
PG_FUNCTION_INFO_V1(vf_sql_outbox_retry);
PG_FUNCTION_INFO_V1(vf_sql_outbox_cancel);
PG_FUNCTION_INFO_V1(vf_sql_refuse_drop);

static void
require_registered(void)
{
	if (!vf_source_registered())
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no sessions table is registered in this database"),
				 errhint("Call vf_configure() with the sessions and orders tables.")));
}

Datum
vf_sql_pause(PG_FUNCTION_ARGS)
{
	vf_sql_require_owner("vf_pause()");
	vf_preflight_primary();
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the reason must not be null"),
				 errhint("It is shown to whoever finds the pause.")));
	vf_db_open(false);
	require_registered();
	vf_source_set_pause(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	vf_db_close();
	PG_RETURN_VOID();
}

Datum
vf_sql_resume(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	vf_sql_require_owner("vf_resume()");
	vf_preflight_primary();
	vf_db_open(false);
	require_registered();
	vf_source_set_pause(NULL);
	vf_bucket_unhold();
	vf_wake_at_commit();
	vf_db_close();
	PG_RETURN_VOID();
}

Datum
vf_sql_outbox_retry(PG_FUNCTION_ARGS)
{
	bool		all = PG_ARGISNULL(0);
	int64		id = all ? 0 : PG_GETARG_INT64(0);
	int64		keys;

	vf_sql_require_owner("vf_outbox_retry()");
	vf_preflight_primary();
	vf_db_open(false);
	keys = all || id > 0 ? vf_outbox_retry(id) : 0;
	vf_db_close();
	if (keys == 0 && !all)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("outbox row %lld is not a dead letter",
						(long long) id),
				 errhint("vf_dead_letters lists those that are.")));
	PG_RETURN_INT64(keys);
}

Datum
vf_sql_outbox_cancel(PG_FUNCTION_ARGS)
{
	int64		id;
	char	   *reason;
	int64		keys;

	vf_sql_require_owner("vf_outbox_cancel()");
	vf_preflight_primary();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("vf_outbox_cancel needs an id and a reason"),
				 errhint("vf_outbox has the ids; the reason stays on record with the keys.")));
	id = PG_GETARG_INT64(0);
	reason = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (reason[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the reason must not be empty"),
				 errhint("It stays on record with the keys.")));
	vf_db_open(false);
	keys = vf_outbox_cancel(id, reason);
	vf_db_close();
	if (keys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("outbox row %lld neither waits nor is dead",
						(long long) id),
				 errdetail("It may be gone, cancelled already, or in flight."),
				 errhint("See vf_outbox for the state of each row.")));
	PG_RETURN_INT64(keys);
}

/* Does the statement drop this extension? */
static bool
drops_us(Node *parsetree)
{
	DropStmt   *drop = (DropStmt *) parsetree;
	ListCell   *lc;

	if (!IsA(parsetree, DropStmt) || drop->removeType != OBJECT_EXTENSION)
		return false;
	foreach(lc, drop->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "voiceframe_retention") == 0)
			return true;
	}
	return false;
}

Datum
vf_sql_refuse_drop(PG_FUNCTION_ARGS)
{
	EventTriggerData *trigger = (EventTriggerData *) fcinfo->context;
	int64		keys;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("vf_refuse_drop() can only be called as an event trigger")));
	if (!drops_us(trigger->parsetree))
		PG_RETURN_NULL();
	vf_db_open_any(false);
	keys = vf_outbox_pending();
	vf_db_close();
	if (keys > 0)
		ereport(ERROR,
				(errcode(VF_ERRCODE_KEYS_WAIT),
				 errmsg("cannot drop extension voiceframe_retention: %lld keys still wait in the outbox",
						(long long) keys),
				 errdetail("Their rows are gone; without the outbox their objects would stay in the bucket for ever."),
				 errhint("Drain them with CALL vf_drain(), or forget them with vf_unconfigure(discard => true).")));
	PG_RETURN_NULL();
}
