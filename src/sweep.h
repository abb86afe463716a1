/*-------------------------------------------------------------------------
 *
 * sweep.h
 *	  How far purges have looked: tables vf_sweep and vf_put_off.
 *
 * Paid sessions stay in the table, and in the index on expires_at, for ever.
 * So that a run with nothing to do costs the same however many there are, a
 * run remembers up to where everything has been looked at and what was put
 * off; only a full sweep looks at all again.  What this state misses (rows
 * backdated below the mark, an order that stops paying) waits for the next
 * full sweep; what it can never do is to make a session due.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SWEEP_H
#define VF_SWEEP_H

#include "datatype/timestamp.h"

/* How many paid sessions a full sweep remembers as a sample. */
#define VF_SWEEP_SAMPLE 1000

typedef struct VfSweep
{
	bool		known;			/* a full sweep has completed */
	char	   *rules;			/* their fingerprint then */
	TimestampTz full_at;
	TimestampTz expires_mark;	/* all that expired before has been looked at */
	TimestampTz created_mark;
	int64		kept_paid;		/* of the last full sweep */
	bool		orders_seen;	/* orders had rows then */
	char	  **sample;			/* ids of sessions then kept as paid */
	int			n_sample;
} VfSweep;

extern void vf_sweep_load(VfSweep *sweep);

/* A full sweep that began at started has completed. */
extern void vf_sweep_store_full(const VfSweep *sweep, TimestampTz started);

/* An incremental run has looked at all up to these marks. */
extern void vf_sweep_advance(TimestampTz expires_mark,
							 TimestampTz created_mark);

/* Sessions to look at again although they lie below the marks. */
extern void vf_sweep_put_off(char *const *ids, const TimestampTz *look_at,
							 int n);
extern char **vf_sweep_put_off_due(TimestampTz now, int max, int *n);
extern void vf_sweep_forget_put_off(char *const *ids, int n);

/* The next run is a full sweep. */
extern void vf_sweep_reset(void);

#endif							/* VF_SWEEP_H */
