/*-------------------------------------------------------------------------
 *
 * canary.c
 *	  Faults made on purpose, built and watched as the extension is: who does
 *	  not see them would not see ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(canary_beyond);
PG_FUNCTION_INFO_V1(canary_freed);
PG_FUNCTION_INFO_V1(canary_unset);
PG_FUNCTION_INFO_V1(canary_shift);
PG_FUNCTION_INFO_V1(canary_overflow);
PG_FUNCTION_INFO_V1(canary_moved);

/* Reads the byte behind a small chunk. */
Datum
canary_beyond(PG_FUNCTION_ARGS)
{
	volatile char *text = palloc0(PG_GETARG_INT32(0));

	PG_RETURN_INT32(text[PG_GETARG_INT32(0)]);
}

Datum
canary_freed(PG_FUNCTION_ARGS)
{
	volatile char *text = pstrdup("gone");

	pfree((char *) text);
	PG_RETURN_INT32(text[PG_GETARG_INT32(0) % 4]);
}

/* Decides by a byte that nobody wrote. */
Datum
canary_unset(PG_FUNCTION_ARGS)
{
	volatile char *text = palloc(PG_GETARG_INT32(0));

	if (text[1] == 'x')
		elog(NOTICE, "an x");
	PG_RETURN_INT32(2);
}

Datum
canary_shift(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(1 << (PG_GETARG_INT32(0) + 30));
}

Datum
canary_overflow(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PG_GETARG_INT32(0) + 2147483647);
}

/* No fault: a chunk that grows keeps what it had and opens what it gets. */
Datum
canary_moved(PG_FUNCTION_ARGS)
{
	Size		n = PG_GETARG_INT32(0);
	Size		i;
	int			sum = 0;
	unsigned char *at = palloc(n);

	memset(at, 1, n);
	at = repalloc(at, 3 * n);
	memset(at + n, 1, 2 * n);
	at = repalloc(at, 30000);
	memset(at + 3 * n, 1, 30000 - 3 * n);
	at = repalloc(at, 2 * n);
	for (i = 0; i < 2 * n; i++)
		sum += at[i];
	pfree(at);
	PG_RETURN_INT32(sum);
}
