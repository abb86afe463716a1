/*-------------------------------------------------------------------------
 *
 * lease_take.h
 *	  One attempt to hold the lease on a bucket.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_LEASE_TAKE_H
#define VF_LEASE_TAKE_H

#include "bucket.h"
#include "s3.h"
#include "s3_marker.h"
#include "server.h"

/* Where the markers of all databases lie. */
#define VF_LEASE_PREFIX ".voiceframe_retention/"

/* How a condition is put: what this store understands. */
typedef enum VfLeaseStyle
{
	VF_LEASE_QUOTED,			/* as the standard has it */
	VF_LEASE_BARE,				/* an ETag without its quotes */
	VF_LEASE_UNCONDITIONAL
} VfLeaseStyle;

/* How one attempt ended: as VfLease, or somebody was quicker. */
typedef enum VfLeaseOutcome
{
	VF_TRY_TAKEN,
	VF_TRY_DENIED,
	VF_TRY_LIVES,
	VF_TRY_AHEAD,
	VF_TRY_UNREADABLE,
	VF_TRY_RACED,
	VF_TRY_FAILED
} VfLeaseOutcome;

/* One attempt to hold one lease. */
typedef struct VfLeaseAttempt
{
	VfS3Client *client;
	const VfBucket *bucket;
	VfHttpTick	tick;
	void	   *arg;
	VfS3Answer *answer;			/* the last one, or what to say */
	char		key[128];
	VfS3Marker	self;			/* who we are, and where our objects lie */
	VfS3Object	object;			/* the marker as read, or as written */
	VfS3MarkerFound found;
	int64		generation;		/* the database's */
	bool		adopted;
	VfLeaseStyle style;
	VfServerTime beat;			/* not later than the heartbeat */

	/* The marker that a write was refused for the sake of. */
	bool		refused;
	bool		refused_exists;
	char		refused_etag[128];
} VfLeaseAttempt;

/* Who we are, and which marker it is about; talks to nobody. */
extern void vf_lease_begin(VfLeaseAttempt *a, VfS3Client *client,
						   const VfBucket *bucket, VfHttpTick tick,
						   void *arg, VfS3Answer *answer);

/* Read the marker; false if the answer is a failure. */
extern bool vf_lease_read(VfLeaseAttempt *a, int timeout_ms);

/*
 * Say in the marker of whoever we are where this database's objects lie, by
 * the settings in force.  In a transaction.
 */
extern void vf_lease_declare(VfS3Marker *self);

/* Does the marker that was read say of them what self does? */
extern bool vf_lease_is_declared(const VfLeaseAttempt *a);

/*
 * The condition that the marker is the one with the given ETag, or that there
 * is none.  etag is room for one, and lives as long as the condition.
 */
extern void vf_lease_condition(VfS3Condition *condition, VfLeaseStyle style,
							   bool exists, const char *given,
							   char etag[128]);

/*
 * Hold the lease: with VF_TRY_TAKEN self is the marker as it stands, and beat
 * its heartbeat.  After VF_TRY_RACED call it again with the same attempt.
 */
extern VfLeaseOutcome vf_lease_attempt(VfLeaseAttempt *a);

/* An answer in words of our own. */
extern void vf_lease_say(VfS3Answer *answer, const char *code,
						 const char *message);

#endif							/* VF_LEASE_TAKE_H */
