/*-------------------------------------------------------------------------
 *
 * source_copy.h
 *	  Files of paying orders, and the permanent copies that rows name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SOURCE_COPY_H
#define VF_SOURCE_COPY_H

#include "source.h"

/* The order's column for the permanent copy of a key column, or NULL. */
extern const char *vf_source_copy_column(const VfSource *source,
										 const char *column);

/*
 * A statement over all columns of sessions that have a column for their copy:
 * the template once for each, joined by UNION ALL; NULL if there is none.
 * Beside the names of the rules it may use {column}, {name} (a literal) and
 * {copy}, the order's column.
 */
extern char *vf_source_each_copied(const VfSource *source,
								   const char *template,
								   const VfDbName *extra);

/* Session s, order o: the file has no copy, and the order pays. */
#define VF_SOURCE_AT_RISK \
	" s.{column} <> '' AND coalesce(o.{copy}, '') = '' AND {pays}"

/* A file that is at risk. */
typedef struct VfRiskyFile
{
	char	   *session_id;
	char	   *order_id;
	char	   *column;
	char	   *key;
} VfRiskyFile;

/* Which of them are asked for. */
typedef struct VfRiskyFiles
{
	const char *token;			/* of their session; NULL: of all */
	TimestampTz before;			/* orders changed last before; DT_NOEND: all */
	int64		max;
	bool		only_new;		/* not those of which a copy is queued */
	bool		but_refused;	/* nor those where a person has cancelled it */
} VfRiskyFiles;

/*
 * Files of the oldest sessions first.  Raises an error if orders have no
 * primary key of one column.
 */
extern VfRiskyFile *vf_source_risky_files(const VfSource *source,
										  const VfRiskyFiles *which, int *n);

typedef enum VfCopyNeed
{
	VF_COPY_WANTED,
	VF_COPY_NO_ORDER,			/* or it is another session's by now */
	VF_COPY_UNPAID,
	VF_COPY_FILLED				/* the order names a copy already */
} VfCopyNeed;

/* A copy as rows are to name it. */
typedef struct VfSourceCopy
{
	const char *session_id;
	const char *order_id;
	const char *column;
	const char *source;
	const char *target;
} VfSourceCopy;

extern VfCopyNeed vf_source_needs_copy(const VfSource *source,
									   const VfSourceCopy *copy);

/*
 * Let the order name the copy, if it pays and names none yet; when all files
 * of the order have one, its migration is complete.
 */
extern VfCopyNeed vf_source_store_copy(const VfSource *source,
									   const VfSourceCopy *copy);

typedef enum VfSessionMove
{
	VF_SESSION_MOVED,
	VF_SESSION_CHANGED,			/* it names another file, or none */
	VF_SESSION_GONE
} VfSessionMove;

/*
 * Let the session name the copy where it names the source.  current: what it
 * names otherwise, NULL if nothing.
 */
extern VfSessionMove vf_source_move_session(const VfSource *source,
											const VfSourceCopy *copy,
											char **current);

#endif							/* VF_SOURCE_COPY_H */
