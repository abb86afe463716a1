/*-------------------------------------------------------------------------
 *
 * scan_uploads.h
 *	  Unfinished uploads, as a scan counts them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SCAN_UPLOADS_H
#define VF_SCAN_UPLOADS_H

#include "bucket.h"
#include "scan.h"
#include "scanlog.h"

/*
 * Count them, or go on with it; page by page, each committed.  A store that
 * does not tell is no failure: then they are not known, and the scan says why.
 * *error is why, or NULL.  False if it was stopped before its end.  lease is
 * how long we keep the scan after each page, s.  Raises 55006 if the scan is
 * no longer ours.
 */
extern bool vf_scan_uploads(VfS3Client *client, const VfBucket *bucket,
							const VfScan *scan, const VfScanOptions *opt,
							int lease, char **error);

#endif							/* VF_SCAN_UPLOADS_H */
