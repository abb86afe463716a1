/*-------------------------------------------------------------------------
 *
 * check.h
 *	  Probing the registered bucket, step by step.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_CHECK_H
#define VF_CHECK_H

#include "http.h"

typedef struct VfCheckLine
{
	const char *check;
	bool		ok;
	bool		skipped;		/* an earlier failure made it pointless */
	char	   *detail;
	const char *cure;			/* NULL if ok */
} VfCheckLine;

/*
 * All checks, within 10 seconds.  Raises 42704 if no bucket is registered.
 */
extern VfCheckLine *vf_check_bucket(VfHttpTick tick, void *arg, int *n);

#endif							/* VF_CHECK_H */
