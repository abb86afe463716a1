/*-------------------------------------------------------------------------
 *
 * preflight.c
 *	  What must be true before anything is deleted, rows or objects.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"

#include "db.h"
#include "errors.h"
#include "preflight.h"

/*
 * A line is wrong if the server says so, if it names no setting of ours, or
 * if it is the last one of its name and was not applied.  (An earlier line of
 * the same name is never applied; that is how ALTER SYSTEM works.)
 */
char *
vf_preflight_settings_fault(void)
{
	if (vf_db_run_self("SELECT pg_catalog.format('%s (line %s of %s): %s',"
					   " f.name, f.sourceline, f.sourcefile,"
					   " CASE WHEN s.name IS NULL THEN 'no such setting'"
					   " ELSE coalesce(f.error, 'not applied') END)"
					   " FROM pg_catalog.pg_file_settings f"
					   " LEFT JOIN pg_catalog.pg_settings s"
					   " ON s.name = pg_catalog.lower(f.name)"
					   " WHERE pg_catalog.lower(f.name) LIKE 'voiceframe.%'"
					   " AND (s.name IS NULL OR f.error IS NOT NULL"
					   " OR NOT f.applied AND NOT EXISTS (SELECT"
					   " FROM pg_catalog.pg_file_settings g"
					   " WHERE pg_catalog.lower(g.name)"
					   " = pg_catalog.lower(f.name)"
					   " AND g.seqno > f.seqno))"
					   " ORDER BY f.seqno LIMIT 1", NULL) == 0)
		return NULL;
	return vf_db_text(0, 0);
}

void
vf_preflight_primary(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("nothing can be deleted or changed on a standby server"),
				 errhint("Call it on the primary.")));
}

void
vf_preflight(void)
{
	char	   *fault;

	vf_preflight_primary();
	fault = vf_preflight_settings_fault();
	if (fault != NULL)
		ereport(ERROR,
				(errcode(VF_ERRCODE_SETTINGS),
				 errmsg("a voiceframe setting in the configuration files is not in force"),
				 errdetail("%s.", fault),
				 errhint("Correct the line and reload the configuration; until then nothing is deleted.")));
}
