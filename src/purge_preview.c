/*-------------------------------------------------------------------------
 *
 * purge_preview.c
 *	  What a purge would do, by the same rules, deleting nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "db.h"
#include "preflight.h"
#include "purge.h"
#include "source.h"

/*
 * One pass over the sessions, each under the one rule that decides: what
 * keeps it comes before what makes it due.
 */
static const char *const preview =
	"WITH o AS MATERIALIZED (SELECT o.{order_token} AS token,"
	" pg_catalog.bool_or({pays}) AS pays, pg_catalog.bool_or({keeps}) AS keeps"
	" FROM {orders} o WHERE o.{order_token} IS NOT NULL"
	" GROUP BY o.{order_token}),"
	" x AS (SELECT s.{id}::pg_catalog.text AS id,"
	" CASE WHEN s.{expires} IS NULL AND s.{created} IS NULL"
	" THEN 'never due: no timestamps'"
	" WHEN ({time_due}) IS NOT TRUE THEN 'not yet due'"
	" WHEN o.pays THEN 'kept: paid'"
	" WHEN o.keeps THEN 'kept: in checkout'"
	" WHEN {held} THEN 'kept: held'"
	" ELSE {rule} END AS rule,"
	" CASE WHEN {time_due} THEN {due_since} END AS since,"
	" (SELECT pg_catalog.count(*) FROM pg_catalog.unnest({session_keys}) u(k)"
	" WHERE u.k <> '') AS keys"
	" FROM {sessions} s LEFT JOIN o ON o.token = s.{token})"
	" SELECT r.rule, pg_catalog.count(x.id),"
	" coalesce(pg_catalog.sum(x.keys), 0)::int8,"
	" pg_catalog.min(x.since), pg_catalog.max(x.since),"
	" coalesce((pg_catalog.array_agg(x.id ORDER BY x.since, x.id)"
	" FILTER (WHERE x.id IS NOT NULL))[1:$7],"
	" ARRAY[]::pg_catalog.text[])"
	" FROM (VALUES ('expired', 1), ('unpaid', 2), ('kept: paid', 3),"
	" ('kept: in checkout', 4), ('kept: held', 5), ('not yet due', 6),"
	" ('never due: no timestamps', 7)) r (rule, o)"
	" LEFT JOIN x ON x.rule = r.rule GROUP BY r.rule, r.o ORDER BY r.o";

VfPreviewLine *
vf_purge_preview(int max_examples, int *n)
{
	VfSource   *source;
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	VfPreviewLine *lines;

	vf_preflight();
	source = vf_source_load(VF_SOURCE_DELETE);
	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, &args);
	vf_db_arg(&args, INT4OID, Int32GetDatum(max_examples));
	vf_db_enter_owner(&section, source->sessions.owner);
	*n = (int) vf_db_run(vf_db_fill(preview, vf_rules_names(source, NULL)),
						 &args);
	vf_db_leave(&section);
	lines = palloc0(sizeof(VfPreviewLine) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		lines[i].rule = vf_db_text(i, 0);
		lines[i].sessions = vf_db_int(i, 1);
		lines[i].keys = vf_db_int(i, 2);
		lines[i].oldest = vf_db_time(i, 3);
		lines[i].newest = vf_db_time(i, 4);
		lines[i].examples = vf_db_texts(i, 5, &lines[i].n_examples);
	}
	return lines;
}
