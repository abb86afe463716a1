/*-------------------------------------------------------------------------
 *
 * lclog.h
 *	  Which lifecycle rules a bucket is to have, how they were found there,
 *	  and the documents before our changes: tables vf_lifecycle,
 *	  vf_lifecycle_kept.
 *
 * A bucket is known by endpoint and name, as in the outbox: what was chosen
 * for it outlives its registration, as the rules in the bucket do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_LCLOG_H
#define VF_LCLOG_H

#include "datatype/timestamp.h"

/* Instead of a storage class. */
#define VF_LC_NO_CLASS "none"

typedef struct VfLcChoices
{
	bool		wanted;			/* our rules are to be there */
	char	   *infrequent_class;
	char	   *archive_class;	/* NULL: nobody has chosen yet */
	int			noncurrent;		/* -1: where the bucket keeps versions */
	bool		waveforms;
	bool		previews;
	bool		delete_markers;
	bool		uploads;
} VfLcChoices;

/* The defaults, if nobody has chosen yet. */
extern void vf_lclog_load(const char *endpoint, const char *bucket,
						  VfLcChoices *choices);
/* Keep all others from changing this bucket's rules until we commit. */
extern void vf_lclog_lock(const char *endpoint, const char *bucket);
extern void vf_lclog_store(const char *endpoint, const char *bucket,
						   const VfLcChoices *choices);
/*
 * How the rules were found just now: drift is NULL if they are in place.  Only
 * where somebody has chosen.
 */
extern void vf_lclog_note(const char *endpoint, const char *bucket,
						  const char *drift);

/* A document as it was before a change. */
typedef struct VfLcKept
{
	int64		id;
	TimestampTz at;
	bool		exists;			/* the bucket had one */
	int			len;
	char	   *text;			/* UTF-8; NULL if it had none */
	char	   *minimum;
} VfLcKept;

/* Keep it, and note who changes it how; sets id. */
extern void vf_lclog_keep(const char *endpoint, const char *bucket,
						  const char *change, VfLcKept *kept);
/* Of that id, or the last one for 0; false if there is none. */
extern bool vf_lclog_find(const char *endpoint, const char *bucket, int64 id,
						  VfLcKept *kept);
/* The choices are again those of when it was kept. */
extern void vf_lclog_choose_again(int64 id);

#endif							/* VF_LCLOG_H */
