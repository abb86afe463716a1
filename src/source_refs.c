/*-------------------------------------------------------------------------
 *
 * source_refs.c
 *	  Which keys do live rows still reference?
 *
 * One statement with a branch per reference column.  = ANY takes an index where
 * there is one and otherwise reads the table once against a hash of the keys:
 * memory follows the number of keys, never the size of the table, as it would
 * if a join were free to hash the other side.
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
	{
		const VfKeyColumn *key = &table->keys[i];

		if (sql->len > 0)
			appendStringInfoString(sql, " UNION ");
		if (key->array)
			appendStringInfo(sql, "SELECT a.k FROM %s t,"
							 " pg_catalog.unnest(t.%s::pg_catalog.text[])"
							 " a (k) WHERE a.k COLLATE \"C\" = ANY ($1)",
							 table->quoted, key->quoted);
		else
			appendStringInfo(sql, "SELECT t.%s::pg_catalog.text FROM %s t"
							 " WHERE t.%s = ANY ($1%s)", key->quoted,
							 table->quoted, key->quoted, key->collate);
	}
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
	for (int i = 0; i < source->n_added; i++)
		append_branches(&sql, &source->added[i]);
	vf_db_arg_texts(&args, keys, n);

	vf_db_enter_owner(&section, source->sessions.owner);
	*found = (int) vf_db_run(sql.data, &args);
	vf_db_leave(&section);

	result = palloc(sizeof(char *) * Max(*found, 1));
	for (int i = 0; i < *found; i++)
		result[i] = vf_db_text(i, 0);
	return result;
}

static void
append_all(StringInfo sql, const VfTable *table)
{
	for (int i = 0; i < table->nkeys; i++)
	{
		const VfKeyColumn *key = &table->keys[i];

		if (sql->len > 0)
			appendStringInfoString(sql, " UNION ALL ");
		if (key->array)
			appendStringInfo(sql, "SELECT a.k COLLATE \"C\" AS k FROM %s t,"
							 " pg_catalog.unnest(t.%s::pg_catalog.text[])"
							 " a (k) WHERE a.k <> ''", table->quoted,
							 key->quoted);
		else
			appendStringInfo(sql, "SELECT t.%s::pg_catalog.text COLLATE \"C\""
							 " AS k FROM %s t WHERE t.%s <> ''", key->quoted,
							 table->quoted, key->quoted);
	}
}

char *
vf_source_all_references(const VfSource *source)
{
	StringInfoData sql;

	initStringInfo(&sql);
	append_all(&sql, &source->sessions);
	append_all(&sql, &source->orders);
	for (int i = 0; i < source->n_added; i++)
		append_all(&sql, &source->added[i]);
	return sql.data;
}
