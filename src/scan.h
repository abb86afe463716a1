/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  Listing the bucket into the database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SCAN_H
#define VF_SCAN_H

#include "datatype/timestamp.h"

#include "s3.h"

typedef struct VfScanOptions
{
	const char *caller;
	VfHttpTick	tick;			/* false: stop where we are */
	void	   *tick_arg;
	TimestampTz until;			/* stop then; 0: at the end */
	int64		max_pages;		/* stop after so many; 0: at the end */
	bool		make_way;		/* do nothing while another process scans */
} VfScanOptions;

typedef struct VfScanResult
{
	int64		objects;		/* listed by this run, versions included */
	int64		pages;
	TimestampTz patience;		/* the store wants no page before; or 0 */
	bool		complete;		/* the scan has come to its end */
	bool		failed;			/* the store's answer says why */
	VfS3Answer	answer;
	char		uploads_error[400]; /* why they are not known; or "" */
} VfScanResult;

/*
 * Scan the registered bucket, or go on with the scan that is under way.
 * Commits page by page; must be called where that is possible.  Raises 55000 if
 * no bucket is registered, 55006 if another process scans it (and we are not to
 * make way), 0A000 in an encoding whose order of keys is not the store's.
 */
extern void vf_scan_run(const VfScanOptions *opt, VfScanResult *result);

/* When the next scan of the registered bucket is due; false: never. */
extern bool vf_scan_due(TimestampTz *due);

#endif							/* VF_SCAN_H */
