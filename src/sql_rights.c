/*-------------------------------------------------------------------------
 *
 * sql_rights.c
 *	  Who may call what.
 *
 * EXECUTE is granted to the sessions table's owner by vf_configure(); the
 * checks here hold whatever else is granted later.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"

#include "db.h"
#include "source.h"
#include "sql_rights.h"

void
vf_sql_require_superuser(const char *what)
{
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %s", what),
				 errhint("Only a superuser can call it.")));
}

void
vf_sql_require_owner(const char *what)
{
	Oid			owner;

	if (superuser())
		return;
	vf_db_open(false);
	owner = vf_source_owner();
	vf_db_close();
	if (!OidIsValid(owner) || !has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for %s", what),
				 errhint("Only the owner of the registered sessions table or a superuser can call it.")));
}

void
vf_sql_require_top_level(FunctionCallInfo fcinfo, const char *what,
						 const char *hint)
{
	if (fcinfo->context != NULL && IsA(fcinfo->context, CallContext) &&
		!((CallContext *) fcinfo->context)->atomic)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
			 errmsg("%s() cannot run inside a transaction block", what),
			 errdetail("It commits as it goes; a later ROLLBACK could not bring back what it did."),
			 errhint("%s", hint)));
}

bool
vf_sql_tick(void *arg)
{
	(void) arg;
	CHECK_FOR_INTERRUPTS();
	return true;
}
