/*-------------------------------------------------------------------------
 *
 * fake_server.c
 *	  The little of the server that the room s3 calls, for the unit tests.
 *
 * Memory is malloc'd, so that the sanitizer sees every byte of it; errors
 * jump to fake_error_jump, what is for the log is counted.  The time is what
 * a test says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>
#include <stdlib.h>

#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "fake_server.h"

MemoryContext CurrentMemoryContext = NULL;
MemoryContext TopMemoryContext = NULL;
ResourceOwner CurrentResourceOwner = NULL;
char	   *DataDir = NULL;
jmp_buf		fake_error_jump;
int			fake_logged = 0;
TimestampTz fake_now = 0;

static MemoryContextCallback *callbacks = NULL;
static int	level;

MemoryContext
AllocSetContextCreateInternal(MemoryContext parent, const char *name,
							  Size minContextSize, Size initBlockSize,
							  Size maxBlockSize)
{
	(void) parent;
	(void) name;
	(void) minContextSize;
	(void) initBlockSize;
	(void) maxBlockSize;
	return NULL;
}

void
MemoryContextRegisterResetCallback(MemoryContext context,
								   MemoryContextCallback *cb)
{
	(void) context;
	cb->next = callbacks;
	callbacks = cb;
}

void
MemoryContextDelete(MemoryContext context)
{
	(void) context;
	while (callbacks)
	{
		MemoryContextCallback *cb = callbacks;

		callbacks = cb->next;
		cb->func(cb->arg);
	}
}

void *
MemoryContextAlloc(MemoryContext context, Size size)
{
	(void) context;
	return malloc(size);
}

void *
MemoryContextAllocZero(MemoryContext context, Size size)
{
	(void) context;
	return calloc(1, size);
}

char *
MemoryContextStrdup(MemoryContext context, const char *string)
{
	(void) context;
	return strdup(string);
}

void *
palloc(Size size)
{
	return malloc(size);
}

void *
palloc0(Size size)
{
	return calloc(1, size);
}

char *
pstrdup(const char *in)
{
	return strdup(in);
}

char *
pnstrdup(const char *in, Size len)
{
	return strndup(in, len);
}

void *
repalloc(void *pointer, Size size)
{
	return realloc(pointer, size);
}

void
pfree(void *pointer)
{
	free(pointer);
}

bool
errstart_cold(int elevel, const char *domain)
{
	(void) domain;
	level = elevel;
	return true;
}

bool
errstart(int elevel, const char *domain)
{
	return errstart_cold(elevel, domain);
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	(void) filename;
	(void) lineno;
	(void) funcname;
	if (level < ERROR)
	{
		fake_logged++;
		return;
	}
	longjmp(fake_error_jump, 1);
}

int
errcode(int sqlerrcode)
{
	(void) sqlerrcode;
	return 0;
}

#define IGNORE_WORDS(name) \
	int name(const char *fmt,...) \
	{ \
		(void) fmt; \
		return 0; \
	}

IGNORE_WORDS(errmsg)
IGNORE_WORDS(errmsg_internal)
IGNORE_WORDS(errdetail)
IGNORE_WORDS(errhint)

ResourceOwner
ResourceOwnerCreate(ResourceOwner parent, const char *name)
{
	(void) parent;
	(void) name;
	return NULL;
}

TimestampTz
GetCurrentTimestamp(void)
{
	return fake_now;
}

TimestampTz
time_t_to_timestamptz(pg_time_t tm)
{
	return ((TimestampTz) tm -
			(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) *
		USECS_PER_SEC;
}
