/*-------------------------------------------------------------------------
 *
 * shared.h
 *	  Who else works in a bucket: table vf_shared.
 *
 * What the last look at the owner markers of the bucket found.  An object
 * that nothing of this database references may be another's: where prefixes
 * of two databases overlap, neither may call any an orphan.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SHARED_H
#define VF_SHARED_H

#include "db.h"

/* What a person can do about it. */
#define VF_SHARED_UNKNOWN_CURE \
	"Allow s3:ListBucket, and s3:GetObject, s3:PutObject and s3:DeleteObject on .voiceframe_retention/*, then CALL vf_s3_scan(); vf_s3_check() tells what is in the way."
#define VF_SHARED_CURE \
	"Give each database a bucket of its own, or prefixes of which none begins another's: voiceframe.deletable_prefixes and voiceframe.orphan_prefixes. If that database is gone for good, and its objects too, delete its marker object."

/* Another database's marker; all texts are palloc'd. */
typedef struct VfSharedMarker
{
	char	   *marker;			/* its object's name */
	char	   *system;			/* identifier; "" where it cannot be read */
	char	   *database;		/* oid */
	char	   *name;
	char	   *host;
	char	   *heartbeat;
	char	  **prefixes;		/* "" is the whole bucket */
	int			n_prefixes;
} VfSharedMarker;

/*
 * Replace what is known of a bucket.  problem is NULL, or why the markers
 * could not be read: then nobody knows whose the objects are.
 */
extern void vf_shared_store(int bucket_id, const char *problem,
							const VfSharedMarker *markers, int n);

/* NULL, or why it is not known who else works in the bucket; palloc'd. */
extern char *vf_shared_problem(int bucket_id);

/*
 * Those of the prefixes that no other database works under; *others says in
 * whole sentences who works under the rest, NULL if there is none.  All
 * palloc'd.
 */
extern char **vf_shared_own(int bucket_id, char *const *prefixes, int n,
							int *n_own, char **others);

/*
 * A row for each pair of overlapping prefixes, ours and theirs, as
 * vf_watch_shared() has them; one with the problem where there is one.
 */
extern void vf_shared_each(int bucket_id, char *const *prefixes, int n,
						   VfDbRow row, void *arg);

extern void vf_shared_forget_all(void);

#endif							/* VF_SHARED_H */
