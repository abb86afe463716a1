/*-------------------------------------------------------------------------
 *
 * shared.c
 *	  Who else works in a bucket: table vf_shared.
 *
 * A row for each marker of another database, and one without a marker's name
 * for the look itself.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "db.h"
#include "shared.h"

/* So many of others are named at a time. */
#define MAX_NAMED 5

/* Has a prefix of ours, p, an object in common with one of theirs, q? */
#define OVERLAP \
	"(pg_catalog.starts_with(p, q) OR pg_catalog.starts_with(q, p))"

static void
store_marker(int bucket_id, const VfSharedMarker *m)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg_text(&args, m->marker);
	vf_db_arg_text(&args, m->system);
	vf_db_arg_text(&args, m->database);
	vf_db_arg_text(&args, m->name);
	vf_db_arg_text(&args, m->host);
	vf_db_arg_text(&args, m->heartbeat);
	vf_db_arg_texts(&args, m->prefixes, m->n_prefixes);
	vf_db_run_self("INSERT INTO {vf}.vf_shared (bucket_id, marker,"
				   " system_identifier, database_oid, database_name, host,"
				   " heartbeat, prefixes)"
				   " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", &args);
}

void
vf_shared_store(int bucket_id, const char *problem,
				const VfSharedMarker *markers, int n)
{
	VfDbArgs	args = {0};

	/* The look's row goes first: who looks at the same time waits here. */
	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg_text(&args, problem);
	vf_db_run_self("INSERT INTO {vf}.vf_shared (bucket_id, marker, problem)"
				   " VALUES ($1, '', $2) ON CONFLICT (bucket_id, marker)"
				   " DO UPDATE SET problem = $2, seen_at ="
				   " pg_catalog.clock_timestamp()", &args);
	args.n = 1;
	vf_db_run_self("DELETE FROM {vf}.vf_shared WHERE bucket_id = $1"
				   " AND marker <> ''", &args);
	for (int i = 0; i < n; i++)
		store_marker(bucket_id, &markers[i]);
}

char *
vf_shared_problem(int bucket_id)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	if (vf_db_run_self("SELECT problem FROM {vf}.vf_shared"
					   " WHERE bucket_id = $1 AND marker = ''", &args) == 0)
		return pstrdup("The markers of other databases have not been looked at.");
	return vf_db_text(0, 0);
}

static char *
name_others(const VfDbArgs *args)
{
	/* They are read in the order of our prefixes, for a test to compare. */
	vf_db_run_self("SELECT pg_catalog.string_agg(pg_catalog.format("
				   "'%s works under %s as this database does under \"%s\""
				   " (object .voiceframe_retention/%s).', CASE"
				   " WHEN s.system_identifier = '' THEN 'Somebody'"
				   " ELSE pg_catalog.format('Database \"%s\" of server %s,"
				   " host %s,', s.database_name, s.system_identifier,"
				   " coalesce(nullif(s.host, ''), 'unknown')) END, CASE WHEN q = '' THEN 'the whole bucket'"
				   " ELSE '\"' || q || '\"' END, p, s.marker), ' ')"
				   " FROM (SELECT s.*, p, q FROM pg_catalog.unnest($2)"
				   " WITH ORDINALITY u(p, i), {vf}.vf_shared s,"
				   " pg_catalog.unnest(s.prefixes) q"
				   " WHERE s.bucket_id = $1 AND " OVERLAP
				   " ORDER BY i, s.marker, q LIMIT $3) s", args);
	return vf_db_text(0, 0);
}

char **
vf_shared_own(int bucket_id, char *const *prefixes, int n, int *n_own,
			  char **others)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg_texts(&args, prefixes, n);
	vf_db_arg(&args, INT4OID, Int32GetDatum(MAX_NAMED));
	*others = name_others(&args);
	args.n = 2;
	vf_db_run_self("SELECT ARRAY(SELECT p FROM pg_catalog.unnest($2) p"
				   " WHERE NOT EXISTS (SELECT FROM {vf}.vf_shared s,"
				   " pg_catalog.unnest(s.prefixes) q"
				   " WHERE s.bucket_id = $1 AND " OVERLAP "))", &args);
	return vf_db_texts(0, 0, n_own);
}

void
vf_shared_each(int bucket_id, char *const *prefixes, int n, VfDbRow row,
			   void *arg)
{
	VfDbArgs	args = {0};
	VfDbSection section;

	vf_db_arg(&args, INT4OID, Int32GetDatum(bucket_id));
	vf_db_arg_texts(&args, prefixes, n);
	vf_db_enter_self(&section);
	vf_db_each(vf_db_fill("SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL,"
						  " s.problem FROM {vf}.vf_shared s"
						  " WHERE s.bucket_id = $1 AND s.problem IS NOT NULL"
						  " UNION ALL (SELECT DISTINCT p, q, s.database_name,"
						  " s.system_identifier, s.host, s.heartbeat,"
						  " s.marker, NULL FROM pg_catalog.unnest($2) p,"
						  " {vf}.vf_shared s, pg_catalog.unnest(s.prefixes) q"
						  " WHERE s.bucket_id = $1 AND " OVERLAP
						  " ORDER BY p, q, s.marker)", NULL), &args, row,
			   arg);
	vf_db_leave(&section);
}

void
vf_shared_forget_all(void)
{
	vf_db_run_self("DELETE FROM {vf}.vf_shared", NULL);
}
