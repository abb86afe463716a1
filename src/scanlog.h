/*-------------------------------------------------------------------------
 *
 * scanlog.h
 *	  Scans of a bucket and how far each has come: tables vf_scan,
 *	  vf_scan_part.
 *
 * A scan lists the bucket in ranges of keys, beside each other.  It belongs to
 * one process at a time, by a lease; one that was cut off goes on where its
 * last page was stored.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SCANLOG_H
#define VF_SCANLOG_H

#include "datatype/timestamp.h"

/* A range of keys: low < key <= high. */
typedef struct VfScanPart
{
	int			no;
	char	   *low;			/* NULL: from the first key */
	char	   *high;			/* NULL: to the last */
	char	   *at;				/* the last key listed, in UTF-8; "" if none */
	int			at_len;
	char	   *at_version;		/* and its version; "" if none */
	char	   *merged_to;		/* the last key that vf_object can hold; NULL */
	bool		done;
} VfScanPart;

typedef struct VfScan
{
	int64		id;
	int			bucket_id;
	bool		versions;
	int64		token;			/* of the lease */
	int			n_parts;
	VfScanPart *parts;
} VfScan;

typedef enum VfScanTaken
{
	VF_SCAN_TAKEN,
	VF_SCAN_NONE,				/* none is under way, or it is too old */
	VF_SCAN_BUSY				/* another process has it */
} VfScanTaken;

/*
 * Take the scan under way over for ourselves until then.  One that has not
 * moved since not_before is given up.
 */
extern VfScanTaken vf_scanlog_take(int bucket_id, TimestampTz not_before,
								   TimestampTz until, VfScan *scan);

/*
 * Begin one, with these boundaries between its parts, ascending; store_time is
 * the time by the store's clock.  False if another process was faster.
 */
extern bool vf_scanlog_begin(int bucket_id, bool versions,
							 char *const *boundaries, int n,
							 TimestampTz store_time, TimestampTz until,
							 VfScan *scan);

/* How far the list of unfinished uploads is. */
typedef struct VfScanUploads
{
	bool		done;
	char	   *at;				/* the last key listed, in UTF-8; "" if none */
	int			at_len;
	char	   *at_upload;		/* and its upload; "" if none */
	int			pages;
	int			requests;		/* for parts, so far */
	char	   *error;			/* why they are not known; NULL */
} VfScanUploads;

extern void vf_scanlog_load_uploads(const VfScan *scan,
									VfScanUploads *uploads);

/* Keep the lease until then, too; false if it is no longer ours. */
extern bool vf_scanlog_store_uploads(const VfScan *scan,
									 const VfScanUploads *uploads,
									 TimestampTz until);

/* Keep the lease until then, and count; false if it is no longer ours. */
extern bool vf_scanlog_count(const VfScan *scan, int64 objects, int64 bytes,
							 TimestampTz until);
extern void vf_scanlog_store_part(const VfScan *scan, const VfScanPart *part);

/*
 * Everything was listed: the scan is the last complete one.  False if it is no
 * longer ours.
 */
extern bool vf_scanlog_complete(const VfScan *scan);

/*
 * Give the scan back before its end, for whoever goes on with it; code is NULL
 * unless something failed.
 */
extern void vf_scanlog_release(const VfScan *scan, const char *code,
							   const char *message);

/* When the last complete scan began; DT_NOBEGIN if there is none. */
extern TimestampTz vf_scanlog_last(int bucket_id);

/* Forget scans that ended before then, but for the last complete ones. */
extern void vf_scanlog_prune(TimestampTz before);
extern void vf_scanlog_forget_all(void);

#endif							/* VF_SCANLOG_H */
