/*-------------------------------------------------------------------------
 *
 * sql_rights.h
 *	  Who may call what, and small common parts of the desks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SQL_RIGHTS_H
#define VF_SQL_RIGHTS_H

#include "fmgr.h"

/* Raise 42501 unless the caller is a superuser. */
extern void vf_sql_require_superuser(const char *what);

/*
 * Raise 42501 unless the caller is a superuser or has the rights of the
 * registered sessions table's owner.
 */
extern void vf_sql_require_owner(const char *what);

/*
 * Raise 2D000 if the procedure was called inside a transaction block, where it
 * could not commit.
 */
extern void vf_sql_require_top_level(FunctionCallInfo fcinfo,
									 const char *what, const char *hint);

/* A VfHttpTick for whoever waits at a prompt: only a cancel stops it. */
extern bool vf_sql_tick(void *arg);

#endif							/* VF_SQL_RIGHTS_H */
