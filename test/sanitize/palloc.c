/*-------------------------------------------------------------------------
 *
 * palloc.c
 *	  What the extension allocates, each in a block of its own, so that a tool
 *	  that watches malloc sees a step beyond its end and a use after its end.
 *
 * The server cuts small chunks out of large blocks and knows nothing of such
 * tools (Debian builds it without USE_VALGRIND).  Chunks beyond a few KB are
 * blocks of malloc, though, freed as such: so ours are all made that large,
 * and what was not asked for is closed.  The linker puts these functions in
 * place of the server's, for calls out of the extension alone (--wrap).
 *
 * A block is opened again by free(), whoever calls it.  realloc() is where
 * the tools differ: libasan opens the new block; memcheck carries the closed
 * part along, so repalloc opens it first.  The server itself moves nothing
 * that we made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#ifdef SANITIZE_VALGRIND
#include <valgrind/memcheck.h>
#define CLOSE(at, len) VALGRIND_MAKE_MEM_NOACCESS(at, len)
#else
#include <sanitizer/asan_interface.h>
#define CLOSE(at, len) __asan_poison_memory_region(at, len)
#endif

/* More than any context's limit for chunks, and a gap in any case. */
#define LEAST	((Size) 8 * 1024 + 8)
#define GAP		((Size) 64)

/* Requests that the server refuses are refused for what they are. */
#define TOO_LARGE(size, limit) ((size) > (limit) - GAP)

extern void *__real_palloc(Size size);
extern void *__real_palloc0(Size size);
extern void *__real_repalloc(void *pointer, Size size);
extern void *__real_repalloc_huge(void *pointer, Size size);
extern void *__real_MemoryContextAlloc(MemoryContext context, Size size);
extern void *__real_MemoryContextAllocZero(MemoryContext context, Size size);
extern void *__real_MemoryContextAllocHuge(MemoryContext context, Size size);
extern void *__wrap_palloc(Size size);
extern void *__wrap_palloc0(Size size);
extern void *__wrap_repalloc(void *pointer, Size size);
extern void *__wrap_repalloc_huge(void *pointer, Size size);
extern void *__wrap_MemoryContextAlloc(MemoryContext context, Size size);
extern void *__wrap_MemoryContextAllocZero(MemoryContext context, Size size);
extern void *__wrap_MemoryContextAllocHuge(MemoryContext context, Size size);
extern char *__wrap_MemoryContextStrdup(MemoryContext context,
										const char *text);
extern char *__wrap_pstrdup(const char *text);
extern char *__wrap_pnstrdup(const char *text, Size len);
extern char *__wrap_psprintf(const char *format,...) pg_attribute_printf(1, 2);

static Size
room(Size size)
{
	return Max(size + GAP, LEAST);
}

static void *
closed(void *pointer, Size size)
{
	CLOSE((char *) pointer + size, room(size) - size);
	return pointer;
}

void *
__wrap_palloc(Size size)
{
	if (TOO_LARGE(size, MaxAllocSize))
		return __real_palloc(size);
	return closed(__real_palloc(room(size)), size);
}

void *
__wrap_palloc0(Size size)
{
	if (TOO_LARGE(size, MaxAllocSize))
		return __real_palloc0(size);
	return closed(__real_palloc0(room(size)), size);
}

void *
__wrap_MemoryContextAlloc(MemoryContext context, Size size)
{
	if (TOO_LARGE(size, MaxAllocSize))
		return __real_MemoryContextAlloc(context, size);
	return closed(__real_MemoryContextAlloc(context, room(size)), size);
}

void *
__wrap_MemoryContextAllocZero(MemoryContext context, Size size)
{
	if (TOO_LARGE(size, MaxAllocSize))
		return __real_MemoryContextAllocZero(context, size);
	return closed(__real_MemoryContextAllocZero(context, room(size)), size);
}

void *
__wrap_MemoryContextAllocHuge(MemoryContext context, Size size)
{
	if (TOO_LARGE(size, MaxAllocHugeSize))
		return __real_MemoryContextAllocHuge(context, size);
	return closed(__real_MemoryContextAllocHuge(context, room(size)), size);
}

/* Opens what is closed of a chunk, if we made it. */
static void *
opened(void *pointer)
{
#ifdef SANITIZE_VALGRIND
	/* Without the chunk's header, which 15 counts in. */
	char	   *end = (char *) pointer + GetMemoryChunkSpace(pointer) - 16;
	char	   *first;

	VALGRIND_DISABLE_ERROR_REPORTING;
	first = (char *) VALGRIND_CHECK_MEM_IS_ADDRESSABLE(pointer, end -
													   (char *) pointer);
	VALGRIND_ENABLE_ERROR_REPORTING;
	if (first != NULL)
		VALGRIND_MAKE_MEM_UNDEFINED(first, end - first);
#endif
	return pointer;
}

void *
__wrap_repalloc(void *pointer, Size size)
{
	if (TOO_LARGE(size, MaxAllocSize))
		return __real_repalloc(pointer, size);
	return closed(__real_repalloc(opened(pointer), room(size)), size);
}

void *
__wrap_repalloc_huge(void *pointer, Size size)
{
	if (TOO_LARGE(size, MaxAllocHugeSize))
		return __real_repalloc_huge(pointer, size);
	return closed(__real_repalloc_huge(opened(pointer), room(size)), size);
}

/* Texts */

char *
__wrap_MemoryContextStrdup(MemoryContext context, const char *text)
{
	Size		size = strlen(text) + 1;

	return memcpy(__wrap_MemoryContextAlloc(context, size), text, size);
}

char *
__wrap_pstrdup(const char *text)
{
	return __wrap_MemoryContextStrdup(CurrentMemoryContext, text);
}

char *
__wrap_pnstrdup(const char *text, Size len)
{
	Size		size = strnlen(text, len);
	char	   *copy = __wrap_palloc(size + 1);

	memcpy(copy, text, size);
	copy[size] = '\0';
	return copy;
}

char *
__wrap_psprintf(const char *format,...)
{
	va_list		args;
	char	   *text;
	int			len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		elog(ERROR, "cannot format \"%s\"", format);
	text = __wrap_palloc((Size) len + 1);
	va_start(args, format);
	vsnprintf(text, (size_t) len + 1, format, args);
	va_end(args);
	return text;
}
