/*-------------------------------------------------------------------------
 *
 * scanlog.c
 *	  Scans of a bucket and how far each has come: tables vf_scan,
 *	  vf_scan_part.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "db.h"
#include "scanlog.h"
#include "server.h"

/*
 * A scan without a lease, or one whose holder is gone or is we ourselves, after
 * an error.
 */
#define IS_FREE \
	"(lease_until IS NULL OR lease_until < pg_catalog.clock_timestamp()" \
	" OR lease_pid = pg_catalog.pg_backend_pid() OR NOT EXISTS" \
	" (SELECT FROM pg_catalog.pg_stat_get_activity(lease_pid)))"

static void
arg_scan(VfDbArgs *args, const VfScan *scan)
{
	vf_db_arg(args, INT8OID, Int64GetDatum(scan->id));
	vf_db_arg(args, INT8OID, Int64GetDatum(scan->token));
}

static void
load_parts(VfScan *scan)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(scan->id));
	scan->n_parts = (int) vf_db_run_self("SELECT part::int8, low, high,"
										 " pg_catalog.encode(at_key, 'hex'),"
										 " at_version, merged_to, done"
										 " FROM {vf}.vf_scan_part"
										 " WHERE scan_id = $1 ORDER BY part",
										 &args);
	scan->parts = palloc0(sizeof(VfScanPart) * Max(scan->n_parts, 1));
	for (int i = 0; i < scan->n_parts; i++)
	{
		VfScanPart *part = &scan->parts[i];
		char	   *hex = vf_db_text(i, 3);

		part->no = (int) vf_db_int(i, 0);
		part->low = vf_db_text(i, 1);
		part->high = vf_db_text(i, 2);
		part->at_len = hex == NULL ? 0 : (int) strlen(hex) / 2;
		part->at = palloc0(part->at_len + 1);
		if (hex != NULL)
			hex_decode(hex, strlen(hex), part->at);
		part->at_version = vf_db_is_null(i, 4) ? pstrdup("") :
			vf_db_text(i, 4);
		part->merged_to = vf_db_text(i, 5);
		part->done = vf_db_bool(i, 6);
	}
}

VfScanTaken
vf_scanlog_take(int bucket_id, TimestampTz not_before, TimestampTz until,
				VfScan *scan)
{
	VfDbArgs	args = {0};

	memset(scan, 0, sizeof(*scan));
	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(not_before));
	vf_db_run_self("UPDATE {vf}.vf_scan SET state = 'abandoned',"
				   " ended_at = pg_catalog.clock_timestamp()"
				   " WHERE bucket_id = $1 AND state = 'running'"
				   " AND moved_at < $2 AND " IS_FREE, &args);
	scan->bucket_id = bucket_id;
	scan->token = vf_server_token();
	args.n = 1;
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(until));
	vf_db_arg(&args, INT8OID, Int64GetDatum(scan->token));
	vf_db_arg(&args, INT4OID, Int32GetDatum(MyProcPid));
	if (vf_db_run_self("UPDATE {vf}.vf_scan SET lease_token = $3,"
					   " lease_until = $2, lease_pid = $4,"
					   " last_error_code = NULL, last_error = NULL"
					   " WHERE bucket_id = $1 AND state = 'running' AND "
					   IS_FREE " RETURNING id, versions", &args) == 0)
	{
		args.n = 1;
		return vf_db_run_self("SELECT 1 FROM {vf}.vf_scan"
							  " WHERE bucket_id = $1 AND state = 'running'",
							  &args) > 0 ? VF_SCAN_BUSY : VF_SCAN_NONE;
	}
	scan->id = vf_db_int(0, 0);
	scan->versions = vf_db_bool(0, 1);
	load_parts(scan);
	return VF_SCAN_TAKEN;
}

bool
vf_scanlog_begin(int bucket_id, bool versions, char *const *boundaries,
				 int n, TimestampTz store_time, TimestampTz until,
				 VfScan *scan)
{
	VfDbArgs	args = {0};

	memset(scan, 0, sizeof(*scan));
	scan->bucket_id = bucket_id;
	scan->versions = versions;
	scan->token = vf_server_token();
	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(versions));
	vf_db_arg(&args, INT8OID, Int64GetDatum(scan->token));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(until));
	vf_db_arg(&args, INT4OID, Int32GetDatum(MyProcPid));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(store_time));
	if (vf_db_run_self("INSERT INTO {vf}.vf_scan (bucket_id, versions,"
					   " lease_token, lease_until, lease_pid, store_time)"
					   " VALUES ($1, $2, $3, $4, $5, $6)"
					   " ON CONFLICT DO NOTHING RETURNING id", &args) == 0)
		return false;
	scan->id = vf_db_int(0, 0);
	args.n = 0;
	vf_db_arg(&args, INT8OID, Int64GetDatum(scan->id));
	vf_db_arg_texts(&args, boundaries, n);
	vf_db_run_self("INSERT INTO {vf}.vf_scan_part (scan_id, part, low, high)"
				   " SELECT $1, i, ($2)[i], ($2)[i + 1]"
				   " FROM pg_catalog.generate_series(0,"
				   " pg_catalog.cardinality($2)) i", &args);
	load_parts(scan);
	return true;
}

bool
vf_scanlog_count(const VfScan *scan, int64 objects, int64 bytes,
				 TimestampTz until)
{
	VfDbArgs	args = {0};

	arg_scan(&args, scan);
	vf_db_arg(&args, INT8OID, Int64GetDatum(objects));
	vf_db_arg(&args, INT8OID, Int64GetDatum(bytes));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(until));
	return vf_db_run_self("UPDATE {vf}.vf_scan SET pages = pages + 1,"
						  " objects = objects + $3, bytes = bytes + $4,"
						  " lease_until = $5,"
						  " moved_at = pg_catalog.clock_timestamp()"
						  " WHERE id = $1"
						  " AND lease_token = $2 AND state = 'running'"
						  " RETURNING 1", &args) > 0;
}

void
vf_scanlog_store_part(const VfScan *scan, const VfScanPart *part)
{
	VfDbArgs	args = {0};
	bytea	   *at = palloc(VARHDRSZ + part->at_len);

	SET_VARSIZE(at, VARHDRSZ + part->at_len);
	memcpy(VARDATA(at), part->at, part->at_len);
	vf_db_arg(&args, INT8OID, Int64GetDatum(scan->id));
	vf_db_arg(&args, INT4OID, Int32GetDatum(part->no));
	vf_db_arg(&args, BYTEAOID, PointerGetDatum(at));
	vf_db_arg_text(&args, part->at_version);
	vf_db_arg_text(&args, part->merged_to);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(part->done));
	vf_db_run_self("UPDATE {vf}.vf_scan_part SET at_key = $3,"
				   " at_version = $4, merged_to = $5, done = $6"
				   " WHERE scan_id = $1 AND part = $2", &args);
	pfree(at);
}

void
vf_scanlog_load_uploads(const VfScan *scan, VfScanUploads *u)
{
	VfDbArgs	args = {0};
	char	   *hex;

	memset(u, 0, sizeof(*u));
	vf_db_arg(&args, INT8OID, Int64GetDatum(scan->id));
	vf_db_run_self("SELECT uploads_done, pg_catalog.encode(uploads_key,"
				   " 'hex'), uploads_id, uploads_pages::int8,"
				   " uploads_requests::int8, uploads_error"
				   " FROM {vf}.vf_scan WHERE id = $1", &args);
	u->done = vf_db_bool(0, 0);
	hex = vf_db_text(0, 1);
	u->at_len = (int) strlen(hex) / 2;
	u->at = palloc0(u->at_len + 1);
	hex_decode(hex, strlen(hex), u->at);
	u->at_upload = vf_db_text(0, 2);
	u->pages = (int) vf_db_int(0, 3);
	u->requests = (int) vf_db_int(0, 4);
	u->error = vf_db_text(0, 5);
}

bool
vf_scanlog_store_uploads(const VfScan *scan, const VfScanUploads *u,
						 TimestampTz until)
{
	VfDbArgs	args = {0};
	bytea	   *at = palloc(VARHDRSZ + u->at_len);

	SET_VARSIZE(at, VARHDRSZ + u->at_len);
	memcpy(VARDATA(at), u->at, u->at_len);
	arg_scan(&args, scan);
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(until));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(u->done));
	vf_db_arg(&args, BYTEAOID, PointerGetDatum(at));
	vf_db_arg_text(&args, u->at_upload);
	vf_db_arg(&args, INT4OID, Int32GetDatum(u->pages));
	vf_db_arg(&args, INT4OID, Int32GetDatum(u->requests));
	vf_db_arg_text(&args, u->error);
	return vf_db_run_self("UPDATE {vf}.vf_scan SET lease_until = $3,"
						  " moved_at = pg_catalog.clock_timestamp(),"
						  " uploads_done = $4, uploads_key = $5,"
						  " uploads_id = $6, uploads_pages = $7,"
						  " uploads_requests = $8, uploads_error = $9"
						  " WHERE id = $1 AND lease_token = $2"
						  " RETURNING 1", &args) > 0;
}

bool
vf_scanlog_complete(const VfScan *scan)
{
	VfDbArgs	args = {0};
	bool		ours;

	arg_scan(&args, scan);
	ours = vf_db_run_self("UPDATE {vf}.vf_scan SET state = 'complete',"
				   " ended_at = pg_catalog.clock_timestamp(),"
				   " lease_token = NULL, lease_until = NULL"
				   " WHERE id = $1 AND lease_token = $2"
				   " AND state = 'running' RETURNING 1", &args) > 0;
	args.n = 1;
	vf_db_run_self("DELETE FROM {vf}.vf_scan_part WHERE scan_id = $1", &args);
	return ours;
}

void
vf_scanlog_release(const VfScan *scan, const char *code, const char *message)
{
	VfDbArgs	args = {0};

	arg_scan(&args, scan);
	vf_db_arg_text(&args, code);
	vf_db_arg_text(&args, message);
	vf_db_run_self("UPDATE {vf}.vf_scan SET lease_token = NULL,"
				   " lease_until = NULL, last_error_code = $3,"
				   " last_error = $4 WHERE id = $1 AND lease_token = $2",
				   &args);
}

TimestampTz
vf_scanlog_last(int bucket_id)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_run_self("SELECT pg_catalog.max(started_at) FROM {vf}.vf_scan"
				   " WHERE bucket_id = $1 AND state = 'complete'", &args);
	return vf_db_time(0, 0);
}

void
vf_scanlog_prune(TimestampTz before)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(before));
	vf_db_run_self("DELETE FROM {vf}.vf_scan s WHERE ended_at < $1"
				   " AND EXISTS (SELECT 1 FROM {vf}.vf_scan l"
				   " WHERE l.bucket_id = s.bucket_id AND l.id > s.id"
				   " AND l.state = 'complete')", &args);
}

void
vf_scanlog_forget_all(void)
{
	vf_db_run_self("DELETE FROM {vf}.vf_scan", NULL);
}
