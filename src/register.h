/*-------------------------------------------------------------------------
 *
 * register.h
 *	  Registering tables and bucket, and taking the registration away.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_REGISTER_H
#define VF_REGISTER_H

#include "report.h"

typedef struct VfConfigureOptions
{
	Oid			sessions;		/* InvalidOid: find both on the search path */
	Oid			orders;
	bool		guard;
	bool		queue_deletes;
	char	  **accepted_keys;
	int			n_accepted;
	const char *columns;		/* text of a jsonb object */
} VfConfigureOptions;

extern void vf_register_configure(const VfConfigureOptions *opt,
								  VfReport *report);
extern void vf_register_unconfigure(bool discard);
extern void vf_register_adopt(void);

/*
 * After an upgrade: the guard and the owner's rights as this version makes
 * them.  What stands in the way is a warning.
 */
extern void vf_register_renew(void);

typedef struct VfBucketOptions
{
	char	   *bucket;
	char	   *region;			/* NULL: us-east-1, with an endpoint only */
	char	   *endpoint;		/* NULL: AWS's of the region */
	char	   *path_style;		/* NULL: auto */
	char	   *profile;
	bool		probe;
	char	   *expected_owner; /* account id; NULL: whoever owns it */
	bool		request_payer;
} VfBucketOptions;

/* Make it the bucket that new keys go to (register_bucket.c). */
extern void vf_register_bucket(const VfBucketOptions *opt, VfReport *report);

#endif							/* VF_REGISTER_H */
