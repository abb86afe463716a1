/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  Objects that a request may have reached although their rows are back:
 *	  table vf_lookup.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "db.h"
#include "lookup.h"

void
vf_lookup_add(const char *endpoint, const char *bucket, const char *key,
			  const char *session_id, int64 run_id, TimestampTz look_at)
{
	VfDbArgs	args = {0};

	if (bucket == NULL)
		return;
	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	vf_db_arg_text(&args, key);
	vf_db_arg_text(&args, session_id);
	vf_db_arg(&args, INT8OID, Int64GetDatum(run_id));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(look_at));
	vf_db_run_self("INSERT INTO {vf}.vf_lookup (endpoint, bucket, key,"
				   " session_id, run_id, look_at)"
				   " VALUES ($1, $2, $3, $4, $5, $6)"
				   " ON CONFLICT (endpoint, bucket, key) DO UPDATE SET"
				   " (session_id, run_id, asked_at, look_at, looked_at, found)"
				   " = ($4, $5, pg_catalog.now(), $6, NULL, NULL)", &args);
}

char **
vf_lookup_due(const char *endpoint, const char *bucket, TimestampTz now,
			  int max, int *n)
{
	VfDbArgs	args = {0};
	char	  **keys;

	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now));
	vf_db_arg(&args, INT4OID, Int32GetDatum(max));
	*n = (int) vf_db_run_self("SELECT key FROM {vf}.vf_lookup"
							  " WHERE endpoint = $1 AND bucket = $2"
							  " AND looked_at IS NULL AND look_at <= $3"
							  " ORDER BY look_at, key LIMIT $4", &args);
	keys = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		keys[i] = vf_db_text(i, 0);
	return keys;
}

char **
vf_lookup_missing(char *const *keys, int n, int *found)
{
	VfDbArgs	args = {0};
	char	  **missing;

	vf_db_arg_texts(&args, keys, n);
	*found = (int) vf_db_run_self("SELECT DISTINCT key FROM {vf}.vf_lookup"
								  " WHERE key = ANY ($1)"
								  " AND found IS NOT TRUE", &args);
	missing = palloc(sizeof(char *) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
		missing[i] = vf_db_text(i, 0);
	return missing;
}

void
vf_lookup_set(const char *endpoint, const char *bucket, const char *key,
			  bool found)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	vf_db_arg_text(&args, key);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(found));
	vf_db_run_self("UPDATE {vf}.vf_lookup SET found = $4,"
				   " looked_at = pg_catalog.clock_timestamp()"
				   " WHERE endpoint = $1 AND bucket = $2 AND key = $3", &args);
}

void
vf_lookup_put_off(const char *endpoint, const char *bucket, const char *key,
				  TimestampTz look_at)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, endpoint);
	vf_db_arg_text(&args, bucket);
	vf_db_arg_text(&args, key);
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(look_at));
	vf_db_run_self("UPDATE {vf}.vf_lookup SET look_at = $4"
				   " WHERE endpoint = $1 AND bucket = $2 AND key = $3", &args);
}

void
vf_lookup_prune(TimestampTz before)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(before));
	vf_db_run_self("DELETE FROM {vf}.vf_lookup WHERE looked_at < $1", &args);
}
