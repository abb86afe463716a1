/*-------------------------------------------------------------------------
 *
 * s3_marker.h
 *	  The text of a bucket's owner marker, and what it says about its lease.
 *
 * Pure: no postgres.h.  Lines "name: value", not JSON: they are read by a
 * function of values that can be fuzzed outside the server, and a person sees
 * at once who holds the bucket.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_MARKER_H
#define VF_S3_MARKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The most a marker may have; what is written is far shorter. */
#define VF_S3_MARKER_MAX 4096

/* A heartbeat lives this long, s. */
#define VF_S3_MARKER_STALE 900

/* The largest generation: counting on from it can never overflow. */
#define VF_S3_MARKER_MAX_GENERATION (INT64_C(1) << 60)

typedef struct VfS3Marker
{
	int64_t		generation;
	bool		released;		/* by a clean stop */
	bool		settled;		/* its writer was sure that it won */
	char		system[24];		/* system identifier */
	char		database[16];	/* oid */
	char		start[40];		/* of the server that wrote it */

	/* For people only. */
	char		heartbeat[40];	/* by the store's clock */
	char		name[200];		/* of the database */
	char		host[200];
	char		pid[16];
} VfS3Marker;

/*
 * Write the text, terminated; returns its length.  Bytes that are not
 * printable ASCII are written as %XX.  size is VF_S3_MARKER_MAX.
 */
extern size_t vf_s3_marker_write(const VfS3Marker *marker, char *text,
								 size_t size);

/*
 * Read it.  False, with *marker zeroed, for anything that is not a whole
 * marker of a version we know.  Names we do not know are skipped.  All fields
 * are printable ASCII afterwards.
 */
extern bool vf_s3_marker_read(const char *text, size_t len,
							  VfS3Marker *marker);

/* The same database in the same start of the same server? */
extern bool vf_s3_marker_same_holder(const VfS3Marker *a,
									 const VfS3Marker *b);

typedef enum VfS3MarkerState
{
	VF_S3_MARKER_OURS,			/* go on */
	VF_S3_MARKER_FREE,			/* absent, released, stale: take it */
	VF_S3_MARKER_LIVES,			/* somebody else's heartbeat lives */
	VF_S3_MARKER_AHEAD,			/* it knows history that we have not */
	VF_S3_MARKER_UNREADABLE
} VfS3MarkerState;

/* A marker as it was found in the bucket. */
typedef struct VfS3MarkerFound
{
	bool		exists;
	bool		readable;
	VfS3Marker	marker;
	bool		has_age;		/* else it is taken for young */
	double		age;			/* by the store's clock, s */
} VfS3MarkerFound;

/*
 * What a found marker means to the server that would write self, whose
 * database remembers this generation; adopted: a person has said that this
 * database is the one, whatever the generation.
 */
extern VfS3MarkerState vf_s3_marker_judge(const VfS3MarkerFound *found,
										  const VfS3Marker *self,
										  int64_t generation, bool adopted);

#endif							/* VF_S3_MARKER_H */
