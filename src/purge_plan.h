/*-------------------------------------------------------------------------
 *
 * purge_plan.h
 *	  Which parts of the tables a run looks at.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PURGE_PLAN_H
#define VF_PURGE_PLAN_H

#include "purge_part.h"
#include "sweep.h"

typedef struct VfPlan
{
	bool		full;			/* every session */
	VfPart	   *parts;			/* those of one leaf next to each other */
	int			n;

	/* put off before, and in the parts of a run that is not full */
	char	  **looked_at;
	int			n_looked_at;
} VfPlan;

/* Look at every session. */
extern void vf_plan_all(const VfSource *source, VfPlan *plan);

/*
 * Look at what fell due since the sweep's marks and at what was put off.
 * Returns false if that is more than max sessions, which a full sweep finds
 * with less effort.
 */
extern bool vf_plan_window(const VfSource *source, const VfRules *rules,
						   const VfSweep *sweep, int max, VfPlan *plan);

#endif							/* VF_PURGE_PLAN_H */
