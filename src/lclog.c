/*-------------------------------------------------------------------------
 *
 * lclog.c
 *	  Which lifecycle rules a bucket is to have, how they were found there,
 *	  and the documents before our changes: tables vf_lifecycle,
 *	  vf_lifecycle_kept.
 *
 * Everything here runs as the extension's owner.  A document is kept as the
 * bytes that were read, whatever the database's encoding.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "db.h"
#include "lclog.h"

/* Documents kept of each bucket. */
#define MAX_KEPT 50

static void
arg_bucket(VfDbArgs *args, const char *endpoint, const char *bucket)
{
	vf_db_arg_text(args, endpoint);
	vf_db_arg_text(args, bucket);
}

void
vf_lclog_load(const char *endpoint, const char *bucket, VfLcChoices *choices)
{
	VfDbArgs	args = {0};

	memset(choices, 0, sizeof(*choices));
	choices->noncurrent = -1;
	choices->infrequent_class = "STANDARD_IA";
	arg_bucket(&args, endpoint, bucket);
	if (vf_db_run_self("SELECT wanted, infrequent_class, archive_class,"
					   " noncurrent_versions, waveforms, pdf_previews,"
					   " delete_markers, unfinished_uploads"
					   " FROM {vf}.vf_lifecycle"
					   " WHERE endpoint = $1 AND bucket = $2", &args) == 0)
		return;
	choices->wanted = vf_db_bool(0, 0);
	choices->infrequent_class = vf_db_text(0, 1);
	choices->archive_class = vf_db_text(0, 2);
	choices->noncurrent = vf_db_is_null(0, 3) ? -1 : vf_db_bool(0, 3);
	choices->waveforms = vf_db_bool(0, 4);
	choices->previews = vf_db_bool(0, 5);
	choices->delete_markers = vf_db_bool(0, 6);
	choices->uploads = vf_db_bool(0, 7);
}

void
vf_lclog_lock(const char *endpoint, const char *bucket)
{
	VfDbArgs	args = {0};

	arg_bucket(&args, endpoint, bucket);
	vf_db_run_self("INSERT INTO {vf}.vf_lifecycle (endpoint, bucket)"
				   " VALUES ($1, $2) ON CONFLICT DO NOTHING", &args);
	vf_db_run_self("SELECT 1 FROM {vf}.vf_lifecycle WHERE endpoint = $1"
				   " AND bucket = $2 FOR UPDATE", &args);
}

void
vf_lclog_store(const char *endpoint, const char *bucket,
			   const VfLcChoices *choices)
{
	VfDbArgs	args = {0};

	arg_bucket(&args, endpoint, bucket);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(choices->wanted));
	vf_db_arg_text(&args, choices->infrequent_class);
	vf_db_arg_text(&args, choices->archive_class);
	if (choices->noncurrent < 0)
		vf_db_arg_null(&args, BOOLOID);
	else
		vf_db_arg(&args, BOOLOID, BoolGetDatum(choices->noncurrent != 0));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(choices->waveforms));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(choices->previews));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(choices->delete_markers));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(choices->uploads));
	vf_db_run_self("UPDATE {vf}.vf_lifecycle SET (wanted, infrequent_class,"
				   " archive_class, noncurrent_versions, waveforms,"
				   " pdf_previews, delete_markers, unfinished_uploads,"
				   " changed_at)"
				   " = ($3, $4, $5, $6, $7, $8, $9, $10,"
				   " pg_catalog.clock_timestamp())"
				   " WHERE endpoint = $1 AND bucket = $2", &args);
}

void
vf_lclog_note(const char *endpoint, const char *bucket, const char *drift)
{
	VfDbArgs	args = {0};

	arg_bucket(&args, endpoint, bucket);
	vf_db_arg_text(&args, drift);
	vf_db_run_self("UPDATE {vf}.vf_lifecycle SET drift = $3,"
				   " checked_at = pg_catalog.clock_timestamp()"
				   " WHERE endpoint = $1 AND bucket = $2", &args);
}

void
vf_lclog_keep(const char *endpoint, const char *bucket, const char *change,
			  VfLcKept *kept)
{
	VfDbArgs	args = {0};

	arg_bucket(&args, endpoint, bucket);
	if (kept->exists)
		vf_db_arg(&args, BYTEAOID,
				  PointerGetDatum(cstring_to_text_with_len(kept->text,
														   kept->len)));
	else
		vf_db_arg_null(&args, BYTEAOID);
	vf_db_arg_text(&args, kept->minimum);
	vf_db_arg_text(&args, change);
	vf_db_run_self("INSERT INTO {vf}.vf_lifecycle_kept (endpoint, bucket,"
				   " document, transition_minimum, change, choices)"
				   " VALUES ($1, $2, $3, $4, $5, (SELECT pg_catalog.to_jsonb(l)"
				   " FROM {vf}.vf_lifecycle l WHERE endpoint = $1"
				   " AND bucket = $2)) RETURNING id", &args);
	kept->id = vf_db_int(0, 0);
	args.n = 2;
	vf_db_arg(&args, INT4OID, Int32GetDatum(MAX_KEPT));
	vf_db_run_self("DELETE FROM {vf}.vf_lifecycle_kept WHERE endpoint = $1"
				   " AND bucket = $2 AND id <= (SELECT id"
				   " FROM {vf}.vf_lifecycle_kept WHERE endpoint = $1"
				   " AND bucket = $2 ORDER BY id DESC OFFSET $3 LIMIT 1)",
				   &args);
}

bool
vf_lclog_find(const char *endpoint, const char *bucket, int64 id,
			  VfLcKept *kept)
{
	VfDbArgs	args = {0};

	memset(kept, 0, sizeof(*kept));
	arg_bucket(&args, endpoint, bucket);
	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	if (vf_db_run_self("SELECT id, kept_at, document, transition_minimum"
					   " FROM {vf}.vf_lifecycle_kept WHERE endpoint = $1"
					   " AND bucket = $2 AND $3 IN (0, id)"
					   " ORDER BY id DESC LIMIT 1", &args) == 0)
		return false;
	kept->id = vf_db_int(0, 0);
	kept->at = vf_db_time(0, 1);
	kept->exists = !vf_db_is_null(0, 2);
	if (kept->exists)
	{
		bytea	   *bytes = DatumGetByteaPP(vf_db_datum(0, 2));

		kept->len = (int) VARSIZE_ANY_EXHDR(bytes);
		kept->text = pnstrdup(VARDATA_ANY(bytes), kept->len);
	}
	kept->minimum = vf_db_text(0, 3);
	return true;
}

void
vf_lclog_choose_again(int64 id)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	vf_db_run_self("UPDATE {vf}.vf_lifecycle l SET (wanted, infrequent_class,"
				   " archive_class, noncurrent_versions, waveforms,"
				   " pdf_previews, delete_markers, unfinished_uploads,"
				   " changed_at) = (SELECT r.wanted, r.infrequent_class,"
				   " r.archive_class, r.noncurrent_versions, r.waveforms,"
				   " r.pdf_previews, r.delete_markers, r.unfinished_uploads,"
				   " pg_catalog.clock_timestamp() FROM"
				   " pg_catalog.jsonb_populate_record("
				   "NULL::{vf}.vf_lifecycle, k.choices) r)"
				   " FROM {vf}.vf_lifecycle_kept k WHERE k.id = $1"
				   " AND l.endpoint = k.endpoint AND l.bucket = k.bucket",
				   &args);
}
