/*-------------------------------------------------------------------------
 *
 * source_refs.c
 *	  Which keys do live rows still reference?
 *
 * One statement with a branch per reference column, so that the planner takes
 * an index where there is one and otherwise hashes the keys (few) and reads
 * the table once (many): never the other way round, and memory follows the
 * number of keys.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "source.h"

static void
append_branches(StringInfo sql, const VfTable *table)
{
	for (int i = 0; i < table->nkeys; i++)
		appendStringInfo(sql,
						 "%sSELECT u.k FROM pg_catalog.unnest($1) u(k)"
						 " JOIN %s t ON t.%s = u.k%s",
						 sql->len == 0 ? "" : " UNION ",
						 table->quoted, table->keys[i].quoted,
						 table->keys[i].collate);
}

char **
vf_source_referenced(const VfSource *source, char *const *keys, int n,
					 int *found)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	StringInfoData sql;
	char	  **result;

	initStringInfo(&sql);
	append_branches(&sql, &source->sessions);
	append_branches(&sql, &source->orders);
	vf_db_arg_texts(&args, keys, n);

	vf_db_enter_owner(&section, source->sessions.owner);
	*found = (int) vf_db_run(sql.data, &args);
	vf_db_leave(&section);

	result = palloc(sizeof(char *) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
		result[i] = vf_db_text(i, 0);
	return result;
}
