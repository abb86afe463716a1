/*-------------------------------------------------------------------------
 *
 * source_rows.c
 *	  Whole rows of the sessions table, as texts and back.
 *
 * A row is kept as COPY would write it: each column by its type's output
 * function, under settings that lose nothing.  It goes back through the input
 * functions, as a composite value of what the table is by then: columns that
 * have come get their defaults, columns that have gone are left out, and a
 * value that a column takes no more is an error.  (The syntax of composite
 * values is in the manual, "Composite Type Input and Output Syntax".)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "source.h"

VfRowColumn *
vf_source_row_columns(const VfSource *source, int *n)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfRowColumn *columns;

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->sessions.relid));
	vf_db_enter_self(&section);
	*n = (int) vf_db_runf("SELECT attname::text, atttypid::int8,"
						  " attgenerated <> '', typtype = 'd'"
						  " FROM pg_catalog.pg_attribute"
						  " JOIN pg_catalog.pg_type t ON t.oid = atttypid"
						  " WHERE attrelid = $1 AND attnum > 0"
						  " AND NOT attisdropped ORDER BY attnum", &args);
	columns = palloc(sizeof(VfRowColumn) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		bool		is_varlena;

		columns[i].name = vf_db_text(i, 0);
		columns[i].quoted = pstrdup(quote_identifier(columns[i].name));
		columns[i].generated = vf_db_bool(i, 2);
		columns[i].domain = vf_db_bool(i, 3);
		getTypeOutputInfo((Oid) vf_db_int(i, 1), &columns[i].output,
						  &is_varlena);
	}
	vf_db_leave(&section);
	return columns;
}

/* What pg_dump sets for the same reason. */
void
vf_source_row_settings(void)
{
	vf_db_set("DateStyle", "ISO, YMD");
	vf_db_set("IntervalStyle", "postgres");
	vf_db_set("extra_float_digits", "3");
	vf_db_set("lc_monetary", "C");
}

Datum
vf_source_row_texts(const VfRowColumn *columns, int n, const Datum *values,
					const bool *nulls)
{
	Datum	   *texts = palloc(sizeof(Datum) * n);
	bool	   *none = palloc(sizeof(bool) * n);
	int			lower = 1;
	ArrayType  *array;

	for (int i = 0; i < n; i++)
	{
		none[i] = nulls[i];
		if (!nulls[i])
		{
			char	   *out = OidOutputFunctionCall(columns[i].output,
													values[i]);

			texts[i] = CStringGetTextDatum(out);
			pfree(out);
		}
	}
	array = construct_md_array(texts, none, 1, &n, &lower, TEXTOID, -1, false,
							   TYPALIGN_INT);
	for (int i = 0; i < n; i++)
		if (!none[i])
			pfree(DatumGetPointer(texts[i]));
	pfree(texts);
	pfree(none);
	return PointerGetDatum(array);
}

/* ---- back ---- */

/* A row's texts, NULL for a null. */
static char **
read_texts(Datum array, int *n)
{
	Datum	   *elems;
	bool	   *nulls;
	char	  **texts;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elems, &nulls, n);
	texts = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		texts[i] = nulls[i] ? NULL : TextDatumGetCString(elems[i]);
	return texts;
}

static int
position_of(const VfSavedRow *row, const char *name)
{
	for (int i = 0; i < row->n_names; i++)
		if (strcmp(row->names[i], name) == 0)
			return i;
	return -1;
}

static void
append_field(StringInfo buf, const char *text)
{
	appendStringInfoChar(buf, '"');
	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\')
			appendStringInfoChar(buf, *text);
		appendStringInfoChar(buf, *text);
	}
	appendStringInfoChar(buf, '"');
}

/*
 * The row as a composite value of the table as it is now.  What is generated
 * is not inserted, but a domain may refuse a null in its place.
 */
static Datum
composite(const VfSavedRow *row, const VfRowColumn *columns, int n)
{
	StringInfoData buf;
	int			n_texts;
	char	  **texts = read_texts(row->texts, &n_texts);

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '(');
	for (int i = 0; i < n; i++)
	{
		int			at = position_of(row, columns[i].name);

		if (i > 0)
			appendStringInfoChar(&buf, ',');
		if (at >= 0 && at < n_texts && texts[at] != NULL &&
			(!columns[i].generated || columns[i].domain))
			append_field(&buf, texts[at]);
	}
	appendStringInfoChar(&buf, ')');
	return CStringGetTextDatum(buf.data);
}

/* Then a conflict has to be an error: INSERT takes no other clause there. */
static bool
has_rules(const VfSource *source)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->sessions.relid));
	vf_db_run_self("SELECT relhasrules FROM pg_catalog.pg_class"
				   " WHERE oid = $1", &args);
	return vf_db_bool(0, 0);
}

/*
 * INSERT of the columns that both the saved rows and the table have.  The
 * values are cast once for each row, not once for each column.
 */
static char *
insert_statement(const VfSource *source, const VfSavedRow *row,
				 const VfRowColumn *columns, int n)
{
	StringInfoData names,
				values;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; i < n; i++)
	{
		if (columns[i].generated || position_of(row, columns[i].name) < 0)
			continue;
		appendStringInfo(&names, "%s%s", names.len == 0 ? "" : ", ",
						 columns[i].quoted);
		appendStringInfo(&values, "%s(x.r).%s", values.len == 0 ? "" : ", ",
						 columns[i].quoted);
	}
	return psprintf("INSERT INTO %s AS n (%s) OVERRIDING SYSTEM VALUE"
					" SELECT %s FROM (SELECT u.r::%s AS r"
					" FROM pg_catalog.unnest($1) u(r) OFFSET 0) x"
					" WHERE NOT EXISTS (SELECT 1 FROM %s s"
					" WHERE s.%s = (x.r).%s)"
					" AND NOT EXISTS (SELECT 1 FROM %s s"
					" WHERE s.%s = (x.r).%s)"
					"%s RETURNING n.%s::pg_catalog.text",
					source->sessions.quoted, names.data, values.data,
					source->sessions.quoted, source->sessions.quoted,
					source->quoted[VF_S_ID], source->quoted[VF_S_ID],
					source->sessions.quoted, source->quoted[VF_S_TOKEN],
					source->quoted[VF_S_TOKEN],
					has_rules(source) ? "" : " ON CONFLICT DO NOTHING",
					source->quoted[VF_S_ID]);
}

/* Does an index lead to a session by its id, and one by its token? */
static bool
is_indexed(const VfSource *source)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->sessions.relid));
	vf_db_arg_text(&args, source->column[VF_S_ID]);
	vf_db_arg_text(&args, source->column[VF_S_TOKEN]);
	vf_db_run_self("SELECT pg_catalog.count(DISTINCT a.attname) = 2"
				   " FROM pg_catalog.pg_index i"
				   " JOIN pg_catalog.pg_attribute a"
				   " ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
				   " WHERE i.indrelid = $1 AND i.indisvalid"
				   " AND i.indpred IS NULL"
				   " AND a.attname IN ($2::pg_catalog.name,"
				   " $3::pg_catalog.name)", &args);
	return vf_db_bool(0, 0);
}

/*
 * A table that a purge has emptied is an empty one to the planner: it would
 * read all of it for each statement, while it grows by what is put back.
 */
static void
prefer_index(void)
{
	vf_db_set("enable_hashjoin", "off");
	vf_db_set("enable_mergejoin", "off");
	vf_db_set("enable_seqscan", "off");
}

void
vf_source_insert_rows(const VfSource *source, const VfSavedRow *rows, int n,
					  bool *back)
{
	int			n_columns;
	VfRowColumn *columns = vf_source_row_columns(source, &n_columns);
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	VfDbArgs	args = {0};
	VfDbSection section;
	bool		indexed = is_indexed(source);
	char	   *statement;
	char	  **ids;
	int			inserted;

	memset(back, 0, sizeof(bool) * n);
	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
		values[i] = composite(&rows[i], columns, n_columns);
	vf_db_arg_text_datums(&args, values, n);
	statement = insert_statement(source, &rows[0], columns, n_columns);
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_source_row_settings();
	if (indexed)
		prefer_index();
	inserted = (int) vf_db_run(statement, &args);
	ids = palloc(sizeof(char *) * Max(inserted, 1));
	for (int i = 0; i < inserted; i++)
		ids[i] = vf_db_text(i, 0);
	vf_db_leave(&section);
	qsort(ids, inserted, sizeof(char *), pg_qsort_strcmp);
	for (int i = 0; i < n; i++)
		back[i] = bsearch(&rows[i].id, ids, inserted, sizeof(char *),
						  pg_qsort_strcmp) != NULL;
}
