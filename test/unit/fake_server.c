/*-------------------------------------------------------------------------
 *
 * fake_server.c
 *	  The little of the server that the room s3 calls, for the unit tests.
 *
 * Memory is malloc'd, so that the sanitizer sees every byte of it; errors
 * jump to fake_error_jump.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>
#include <stdlib.h>

#include "utils/memutils.h"
#include "utils/resowner.h"

#include "fake_server.h"

MemoryContext CurrentMemoryContext = NULL;
ResourceOwner CurrentResourceOwner = NULL;
char	   *DataDir = NULL;
jmp_buf		fake_error_jump;

static MemoryContextCallback *callbacks = NULL;

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
psprintf(const char *fmt,...)
{
	char		text[8192];
	va_list		args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return strdup(text);
}

void
pfree(void *pointer)
{
	free(pointer);
}

bool
errstart_cold(int elevel, const char *domain)
{
	(void) elevel;
	(void) domain;
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
