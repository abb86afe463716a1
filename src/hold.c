/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Sessions that are not due whatever the rules say: table vf_hold.
 *
 * The rules ask for a hold by the fragment {held} (source_rules.c); what
 * changes the table is here, as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "db.h"
#include "hold.h"

void
vf_hold_set(const VfHeld *sessions, int n, TimestampTz until,
			const char *reason, bool shorten)
{
	VfDbArgs	args = {0};
	char	  **ids = palloc(sizeof(char *) * Max(n, 1));
	char	  **tokens = palloc(sizeof(char *) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		ids[i] = sessions[i].id;
		/* An array of ours holds no nulls, and a token is never empty. */
		tokens[i] = sessions[i].token != NULL ? sessions[i].token : "";
	}
	vf_db_arg_texts(&args, ids, n);
	vf_db_arg_texts(&args, tokens, n);
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(until));
	vf_db_arg_text(&args, reason);
	vf_db_arg_text(&args, GetUserNameFromId(GetSessionUserId(), false));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(shorten));
	vf_db_run_self("INSERT INTO {vf}.vf_hold AS h (session_id, session_token,"
				   " until, reason, held_by)"
				   " SELECT u.id, nullif(u.token, ''), $3, $4, $5 FROM ROWS"
				   " FROM (pg_catalog.unnest($1), pg_catalog.unnest($2))"
				   " u(id, token)"
				   " ON CONFLICT (session_id) DO UPDATE SET (session_token,"
				   " until, reason, held_by, held_at) = (excluded.session_token,"
				   " excluded.until, excluded.reason, excluded.held_by,"
				   " pg_catalog.now())"
				   " WHERE $6 OR h.until < excluded.until", &args);
}

int64
vf_hold_end(const char *token)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, token);
	return (int64) vf_db_run_self("DELETE FROM {vf}.vf_hold"
								  " WHERE session_token = $1", &args);
}

bool
vf_hold_among(Datum *tokens, int n)
{
	VfDbArgs	args = {0};

	if (vf_db_run_self("SELECT FROM {vf}.vf_hold LIMIT 1", NULL) == 0)
		return false;
	vf_db_arg_text_datums(&args, tokens, n);
	return vf_db_run_self("SELECT FROM {vf}.vf_hold"
						  " WHERE session_token = ANY ($1)"
						  " AND until > pg_catalog.clock_timestamp() LIMIT 1",
						  &args) > 0;
}

void
vf_hold_prune(TimestampTz before)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(before));
	vf_db_run_self("DELETE FROM {vf}.vf_hold WHERE session_id IN"
				   " (SELECT session_id FROM {vf}.vf_hold WHERE until < $1"
				   " FOR UPDATE SKIP LOCKED)", &args);
}
