/*-------------------------------------------------------------------------
 *
 * bucket_pace.c
 *	  How fast a bucket takes keys: columns of vf_bucket, and table vf_pace.
 *
 * Two drainers each write what they have learned; the last one's word holds.
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "bucket.h"
#include "db.h"

void
vf_bucket_load_pace(const VfBucket *b, VfPace *pace)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	uint64		n;

	vf_pace_init(pace);
	vf_db_arg_text(&args, b->endpoint);
	vf_db_arg_text(&args, b->bucket);
	vf_db_enter_self(&section);
	if (vf_db_runf("SELECT batch_keys::int8, batch_bytes::int8"
				   " FROM {vf}.vf_bucket WHERE endpoint = $1 AND bucket = $2",
				   &args) > 0)
	{
		pace->batch_keys = (int) vf_db_int(0, 0);
		pace->batch_bytes = (int) vf_db_int(0, 1);
	}
	n = vf_db_runf("SELECT prefix, keys_per_second FROM {vf}.vf_pace"
				   " WHERE endpoint = $1 AND bucket = $2 ORDER BY prefix",
				   &args);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *prefix = vf_db_text(i, 0);

		vf_pace_add(pace, prefix, strlen(prefix),
					DatumGetFloat8(vf_db_datum(i, 1)));
	}
	vf_db_leave(&section);
}

void
vf_bucket_store_pace(const VfBucket *b, VfPace *pace)
{
	VfDbArgs	args = {0};
	VfDbSection section;

	vf_db_arg_text(&args, b->endpoint);
	vf_db_arg_text(&args, b->bucket);
	vf_db_arg(&args, INT4OID, Int32GetDatum(pace->batch_keys));
	vf_db_arg(&args, INT4OID, Int32GetDatum(pace->batch_bytes));
	vf_db_enter_self(&section);
	vf_db_runf("UPDATE {vf}.vf_bucket SET batch_keys = $3, batch_bytes = $4"
			   " WHERE endpoint = $1 AND bucket = $2", &args);
	args.n = 2;
	vf_db_runf("DELETE FROM {vf}.vf_pace WHERE endpoint = $1"
			   " AND bucket = $2", &args);
	for (int i = 0; i < pace->n; i++)
	{
		args.n = 2;
		if (pace->prefixes[i].rate == 0)
			continue;
		vf_db_arg_text(&args, pace->prefixes[i].prefix);
		vf_db_arg(&args, FLOAT8OID,
				  Float8GetDatum(pace->prefixes[i].rate));
		vf_db_runf("INSERT INTO {vf}.vf_pace (endpoint, bucket, prefix,"
				   " keys_per_second) VALUES ($1, $2, $3, $4)"
				   " ON CONFLICT (endpoint, bucket, prefix) DO UPDATE SET"
				   " keys_per_second = $4", &args);
	}
	vf_db_leave(&section);
	pace->changed = false;
}
