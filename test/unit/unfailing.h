/*-------------------------------------------------------------------------
 *
 * unfailing.h
 *	  The allocator of test_nomem.c that never fails, for the fake server.
 *
 * The headers come first: the names are macros in the file that includes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_UNFAILING_H
#define VF_UNFAILING_H

#undef malloc
#undef calloc
#undef strdup
#include <stdlib.h>
#include <string.h>

extern void *unfailing_malloc(size_t size);
extern void *unfailing_calloc(size_t n, size_t size);
extern char *unfailing_strdup(const char *text);

#define malloc unfailing_malloc
#define calloc unfailing_calloc
#define strdup unfailing_strdup

#endif							/* VF_UNFAILING_H */
