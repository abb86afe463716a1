/*-------------------------------------------------------------------------
 *
 * retain.c
 *	  Holding sessions, and releasing them.
 *
 * Who holds a session locks its row as a payment does.  A purge that has it in
 * hand already is waited for, and the row is gone then; one that comes later
 * finds the row changed and asks the rules again, and these ask for holds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "db.h"
#include "hold.h"
#include "preflight.h"
#include "retain.h"
#include "source.h"

int64
vf_retain_hold(const char *token, TimestampTz until, const char *reason)
{
	VfSource   *source;
	VfDbArgs	args = {0};
	VfDbSection section;
	VfHeld	   *held;
	int			n;

	vf_preflight_primary();
	source = vf_source_load(VF_SOURCE_LOOK);
	vf_db_arg_text(&args, token);
	vf_db_enter_owner(&section, source->sessions.owner);
	n = (int) vf_db_run(vf_db_fill("SELECT s.{id}::pg_catalog.text"
								   " FROM {sessions} s WHERE s.{token} = $1"
								   " FOR KEY SHARE",
								   vf_rules_names(source, NULL)), &args);
	held = palloc(sizeof(VfHeld) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		held[i].id = vf_db_text(i, 0);
		held[i].token = pstrdup(token);
	}
	vf_db_leave(&section);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no session with that token"),
				 errhint("If it was purged, vf_undo_purge() puts it back while its undo window is open, and holds it.")));
	vf_hold_set(held, n, until, reason, true);
	return n;
}

int64
vf_retain_release(const char *token)
{
	int64		ended;

	vf_preflight_primary();
	ended = vf_hold_end(token);
	if (ended == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no session with that token is held"),
				 errhint("vf_hold lists the holds.")));
	return ended;
}
