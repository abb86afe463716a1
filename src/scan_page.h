/*-------------------------------------------------------------------------
 *
 * scan_page.h
 *	  What a page of a list means for the inventory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SCAN_PAGE_H
#define VF_SCAN_PAGE_H

#include "nodes/pg_list.h"

#include "inventory.h"
#include "s3.h"
#include "scanlog.h"

/* The prefixes that the keys of a range count by. */
typedef struct VfScanTally
{
	List	   *prefixes;		/* of the settings: they count by themselves */
	int			n_seen;			/* distinct ones, or nearly */
	char		last[64];		/* the last one seen, if short enough */
} VfScanTally;

/* In the caller's context, with the settings in force. */
extern void vf_scan_tally_init(VfScanTally *tally);

typedef struct VfScanMerge
{
	const char *low;			/* the range that the page covers */
	const char *high;			/* NULL: to the last key */
	VfInventoryObject *objects;
	int			n_objects;
	VfUsage    *usage;
	int			n_usage;
	int64		listed;			/* entries of the range */
	int64		bytes;
} VfScanMerge;

/*
 * What the store calls it, in the database's encoding; NULL if that cannot say
 * it.
 */
extern char *vf_scan_to_database(const char *key, size_t len);

/*
 * Read a page of a range and move the range on behind it; it is done when the
 * page was its last.  merge is palloc'd; what part gets lives in the parent of
 * the current context.
 */
extern void vf_scan_read_page(VfScanTally *tally, const VfS3Page *page,
							  VfScanPart *part, VfScanMerge *merge);

/*
 * Count a page of unfinished uploads; one whose size is negative has come to
 * its end.
 */
extern void vf_scan_read_uploads(VfScanTally *tally, const VfS3Page *page,
								 VfScanMerge *merge);

#endif							/* VF_SCAN_PAGE_H */
