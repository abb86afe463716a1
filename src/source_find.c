/*-------------------------------------------------------------------------
 *
 * source_find.c
 *	  Reading the application's tables from the catalogs: which columns play
 *	  which part, whether they fit, and what about them is dangerous.
 *
 * Only catalogs are read here, under locks that the caller holds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "errors.h"
#include "source.h"

/* ---- columns ---- */

static bool
type_fits(Oid type, char kind)
{
	switch (kind)
	{
		case 'i':
			return type == UUIDOID || type == TEXTOID || type == VARCHAROID ||
				type == INT8OID;
		case 't':
			return type == TEXTOID || type == VARCHAROID;
		default:
			return type == TIMESTAMPOID || type == TIMESTAMPTZOID;
	}
}

static const char *
types_wanted(char kind)
{
	switch (kind)
	{
		case 'i':
			return "uuid, text, varchar or bigint";
		case 't':
			return "text or varchar";
		default:
			return "timestamp or timestamptz";
	}
}

static const char *
wanted_name(VfColumn part, char *const *columns)
{
	if (columns != NULL && columns[part] != NULL)
		return columns[part];
	return vf_column_parts[part].name;
}

/*
 * Look one column up.  Appends to faults what is wrong; sets *type to its
 * type, or to InvalidOid where an optional column is absent by request.
 */
static void
look_up(Oid relid, VfColumn part, const char *name, StringInfo faults,
		Oid *type)
{
	AttrNumber	attnum;

	*type = InvalidOid;
	if (name[0] == '\0')
	{
		if (!vf_column_parts[part].optional)
			appendStringInfo(faults, "%s cannot be absent; ",
							 vf_column_parts[part].part);
		return;
	}
	attnum = get_attnum(relid, name);
	if (attnum == InvalidAttrNumber || attnum < 0)
	{
		appendStringInfo(faults, "column \"%s\" is missing; ", name);
		return;
	}
	*type = get_atttype(relid, attnum);
	if (!type_fits(*type, vf_column_parts[part].kind))
		appendStringInfo(faults, "column \"%s\" has type %s instead of %s; ",
						 name, format_type_be(*type),
						 types_wanted(vf_column_parts[part].kind));
}

static bool
ends_with(const char *s, const char *suffix)
{
	size_t		n = strlen(s);
	size_t		m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* " COLLATE ..." for a column whose collation is not the default one. */
static char *
collate_clause(Oid collation)
{
	HeapTuple	tuple;
	Form_pg_collation form;
	char	   *schema;
	char	   *clause;

	if (!OidIsValid(collation) || collation == DEFAULT_COLLATION_OID)
		return "";
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	schema = get_namespace_name(form->collnamespace);
	clause = psprintf(" COLLATE %s",
					  quote_qualified_identifier(schema,
												 NameStr(form->collname)));
	ReleaseSysCache(tuple);
	return clause;
}

static Oid
column_collation(Oid relid, const char *name)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, name);
	Oid			collation;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for column \"%s\" of relation %u",
			 name, relid);
	collation = ((Form_pg_attribute) GETSTRUCT(tuple))->attcollation;
	ReleaseSysCache(tuple);
	return collation;
}

char *
vf_source_collate(Oid relid, const char *column)
{
	return collate_clause(column_collation(relid, column));
}

/* Every *_s3_key column of a text type is a reference. */
static void
collect_keys(Relation rel, VfTable *table)
{
	TupleDesc	desc = RelationGetDescr(rel);

	table->nkeys = 0;
	table->keys = palloc0(sizeof(VfKeyColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		VfKeyColumn *key = &table->keys[table->nkeys];

		if (att->attisdropped || !type_fits(att->atttypid, 't') ||
			!ends_with(NameStr(att->attname), "_s3_key"))
			continue;
		key->name = pstrdup(NameStr(att->attname));
		key->quoted = pstrdup(quote_identifier(key->name));
		key->collate = collate_clause(att->attcollation);
		key->permanent = strncmp(key->name, "permanent_", 10) == 0;
		table->nkeys++;
	}
}

static bool
has_permanent(const VfTable *table)
{
	for (int i = 0; i < table->nkeys; i++)
		if (table->keys[i].permanent)
			return true;
	return false;
}

/*
 * Fill in one table's part of the source and append to faults what does not
 * fit.
 */
static void
describe_table(VfSource *source, VfTable *table, Oid relid, bool of_orders,
			   char *const *columns, StringInfo faults)
{
	Relation	rel = table_open(relid, AccessShareLock);

	table->relid = relid;
	table->owner = rel->rd_rel->relowner;
	table->name = pstrdup(RelationGetRelationName(rel));
	table->schema = get_namespace_name(RelationGetNamespace(rel));
	table->quoted = quote_qualified_identifier(table->schema, table->name);
	for (int part = 0; part < VF_N_COLUMNS; part++)
	{
		const char *name = wanted_name(part, columns);
		Oid			type;

		if (vf_column_parts[part].of_orders != of_orders)
			continue;
		look_up(relid, part, name, faults, &type);
		if (name[0] == '\0' || !OidIsValid(type))
			continue;
		source->column[part] = pstrdup(name);
		source->quoted[part] = pstrdup(quote_identifier(name));
		source->with_zone[part] = type == TIMESTAMPTZOID;
		source->attnum[part] = get_attnum(relid, name);
		if (part == VF_S_ID)
			source->id_type = format_type_be_qualified(type);
	}
	collect_keys(rel, table);
	if (!of_orders && table->nkeys == 0)
		appendStringInfoString(faults, "no column named *_s3_key; ");
	if (of_orders && !has_permanent(table))
		appendStringInfoString(faults,
							   "no column named permanent_*_s3_key; ");
	table_close(rel, AccessShareLock);
}

static void
raise_faults(const VfTable *table, const char *what, StringInfo faults)
{
	if (faults->len == 0)
		return;
	faults->data[faults->len - 2] = '\0';	/* the last "; " */
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("%s does not fit as the %s table", table->quoted, what),
			 errdetail("%s.", faults->data),
			 errhint("Name other columns with the argument columns, such as '{\"%s.created_at\": \"made_at\"}'.",
					 what)));
}

void
vf_source_describe(VfSource *source, Oid sessions, Oid orders,
				   char *const *columns)
{
	StringInfoData faults;

	initStringInfo(&faults);
	describe_table(source, &source->sessions, sessions, false, columns,
				   &faults);
	raise_faults(&source->sessions, "sessions", &faults);
	describe_table(source, &source->orders, orders, true, columns, &faults);
	raise_faults(&source->orders, "orders", &faults);
	if (column_collation(sessions, source->column[VF_S_TOKEN]) !=
		column_collation(orders, source->column[VF_O_TOKEN]))
		ereport(ERROR,
				(errcode(ERRCODE_COLLATION_MISMATCH),
				 errmsg("the session token has another collation in %s than in %s",
						source->sessions.quoted, source->orders.quoted),
				 errhint("Give both columns the same collation.")));
}

bool
vf_source_fits(Oid relid, bool of_orders, char *const *columns)
{
	VfSource	source;
	StringInfoData faults;

	memset(&source, 0, sizeof(source));
	initStringInfo(&faults);
	describe_table(&source, of_orders ? &source.orders : &source.sessions,
				   relid, of_orders, columns, &faults);
	return faults.len == 0;
}

/* ---- finding the tables ---- */

/* The one table of that name on the search path that fits. */
static Oid
find_one(const char *name, bool of_orders, char *const *columns)
{
	List	   *path = fetch_search_path(false);
	ListCell   *lc;
	Oid			found = InvalidOid;

	foreach(lc, path)
	{
		Oid			relid = get_relname_relid(name, lfirst_oid(lc));
		char		kind;

		if (!OidIsValid(relid))
			continue;
		kind = get_rel_relkind(relid);
		if ((kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE) ||
			!vf_source_fits(relid, of_orders, columns))
			continue;
		if (OidIsValid(found))
			ereport(ERROR,
					(errcode(ERRCODE_AMBIGUOUS_ALIAS),
					 errmsg("more than one table on the search path could be \"%s\"",
							name),
					 errdetail("Both \"%s\".\"%s\" and \"%s\".\"%s\" have all the columns.",
							   get_namespace_name(get_rel_namespace(found)),
							   name, get_namespace_name(lfirst_oid(lc)), name),
					 errhint("Name the tables: vf_configure('schema.sessions', 'schema.orders').")));
		found = relid;
	}
	if (!OidIsValid(found))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("no table \"%s\" with the columns of VoiceFrame is on the search path",
						name),
				 errhint("Name the tables: vf_configure('schema.sessions', 'schema.orders'); it says what does not fit.")));
	return found;
}

void
vf_source_find(Oid *sessions, Oid *orders, char *const *columns)
{
	*sessions = find_one("sessions", false, columns);
	*orders = find_one("orders", true, columns);
}

/* ---- dangers ---- */

static bool
accepted(const VfSource *source, const char *name)
{
	for (int i = 0; i < source->n_accepted; i++)
		if (strcmp(source->accepted_keys[i], name) == 0)
			return true;
	return false;
}

/* $1 and all that inherit from it, as partitions or otherwise. */
#define TREE "WITH RECURSIVE r (oid) AS (SELECT $1 UNION SELECT i.inhrelid" \
	" FROM pg_catalog.pg_inherits i JOIN r ON r.oid = i.inhparent)" \
	" SELECT r.oid FROM r"

/* Foreign keys that would carry our DELETE into other tables. */
static void
check_cascades(const VfSource *source)
{
	VfDbArgs	args = {0};
	uint64		n;

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->sessions.relid));
	n = vf_db_run("SELECT conname::pg_catalog.text,"
				  " conrelid::pg_catalog.regclass::pg_catalog.text,"
				  " CASE confdeltype WHEN 'c' THEN 'CASCADE'"
				  " WHEN 'n' THEN 'SET NULL' ELSE 'SET DEFAULT' END"
				  " FROM pg_catalog.pg_constraint"
				  " WHERE contype = 'f' AND confdeltype IN ('c', 'n', 'd')"
				  " AND conparentid = 0 AND confrelid IN"
				  " (" TREE ")"
				  " ORDER BY 1, 2", &args);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *name = vf_db_text(i, 0);

		if (accepted(source, name))
			continue;
		ereport(ERROR,
				(errcode(VF_ERRCODE_REGISTRATION),
				 errmsg("foreign key \"%s\" would carry a purge on to %s",
						name, vf_db_text(i, 1)),
				 errdetail("It is declared ON DELETE %s; what it changes there is not looked at and cannot be undone.",
						   vf_db_text(i, 2)),
				 errhint("Accept it by name: vf_configure(..., accept_foreign_keys => ARRAY[%s]), or change the key to RESTRICT.",
						 quote_literal_cstr(name))));
	}
}

/* Triggers that wait for the commit cannot run with the owner's rights. */
static void
check_deferred(const VfSource *source)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->sessions.relid));
	if (vf_db_run("SELECT coalesce(c.conname, t.tgname)::pg_catalog.text,"
				  " t.tgrelid::pg_catalog.regclass::pg_catalog.text"
				  " FROM pg_catalog.pg_trigger t LEFT JOIN"
				  " pg_catalog.pg_constraint c ON c.oid = t.tgconstraint"
				  " WHERE t.tginitdeferred AND t.tgenabled <> 'D'"
				  " AND t.tgtype & 8 <> 0 AND t.tgrelid IN"
				  " (" TREE ")"
				  " ORDER BY 1 LIMIT 1", &args) == 0)
		return;
	ereport(ERROR,
			(errcode(VF_ERRCODE_REGISTRATION),
			 errmsg("deferred trigger \"%s\" on %s cannot fire in a purge",
					vf_db_text(0, 0), vf_db_text(0, 1)),
			 errdetail("A purge runs with the table owner's rights in a security-restricted operation, and that ends before the commit."),
			 errhint("Make it not deferred: ALTER TABLE ... ALTER CONSTRAINT %s NOT DEFERRABLE, or a trigger that is not INITIALLY DEFERRED.",
					 quote_identifier(vf_db_text(0, 0)))));
}

static void
check_rules(const VfSource *source)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(source->sessions.relid));
	if (vf_db_run("SELECT rulename::pg_catalog.text,"
				  " ev_class::pg_catalog.regclass::pg_catalog.text"
				  " FROM pg_catalog.pg_rewrite"
				  " WHERE ev_type = '4' AND ev_enabled <> 'D' AND ev_class IN"
				  " (" TREE ")"
				  " ORDER BY 1 LIMIT 1", &args) == 0)
		return;
	ereport(ERROR,
			(errcode(VF_ERRCODE_REGISTRATION),
			 errmsg("rule \"%s\" rewrites DELETE on %s",
					vf_db_text(0, 0), vf_db_text(0, 1)),
			 errdetail("A purge could not tell which rows are gone."),
			 errhint("Drop or disable the rule.")));
}

void
vf_source_check_dangers(const VfSource *source)
{
	VfDbSection section;

	vf_db_enter_self(&section);
	check_cascades(source);
	check_deferred(source);
	check_rules(source);
	vf_db_leave(&section);
}

/* ---- partitions ---- */

Oid *
vf_source_leaves(const VfSource *source, int *n)
{
	List	   *all = find_all_inheritors(source->sessions.relid,
										  AccessShareLock, NULL);
	Oid		   *leaves = palloc(sizeof(Oid) * list_length(all));
	ListCell   *lc;

	*n = 0;
	foreach(lc, all)
	{
		if (get_rel_relkind(lfirst_oid(lc)) == RELKIND_RELATION)
			leaves[(*n)++] = lfirst_oid(lc);
	}
	return leaves;
}

bool
vf_source_has_leaf(const VfSource *source, Oid leaf)
{
	int			n;
	Oid		   *leaves = vf_source_leaves(source, &n);
	bool		found = false;

	for (int i = 0; i < n && !found; i++)
		found = leaves[i] == leaf;
	pfree(leaves);
	return found;
}
