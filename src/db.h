/*-------------------------------------------------------------------------
 *
 * db.h
 *	  Statements, transactions and identities: the only user of SPI.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_DB_H
#define VF_DB_H

#include "datatype/timestamp.h"
#include "storage/block.h"
#include "storage/lockdefs.h"

/* ---- text of statements ---- */

/* A {name} of a template and the text that stands for it. */
typedef struct VfDbName
{
	const char *name;
	const char *text;
} VfDbName;

/*
 * Fill a template's {names} in one pass, so that no text put in is ever read
 * as a template again.  {vf} is always the extension's schema.  names ends
 * with a NULL name, and may be NULL.  Palloc'd.
 */
extern char *vf_db_fill(const char *template, const VfDbName *names);

/* ---- statements ---- */

#define VF_DB_MAX_ARGS 20

typedef struct VfDbArgs
{
	int			n;
	Oid			types[VF_DB_MAX_ARGS];
	Datum		values[VF_DB_MAX_ARGS];
	char		nulls[VF_DB_MAX_ARGS];
} VfDbArgs;

extern void vf_db_arg(VfDbArgs *args, Oid type, Datum value);
extern void vf_db_arg_null(VfDbArgs *args, Oid type);
/* int8; 0 gives a null */
extern void vf_db_arg_id(VfDbArgs *args, int64 value);
/* text; NULL gives a null */
extern void vf_db_arg_text(VfDbArgs *args, const char *value);
/* text[] of text datums, palloc'd; n may be 0 */
extern Datum vf_db_text_array(Datum *values, int n);
extern void vf_db_arg_text_datums(VfDbArgs *args, Datum *values, int n);
/* text[]; n may be 0 */
extern void vf_db_arg_texts(VfDbArgs *args, char *const *values, int n);

/*
 * Join and leave SPI.  Between the two, results of the last statement can be
 * read.  nonatomic allows vf_db_commit().  Raises an error where the objects
 * of the extension are of another version than this library.
 */
extern void vf_db_open(bool nonatomic);
/* The same whatever their version, for what only looks or has to work then. */
extern void vf_db_open_any(bool nonatomic);
extern void vf_db_close(void);

/*
 * Run one statement with its own fresh snapshot (READ COMMITTED), raising an
 * error on anything but success.  Returns the number of rows.
 */
extern uint64 vf_db_run(const char *sql, const VfDbArgs *args);

/*
 * The same, with each row handed to a function instead of kept: memory does
 * not grow with the result.  Values live until the function returns.  It runs
 * in the caller's memory context and must not run statements.
 */
typedef void (*VfDbRow) (void *arg, const Datum *values, const bool *nulls);
extern uint64 vf_db_each(const char *sql, const VfDbArgs *args, VfDbRow row,
						 void *arg);

/* A statement that is run many times; the plan lasts until vf_db_close(). */
typedef struct VfDbPlan VfDbPlan;

/* Prepare a template without names but {vf}, for arguments of these types. */
extern VfDbPlan *vf_db_prepare(const char *template, const VfDbArgs *args);
extern void vf_db_run_plan(VfDbPlan *plan, const VfDbArgs *args);
extern void vf_db_free_plan(VfDbPlan *plan);

/* The same for a template without names but {vf}. */
extern uint64 vf_db_runf(const char *template, const VfDbArgs *args);

/* Values of the last result; columns count from 0. */
extern bool vf_db_is_null(uint64 row, int col);
extern Datum vf_db_datum(uint64 row, int col);	/* by-reference: not copied */
extern char *vf_db_text(uint64 row, int col);	/* palloc'd, NULL if null */
extern int64 vf_db_int(uint64 row, int col);	/* int8 column, 0 if null */
extern bool vf_db_bool(uint64 row, int col);	/* false if null */
extern TimestampTz vf_db_time(uint64 row, int col); /* DT_NOBEGIN if null */
/* Elements of a text[] column, palloc'd in the caller's context. */
extern char **vf_db_texts(uint64 row, int col, int *n);

/* ---- who runs a statement ---- */

typedef struct VfDbSection
{
	Oid			userid;
	int			sec_context;
	int			nest_level;
} VfDbSection;

/*
 * As the owner of an application's table: a security-restricted operation
 * with its own settings (search_path, row_security, no jit), so that whatever
 * the owner's triggers do is undone at vf_db_leave().
 */
extern void vf_db_enter_owner(VfDbSection *section, Oid owner);

/* As the extension's owner, for our own tables. */
extern void vf_db_enter_self(VfDbSection *section);

extern void vf_db_leave(const VfDbSection *section);

/* vf_db_runf() as the extension's owner. */
extern uint64 vf_db_run_self(const char *template, const VfDbArgs *args);

/* A setting for the rest of the section. */
extern void vf_db_set(const char *name, const char *value);

/*
 * What waits for the commit fires with its statement, until then: deferred, a
 * trigger could not fire within a section of its table's owner at all.
 */
extern void vf_db_defer_nothing(void);

/* ---- transactions ---- */

/* Commit, and begin the next transaction in READ COMMITTED. */
extern void vf_db_commit(void);

/*
 * The same, on disk before it returns whatever synchronous_commit says: for
 * what must not come back once something outside the database was done.
 */
extern void vf_db_commit_flushed(void);

/*
 * The same without waiting for the disk: for one of many, the last of which is
 * a plain one.  What is on disk never has gaps: a later commit that is flushed
 * takes this one with it.
 */
extern void vf_db_commit_unflushed(void);

/*
 * Run body(arg) in a subtransaction.  On an error that concerns only what body
 * touched, roll back to before it and return the error, palloc'd; NULL on
 * success.  Cancellation, shutdown and exhausted resources pass through.
 */
typedef void (*VfDbBody) (void *arg);
extern struct ErrorData *vf_db_try(VfDbBody body, void *arg);

/*
 * The horizon: all transactions before it are over, and what they wrote is
 * seen by every statement from here on.  The age of a transaction is how many
 * have begun since, as age(xmin) tells it in this transaction.
 */
extern TransactionId vf_db_horizon(void);
extern int32 vf_db_age(TransactionId xid);

/* Raise an error unless statements see what others commit in between. */
extern void vf_db_require_read_committed(const char *what, const char *hint);

/* An internal error if a transaction id, a snapshot or a table is held. */
extern void vf_db_assert_idle(const char *where);

/*
 * Lock a table and all its partitions without looking at rights or whether it
 * still exists; with a timeout in ms (0: none), raising 55P03 when it passes.
 */
extern void vf_db_lock(Oid relid, LOCKMODE mode, int timeout_ms);

/* Pages of a table that is locked; 0 if it has none of its own. */
extern BlockNumber vf_db_pages(Oid relid);

/* ---- the extension itself ---- */

extern bool vf_db_installed(void);
/* NULL, or that our objects are of another version than the library. */
extern char *vf_db_version_fault(void);
/* Raises an error if it is not installed. */
extern Oid	vf_db_extension_owner(void);
extern Oid	vf_db_schema_oid(void);
extern const char *vf_db_schema(void);	/* quoted name */

/*
 * Does a DELETE do more to this table's rows than delete them: a trigger, a
 * foreign key that changes other rows?  Keys that only check do not count, nor
 * does our own trigger.  To be asked with the table locked.
 */
extern bool vf_db_delete_fires(Oid relid);

#endif							/* VF_DB_H */
