/*-------------------------------------------------------------------------
 *
 * inventory.c
 *	  What the scans found in the bucket: tables vf_object and vf_usage.
 *
 * Keys are kept in the order in which the store lists them, so that a page
 * and what was known of its range are merged like two sorted files.  A page
 * that brings nothing new is read and compared, and writes nothing: a scan of
 * a bucket at rest costs no WAL but its own progress.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "db.h"
#include "inventory.h"

/* Fewer objects are listed faster than they are counted. */
#define MIN_TO_SPLIT 10000

static const char *const kinds[] = {
	[VF_USAGE_CURRENT] = "current",
	[VF_USAGE_NONCURRENT] = "noncurrent",
	[VF_USAGE_MARKER] = "delete marker",
	[VF_USAGE_UPLOAD] = "unfinished upload"
};

static void
arg_array(VfDbArgs *args, Oid array_type, Oid type, Datum *values, int n)
{
	vf_db_arg(args, array_type,
			  PointerGetDatum(construct_array(values, n, type, 8, true,
											  TYPALIGN_DOUBLE)));
}

/* $5 to $9: keys, bytes, ETags, storage classes, dates. */
static void
arg_objects(VfDbArgs *args, const VfInventoryObject *objects, int n)
{
	Datum	   *keys = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *bytes = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *etags = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *classes = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *modified = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		keys[i] = CStringGetTextDatum(objects[i].key);
		bytes[i] = Int64GetDatum(objects[i].bytes);
		etags[i] = CStringGetTextDatum(objects[i].etag);
		classes[i] = CStringGetTextDatum(objects[i].storage_class);
		modified[i] = TimestampTzGetDatum(objects[i].modified);
	}
	vf_db_arg_text_datums(args, keys, n);
	arg_array(args, INT8ARRAYOID, INT8OID, bytes, n);
	vf_db_arg_text_datums(args, etags, n);
	vf_db_arg_text_datums(args, classes, n);
	arg_array(args, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, modified, n);
}

void
vf_inventory_merge(int bucket_id, int64 scan_id, const char *low,
				   const char *high, const VfInventoryObject *objects, int n)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg_text(&args, low == NULL ? "" : low);
	vf_db_arg_text(&args, high);
	vf_db_arg(&args, INT8OID, Int64GetDatum(scan_id));
	arg_objects(&args, objects, n);

	/* A locked row would be written: only what differs is inserted. */
	vf_db_run_self("WITH page AS MATERIALIZED ("
				   " SELECT * FROM ROWS FROM (pg_catalog.unnest($5),"
				   " pg_catalog.unnest($6), pg_catalog.unnest($7),"
				   " pg_catalog.unnest($8), pg_catalog.unnest($9))"
				   " u(key, bytes, etag, class, modified)),"
				   " known AS MATERIALIZED (SELECT o.* FROM {vf}.vf_object o"
				   " WHERE o.bucket_id = $1 AND o.key > $2"
				   " AND ($3 IS NULL OR o.key <= $3)),"
				   " gone AS (DELETE FROM {vf}.vf_object o"
				   " USING known k WHERE o.bucket_id = $1"
				   " AND o.key = k.key AND NOT EXISTS"
				   " (SELECT 1 FROM page p WHERE p.key = k.key))"
				   " INSERT INTO {vf}.vf_object AS o (bucket_id, key, bytes,"
				   " etag, storage_class, modified, scan_id)"
				   " SELECT $1, p.key, p.bytes, p.etag, p.class, p.modified,"
				   " $4 FROM page p LEFT JOIN known k ON k.key = p.key"
				   " WHERE k.key IS NULL OR (k.bytes, k.etag,"
				   " k.storage_class, k.modified) IS DISTINCT FROM"
				   " (p.bytes, p.etag, p.class, p.modified)"
				   " ON CONFLICT (bucket_id, key) DO UPDATE SET"
				   " (bytes, etag, storage_class, modified, scan_id) ="
				   " (excluded.bytes, excluded.etag, excluded.storage_class,"
				   " excluded.modified, CASE WHEN o.etag = excluded.etag"
				   " AND o.modified = excluded.modified THEN o.scan_id"
				   " ELSE excluded.scan_id END)", &args);
}

void
vf_inventory_add_usage(int64 scan_id, const VfUsage *usage, int n)
{
	for (int i = 0; i < n; i++)
	{
		VfDbArgs	args = {0};

		vf_db_arg(&args, INT8OID, Int64GetDatum(scan_id));
		vf_db_arg_text(&args, usage[i].prefix);
		vf_db_arg_text(&args, kinds[usage[i].kind]);
		vf_db_arg_text(&args, usage[i].storage_class);
		vf_db_arg(&args, INT8OID, Int64GetDatum(usage[i].objects));
		vf_db_arg(&args, INT8OID, Int64GetDatum(usage[i].bytes));
		vf_db_run_self("INSERT INTO {vf}.vf_usage AS u (scan_id, prefix,"
					   " kind, storage_class, objects, bytes)"
					   " VALUES ($1, $2, $3, $4, $5, $6)"
					   " ON CONFLICT (scan_id, prefix, kind, storage_class)"
					   " DO UPDATE SET objects = u.objects + $5,"
					   " bytes = u.bytes + $6", &args);
	}
}

void
vf_inventory_drop_uploads(int64 scan_id)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(scan_id));
	vf_db_arg_text(&args, kinds[VF_USAGE_UPLOAD]);
	vf_db_run_self("DELETE FROM {vf}.vf_usage WHERE scan_id = $1"
				   " AND kind = $2", &args);
}

char **
vf_inventory_split(int bucket_id, int n, int *n_boundaries)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg(&args, INT4OID, Int32GetDatum(n));
	vf_db_arg(&args, INT4OID, Int32GetDatum(MIN_TO_SPLIT));
	vf_db_run_self("SELECT CASE WHEN pg_catalog.count(*) >= $3"
				   " THEN pg_catalog.percentile_disc(ARRAY("
				   " SELECT i::float8 / $2"
				   " FROM pg_catalog.generate_series(1, $2 - 1) i))"
				   " WITHIN GROUP (ORDER BY key) END"
				   " FROM {vf}.vf_object WHERE bucket_id = $1", &args);
	*n_boundaries = 0;
	if (vf_db_is_null(0, 0))
		return NULL;
	return vf_db_texts(0, 0, n_boundaries);
}

VfInventoryObject *
vf_inventory_find(int bucket_id, int64 scan_id, char *const *keys, int n,
				  int *found)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfInventoryObject *objects;

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg(&args, INT8OID, Int64GetDatum(scan_id));
	vf_db_arg_texts(&args, keys, n);
	vf_db_enter_self(&section);
	*found = (int) vf_db_runf("SELECT key, etag, modified"
							  " FROM {vf}.vf_object WHERE bucket_id = $1"
							  " AND scan_id <= $2 AND key = ANY ($3)"
							  " ORDER BY key", &args);
	vf_db_leave(&section);
	objects = palloc0(sizeof(VfInventoryObject) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
	{
		objects[i].key = vf_db_text(i, 0);
		objects[i].etag = vf_db_text(i, 1);
		objects[i].modified = vf_db_time(i, 2);
	}
	return objects;
}

void
vf_inventory_forget(int bucket_id, int64 scan_id, char *const *keys, int n)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg(&args, INT8OID, Int64GetDatum(scan_id));
	vf_db_arg_texts(&args, keys, n);

	/* A scan that holds a row knows better; nobody waits for the other. */
	vf_db_run_self("DELETE FROM {vf}.vf_object o USING (SELECT x.key"
				   " FROM {vf}.vf_object x WHERE x.bucket_id = $1"
				   " AND x.scan_id <= $2 AND x.key = ANY ($3)"
				   " FOR UPDATE SKIP LOCKED) g"
				   " WHERE o.bucket_id = $1 AND o.key = g.key", &args);
}

void
vf_inventory_keep_only(int bucket_id)
{
	VfDbArgs	args = {0};

	/* A scan without its objects would call every file missing. */
	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_run_self("DELETE FROM {vf}.vf_scan WHERE bucket_id <> $1", &args);
	vf_db_run_self("DELETE FROM {vf}.vf_object WHERE bucket_id <> $1", &args);
}
