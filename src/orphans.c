/*-------------------------------------------------------------------------
 *
 * orphans.c
 *	  Objects that nothing references: finding them, queueing them.
 *
 * An orphan is under voiceframe.orphan_prefixes, older than the grace by the
 * store's clock, unchanged in two complete scans at least a day apart, and
 * named by no row, undo row or outbox entry.  All that is one statement: the
 * references are read once, whatever the number of objects.
 *
 * Who deletes them must know all references.  So a column that may be one and
 * that nobody has judged stops it, and so do references that are URLs.
 *
 * The brake counts all orphans there are, not those that this call would take,
 * and those of the last day: no cap gets round it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "bucket.h"
#include "compat.h"
#include "drain_gate.h"
#include "errors.h"
#include "orphans.h"
#include "outbox.h"
#include "runlog.h"
#include "settings.h"
#include "shared.h"
#include "source.h"

/* How far apart the two scans are that have seen an orphan, s. */
#define ORPHAN_SCANS 86400

/* Fewer than these never trip the brake, as long as there are references. */
#define BRAKE_FLOOR 100

/* How many columns an error names. */
#define NAMED_COLUMNS 10

/*
 * $1 the bucket, $2 the newest scan that is a day older than the last complete
 * one, $3 the store's time at that one less the grace, $4 the prefixes.
 */
#define ORPHANS \
	" FROM {vf}.vf_object b WHERE b.bucket_id = $1 AND b.scan_id <= $2" \
	" AND b.modified < $3 AND EXISTS (SELECT FROM pg_catalog.unnest($4) p" \
	" WHERE pg_catalog.starts_with(b.key, p))" \
	" AND NOT EXISTS (SELECT FROM ({references} UNION ALL" \
	" SELECT k COLLATE \"C\" FROM {vf}.vf_undo u, pg_catalog.unnest(u.keys) k" \
	" WHERE u.restored_at IS NULL UNION ALL" \
	" SELECT k COLLATE \"C\" FROM {vf}.vf_outbox o," \
	" pg_catalog.unnest(o.keys) k WHERE o.state <> 'cancelled'" \
	" OR o.last_error_code = 'Cancelled' UNION ALL" \
	" SELECT o.copy_to COLLATE \"C\" FROM {vf}.vf_outbox o" \
	" WHERE o.kind = 'copy' AND o.state <> 'cancelled') r WHERE r.k = b.key)"

/* Of several prefixes that fit, the longest. */
#define PREFIX_OF \
	"(SELECT p FROM pg_catalog.unnest($4) p" \
	" WHERE pg_catalog.starts_with(b.key, p)" \
	" ORDER BY pg_catalog.length(p) DESC LIMIT 1)"

/* False if there are no two such scans. */
static bool
find_scans(VfDbArgs *args)
{
	VfDbArgs	a = {0};

	vf_db_arg(&a, FLOAT8OID, Float8GetDatum(ORPHAN_SCANS));
	vf_db_arg(&a, FLOAT8OID, Float8GetDatum(vf_orphan_grace));
	if (vf_db_run_self("SELECT l.bucket_id::int8, p.id, l.store_time"
					   " - pg_catalog.make_interval(secs => $2)"
					   " FROM {vf}.vf_scan l JOIN {vf}.vf_bucket b"
					   " ON b.id = l.bucket_id AND b.is_current,"
					   " LATERAL (SELECT x.id FROM {vf}.vf_scan x"
					   " WHERE x.bucket_id = l.bucket_id"
					   " AND x.state = 'complete' AND x.started_at <="
					   " l.started_at - pg_catalog.make_interval(secs => $1)"
					   " ORDER BY x.id DESC LIMIT 1) p"
					   " WHERE l.state = 'complete'"
					   " ORDER BY l.id DESC LIMIT 1", &a) == 0)
		return false;
	vf_db_arg(args, INT4OID, Int32GetDatum((int) vf_db_int(0, 0)));
	vf_db_arg(args, INT8OID, Int64GetDatum(vf_db_int(0, 1)));
	vf_db_arg(args, TIMESTAMPTZOID, TimestampTzGetDatum(vf_db_time(0, 2)));
	return true;
}

/*
 * $4: prefixes under which no other database works.  Where there are others,
 * or nobody knows, it is reported at this level, and what is left is shown.
 */
static void
arg_prefixes(VfDbArgs *args, int elevel)
{
	int			bucket_id = DatumGetInt32(args->values[0]);
	List	   *list = vf_settings_list(vf_orphan_prefixes);
	char	  **prefixes = palloc(sizeof(char *) * Max(list_length(list), 1));
	char	   *problem = vf_shared_problem(bucket_id);
	char	   *others;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, list)
		prefixes[n++] = lfirst(lc);
	prefixes = vf_shared_own(bucket_id, prefixes, n, &n, &others);
	if (problem != NULL)
	{
		n = 0;
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no orphans are known: it is not known whether another database works in the bucket"),
				 errdetail("%s.", problem),
				 errhint("%s", VF_SHARED_UNKNOWN_CURE)));
	}
	else if (others != NULL)
		ereport(elevel,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("not all orphans are known: another database works under the same prefixes of the bucket"),
				 errdetail("%s", others),
				 errhint("%s", VF_SHARED_CURE)));
	vf_db_arg_texts(args, prefixes, n);
}

/* A statement about the orphans. */
static char *
about_orphans(const VfSource *source, const char *select, const char *rest)
{
	const VfDbName names[] = {
		{"references", vf_source_all_references(source)},
		{NULL, NULL}
	};

	return vf_db_fill(psprintf("%s%s%s", select, ORPHANS, rest), names);
}

/*
 * Enter the section that asks for orphans.  Right after a scan nothing is known
 * of what it wrote, and whoever then expects a row or two goes through all
 * references for each object.
 */
static void
enter(const VfSource *source, VfDbSection *section)
{
	vf_db_enter_owner(section, source->sessions.owner);
	vf_db_set("enable_nestloop", "off");
}

/* What a column that is gone named may be among what is shown. */
static void
warn_of_gone(const VfSource *source)
{
	if (vf_source_count_references(source, VF_REFERENCE_GONE) > 0)
		ereport(WARNING,
				(errcode(VF_ERRCODE_REGISTRATION),
				 errmsg("objects that are referenced may be shown as orphans"),
				 errdetail("A column that was added as a reference is gone."),
				 errhint("See vf_references; nothing is deleted until vf_drop_reference() or vf_add_reference() was called.")));
}

void
vf_orphans_find(VfDbRow row, void *arg)
{
	VfSource   *source = vf_source_load(VF_SOURCE_LOOK);
	VfDbArgs	args = {0};
	VfDbSection section;

	/* A view that fails would fail whoever reads all of them. */
	if (!find_scans(&args))
	{
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("orphans are not known yet"),
				 errdetail("An orphan is seen by two complete scans of the registered bucket, at least a day apart."),
				 errhint("CALL vf_s3_scan() today and tomorrow, or let the worker do it.")));
		return;
	}
	arg_prefixes(&args, WARNING);
	warn_of_gone(source);
	enter(source, &section);
	vf_db_each(about_orphans(source,
							 "SELECT b.key, b.bytes, b.storage_class,"
							 " b.modified, (SELECT s.started_at"
							 " FROM {vf}.vf_scan s WHERE s.id >= b.scan_id"
							 " AND s.bucket_id = $1 AND s.state = 'complete'"
							 " ORDER BY s.id LIMIT 1)", ""),
			   &args, row, arg);
	vf_db_leave(&section);
}

/* ---- may they be deleted? ---- */

/* Columns that may hold references: somebody has to say. */
static void
check_unknown_columns(const VfSource *source)
{
	StringInfoData list;
	int			unknown = 0;
	int			n;
	VfReference *refs = vf_source_list_references(source, &n);

	initStringInfo(&list);
	for (int i = 0; i < n; i++)
	{
		if (refs[i].state != VF_REFERENCE_UNKNOWN)
			continue;
		if (unknown++ < NAMED_COLUMNS)
			appendStringInfo(&list, "%s%s (%s)", list.len == 0 ? "" : ", ",
							 refs[i].table, refs[i].column);
	}
	if (unknown > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("orphans cannot be deleted: %d columns may reference objects",
						unknown),
				 errdetail("They are named like columns of keys, paths or URLs: %s.",
						   list.data),
				 errhint("Call vf_add_reference(table, column) for each that holds keys of the bucket, and vf_waive_reference(table, column, reason) for each that does not; see vf_references.")));
}

/* A URL names an object that we would take for an orphan. */
static bool
check_references(const VfSource *source)
{
	VfDbSection section;
	int64		odd;
	int64		n;

	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_run(psprintf("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER"
					   " (WHERE r.k ~ '^/|://') FROM (%s) r",
					   vf_source_all_references(source)), NULL);
	n = vf_db_int(0, 0);
	odd = vf_db_int(0, 1);
	vf_db_leave(&section);
	if (odd > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("orphans cannot be deleted: %lld of %lld references are no keys",
						(long long) odd, (long long) n),
				 errdetail("They are URLs or begin with a slash, so the objects that they mean are not known."),
				 errhint("Store the objects' keys in the columns that vf_references lists.")));
	return n > 0;
}

/* ---- the brake ---- */

static int64
queued_last_day(void)
{
	vf_db_run_self("SELECT coalesce(pg_catalog.sum(keys_queued), 0)::int8"
				   " FROM {vf}.vf_run WHERE kind = 'orphans' AND started_at >"
				   " pg_catalog.now() - pg_catalog.make_interval(days => 1)",
				   NULL);
	return vf_db_int(0, 0);
}

/* What the last scan found under the prefixes. */
static int64
objects_in_all(const VfDbArgs *scans)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, scans->types[0], scans->values[0]);
	vf_db_arg(&args, scans->types[3], scans->values[3]);
	vf_db_run_self("SELECT pg_catalog.count(*) FROM {vf}.vf_object b"
				   " WHERE b.bucket_id = $1 AND EXISTS (SELECT"
				   " FROM pg_catalog.unnest($2) p"
				   " WHERE pg_catalog.starts_with(b.key, p))", &args);
	return vf_db_int(0, 0);
}

static void
raise_brake(const VfOrphansResult *result, const char *why)
{
	ereport(ERROR,
			(errcode(VF_ERRCODE_BRAKE),
			 errmsg("deletion of orphans stopped by its brake: %s", why),
			 errdetail("There are %lld orphans. Nothing was queued.",
					   (long long) result->objects),
			 errhint("Look at vf_s3_orphans. If that is right, a superuser allows it once: SELECT * FROM vf_s3_delete_orphans(dry_run => false, confirm => %lld).",
					 (long long) result->objects)));
}

static void
check_brake(const VfOrphansOptions *opt, const VfOrphansResult *result,
			const VfDbArgs *scans, bool any_reference)
{
	int64		queued = queued_last_day();
	int64		objects = objects_in_all(scans);
	int64		limit = Max(objects / 100 * vf_orphan_brake_percent +
							objects % 100 * vf_orphan_brake_percent / 100,
							BRAKE_FLOOR);

	if (opt->confirm > 0)
	{
		if (result->objects - opt->confirm > opt->confirm / 100)
			raise_brake(result,
						psprintf("%lld were confirmed and more than 1 %% above that are there",
								 (long long) opt->confirm));
		return;
	}
	if (!any_reference)
		raise_brake(result, "no row references any object");
	if (result->objects + queued > limit)
		raise_brake(result,
					psprintf("with %lld queued in the last day, more would go than %lld, the limit by voiceframe.orphan_brake_percent",
							 (long long) queued, (long long) limit));
}

/* ---- deleting ---- */

static void
count_orphans(const VfSource *source, const VfDbArgs *args,
			  VfOrphansResult *result)
{
	VfDbSection section;

	enter(source, &section);
	result->n = (int) vf_db_run(about_orphans(source,
											  "SELECT x.prefix,"
											  " pg_catalog.count(*),"
											  " pg_catalog.sum(x.bytes)::int8"
											  " FROM (SELECT b.bytes, "
											  PREFIX_OF " AS prefix",
											  ") x GROUP BY 1 ORDER BY 1"),
								args);
	vf_db_leave(&section);
	result->prefixes = palloc0(sizeof(VfOrphansPrefix) * Max(result->n, 1));
	for (int i = 0; i < result->n; i++)
	{
		result->prefixes[i].prefix = vf_db_text(i, 0);
		result->prefixes[i].objects = vf_db_int(i, 1);
		result->prefixes[i].bytes = vf_db_int(i, 2);
		result->objects += result->prefixes[i].objects;
	}
}

typedef struct Collector
{
	VfOutboxPack *pack;
	VfOrphansResult *result;
} Collector;

/* A VfDbRow: prefix, key. */
static void
collect(void *arg, const Datum *values, const bool *nulls)
{
	Collector  *c = arg;
	text	   *key = DatumGetTextPP(values[1]);
	char	   *prefix = TextDatumGetCString(values[0]);

	(void) nulls;
	vf_outbox_pack_add(c->pack, VARDATA_ANY(key),
					   (int) VARSIZE_ANY_EXHDR(key));
	for (int i = 0; i < c->result->n; i++)
		if (strcmp(c->result->prefixes[i].prefix, prefix) == 0)
			c->result->prefixes[i].queued++;
	pfree(prefix);
}

static void
queue(const VfSource *source, const VfDbArgs *scans, int max_objects,
	  VfOrphansResult *result)
{
	VfBucket   *bucket = vf_bucket_current();
	VfRunCounts counts = {0};
	int64		run = vf_runlog_start("orphans", "vf_s3_delete_orphans", false);
	Collector	c = {
		vf_outbox_pack(run, bucket->endpoint, bucket->bucket), result
	};
	VfDbArgs	args = *scans;
	VfDbSection section;

	vf_outbox_pack_orphans(c.pack, DatumGetInt64(scans->values[1]));
	vf_db_arg(&args, INT4OID, Int32GetDatum(max_objects));
	enter(source, &section);
	vf_db_each(about_orphans(source, "SELECT " PREFIX_OF ", b.key",
							 " ORDER BY b.key LIMIT $5"), &args, collect, &c);
	vf_db_leave(&section);
	vf_outbox_pack_write(c.pack, &counts.keys_queued, &counts.keys_cancelled);
	vf_runlog_finish(run, "ok", &counts, NULL);
	result->queued = counts.keys_queued;
}

void
vf_orphans_delete(const VfOrphansOptions *opt, VfOrphansResult *result)
{
	VfSource   *source = vf_drain_gate_source();
	VfDbArgs	args = {0};
	bool		any_reference;

	memset(result, 0, sizeof(*result));
	if (vf_bucket_current() == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no bucket is registered in this database"),
				 errhint("Call vf_configure_bucket().")));

	/* Two at once would queue the same keys. */
	vf_db_run_self("LOCK TABLE {vf}.vf_reference IN SHARE ROW EXCLUSIVE MODE",
				   NULL);
	if (!find_scans(&args))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("orphans are not known yet"),
				 errdetail("An orphan is seen by two complete scans of the registered bucket, at least a day apart."),
				 errhint("CALL vf_s3_scan() today and tomorrow, or let the worker do it.")));
	arg_prefixes(&args, ERROR);
	check_unknown_columns(source);
	any_reference = check_references(source);
	count_orphans(source, &args, result);
	if (opt->dry_run || result->objects == 0)
		return;
	check_brake(opt, result, &args, any_reference);
	queue(source, &args, opt->max_objects, result);
}
