/*-------------------------------------------------------------------------
 *
 * fuzz.h
 *	  What the fuzz targets share: a promise that must hold for any input.
 *
 * Each target is a LLVMFuzzerTestOneInput of its own; run.sh builds and runs
 * them.  A broken promise aborts, which libFuzzer reports with the input.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_FUZZ_H
#define VF_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMISE(expr) \
	do { \
		if (!(expr)) \
		{ \
			fprintf(stderr, "%s:%d: broken promise: %s\n", \
					__FILE__, __LINE__, #expr); \
			abort(); \
		} \
	} while (0)

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A copy of exactly that size, so that any read beyond it is found. */
static inline char *
fuzz_copy(const void *data, size_t size)
{
	char	   *copy = malloc(size ? size : 1);

	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

/* The same as a string: up to its first NUL. */
static inline char *
fuzz_string(const void *data, size_t size)
{
	const void *end = size ? memchr(data, '\0', size) : NULL;
	size_t		len = end ? (size_t) ((const char *) end -
									  (const char *) data) : size;
	char	   *copy = malloc(len + 1);

	if (len > 0)
		memcpy(copy, data, len);
	copy[len] = '\0';
	return copy;
}

static inline bool
fuzz_contains(const char *text, size_t len, const char *part, size_t part_len)
{
	size_t		i;

	for (i = 0; i + part_len <= len; i++)
	{
		if (memcmp(text + i, part, part_len) == 0)
			return true;
	}
	return false;
}

#define CONTAINS(text, len, literal) \
	fuzz_contains((text), (len), (literal), sizeof(literal) - 1)

/* The next line of the input, without its end; moves on behind it. */
static inline char *
fuzz_line(const uint8_t **data, size_t *size)
{
	const uint8_t *end = *size ? memchr(*data, '\n', *size) : NULL;
	size_t		len = end ? (size_t) (end - *data) : *size;
	char	   *line = fuzz_string(*data, len);

	*data += end ? len + 1 : len;
	*size -= end ? len + 1 : len;
	return line;
}

#endif							/* VF_FUZZ_H */
