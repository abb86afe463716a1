/*-------------------------------------------------------------------------
 *
 * brake.h
 *	  Blast-radius brakes: what a purge refuses to do unconfirmed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_BRAKE_H
#define VF_BRAKE_H

#include "source.h"
#include "sweep.h"

/*
 * Before the first row goes: raise VF_ERRCODE_BRAKE if more is due than a day
 * may delete unconfirmed, if what kept sessions seems to be lost, or if the
 * clock seems to be wrong.
 * picked is what this run found due: all there is in a full sweep, and what
 * else may be due is counted where it matters.  confirm is the number that a
 * person has confirmed, or 0.  Returns how many sessions this run may delete
 * (PG_INT64_MAX: no bound).
 */
extern int64 vf_brake_check(const VfSource *source, const VfRules *rules,
							const VfSweep *sweep, int64 picked, bool full,
							int64 confirm);

/* Has orders no row at all? */
extern bool vf_brake_orders_empty(const VfSource *source,
								  const VfRules *rules);

#endif							/* VF_BRAKE_H */
