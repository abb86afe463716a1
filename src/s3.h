/*-------------------------------------------------------------------------
 *
 * s3.h
 *	  The verbs of S3 that retention needs, and what their answers mean.
 *
 * Knows requests, signatures and answers; knows no table and no setting.
 * All strings are UTF-8, whatever the database's encoding; messages are
 * ASCII.  s3_class.h has the classes and their cures, s3_name.h what can be
 * said about keys, buckets and endpoints.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_H
#define VF_S3_H

#include "http.h"
#include "s3_class.h"
#include "s3_cred.h"
#include "s3_name.h"

/* The most DeleteObjects takes, and what every store accepts as a body. */
#define VF_S3_MAX_KEYS		1000
#define VF_S3_MAX_BODY		1000000

/* An S3 answer, judged.  code is S3's own, or ours for transport failures. */
typedef struct VfS3Answer
{
	VfS3Class	class;
	int			status;			/* HTTP status, 0 if none */
	char		code[64];		/* "" when class is VF_S3_OK */
	char		message[256];	/* for people; carries no secret, no key */
	char		region[64];		/* the bucket's own, where the answer told */
	int			retry_after;	/* seconds, 0 if not told */
	bool		has_offset;		/* the answer carried a Date */
	double		offset;			/* store's clock minus ours, seconds */
	bool		uncertain;		/* the request may have been carried out */
} VfS3Answer;

typedef struct VfS3Target
{
	const char *endpoint;		/* scheme://host[:port] */
	const char *bucket;
	const char *region;
	VfS3PathStyle path_style;
	const char *expected_owner; /* account id; NULL: whoever owns it */
	bool		request_payer;	/* we pay for the requests */
} VfS3Target;

typedef struct VfS3Client VfS3Client;

/* One key of a batch; the verdict fields are filled in by the answer. */
typedef struct VfS3Key
{
	const char *key;			/* UTF-8 */
	size_t		len;
	const char *version;		/* NULL: whatever is there now */
	const char *etag;			/* only while it is this; NULL: any */
	VfS3Class	class;			/* VF_S3_OK: deleted, or was never there */
	char		code[64];		/* "" when class is VF_S3_OK */
	char		message[128];	/* for people; carries no key */
} VfS3Key;

/*
 * A DeleteObjects request and its result.  With a whole-request failure
 * answer.class tells, and the keys' verdicts mean nothing.
 */
typedef struct VfS3Delete
{
	VfS3Key    *keys;			/* distinct */
	int			nkeys;			/* 1 to VF_S3_MAX_KEYS */
	int			timeout_ms;
	void	   *tag;			/* the caller's */

	VfS3Answer	answer;
	int			unasked;		/* keys answered for that were not sent, or
								 * answers without a key */
} VfS3Delete;

/*
 * A client for one bucket.  All arguments are copied.  It closes with the
 * context.  Raises an error if endpoint and bucket make no address, so check
 * them first with vf_s3_endpoint_fault() and vf_s3_bucket_fault().
 */
extern VfS3Client *vf_s3_open(MemoryContext cxt, const VfS3Target *target,
							  const VfS3Credentials *cred,
							  const VfHttpOptions *opt);
extern void vf_s3_close(VfS3Client *client);
extern void vf_s3_set_credentials(VfS3Client *client,
								  const VfS3Credentials *cred);
/* Do they expire soon, or has the store refused them?  Never if static. */
extern bool vf_s3_credentials_due(const VfS3Client *client, TimestampTz now);

/*
 * Start a delete: DeleteObjects, or DELETE by path for a single key that
 * needs it.  ETags go along until the store says that it knows no such
 * condition: from then on they do not.  The batch must outlive the request.
 * vf_s3_delete_wait returns the next finished one, judged; NULL if none is in
 * flight, or if tick returned false: then all are abandoned, unjudged.
 */
extern void vf_s3_delete_start(VfS3Client *client, VfS3Delete *batch);
extern VfS3Delete *vf_s3_delete_wait(VfS3Client *client,
									 VfHttpTick tick, void *arg);
extern int	vf_s3_in_flight(const VfS3Client *client);

/*
 * The versions of one key, delete markers among them: those whose key is equal
 * byte for byte, not those that begin with it.
 */
typedef struct VfS3Listing
{
	const char *key;			/* UTF-8 */
	size_t		len;
	int			timeout_ms;		/* of each request */

	VfS3Answer	answer;			/* of the last request */
	bool		done;			/* answered, to the end */
	int			n;
	char	  **versions;		/* ids, palloc'd in the client's context */
} VfS3Listing;

/*
 * List them all, so many at a time, and none begun after the deadline
 * (vf_s3_clock_ms()).  False if tick said to stop.  No delete may be in flight.
 */
extern bool vf_s3_list_versions(VfS3Client *client, VfS3Listing *listings,
								int n, int concurrency, int64 deadline,
								VfHttpTick tick, void *arg);
extern int64 vf_s3_clock_ms(void);

/* What the store says of an object, without its content. */
typedef struct VfS3Look
{
	const char *key;			/* UTF-8 */
	size_t		len;
	int			timeout_ms;
	void	   *tag;			/* the caller's */

	VfS3Answer	answer;			/* VF_S3_OK for a missing key too */
	bool		done;			/* answered */
	bool		exists;
	char		etag[128];		/* as the store gave it */
	bool		has_modified;
	double		modified;		/* by the store's clock, s since 1970 */
} VfS3Look;

/*
 * Ask for many, so many at a time, and none begun after the deadline
 * (vf_s3_clock_ms()).  False if tick said to stop.  Nothing else may be in
 * flight.  A HEAD's answer has no body, so a missing bucket looks like a
 * missing key.
 */
extern bool vf_s3_heads(VfS3Client *client, VfS3Look *heads, int n,
						int concurrency, int64 deadline, VfHttpTick tick,
						void *arg);

/*
 * A page of the list of all objects, or of all their versions, in the order of
 * the keys' bytes.
 */
#define VF_S3_LISTED_KEY 4096	/* longer than any key, encoded */

typedef struct VfS3Found
{
	const char *key;			/* UTF-8, if the store keeps to it */
	size_t		len;
	const char *etag;			/* as the store gave it */
	const char *storage_class;
	int64		size;			/* bytes */
	double		modified;		/* by the store's clock, s since 1970 */
	bool		marker;			/* of a deletion: it has no size */
	bool		latest;
	const char *upload;			/* its id; NULL: an object */
} VfS3Found;

typedef struct VfS3Page
{
	bool		versions;		/* list every version */
	bool		uploads;		/* list unfinished uploads, in any order */
	const char *prefix;			/* only keys that begin so; NULL: all */
	const char *after;			/* only keys behind this one; "": all */
	size_t		after_len;
	const char *after_version;	/* and its versions, or uploads, behind this
								 * one; or "" */
	int			max_keys;		/* 1 to 1000 */
	int			timeout_ms;
	void	   *tag;			/* the caller's */

	VfS3Answer	answer;
	int			n;
	VfS3Found  *found;			/* until vf_s3_page_free() */
	bool		more;			/* a page follows, after ... */
	char		next_key[VF_S3_LISTED_KEY + 1];
	size_t		next_len;
	char		next_version[1025];
	char	   *room;
} VfS3Page;

/*
 * Start a page, which must outlive the request; false, with its answer judged,
 * if it cannot be asked for.  vf_s3_page_wait returns the next finished one;
 * NULL if none is in flight, or if tick returned false.  No other request of
 * the client may be in flight.
 */
extern bool vf_s3_page_start(VfS3Client *client, VfS3Page *page);
extern VfS3Page *vf_s3_page_wait(VfS3Client *client, VfHttpTick tick,
								 void *arg);
extern void vf_s3_page_free(VfS3Page *page);

/*
 * The bytes of an unfinished upload's parts, by no more than *requests: takes
 * off what it used.  NoSuchUpload if it has come to its end, EndlessList if
 * they were not enough.
 */
extern void vf_s3_count_parts(VfS3Client *client, const VfS3Found *upload,
							  int *requests, int timeout_ms, VfHttpTick tick,
							  void *arg, VfS3Answer *answer, int64 *bytes);

/* Single requests, each waited for.  tick as above; false counts as timeout. */
typedef enum VfS3Versioning
{
	VF_S3_VERSIONING_OFF,
	VF_S3_VERSIONING_ENABLED,
	VF_S3_VERSIONING_SUSPENDED
} VfS3Versioning;

extern void vf_s3_head_bucket(VfS3Client *client, int timeout_ms,
							  VfHttpTick tick, void *arg, VfS3Answer *answer);
extern void vf_s3_get_versioning(VfS3Client *client, int timeout_ms,
								 VfHttpTick tick, void *arg,
								 VfS3Answer *answer, VfS3Versioning *result,
								 bool *mfa_delete);
/* Up to one key under the prefix; proves the right to list. */
extern void vf_s3_list_probe(VfS3Client *client, const char *prefix,
							 int timeout_ms, VfHttpTick tick, void *arg,
							 VfS3Answer *answer);
/*
 * exists is set when answer->class is VF_S3_OK (a 404 for the key is OK).  A
 * HEAD has no body, so a missing bucket can't be told from a missing key:
 * call vf_s3_head_bucket() first.
 */
extern void vf_s3_head_object(VfS3Client *client, const char *key, size_t len,
							  int timeout_ms, VfHttpTick tick, void *arg,
							  VfS3Answer *answer, bool *exists);
extern void vf_s3_put_object(VfS3Client *client, const char *key, size_t len,
							 const char *body, size_t body_len,
							 int timeout_ms, VfHttpTick tick, void *arg,
							 VfS3Answer *answer);

/*
 * A small object, read and written under conditions.  An answer that exceeds
 * VF_S3_SMALL bytes is a failure.
 */
#define VF_S3_SMALL 8192

typedef struct VfS3Object
{
	bool		exists;
	char		etag[128];		/* as the store gave it; "" if it did not */
	char		version[128];	/* "" where the bucket has none */
	bool		has_date;
	double		date;			/* the answer's, seconds since 1970 */
	bool		has_age;
	double		age;			/* by the store's clock, s */
	size_t		len;
	char		body[VF_S3_SMALL + 1];
} VfS3Object;

/* object is set when answer->class is VF_S3_OK (a missing key is OK). */
extern void vf_s3_get_object(VfS3Client *client, const char *key, size_t len,
							 int timeout_ms, VfHttpTick tick, void *arg,
							 VfS3Answer *answer, VfS3Object *object);

/* Under which condition an object is written. */
typedef struct VfS3Condition
{
	const char *etag;			/* it is this one; NULL: no such condition */
	bool		absent;			/* there is none */
} VfS3Condition;

/*
 * Write one.  *unmet says that the store refused because of the condition;
 * that it wrote does not say that it looked at it.  written gets what the
 * store tells of the new object: etag and version.
 */
extern void vf_s3_put_if(VfS3Client *client, const char *key, size_t len,
						 const char *body, size_t body_len,
						 const VfS3Condition *condition, int timeout_ms,
						 VfHttpTick tick, void *arg, VfS3Answer *answer,
						 bool *unmet, VfS3Object *written);

/* Delete one version for good. */
extern void vf_s3_delete_version(VfS3Client *client, const char *key,
								 size_t len, const char *version,
								 int timeout_ms, VfHttpTick tick, void *arg,
								 VfS3Answer *answer);

/*
 * The lifecycle document of the bucket.  It is read for what it is, whoever
 * wrote it: its text is that of the answer, and it is well-formed.
 */
#define VF_S3_LIFECYCLE_MAX (1024 * 1024)

typedef struct VfS3Lifecycle
{
	bool		known;			/* the store knows of lifecycles */
	bool		exists;			/* and this bucket has one */
	/* x-amz-transition-default-minimum-object-size, "" if not told */
	char		minimum[64];
	size_t		len;
	char	   *text;			/* palloc'd in the current context, or NULL */
} VfS3Lifecycle;

/*
 * That there is none is no failure.  Codes of our own: LifecycleUnknown, where
 * the store answers something else; LifecycleRefused, where it does not take
 * the document.
 */
extern void vf_s3_get_lifecycle(VfS3Client *client, int timeout_ms,
								VfHttpTick tick, void *arg,
								VfS3Answer *answer, VfS3Lifecycle *found);
extern void vf_s3_put_lifecycle(VfS3Client *client, const char *text,
								size_t len, const char *minimum,
								int timeout_ms, VfHttpTick tick, void *arg,
								VfS3Answer *answer);
/*
 * A store that does not know of lifecycles takes this for the deletion of the
 * bucket: proof is what a GET has just found there.
 */
extern void vf_s3_delete_lifecycle(VfS3Client *client,
								   const VfS3Lifecycle *proof,
								   int timeout_ms, VfHttpTick tick, void *arg,
								   VfS3Answer *answer);

/* AWS's own endpoint of a region, palloc'd. */
extern char *vf_s3_default_endpoint(const char *region);

#endif							/* VF_S3_H */
