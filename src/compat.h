/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between PostgreSQL 15 and 18, in this place alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_COMPAT_H
#define VF_COMPAT_H

#include "common/jsonapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#ifndef FRONTEND				/* the unit tests of a pure reader */
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"				/* postgres.h has it no longer */
#endif
#if PG_VERSION_NUM >= 170000
#include "storage/dsm_registry.h"
#endif
#endif

/*
 * The server's JSON parser, over ASCII.  From 16 on its actions may refuse;
 * ours note a fault and go on, as they must on 15.
 */
#if PG_VERSION_NUM >= 160000
typedef JsonParseErrorType VfCompatJsonAction;
#define VF_COMPAT_JSON_DONE	JSON_SUCCESS
#else
typedef void VfCompatJsonAction;
#define VF_COMPAT_JSON_DONE
#endif

static inline JsonLexContext *
vf_compat_json_open(char *text, int len)
{
#if PG_VERSION_NUM >= 170000
	return makeJsonLexContextCstringLen(NULL, text, len, PG_UTF8, true);
#else
	return makeJsonLexContextCstringLen(text, len, PG_UTF8, true);
#endif
}

/* The last string read may be a secret. */
static inline void
vf_compat_json_close(JsonLexContext *lex)
{
	explicit_bzero(lex->strval->data, lex->strval->maxlen);
#if PG_VERSION_NUM >= 170000
	freeJsonLexContext(lex);
#else
	pfree(lex->strval->data);
	pfree(lex->strval);
	pfree(lex);
#endif
}

#ifndef FRONTEND

/*
 * Does this backend hold a weak lock on a table?  Such locks are kept in its
 * own slots, up to at least 16.  Others only ever empty them.
 */
static inline bool
vf_compat_holds_table(void)
{
#if PG_VERSION_NUM >= 180000
	for (int i = 0; i < FastPathLockGroupsPerBackend; i++)
		if (MyProc->fpLockBits[i] != 0)
			return true;
	return false;
#else
	return MyProc->fpLockBits != 0;
#endif
}

/*
 * Shared memory by name, made on first use, also where the library was not
 * preloaded: 17 has a registry of dynamic segments; before, a few spare KB of
 * the main segment serve.  init must tolerate being the only writer.
 */
static inline void *
vf_compat_shmem(const char *name, Size size, void (*init) (void *ptr))
{
	bool		found;
	void	   *ptr;

#if PG_VERSION_NUM >= 170000
	ptr = GetNamedDSMSegment(name, size, init, &found);
#else
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	ptr = ShmemInitStruct(name, size, &found);
	if (!found)
		init(ptr);
	LWLockRelease(AddinShmemInitLock);
#endif
	return ptr;
}

/* Does a preloaded library have to reserve memory before the server starts? */
static inline bool
vf_compat_reserves_shmem(void)
{
#if PG_VERSION_NUM >= 170000
	return false;
#else
	return true;
#endif
}

/* Does this process run with a latch of its own that pid leads to? */
static inline PGPROC *
vf_compat_proc_by_pid(int pid)
{
	return BackendPidGetProc(pid);
}

#endif							/* FRONTEND */

#endif							/* VF_COMPAT_H */
