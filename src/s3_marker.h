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

/* What a marker says of prefixes, encoded, with its NUL. */
#define VF_S3_MARKER_PREFIXES 2000

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

	/*
	 * Where its database's objects lie: prefixes with a space between, their
	 * odd bytes as %XX, or * for all of the bucket.  Versions before 1.2 did
	 * not say.
	 */
	bool		has_prefixes;
	char		prefixes[VF_S3_MARKER_PREFIXES];
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

/* The same database, in whatever start of its server? */
extern bool vf_s3_marker_same_database(const VfS3Marker *a,
									   const VfS3Marker *b);

/*
 * Add to what the marker says of prefixes: len bytes, of any kind.  One of no
 * length is the whole bucket, and so are more than there is room for.
 */
extern void vf_s3_marker_add_prefix(VfS3Marker *marker, const char *prefix,
									size_t len);

/*
 * The next prefix, as bytes; *at is 0 at first.  False at the end.  An empty
 * one is the whole bucket.  A marker that does not say has the defaults.
 */
extern bool vf_s3_marker_next_prefix(const VfS3Marker *marker, size_t *at,
									 char prefix[VF_S3_MARKER_PREFIXES],
									 size_t *len);

/* Two prefixes that may have an object in common, of a and of b. */
typedef struct VfS3MarkerOverlap
{
	char		a[VF_S3_MARKER_PREFIXES];
	size_t		a_len;
	char		b[VF_S3_MARKER_PREFIXES];
	size_t		b_len;
} VfS3MarkerOverlap;

extern bool vf_s3_marker_overlaps(const VfS3Marker *a, const VfS3Marker *b,
								  VfS3MarkerOverlap *overlap);

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
