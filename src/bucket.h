/*-------------------------------------------------------------------------
 *
 * bucket.h
 *	  The registered buckets and the state each is in: table vf_bucket.
 *
 * A bucket is known by endpoint and name; outbox entries carry both, so that
 * a later registration never redirects old keys.  One row is current: new keys
 * go there.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_BUCKET_H
#define VF_BUCKET_H

#include "datatype/timestamp.h"

#include "schedule_pace.h"

typedef struct VfBucket
{
	int			id;
	char	   *endpoint;
	char	   *bucket;
	char	   *region;
	char	   *path_style;		/* auto, path or virtual */
	char	   *profile;		/* NULL: default */
	bool		current;
	bool		probe;			/* look for known objects first */
	bool		probed;			/* and they were found */
	int			failures;		/* in a row */
	TimestampTz next_attempt;	/* DT_NOBEGIN: now */
	char	   *marker;			/* id of its owner marker */
	char	   *expected_owner; /* account id; NULL: whoever owns it */
	bool		request_payer;	/* we pay for the requests */
} VfBucket;

/* The current bucket, palloc'd, or NULL. */
extern VfBucket *vf_bucket_current(void);

/* All buckets whose time has come and for which entries of the kind wait. */
extern VfBucket *vf_bucket_ready(const char *kind, TimestampTz now, int *n);

/* All of them. */
extern VfBucket *vf_bucket_all(int *n);

/* Register as current (region, path style, profile, probe may change). */
extern void vf_bucket_store(const VfBucket *bucket);
extern void vf_bucket_forget_all(void);

/* State after a request: the bucket answered, or waits until then. */
extern void vf_bucket_answered(const VfBucket *bucket);
extern void vf_bucket_failed(const VfBucket *bucket, TimestampTz next_attempt,
							 const char *code, const char *message);
extern void vf_bucket_set_probed(const VfBucket *bucket);
/* Store's clock minus ours, seconds. */
extern void vf_bucket_set_offset(const VfBucket *bucket, double offset);

/*
 * The largest difference of a store's clock to ours that its last answer showed
 * in the day before now, seconds; false if none is known.
 */
extern bool vf_bucket_clock_offset(TimestampTz now, double *offset);

/* How fast it takes keys (bucket_pace.c). */
extern void vf_bucket_load_pace(const VfBucket *bucket, VfPace *pace);
extern void vf_bucket_store_pace(const VfBucket *bucket, VfPace *pace);

/*
 * The lease on the bucket (lease.h).  The generation of this database, and
 * whether vf_adopt() was called since the lease was last taken; false if the
 * bucket is no longer registered, or anew.
 */
extern bool vf_bucket_generation(const VfBucket *bucket, int64 *generation,
								 bool *adopted);
/*
 * Raise the generation above both its own and at_least, and forget
 * vf_adopt(); 0 if the bucket is no longer registered.
 */
extern int64 vf_bucket_raise_generation(const VfBucket *bucket,
										int64 at_least);
/* Forget what hindered us from taking the lease. */
extern void vf_bucket_lease_taken(const VfBucket *bucket);
/* By vf_adopt(): take the leases over whatever their generation. */
extern void vf_bucket_adopt(void);

/* Try again at once (vf_resume, vf_configure_bucket). */
extern void vf_bucket_unhold(void);

#endif							/* VF_BUCKET_H */
