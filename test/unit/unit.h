/*-------------------------------------------------------------------------
 *
 * unit.h
 *	  Checks for the unit tests: each program counts its own.
 *
 * A failed check prints its place and the two values; the last line of a
 * program is "N passed, N failed".
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_UNIT_H
#define VF_UNIT_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int	unit_passed = 0;
static int	unit_failed = 0;

static inline void
unit_check(bool ok, const char *file, int line, const char *what)
{
	if (ok)
		unit_passed++;
	else
	{
		unit_failed++;
		printf("FAILED %s:%d: %s\n", file, line, what);
	}
}

static inline void
unit_same(const char *got, const char *want, const char *file, int line,
		  const char *what)
{
	bool		ok = got && want ? strcmp(got, want) == 0 : got == want;

	unit_check(ok, file, line, what);
	if (!ok)
		printf("  got:  %s\n  want: %s\n", got ? got : "(null)",
			   want ? want : "(null)");
}

static inline int
unit_end(void)
{
	printf("%d passed, %d failed\n", unit_passed, unit_failed);
	return unit_failed > 0;
}

#define CHECK(expr)		unit_check((expr), __FILE__, __LINE__, #expr)
#define SAME(got, want)	unit_same((got), (want), __FILE__, __LINE__, #got)
#define LABELLED(got, want, label) \
	unit_same((got), (want), __FILE__, __LINE__, (label))

#endif							/* VF_UNIT_H */
