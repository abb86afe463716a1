/*-------------------------------------------------------------------------
 *
 * runlog.h
 *	  A record of every run: table vf_run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_RUNLOG_H
#define VF_RUNLOG_H

#include "datatype/timestamp.h"

typedef struct VfRunCounts
{
	int64		expired;
	int64		unpaid;
	int64		keys_queued;
	int64		keys_cancelled;
	int64		kept_paid;
	int64		put_off;
	int64		keys_confirmed;
	int64		keys_again;
	int64		keys_dead;
	int64		restored;		/* sessions put back */
	int64		objects;		/* listed by a scan */
} VfRunCounts;

/* Add one count to another. */
extern void vf_runlog_add(VfRunCounts *to, const VfRunCounts *from);

/*
 * Note the start of a run ("purge", "drain") as "running" and return its id.
 * Runs of the kind left running by a process that is gone become
 * "interrupted".
 */
extern int64 vf_runlog_start(const char *kind, const char *caller, bool full);

/* Note its end: "ok", "failed", "brake", "stopped"; error may be NULL. */
extern void vf_runlog_finish(int64 id, const char *outcome,
							 const VfRunCounts *counts, const char *error);

/* Counts so far, at each commit: what a crash leaves behind is still true. */
extern void vf_runlog_progress(int64 id, const VfRunCounts *counts);

/*
 * A run that had nothing to do: counted on to the kind's last record if that
 * was one too, so that idling leaves one row.
 */
extern void vf_runlog_idle(const char *kind, const char *caller, bool full,
						   const VfRunCounts *counts);

/* A run that never started, with its reason; repeated ones are counted on. */
extern void vf_runlog_refused(const char *kind, const char *caller,
							  const char *outcome, const char *error);

/* Sessions purged in the day before; the median of the seven days before,
 * or -1 while fewer than seven are known. */
extern int64 vf_runlog_purged_last_day(TimestampTz now);
extern int64 vf_runlog_daily_median(TimestampTz now);

extern void vf_runlog_prune(TimestampTz before);

#endif							/* VF_RUNLOG_H */
