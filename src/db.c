/*-------------------------------------------------------------------------
 *
 * db.c
 *	  Statements, transactions and identities: the only user of SPI.
 *
 * Every statement that we generate goes through vf_db_fill(), every value
 * through an argument; nothing is ever pasted.  Errors are raised as they come;
 * vf_db_try() is the one place that catches any.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/params.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/dest.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "compat.h"
#include "db.h"

/* ---- text of statements ---- */

static const char *
text_of_name(const char *name, size_t len, const VfDbName *names)
{
	if (len == 2 && strncmp(name, "vf", 2) == 0)
		return vf_db_schema();
	for (; names != NULL && names->name != NULL; names++)
	{
		if (strlen(names->name) == len &&
			strncmp(names->name, name, len) == 0)
			return names->text;
	}
	elog(ERROR, "no text for {%.*s} in a statement", (int) len, name);
}

char *
vf_db_fill(const char *template, const VfDbName *names)
{
	StringInfoData buf;
	const char *p = template;

	initStringInfo(&buf);
	while (*p != '\0')
	{
		const char *open = strchr(p, '{');
		const char *close;

		if (open == NULL)
			break;
		close = strchr(open, '}');
		if (close == NULL)
			elog(ERROR, "unclosed name in a statement");
		appendBinaryStringInfo(&buf, p, open - p);
		appendStringInfoString(&buf,
							   text_of_name(open + 1, close - open - 1, names));
		p = close + 1;
	}
	appendStringInfoString(&buf, p);
	return buf.data;
}

/* ---- statements ---- */

static int
next_arg(VfDbArgs *args, Oid type)
{
	int			i = args->n++;

	if (i >= VF_DB_MAX_ARGS)
		elog(ERROR, "too many arguments for a statement");
	args->types[i] = type;
	return i;
}

void
vf_db_arg(VfDbArgs *args, Oid type, Datum value)
{
	int			i = next_arg(args, type);

	args->values[i] = value;
	args->nulls[i] = ' ';
}

void
vf_db_arg_null(VfDbArgs *args, Oid type)
{
	int			i = next_arg(args, type);

	args->values[i] = (Datum) 0;
	args->nulls[i] = 'n';
}

void
vf_db_arg_id(VfDbArgs *args, int64 value)
{
	if (value == 0)
		vf_db_arg_null(args, INT8OID);
	else
		vf_db_arg(args, INT8OID, Int64GetDatum(value));
}

void
vf_db_arg_text(VfDbArgs *args, const char *value)
{
	if (value == NULL)
		vf_db_arg_null(args, TEXTOID);
	else
		vf_db_arg(args, TEXTOID, CStringGetTextDatum(value));
}

Datum
vf_db_text_array(Datum *values, int n)
{
	return PointerGetDatum(construct_array(values, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

void
vf_db_arg_text_datums(VfDbArgs *args, Datum *values, int n)
{
	vf_db_arg(args, TEXTARRAYOID, vf_db_text_array(values, n));
}

void
vf_db_arg_texts(VfDbArgs *args, char *const *values, int n)
{
	Datum	   *elems = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		elems[i] = CStringGetTextDatum(values[i]);
	vf_db_arg_text_datums(args, elems, n);
}

static void
require_version(void)
{
	char	   *fault = vf_db_version_fault();

	if (fault != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s", fault),
				 errdetail("Nothing is purged or drained until they are the same."),
				 errhint("Run ALTER EXTENSION voiceframe_retention UPDATE. If the library is the older one, install the newer one and restart the server.")));
}

void
vf_db_open(bool nonatomic)
{
	require_version();
	vf_db_open_any(nonatomic);
}

void
vf_db_open_any(bool nonatomic)
{
	if (SPI_connect_ext(nonatomic ? SPI_OPT_NONATOMIC : 0) != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
}

void
vf_db_close(void)
{
	SPI_finish();
}

/* Fetch what the result has out of line while there is a snapshot to do so. */
static void
flatten_result(void)
{
	SPITupleTable *table = SPI_tuptable;
	MemoryContext old;

	if (table == NULL)
		return;
	old = MemoryContextSwitchTo(table->tuptabcxt);
	for (uint64 i = 0; i < table->numvals; i++)
	{
		if (HeapTupleHasExternal(table->vals[i]))
			table->vals[i] = toast_flatten_tuple(table->vals[i],
												 table->tupdesc);
	}
	MemoryContextSwitchTo(old);
}

/*
 * SPI takes a snapshot for the statement itself, but parsing wants one before,
 * and a worker has no portal to lend it.  With ours popped, none outlives the
 * statement.
 */
static bool
lend_snapshot(void)
{
	if (ActiveSnapshotSet())
		return false;
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

static void
take_snapshot_back(bool lent)
{
	if (lent)
		PopActiveSnapshot();
}

/* Execute a statement for its result table, or for a receiver of its rows. */
static void
execute(const char *sql, const VfDbArgs *args, DestReceiver *receiver)
{
	static const VfDbArgs none = {0};
	MemoryContext context = CurrentMemoryContext;
	SPIExecuteOptions options = {0};
	ParamListInfo params;
	bool		lent;
	int			rc;

	if (args == NULL)
		args = &none;
	SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = NULL;
	params = makeParamList(args->n);
	for (int i = 0; i < args->n; i++)
	{
		params->params[i].value = args->values[i];
		params->params[i].isnull = args->nulls[i] == 'n';
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = args->types[i];
	}
	options.params = params;
	options.dest = receiver;
	lent = lend_snapshot();
	rc = SPI_execute_extended(sql, &options);
	if (rc < 0)
		elog(ERROR, "statement failed: %s", SPI_result_code_string(rc));
	flatten_result();
	take_snapshot_back(lent);

	/*
	 * SPI leaves its own context current, which lives until SPI_finish();
	 * what the caller allocates belongs where it was.
	 */
	MemoryContextSwitchTo(context);
}

uint64
vf_db_run(const char *sql, const VfDbArgs *args)
{
	execute(sql, args, NULL);
	return SPI_processed;
}

/* A DestReceiver that hands each row on. */
typedef struct RowReceiver
{
	DestReceiver base;
	VfDbRow		row;
	void	   *arg;
	MemoryContext context;
} RowReceiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	RowReceiver *receiver = (RowReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(receiver->context);

	slot_getallattrs(slot);
	receiver->row(receiver->arg, slot->tts_values, slot->tts_isnull);
	MemoryContextSwitchTo(old);
	return true;
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
	(void) self;
	(void) operation;
	(void) desc;
}

static void
receive_nothing(DestReceiver *self)
{
	(void) self;
}

uint64
vf_db_each(const char *sql, const VfDbArgs *args, VfDbRow row, void *arg)
{
	RowReceiver receiver = {
		{receive_row, receive_startup, receive_nothing, receive_nothing,
		DestNone},
		row, arg, CurrentMemoryContext
	};

	execute(sql, args, &receiver.base);
	return SPI_processed;
}

uint64
vf_db_runf(const char *template, const VfDbArgs *args)
{
	char	   *sql = vf_db_fill(template, NULL);
	uint64		n = vf_db_run(sql, args);

	pfree(sql);
	return n;
}

struct VfDbPlan
{
	SPIPlanPtr	spi;
};

VfDbPlan *
vf_db_prepare(const char *template, const VfDbArgs *args)
{
	VfDbPlan   *plan = palloc(sizeof(VfDbPlan));
	char	   *sql = vf_db_fill(template, NULL);
	Oid			types[VF_DB_MAX_ARGS];
	bool		lent = lend_snapshot();

	memcpy(types, args->types, sizeof(types));
	plan->spi = SPI_prepare(sql, args->n, types);
	take_snapshot_back(lent);
	if (plan->spi == NULL)
		elog(ERROR, "could not prepare a statement: %s",
			 SPI_result_code_string(SPI_result));
	pfree(sql);
	return plan;
}

void
vf_db_run_plan(VfDbPlan *plan, const VfDbArgs *args)
{
	MemoryContext context = CurrentMemoryContext;
	char		nulls[VF_DB_MAX_ARGS];
	Datum		values[VF_DB_MAX_ARGS];
	bool		lent = lend_snapshot();
	int			rc;

	memcpy(nulls, args->nulls, sizeof(nulls));
	memcpy(values, args->values, sizeof(values));
	rc = SPI_execute_plan(plan->spi, values, nulls, false, 0);
	take_snapshot_back(lent);
	if (rc < 0)
		elog(ERROR, "statement failed: %s", SPI_result_code_string(rc));
	MemoryContextSwitchTo(context);
}

void
vf_db_free_plan(VfDbPlan *plan)
{
	SPI_freeplan(plan->spi);
	pfree(plan);
}

Datum
vf_db_datum(uint64 row, int col)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 col + 1, &isnull);
}

bool
vf_db_is_null(uint64 row, int col)
{
	return heap_attisnull(SPI_tuptable->vals[row], col + 1,
						  SPI_tuptable->tupdesc);
}

/* text or varchar; anything else would need its output function */
char *
vf_db_text(uint64 row, int col)
{
	if (vf_db_is_null(row, col))
		return NULL;
	return TextDatumGetCString(vf_db_datum(row, col));
}

int64
vf_db_int(uint64 row, int col)
{
	return vf_db_is_null(row, col) ? 0 : DatumGetInt64(vf_db_datum(row, col));
}

bool
vf_db_bool(uint64 row, int col)
{
	return !vf_db_is_null(row, col) && DatumGetBool(vf_db_datum(row, col));
}

TimestampTz
vf_db_time(uint64 row, int col)
{
	if (vf_db_is_null(row, col))
		return DT_NOBEGIN;
	return DatumGetTimestampTz(vf_db_datum(row, col));
}

char **
vf_db_texts(uint64 row, int col, int *n)
{
	Datum	   *elems;
	char	  **result;

	*n = 0;
	if (vf_db_is_null(row, col))
		return NULL;
	deconstruct_array(DatumGetArrayTypeP(vf_db_datum(row, col)),
					  TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL, n);
	result = palloc(sizeof(char *) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		result[i] = TextDatumGetCString(elems[i]);
	pfree(elems);
	return result;
}

/* ---- who runs a statement ---- */

void
vf_db_set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

static void
enter(VfDbSection *section, Oid userid, int flags)
{
	GetUserIdAndSecContext(&section->userid, &section->sec_context);
	section->nest_level = NewGUCNestLevel();
	SetUserIdAndSecContext(userid, section->sec_context | flags);
	vf_db_set("search_path", "pg_catalog, pg_temp");
	vf_db_set("row_security", "off");
	vf_db_set("jit", "off");
	vf_db_set("max_parallel_workers_per_gather", "0");
}

void
vf_db_enter_owner(VfDbSection *section, Oid owner)
{
	enter(section, owner, SECURITY_RESTRICTED_OPERATION);
}

void
vf_db_enter_self(VfDbSection *section)
{
	enter(section, vf_db_extension_owner(), SECURITY_LOCAL_USERID_CHANGE);
}

void
vf_db_leave(const VfDbSection *section)
{
	AtEOXact_GUC(false, section->nest_level);
	SetUserIdAndSecContext(section->userid, section->sec_context);
}

void
vf_db_defer_nothing(void)
{
	vf_db_run("SET CONSTRAINTS ALL IMMEDIATE", NULL);
}

uint64
vf_db_run_self(const char *template, const VfDbArgs *args)
{
	VfDbSection section;
	uint64		n;

	vf_db_enter_self(&section);
	n = vf_db_runf(template, args);
	vf_db_leave(&section);
	return n;
}

/* ---- transactions ---- */

void
vf_db_commit(void)
{
	SPI_commit();

	/*
	 * The new transaction took the session's default isolation level; nothing
	 * has looked at the database in it yet, so it can still change.
	 */
	XactIsoLevel = XACT_READ_COMMITTED;
}

void
vf_db_commit_flushed(void)
{
	ForceSyncCommit();
	vf_db_commit();
}

void
vf_db_commit_unflushed(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	vf_db_commit();
}

/* Errors that say nothing about the rows at hand: the caller must see them. */
static bool
concerns_everything(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
			return true;
		case ERRCODE_OPERATOR_INTERVENTION:
			return true;
		default:
			return sqlerrcode == ERRCODE_DATA_CORRUPTED ||
				sqlerrcode == ERRCODE_INDEX_CORRUPTED;
	}
}

ErrorData *
vf_db_try(VfDbBody body, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		body(arg);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();

	/* Only now: left open, our subtransaction would make it the session's. */
	if (error != NULL && concerns_everything(error->sqlerrcode))
		ReThrowError(error);
	return error;
}

/*
 * A snapshot taken later has no older horizon: those under way then are among
 * those under way now, or began later.
 */
TransactionId
vf_db_horizon(void)
{
	return GetTransactionSnapshot()->xmin;
}

int32
vf_db_age(TransactionId xid)
{
	return DatumGetInt32(DirectFunctionCall1(xid_age,
											 TransactionIdGetDatum(xid)));
}

void
vf_db_require_read_committed(const char *what, const char *hint)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s needs the isolation level READ COMMITTED", what),
				 errdetail("Under REPEATABLE READ and SERIALIZABLE a payment that is committed in between would not be seen."),
				 errhint("%s", hint)));
}

void
vf_db_assert_idle(const char *where)
{
	if (ActiveSnapshotSet() || vf_compat_holds_table() ||
		TransactionIdIsValid(GetCurrentTransactionIdIfAny()))
		elog(ERROR, "%s would talk to the network with a transaction open",
			 where);
}

void
vf_db_lock(Oid relid, LOCKMODE mode, int timeout_ms)
{
	int			nest_level = NewGUCNestLevel();
	char		timeout[16];

	/* Whoever is in more of a hurry than we is not made to wait. */
	if (LockTimeout > 0 && (timeout_ms == 0 || LockTimeout < timeout_ms))
		timeout_ms = LockTimeout;
	snprintf(timeout, sizeof(timeout), "%d", timeout_ms);
	vf_db_set("lock_timeout", timeout);
	LockRelationOid(relid, mode);
	if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		(void) find_all_inheritors(relid, mode, NULL);
	AtEOXact_GUC(false, nest_level);
}

BlockNumber
vf_db_pages(Oid relid)
{
	Relation	rel = try_relation_open(relid, NoLock);
	BlockNumber pages = 0;

	if (rel == NULL)
		return 0;
	if (RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		pages = RelationGetNumberOfBlocks(rel);
	relation_close(rel, NoLock);
	return pages;
}

/* ---- the extension itself ---- */

/* Our row of pg_extension. */
typedef struct Extension
{
	Oid			owner;
	Oid			schema;
	char		version[NAMEDATALEN];
} Extension;

/* There is no system cache for it. */
static bool
read_extension(Extension *ext)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber,
				F_NAMEEQ, CStringGetDatum("voiceframe_retention"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);
		bool		isnull;
		Datum		version = heap_getattr(tuple, Anum_pg_extension_extversion,
										   RelationGetDescr(rel), &isnull);

		ext->owner = form->extowner;
		ext->schema = form->extnamespace;
		text_to_cstring_buffer(DatumGetTextPP(version), ext->version,
							   sizeof(ext->version));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

static void
require_extension(Extension *ext)
{
	if (!read_extension(ext))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"voiceframe_retention\" is not installed in this database"),
				 errhint("Run CREATE EXTENSION voiceframe_retention.")));
}

/* A trigger of that name may be anybody's, a function of ours may not. */
static bool
is_queue_deletes(const Trigger *trigger)
{
	Extension	ext;

	return strcmp(trigger->tgname, "vf_queue_deleted") == 0 &&
		read_extension(&ext) &&
		get_func_namespace(trigger->tgfoid) == ext.schema &&
		strcmp(get_func_name(trigger->tgfoid), "vf_queue_deleted") == 0;
}

bool
vf_db_delete_fires(Oid relid)
{
	Relation	rel = table_open(relid, NoLock);
	const TriggerDesc *all = rel->trigdesc;
	bool		fires = false;

	for (int i = 0; all != NULL && i < all->numtriggers && !fires; i++)
	{
		const Trigger *t = &all->triggers[i];

		fires = TRIGGER_FOR_DELETE(t->tgtype) &&
			t->tgfoid != F_RI_FKEY_NOACTION_DEL &&
			t->tgfoid != F_RI_FKEY_RESTRICT_DEL && !is_queue_deletes(t);
	}
	table_close(rel, NoLock);
	return fires;
}

bool
vf_db_installed(void)
{
	Extension	ext;

	return read_extension(&ext);
}

Oid
vf_db_extension_owner(void)
{
	Extension	ext;

	require_extension(&ext);
	return ext.owner;
}

Oid
vf_db_schema_oid(void)
{
	Extension	ext;

	require_extension(&ext);
	return ext.schema;
}

const char *
vf_db_schema(void)
{
	return quote_identifier(get_namespace_name(vf_db_schema_oid()));
}

char *
vf_db_version_fault(void)
{
	Extension	ext;

	require_extension(&ext);
	if (strcmp(ext.version, VF_VERSION) == 0)
		return NULL;
	return psprintf("the objects of extension voiceframe_retention are of version %s, its library is of version %s",
					ext.version, VF_VERSION);
}
