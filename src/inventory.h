/*-------------------------------------------------------------------------
 *
 * inventory.h
 *	  What the scans found in the bucket: tables vf_object and vf_usage.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_INVENTORY_H
#define VF_INVENTORY_H

#include "datatype/timestamp.h"

typedef struct VfInventoryObject
{
	char	   *key;			/* in the database's encoding */
	int64		bytes;
	const char *etag;
	const char *storage_class;
	TimestampTz modified;
} VfInventoryObject;

typedef enum VfUsageKind
{
	VF_USAGE_CURRENT,
	VF_USAGE_NONCURRENT,
	VF_USAGE_MARKER,
	VF_USAGE_UPLOAD
} VfUsageKind;

typedef struct VfUsage
{
	char	   *prefix;
	VfUsageKind kind;
	const char *storage_class;
	int64		objects;
	int64		bytes;
} VfUsage;

/*
 * The objects of a page, which are all that there are with low < key <= high
 * (NULL: without a limit): what else was known in between is gone.  What has
 * not changed is not written.
 */
extern void vf_inventory_merge(int bucket_id, int64 scan_id, const char *low,
							   const char *high,
							   const VfInventoryObject *objects, int n);

/* Add to what the scan has counted so far. */
extern void vf_inventory_add_usage(int64 scan_id, const VfUsage *usage,
								   int n);

/* Forget what it has counted of unfinished uploads. */
extern void vf_inventory_drop_uploads(int64 scan_id);

/*
 * Up to n - 1 keys that part what is known into n ranges of about the same
 * number of objects; none where too little is known.
 */
extern char **vf_inventory_split(int bucket_id, int n, int *n_boundaries);

/*
 * Those of the keys that no scan after this one saw change, in the order of
 * their bytes: key, ETag and date alone are filled in.
 */
extern VfInventoryObject *vf_inventory_find(int bucket_id, int64 scan_id,
											char *const *keys, int n,
											int *found);

/* Forget those of the keys that no scan after this one saw change. */
extern void vf_inventory_forget(int bucket_id, int64 scan_id,
								char *const *keys, int n);

/* Forget the scans and objects of all buckets but one; 0: of all. */
extern void vf_inventory_keep_only(int bucket_id);

#endif							/* VF_INVENTORY_H */
