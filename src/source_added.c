/*-------------------------------------------------------------------------
 *
 * source_added.c
 *	  References beside those of sessions and orders: table vf_reference.
 *
 * A column that was added keeps the objects it names, as a *_s3_key column of
 * sessions does.  It is read as the owner of sessions, so its table is his; and
 * it is as suspicious as the registration: renamed, it is followed while the
 * old name is free; gone or swapped, it stops all that deletes.
 *
 * What is named like a column of keys and was neither added nor waived is
 * unknown, and keeps orphans from being deleted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "errors.h"
#include "source.h"

/* How long a run waits for DDL on such a table, ms. */
#define TABLE_LOCK_TIMEOUT 10000

/* One row. */
typedef struct Added
{
	Oid			relid;
	char	   *schema;
	char	   *name;
	char	   *column;
} Added;

/* ---- is it what was added? ---- */

static bool
is_text(Oid type)
{
	return type == TEXTOID || type == VARCHAROID;
}

/* What keeps the table from being read as one of references, or NULL. */
static const char *
table_fault(Oid relid, Oid owner)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;
	const char *fault = NULL;

	if (!HeapTupleIsValid(tuple))
		return "The table no longer exists.";
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (getExtensionOfObject(RelationRelationId, relid) ==
		get_extension_oid("voiceframe_retention", false))
		fault = "It is this extension's: what it queues would reference itself.";
	else if (form->relkind != RELKIND_RELATION &&
		form->relkind != RELKIND_PARTITIONED_TABLE)
		fault = "It is not a table.";
	else if (form->relispartition)
		fault = "It is a partition: other partitions' rows would be missed.";
	else if (form->relowner != owner)
		fault = psprintf("It is not owned by %s, who owns the sessions table and reads the references.",
						 GetUserNameFromId(owner, false));
	else if (form->relforcerowsecurity)
		fault = "Row security is forced on its owner: rows would be missed.";
	ReleaseSysCache(tuple);
	return fault;
}

/* The same of its parts: what a crash would empty references nothing then. */
static const char *
parts_fault(Oid relid)
{
	List	   *all = find_all_inheritors(relid, AccessShareLock, NULL);
	ListCell   *lc;

	foreach(lc, all)
	{
		Oid			part = lfirst_oid(lc);

		if (get_rel_persistence(part) != RELPERSISTENCE_PERMANENT)
			return psprintf("\"%s\" is unlogged or temporary: a crash would empty it.",
							get_rel_name(part));
		if (get_rel_relkind(part) == RELKIND_FOREIGN_TABLE)
			return psprintf("Its part \"%s\" is a foreign table.",
							get_rel_name(part));
	}
	return NULL;
}

/* Fill in the column, or say why it cannot be one of keys. */
static const char *
read_column(Oid relid, const char *column, VfKeyColumn *key)
{
	AttrNumber	attnum = get_attnum(relid, column);
	Oid			type;
	Oid			element;

	if (attnum <= InvalidAttrNumber)
		return "There is no such column.";
	type = getBaseType(get_atttype(relid, attnum));
	element = get_element_type(type);
	if (!is_text(type) && !is_text(element))
		return psprintf("Its type is %s instead of text, character varying or an array of them.",
						format_type_be(get_atttype(relid, attnum)));
	key->name = pstrdup(column);
	key->quoted = pstrdup(quote_identifier(column));
	key->array = !is_text(type);
	key->collate = key->array ? "" : vf_source_collate(relid, column);
	return NULL;
}

/* Does the name that was added now belong to some other relation? */
static bool
name_is_taken(const Added *added)
{
	Oid			nsp = get_namespace_oid(added->schema, true);
	Oid			relid = OidIsValid(nsp) ?
		get_relname_relid(added->name, nsp) : InvalidOid;

	return OidIsValid(relid) && relid != added->relid;
}

/* Lock the table and fill it in, or say what is wrong with it. */
static const char *
resolve(const Added *added, Oid owner, VfTable *table)
{
	const char *fault;

	vf_db_lock(added->relid, AccessShareLock, TABLE_LOCK_TIMEOUT);
	fault = table_fault(added->relid, owner);
	if (fault == NULL && name_is_taken(added))
		fault = "Its name now belongs to another relation.";
	if (fault == NULL)
		fault = parts_fault(added->relid);
	table->nkeys = 1;
	table->keys = palloc0(sizeof(VfKeyColumn));
	if (fault == NULL)
		fault = read_column(added->relid, added->column, table->keys);
	if (fault != NULL)
		return fault;
	table->relid = added->relid;
	table->owner = owner;
	table->name = get_rel_name(added->relid);
	table->schema = get_namespace_name(get_rel_namespace(added->relid));
	table->quoted = quote_qualified_identifier(table->schema, table->name);
	return NULL;
}

/* ---- loading ---- */

/* A script of an earlier version runs with this library too. */
static bool
has_table(void)
{
	return OidIsValid(get_relname_relid("vf_reference", vf_db_schema_oid()));
}

static Added *
read_added(int *n)
{
	Added	   *added;

	*n = 0;
	if (!has_table())
		return NULL;
	*n = (int) vf_db_run_self("SELECT table_oid::int8, table_schema,"
							  " table_name, column_name FROM {vf}.vf_reference"
							  " WHERE NOT waived ORDER BY 2, 3, 4", NULL);
	added = palloc(sizeof(Added) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		added[i].relid = (Oid) vf_db_int(i, 0);
		added[i].schema = vf_db_text(i, 1);
		added[i].name = vf_db_text(i, 2);
		added[i].column = vf_db_text(i, 3);
	}
	return added;
}

void
vf_source_load_added(VfSource *source, VfSourceUse use)
{
	int			n;
	Added	   *added = read_added(&n);

	source->added = palloc0(sizeof(VfTable) * Max(n, 1));
	source->n_added = 0;
	for (int i = 0; i < n; i++)
	{
		const char *fault = resolve(&added[i], source->sessions.owner,
									&source->added[source->n_added]);

		if (fault == NULL)
			source->n_added++;
		else if (use == VF_SOURCE_DELETE)
			ereport(ERROR,
					(errcode(VF_ERRCODE_REGISTRATION),
					 errmsg("column \"%s\" of \"%s\".\"%s\" cannot be read for references any more",
							added[i].column, added[i].schema, added[i].name),
					 errdetail("%s", fault),
					 errhint("Call vf_add_reference() with the column that took its place, and vf_drop_reference() for this one. Nothing is deleted until then.")));
	}
}

bool
vf_source_same_added(const VfSource *source)
{
	VfSource	now;

	memset(&now, 0, sizeof(now));
	now.sessions.owner = source->sessions.owner;
	vf_source_load_added(&now, VF_SOURCE_DELETE);
	if (now.n_added != source->n_added)
		return false;
	for (int i = 0; i < now.n_added; i++)
		if (strcmp(now.added[i].quoted, source->added[i].quoted) != 0 ||
			strcmp(now.added[i].keys[0].name,
				   source->added[i].keys[0].name) != 0)
			return false;
	return true;
}

void
vf_source_adopt_added(void)
{
	if (has_table())
		vf_db_run_self("UPDATE {vf}.vf_reference r SET table_oid ="
					   " coalesce((SELECT c.oid FROM pg_catalog.pg_class c"
					   " JOIN pg_catalog.pg_namespace n"
					   " ON n.oid = c.relnamespace"
					   " WHERE n.nspname = r.table_schema"
					   " AND c.relname = r.table_name), 0)", NULL);
}

void
vf_source_forget_added(void)
{
	if (has_table())
		vf_db_run_self("DELETE FROM {vf}.vf_reference", NULL);
}

/* ---- changing ---- */

static void
check_not_registered(const VfSource *source, Oid relid, const char *column)
{
	const VfTable *tables[] = {&source->sessions, &source->orders};

	for (int t = 0; t < 2; t++)
		for (int i = 0; i < tables[t]->nkeys; i++)
			if (tables[t]->relid == relid &&
				strcmp(tables[t]->keys[i].name, column) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_OBJECT),
						 errmsg("column \"%s\" of %s is a reference already",
								column, tables[t]->quoted),
						 errdetail("Columns named *_s3_key of sessions and orders are registered by vf_configure().")));
}

/* What the column holds has to be keys: nothing else would ever match. */
static int64
count_keys(const VfSource *source, const VfTable *table)
{
	VfSource	one;
	VfDbSection section;
	int64		n,
				odd;

	memset(&one, 0, sizeof(one));
	one.added = unconstify(VfTable *, table);
	one.n_added = 1;
	vf_db_enter_owner(&section, source->sessions.owner);
	vf_db_run(psprintf("SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER"
					   " (WHERE r.k ~ '^/|://') FROM (%s) r",
					   vf_source_all_references(&one)), NULL);
	n = vf_db_int(0, 0);
	odd = vf_db_int(0, 1);
	vf_db_leave(&section);
	if (odd > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("column \"%s\" of %s does not hold keys",
						table->keys[0].name, table->quoted),
				 errdetail("%lld of its %lld values are URLs or begin with a slash, and would match no object.",
						   (long long) odd, (long long) n),
				 errhint("Add a generated column that holds the key, and register that.")));
	return n;
}

/* Write a row in place of what was there. */
static void
store(const Added *added, bool waived, const char *reason)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, added->schema);
	vf_db_arg_text(&args, added->name);
	vf_db_arg_text(&args, added->column);
	vf_db_arg(&args, OIDOID, ObjectIdGetDatum(added->relid));
	vf_db_arg(&args, BOOLOID, BoolGetDatum(waived));
	vf_db_arg_text(&args, reason);
	vf_db_arg_text(&args, GetUserNameFromId(GetSessionUserId(), false));
	vf_db_run_self("INSERT INTO {vf}.vf_reference (table_schema, table_name,"
				   " column_name, table_oid, waived, reason, noted_by)"
				   " VALUES ($1, $2, $3, $4, $5, $6, $7)"
				   " ON CONFLICT (table_schema, table_name, column_name)"
				   " DO UPDATE SET (table_oid, waived, reason, noted_by,"
				   " noted_at) = ($4, $5, $6, $7, pg_catalog.now())", &args);
}

static void
describe(Added *added, Oid relid, const char *column)
{
	added->relid = relid;
	added->schema = get_namespace_name(get_rel_namespace(relid));
	added->name = get_rel_name(relid);
	added->column = unconstify(char *, column);
	if (added->name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("there is no table with oid %u", relid)));
}

int64
vf_source_add_reference(const VfSource *source, Oid relid,
						const char *column)
{
	Added		added;
	VfTable		table = {0};
	const char *fault;
	int64		n;

	describe(&added, relid, column);
	check_not_registered(source, relid, column);
	fault = resolve(&added, source->sessions.owner, &table);
	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("column \"%s\" of \"%s\".\"%s\" cannot be a reference",
						column, added.schema, added.name),
				 errdetail("%s", fault),
				 errhint("References are columns of text in tables of the owner of the sessions table.")));
	n = count_keys(source, &table);
	store(&added, false, NULL);
	return n;
}

void
vf_source_waive_reference(const VfSource *source, Oid relid,
						  const char *column, const char *reason)
{
	Added		added;

	describe(&added, relid, column);
	check_not_registered(source, relid, column);
	if (get_attnum(relid, column) <= InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of \"%s\".\"%s\" does not exist",
						column, added.schema, added.name),
				 errhint("See vf_references for the columns that look like keys.")));
	store(&added, true, reason);
}

/* A name without a schema may be that of several tables. */
static void
check_one_table(const VfDbArgs *args)
{
	uint64		n = vf_db_run_self("SELECT pg_catalog.format('%I.%I',"
								   " table_schema, table_name)"
								   " FROM {vf}.vf_reference"
								   " WHERE table_name = $1"
								   " AND column_name = $2 ORDER BY 1", args);

	if (n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_PARAMETER),
				 errmsg("%lld tables of that name are in vf_reference",
						(long long) n),
				 errdetail("Two of them are %s and %s.", vf_db_text(0, 0),
						   vf_db_text(1, 0)),
				 errhint("Name the schema too.")));
}

bool
vf_source_drop_reference(const char *table, const char *column)
{
	VfDbArgs	args = {0};

	vf_db_arg_text(&args, table);
	vf_db_arg_text(&args, column);
	if (vf_db_run_self("DELETE FROM {vf}.vf_reference WHERE"
					   " (pg_catalog.format('%I.%I', table_schema,"
					   " table_name) = $1"
					   " OR EXISTS (SELECT FROM pg_catalog.pg_class c"
					   " JOIN pg_catalog.pg_namespace n"
					   " ON n.oid = c.relnamespace WHERE c.oid = table_oid"
					   " AND $1 = pg_catalog.format('%I.%I', n.nspname,"
					   " c.relname))) AND column_name = $2 RETURNING 1",
					   &args) > 0)
		return true;
	check_one_table(&args);
	return vf_db_run_self("DELETE FROM {vf}.vf_reference"
						  " WHERE table_name = $1 AND column_name = $2"
						  " RETURNING 1", &args) > 0;
}

/* ---- showing ---- */

/*
 * Columns of text that are named like keys, in tables of no extension, but
 * for those that were registered ($1), added or waived.  Of sessions and orders
 * too: there a list of keys, or a domain, is not registered by its name.
 */
#define UNKNOWN_COLUMNS \
	"SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)," \
	" a.attname::pg_catalog.text, 'unknown'" \
	" FROM pg_catalog.pg_attribute a" \
	" JOIN pg_catalog.pg_class c ON c.oid = a.attrelid" \
	" JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace" \
	" JOIN pg_catalog.pg_type t ON t.oid = a.atttypid" \
	" LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem" \
	" AND t.typcategory = 'A'" \
	" WHERE a.attnum > 0 AND NOT a.attisdropped" \
	" AND c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition" \
	" AND c.relpersistence <> 't'" \
	" AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'" \
	" AND coalesce(e.typcategory, t.typcategory) = 'S'" \
	" AND pg_catalog.lower(a.attname) ~ '(key|path|uri|url)s?$'" \
	" AND pg_catalog.format('%s %s', c.oid, a.attname) <> ALL ($1)" \
	" AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d" \
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" AND d.objid = c.oid AND d.deptype = 'e')" \
	" AND NOT EXISTS (SELECT FROM {vf}.vf_reference r" \
	" WHERE r.column_name = a.attname AND (r.table_oid = c.oid" \
	" AND NOT r.waived OR r.waived AND r.table_schema = n.nspname" \
	" AND r.table_name = c.relname))"

/* The rows of vf_reference but for the columns that could be loaded ($2). */
#define NOTED_COLUMNS \
	"SELECT pg_catalog.format('%I.%I', table_schema, table_name)," \
	" column_name, CASE WHEN waived THEN 'waived' ELSE 'gone' END" \
	" FROM {vf}.vf_reference WHERE waived OR pg_catalog.format('%s %s'," \
	" table_oid, column_name) <> ALL ($2)"

static void
put(VfReference *r, char *table, char *column, VfReferenceState state)
{
	r->table = table;
	r->column = column;
	r->state = state;
}

/* The columns that could be loaded, as NOTED_COLUMNS names them. */
static void
arg_loaded(const VfSource *source, VfDbArgs *args)
{
	char	  **names = palloc(sizeof(char *) * Max(source->n_added, 1));

	for (int i = 0; i < source->n_added; i++)
		names[i] = psprintf("%u %s", source->added[i].relid,
							source->added[i].keys[0].name);
	vf_db_arg_texts(args, names, source->n_added);
}

/* The columns of both tables that were registered. */
static void
arg_registered(const VfSource *source, VfDbArgs *args)
{
	const VfTable *tables[] = {&source->sessions, &source->orders};
	char	  **names = palloc(sizeof(char *) *
							   Max(source->sessions.nkeys +
								   source->orders.nkeys, 1));
	int			n = 0;

	for (int t = 0; t < 2; t++)
		for (int i = 0; i < tables[t]->nkeys; i++)
			names[n++] = psprintf("%u %s", tables[t]->relid,
								  tables[t]->keys[i].name);
	vf_db_arg_texts(args, names, n);
}

static VfReferenceState
state_of(const char *word)
{
	return strcmp(word, "unknown") == 0 ? VF_REFERENCE_UNKNOWN :
		strcmp(word, "waived") == 0 ? VF_REFERENCE_WAIVED :
		VF_REFERENCE_GONE;
}

VfReference *
vf_source_list_references(const VfSource *source, int *n)
{
	const VfTable *tables[] = {&source->sessions, &source->orders};
	VfDbArgs	args = {0};
	uint64		rows;
	VfReference *result;

	arg_registered(source, &args);
	arg_loaded(source, &args);
	rows = vf_db_run_self(NOTED_COLUMNS " UNION ALL " UNKNOWN_COLUMNS
						  " ORDER BY 3, 1, 2", &args);
	result = palloc(sizeof(VfReference) *
					(rows + source->sessions.nkeys + source->orders.nkeys +
					 source->n_added));
	*n = 0;
	for (int t = 0; t < 2; t++)
		for (int i = 0; i < tables[t]->nkeys; i++)
			put(&result[(*n)++], tables[t]->quoted, tables[t]->keys[i].name,
				VF_REFERENCE_REGISTERED);
	for (int i = 0; i < source->n_added; i++)
		put(&result[(*n)++], source->added[i].quoted,
			source->added[i].keys[0].name, VF_REFERENCE_ADDED);
	for (uint64 i = 0; i < rows; i++)
		put(&result[(*n)++], vf_db_text(i, 0), vf_db_text(i, 1),
			state_of(vf_db_text(i, 2)));
	return result;
}

int
vf_source_count_references(const VfSource *source, VfReferenceState state)
{
	int			n;
	VfReference *refs = vf_source_list_references(source, &n);
	int			count = 0;

	for (int i = 0; i < n; i++)
		count += refs[i].state == state;
	return count;
}
