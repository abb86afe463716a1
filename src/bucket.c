/*-------------------------------------------------------------------------
 *
 * bucket.c
 *	  The registered buckets and the state each is in: table vf_bucket.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "bucket.h"
#include "db.h"

#define BUCKET_COLUMNS \
	"b.endpoint, b.bucket, b.region, b.path_style, b.profile, b.is_current," \
	" b.probe, b.probed_at IS NOT NULL, b.failures::int8, b.next_attempt_at," \
	" b.marker_id::pg_catalog.text, b.id::int8, b.expected_owner," \
	" b.request_payer"

static void
read_bucket(VfBucket *b, uint64 row)
{
	b->endpoint = vf_db_text(row, 0);
	b->bucket = vf_db_text(row, 1);
	b->region = vf_db_text(row, 2);
	b->path_style = vf_db_text(row, 3);
	b->profile = vf_db_text(row, 4);
	b->current = vf_db_bool(row, 5);
	b->probe = vf_db_bool(row, 6);
	b->probed = vf_db_bool(row, 7);
	b->failures = (int) vf_db_int(row, 8);
	b->next_attempt = vf_db_time(row, 9);
	b->marker = vf_db_text(row, 10);
	b->id = (int) vf_db_int(row, 11);
	b->expected_owner = vf_db_text(row, 12);
	b->request_payer = vf_db_bool(row, 13);
}

VfBucket *
vf_bucket_current(void)
{
	VfBucket   *b = NULL;
	VfDbSection section;

	vf_db_enter_self(&section);
	if (vf_db_runf("SELECT " BUCKET_COLUMNS " FROM {vf}.vf_bucket b"
				   " WHERE b.is_current", NULL) > 0)
	{
		b = palloc0(sizeof(VfBucket));
		read_bucket(b, 0);
	}
	vf_db_leave(&section);
	return b;
}

VfBucket *
vf_bucket_ready(const char *kind, TimestampTz now, int *n)
{
	VfBucket   *list;
	VfDbArgs	args = {0};
	VfDbSection section;

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now));
	vf_db_arg_text(&args, kind);
	vf_db_enter_self(&section);
	*n = (int) vf_db_runf("SELECT " BUCKET_COLUMNS " FROM {vf}.vf_bucket b"
						  " WHERE coalesce(b.next_attempt_at, '-infinity')"
						  " <= $1 AND (EXISTS (SELECT FROM {vf}.vf_outbox o"
						  " WHERE o.endpoint = b.endpoint"
						  " AND o.bucket = b.bucket AND o.kind = $2"
						  " AND o.state IN ('waiting', 'claimed')"
						  " AND o.next_attempt_at <= $1"
						  " AND coalesce(o.not_before <= $1, true))"
						  " OR $2 = 'delete' AND EXISTS (SELECT"
						  " FROM {vf}.vf_lookup l WHERE l.endpoint = b.endpoint"
						  " AND l.bucket = b.bucket"
						  " AND l.looked_at IS NULL AND l.look_at <= $1))"
						  " ORDER BY b.endpoint, b.bucket", &args);
	list = palloc0(sizeof(VfBucket) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		read_bucket(&list[i], i);
	vf_db_leave(&section);
	return list;
}

VfBucket *
vf_bucket_all(int *n)
{
	VfBucket   *list;
	VfDbSection section;

	vf_db_enter_self(&section);
	*n = (int) vf_db_runf("SELECT " BUCKET_COLUMNS " FROM {vf}.vf_bucket b"
						  " ORDER BY b.endpoint, b.bucket", NULL);
	list = palloc0(sizeof(VfBucket) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		read_bucket(&list[i], i);
	vf_db_leave(&section);
	return list;
}

void
vf_bucket_store(const VfBucket *b)
{
	VfDbArgs	args = {0};
	VfDbSection section;

	vf_db_arg_text(&args, b->endpoint);
	vf_db_arg_text(&args, b->bucket);
	vf_db_arg_text(&args, b->region);
	vf_db_arg_text(&args, b->path_style);
	vf_db_arg_text(&args, b->profile);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(b->probe));
	vf_db_arg_text(&args, b->expected_owner);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(b->request_payer));
	vf_db_enter_self(&section);
	vf_db_runf("UPDATE {vf}.vf_bucket SET is_current = false"
			   " WHERE is_current", NULL);

	/* Whatever changed, the probe has to find known objects anew. */
	vf_db_runf("INSERT INTO {vf}.vf_bucket AS b (endpoint, bucket, region,"
			   " path_style, profile, probe, is_current, expected_owner,"
			   " request_payer) VALUES ($1, $2, $3, $4, $5, $6, true, $7, $8)"
			   " ON CONFLICT (endpoint, bucket) DO UPDATE SET"
			   " (region, path_style, profile, probe, is_current, probed_at,"
			   " failures, next_attempt_at, batch_keys, batch_bytes,"
			   " expected_owner, request_payer) = ($3, $4, $5, $6, true,"
			   " NULL, 0, NULL, DEFAULT, DEFAULT, $7, $8)",
			   &args);
	args.n = 2;
	vf_db_runf("DELETE FROM {vf}.vf_pace WHERE endpoint = $1"
			   " AND bucket = $2", &args);
	vf_db_leave(&section);
}

void
vf_bucket_forget_all(void)
{
	vf_db_run_self("DELETE FROM {vf}.vf_bucket", NULL);
}

/*
 * Run a statement on the row of a bucket; $1 and $2 name it.  The number of
 * rows.
 */
static uint64
update_bucket(const VfBucket *b, const char *template, VfDbArgs *rest)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, b->endpoint);
	vf_db_arg_text(&args, b->bucket);
	for (int i = 0; rest != NULL && i < rest->n; i++)
	{
		if (rest->nulls[i] == 'n')
			vf_db_arg_null(&args, rest->types[i]);
		else
			vf_db_arg(&args, rest->types[i], rest->values[i]);
	}
	return vf_db_run_self(template, &args);
}

void
vf_bucket_answered(const VfBucket *b)
{
	update_bucket(b, "UPDATE {vf}.vf_bucket SET failures = 0,"
				  " next_attempt_at = NULL, last_error_code = NULL,"
				  " last_error = NULL, last_error_at = NULL,"
				  " last_ok_at = pg_catalog.clock_timestamp()"
				  " WHERE endpoint = $1 AND bucket = $2", NULL);
}

void
vf_bucket_failed(const VfBucket *b, TimestampTz next_attempt,
				 const char *code, const char *message)
{
	VfDbArgs	rest = {0};

	vf_db_arg(&rest, TIMESTAMPTZOID, TimestampTzGetDatum(next_attempt));
	vf_db_arg_text(&rest, code);
	vf_db_arg_text(&rest, message);
	update_bucket(b, "UPDATE {vf}.vf_bucket SET failures = failures + 1,"
				  " next_attempt_at = $3, last_error_code = $4,"
				  " last_error = $5,"
				  " last_error_at = pg_catalog.clock_timestamp()"
				  " WHERE endpoint = $1 AND bucket = $2", &rest);
}

void
vf_bucket_set_probed(const VfBucket *b)
{
	update_bucket(b, "UPDATE {vf}.vf_bucket"
				  " SET probed_at = pg_catalog.clock_timestamp()"
				  " WHERE endpoint = $1 AND bucket = $2", NULL);
}

void
vf_bucket_set_offset(const VfBucket *b, double offset)
{
	VfDbArgs	rest = {0};

	vf_db_arg(&rest, FLOAT8OID, Float8GetDatum(offset));
	update_bucket(b, "UPDATE {vf}.vf_bucket SET clock_offset = $3,"
				  " clock_offset_at = pg_catalog.clock_timestamp()"
				  " WHERE endpoint = $1 AND bucket = $2", &rest);
}

bool
vf_bucket_clock_offset(TimestampTz now, double *offset)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(now));
	if (vf_db_run_self("SELECT clock_offset FROM {vf}.vf_bucket"
					   " WHERE clock_offset_at > $1 - '1 day'::interval"
					   " ORDER BY pg_catalog.abs(clock_offset) DESC LIMIT 1",
					   &args) == 0 || vf_db_is_null(0, 0))
		return false;
	*offset = DatumGetFloat8(vf_db_datum(0, 0));
	return true;
}

void
vf_bucket_unhold(void)
{
	vf_db_run_self("UPDATE {vf}.vf_bucket SET next_attempt_at = NULL"
				   " WHERE next_attempt_at IS NOT NULL", NULL);
}

/* ---- the lease ---- */

/* A bucket registered anew has another marker. */
static VfDbArgs *
marker_arg(const VfBucket *b, VfDbArgs *rest)
{
	vf_db_arg_text(rest, b->marker);
	return rest;
}

bool
vf_bucket_generation(const VfBucket *b, int64 *generation, bool *adopted)
{
	VfDbArgs	rest = {0};

	if (update_bucket(b, "SELECT generation, adopted FROM {vf}.vf_bucket"
					  " WHERE endpoint = $1 AND bucket = $2"
					  " AND marker_id::pg_catalog.text = $3",
					  marker_arg(b, &rest)) == 0)
		return false;
	*generation = vf_db_int(0, 0);
	*adopted = vf_db_bool(0, 1);
	return true;
}

int64
vf_bucket_raise_generation(const VfBucket *b, int64 at_least)
{
	VfDbArgs	rest = {0};

	marker_arg(b, &rest);
	vf_db_arg(&rest, INT8OID, Int64GetDatum(at_least));
	if (update_bucket(b, "UPDATE {vf}.vf_bucket SET adopted = false,"
					  " generation = greatest(generation, $4) + 1"
					  " WHERE endpoint = $1 AND bucket = $2"
					  " AND marker_id::pg_catalog.text = $3"
					  " RETURNING generation", &rest) == 0)
		return 0;
	return vf_db_int(0, 0);
}

void
vf_bucket_lease_taken(const VfBucket *b)
{
	update_bucket(b, "UPDATE {vf}.vf_bucket SET failures = 0,"
				  " next_attempt_at = NULL, last_error_code = NULL,"
				  " last_error = NULL, last_error_at = NULL"
				  " WHERE endpoint = $1 AND bucket = $2 AND last_error_code"
				  " IN ('LeaseHeldElsewhere', 'LostHistory',"
				  " 'LeaseUnreadable')", NULL);
}

void
vf_bucket_adopt(void)
{
	vf_db_run_self("UPDATE {vf}.vf_bucket SET adopted = true,"
				   " next_attempt_at = NULL", NULL);
}
