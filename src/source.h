/*-------------------------------------------------------------------------
 *
 * source.h
 *	  The registered application tables, their columns, and the rules that
 *	  decide about their rows, as SQL.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SOURCE_H
#define VF_SOURCE_H

#include "access/attnum.h"
#include "datatype/timestamp.h"

#include "db.h"

/*
 * Columns by their part.  The order is that of vf_source's arrays and of
 * vf_configure's columns argument.
 */
typedef enum VfColumn
{
	VF_S_ID,
	VF_S_TOKEN,
	VF_S_CREATED,
	VF_S_EXPIRES,
	VF_O_TOKEN,
	VF_O_STATUS,
	VF_O_CREATED,
	VF_O_UPDATED,				/* may be absent */
	VF_O_MIGRATION,				/* may be absent */
	VF_N_COLUMNS
} VfColumn;

/* What vf_configure calls a column by default, and in its columns argument. */
typedef struct VfColumnPart
{
	const char *part;			/* "sessions.id" */
	const char *name;			/* "id" */
	bool		of_orders;
	bool		optional;
	char		kind;			/* 'i'd, 't'ext, time 's'tamp */
} VfColumnPart;

extern const VfColumnPart vf_column_parts[VF_N_COLUMNS];

/* A *_s3_key column: a reference to an object. */
typedef struct VfKeyColumn
{
	char	   *name;			/* as in the catalog */
	char	   *quoted;
	char	   *collate;		/* " COLLATE ..." or "" */
	bool		permanent;		/* permanent_*: filled means paid */
	bool		array;			/* of keys; added columns alone */
} VfKeyColumn;

typedef struct VfTable
{
	Oid			relid;
	Oid			owner;
	char	   *schema;			/* as registered, or as followed by a rename */
	char	   *name;
	char	   *quoted;			/* schema.name */
	int			nkeys;
	VfKeyColumn *keys;
} VfTable;

typedef struct VfSource
{
	VfTable		sessions;
	VfTable		orders;
	VfTable    *added;			/* by vf_add_reference(); a key each */
	int			n_added;
	char	   *column[VF_N_COLUMNS];	/* catalog names, NULL if absent */
	char	   *quoted[VF_N_COLUMNS];
	bool		with_zone[VF_N_COLUMNS];	/* timestamptz */
	AttrNumber	attnum[VF_N_COLUMNS];	/* tells a new column of that name */
	char	   *id_type;		/* of sessions.id, as SQL writes it */
	bool		guard;			/* the payment guard is wanted */
	bool		queue_deletes;
	char	  **accepted_keys;	/* foreign keys accepted by name */
	int			n_accepted;
	bool		active;			/* a person has purged or resumed */
	char	   *pause_reason;	/* NULL: not paused */
} VfSource;

/* ---- the registration ---- */

/* How strict vf_source_load() is. */
typedef enum VfSourceUse
{
	VF_SOURCE_LOOK,				/* for views and controls */
	VF_SOURCE_DELETE			/* refuses copies, dangers */
} VfSourceUse;

extern bool vf_source_registered(void);

/* Owner of the registered sessions table, InvalidOid if there is none. */
extern Oid	vf_source_owner(void);

/*
 * Read the registration and hold it against the catalogs.  Raises 42704 when
 * nothing is registered, VF_ERRCODE_REGISTRATION when the tables are no longer
 * what was registered, VF_ERRCODE_NOT_ADOPTED in a copy.  Locks both tables in
 * ACCESS SHARE mode for the transaction.  Palloc'd.
 */
extern VfSource *vf_source_load(VfSourceUse use);

/*
 * In a later transaction of the same run: lock the tables again and raise
 * VF_ERRCODE_REGISTRATION if they were renamed, swapped or dropped, and
 * VF_ERRCODE_NOT_ADOPTED if lost history has shown meanwhile.
 */
extern void vf_source_recheck(const VfSource *source);

/* Raise VF_ERRCODE_REGISTRATION unless it is a table that can be registered. */
extern void vf_source_check_form(Oid relid, const char *what,
								 const char *quoted);

/*
 * The rules run with the rights of the owner of sessions and look for holds in
 * our schema: see that he may.
 */
extern void vf_source_show_ours(const VfSource *source);

/* Store a registration, with this server's identity. */
extern void vf_source_store(const VfSource *source);
extern void vf_source_forget(void);

/*
 * Take a copied registration over: the tables of the registered names, this
 * server's identity.  Returns what is now registered.
 */
extern VfSource *vf_source_adopt(void);

/* Flags of the one row; false if nothing is registered. */
extern bool vf_source_flags(bool *active, bool *paused);
/*
 * The bucket knows of history that this database has lost: nothing is deleted
 * until vf_adopt().
 */
extern void vf_source_set_lost(const char *what);
/* Is it neither a copy nor one that has lost history?  Never raises. */
extern bool vf_source_is_whole(void);
extern void vf_source_set_active(void);
extern void vf_source_set_pause(const char *reason);	/* NULL: resume */

/* ---- reading tables (source_find.c) ---- */

/*
 * Fill in a source from two tables: columns by the given names (NULL entries
 * take the default; "" means absent).  Raises 42703 or 42804 with the list of
 * what is missing or of a wrong type.
 */
extern void vf_source_describe(VfSource *source, Oid sessions, Oid orders,
							   char *const *columns);

/* Find both tables on the search path; raises on none and on doubt. */
extern void vf_source_find(Oid *sessions, Oid *orders,
						   char *const *columns);

/* " COLLATE ..." for a column with a collation of its own, or "". */
extern char *vf_source_collate(Oid relid, const char *column);

/* The same checks without raising: fits the table's part? */
extern bool vf_source_fits(Oid relid, bool of_orders, char *const *columns);

/*
 * Raise an error for what makes a purge of these tables unsafe: cascading
 * foreign keys not accepted, rules on DELETE, deferred triggers.
 */
extern void vf_source_check_dangers(const VfSource *source);

/* Leaf tables of sessions: oids, palloc'd. */
extern Oid *vf_source_leaves(const VfSource *source, int *n);
/* Is it one of them still?  It may be gone altogether. */
extern bool vf_source_has_leaf(const VfSource *source, Oid leaf);

/* ---- references (source_refs.c) ---- */

/*
 * Those of the keys that a row of sessions, orders or an added column
 * references, in a new statement with its own snapshot.
 */
extern char **vf_source_referenced(const VfSource *source,
								   char *const *keys, int n, int *found);

/* A query of all of them, text column k; not closed by a set operation. */
extern char *vf_source_all_references(const VfSource *source);

/*
 * Read and lock the added columns of a source whose sessions are known
 * (source_added.c).  One that is no longer what was added is left out, or,
 * before anything is deleted, raises VF_ERRCODE_REGISTRATION.
 */
extern void vf_source_load_added(VfSource *source, VfSourceUse use);
/* Are they still the same? */
extern bool vf_source_same_added(const VfSource *source);
/* In a copy that is taken over: find the tables by their names. */
extern void vf_source_adopt_added(void);

extern void vf_source_forget_added(void);

/*
 * Add a column; raises an error if it cannot be one of keys.  Returns how many
 * it has.
 */
extern int64 vf_source_add_reference(const VfSource *source, Oid relid,
									 const char *column);
/* Note that a column does not hold keys of the bucket. */
extern void vf_source_waive_reference(const VfSource *source, Oid relid,
									  const char *column,
									  const char *reason);
/* Forget one that was added or waived, by the table's name. */
extern bool vf_source_drop_reference(const char *table, const char *column);

typedef enum VfReferenceState
{
	VF_REFERENCE_REGISTERED,	/* of sessions or orders */
	VF_REFERENCE_ADDED,
	VF_REFERENCE_GONE,			/* added, and no longer there */
	VF_REFERENCE_WAIVED,
	VF_REFERENCE_UNKNOWN		/* named like keys, and nobody has said */
} VfReferenceState;

typedef struct VfReference
{
	char	   *table;			/* quoted */
	char	   *column;
	VfReferenceState state;
} VfReference;

/* How many are in a state. */
extern int	vf_source_count_references(const VfSource *source,
									   VfReferenceState state);

/* All columns that hold keys, or may. */
extern VfReference *vf_source_list_references(const VfSource *source, int *n);

/* ---- whole rows (source_rows.c) ---- */

/* A column of the sessions table, in its order. */
typedef struct VfRowColumn
{
	char	   *name;
	char	   *quoted;
	Oid			output;			/* its type's output function */
	bool		generated;		/* computed from others: never written */
	bool		domain;
} VfRowColumn;

extern VfRowColumn *vf_source_row_columns(const VfSource *source, int *n);

/*
 * A row as texts, text[]: what the output functions write.  To be called in a
 * section as the owner, with the settings of vf_source_row_settings().
 */
extern Datum vf_source_row_texts(const VfRowColumn *columns, int n,
								 const Datum *values, const bool *nulls);
extern void vf_source_row_settings(void);

/* A row that is to be put back: texts by the names that the columns had. */
typedef struct VfSavedRow
{
	char	   *id;
	char	  **names;
	int			n_names;
	Datum		texts;			/* text[] */
} VfSavedRow;

/*
 * Put rows back; sets back for those that are.  One whose id or token a row
 * has again is left out; any other trouble is an error.
 */
extern void vf_source_insert_rows(const VfSource *source,
								  const VfSavedRow *rows, int n, bool *back);

/* ---- the guard (source_guard.c) ---- */

typedef enum VfGuardState
{
	VF_GUARD_STANDS,
	VF_GUARD_REFUSED,			/* vf_configure(payment_guard => false) */
	VF_GUARD_MISSING,			/* dropped, or not what we would install */
	VF_GUARD_DISABLED			/* not ENABLE ALWAYS on every partition */
} VfGuardState;

extern VfGuardState vf_source_guard_state(const VfSource *source);

/*
 * Is a payment under way whose guard could not lock its session, because the
 * table or a column had another name then?  Asked with the tables locked, so
 * that no such payment can begin.
 */
extern bool vf_source_guard_failing(void);

/* Install the triggers that the source wants, replacing those that stand. */
extern void vf_source_guard_install(const VfSource *source);
extern void vf_source_guard_remove(const VfSource *source);

/* ---- rules (source_rules.c) ---- */

/*
 * Arguments $1 to $6 of every statement that contains rules:
 * $1 and $2 cuts of expires_at and created_at, $3 unpaid statuses, $4 and $5
 * cuts of the order's created_at and updated_at, $6 the interval by which the
 * two due times of a session differ.
 */
#define VF_RULE_ARGS 6

typedef struct VfRules
{
	TimestampTz now;
	TimestampTz expires_cut;	/* expires_at before this is due */
	TimestampTz created_cut;
	TimestampTz checkout_cut;
	char	   *fingerprint;	/* changes when any rule does */
} VfRules;

extern void vf_rules_at(const VfSource *source, TimestampTz now,
						VfRules *rules);
extern void vf_rules_args(const VfSource *source, const VfRules *rules,
						  VfDbArgs *args);

/* An absolute time as the type of the column, for an argument. */
extern void vf_rules_arg_time(const VfSource *source, VfColumn column,
							  TimestampTz time, VfDbArgs *args);

/*
 * Names for vf_db_fill(): tables, columns ({id}, {token}, ..., {order_status}),
 * and the rules over aliases s and o:
 *	{time_due}	the session's time is up by one rule or the other
 *	{blocked}	EXISTS: an order that keeps it
 *	{held}		EXISTS: a hold that keeps it
 *	{pays}		order o pays
 *	{keeps}		order o pays or is in checkout
 *	{matches}	order o is of session s
 *	{first_expired} it expired before it was unpaid for too long
 *	{rule}		'expired' or 'unpaid', whichever came first
 *	{due_since}	timestamptz since when the session is due
 *	{session_keys} an array of the session's keys
 *	{id_type}	the type of sessions.id
 * extra is appended; ends with a NULL name.
 */
extern VfDbName *vf_rules_names(const VfSource *source,
								const VfDbName *extra);

#endif							/* VF_SOURCE_H */
