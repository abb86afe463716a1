/*-------------------------------------------------------------------------
 *
 * s3_internal.h
 *	  What the files of the room s3 share, and nobody else sees.
 *
 * s3.c: the client, one signed request.  s3_judge.c: what an answer means.
 * s3_delete.c: deletes, many in flight.  s3_versions.c: lists of versions,
 * many in flight.  s3_list.c: lists of objects, the same.  s3_heads.c: HEADs,
 * the same.  s3_uploads.c: the parts of an upload.  s3_probe.c: single
 * requests.  s3_lifecycle.c: the lifecycle document.  s3_copy.c: copies, and
 * what an object has beside its bytes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_INTERNAL_H
#define VF_S3_INTERNAL_H

#include "lib/ilist.h"

#include "s3.h"
#include "s3_xml.h"

typedef enum VfS3Checksum
{
	VF_S3_CHECKSUM_NONE,
	VF_S3_CHECKSUM_MD5,
	VF_S3_CHECKSUM_SHA256
} VfS3Checksum;

/* A request in S3's terms. */
typedef struct VfS3Request
{
	const char *method;
	const char *key;			/* NULL: the bucket itself */
	size_t		key_len;
	const char *query;			/* encoded; NULL if none */
	const char *body;			/* may be NULL; must outlive the request */
	size_t		body_len;
	const char *content_type;	/* NULL if none */
	const char *if_match;		/* an ETag; NULL if none */
	bool		if_absent;		/* only where no such object is */
	const char *transition_minimum; /* of a lifecycle; NULL if none */
	const VfHttpHeader *more;	/* other headers of S3's */
	int			n_more;
	size_t		max_answer;		/* 0: the client's */
	VfS3Checksum checksum;
	int			timeout_ms;
	void	   *tag;
} VfS3Request;

/*
 * The tag of every request.  batch is NULL for single requests, whose
 * exchange is in no list.
 */
typedef struct VfS3Exchange
{
	dlist_node	node;			/* in client->pending or client->ready */
	VfS3Delete *batch;
	VfS3Listing *listing;		/* of versions; then batch is NULL */
	VfS3Page   *page;			/* of a list; then both are */
	VfS3Look   *head;			/* then all three are */
	bool		by_path;
	char	   *body;
	size_t		body_len;
	VfS3Checksum checksum;
	int64		deadline;		/* vf_s3_clock_ms() */
} VfS3Exchange;

struct VfS3Client
{
	MemoryContext cxt;			/* of its own */
	MemoryContextCallback wipe;
	VfHttpClient *http;
	VfS3Address address;
	char	   *region;
	char	   *bucket;
	char	   *expected_owner;
	bool		request_payer;
	VfS3Credentials cred;
	bool		refuses_md5;	/* the store, or the server's own library */
	bool		refuses_etags;	/* the store knows no condition on a delete */
	dlist_head	pending;		/* deletes on the wire */
	dlist_head	ready;			/* deletes judged, not yet handed out */
};

/* Two keys of 1,024 bytes, all encoded, and the id of a version. */
#define VF_S3_MAX_QUERY	12288

/* s3.c */

/* Add "&name=" and a value, encoded, to a query of VF_S3_MAX_QUERY bytes. */
extern bool vf_s3_add_parameter(char *query, const char *name,
								const char *value, size_t len);

/* False, with nothing started, if the request cannot be signed. */
extern bool vf_s3_send(VfS3Client *client, const VfS3Request *req);
/*
 * Does this code, or the status of an answer that cannot have one, say that
 * the credentials are no good?  Then nobody uses them again, if they were for
 * a time: the next try fetches others.
 */
extern void vf_s3_note_refusal(VfS3Client *client, const char *code,
							   int bare_status);

/* s3_probe.c */

/*
 * Send a request and wait, while deletes may be in flight.  NULL, with a
 * judgement, if no answer came; else to be judged and freed.
 */
extern VfHttpAnswer *vf_s3_exchange(VfS3Client *client, VfS3Request *req,
									VfHttpTick tick, void *arg,
									VfS3Answer *answer);

/* s3_judge.c: neither raises nor allocates with palloc. */

/*
 * Judge an answer.  wanted is the root of the document that a success must
 * have, VF_S3_XML_NOTHING if it has none.  handler (may be NULL) hears the
 * entries of a DeleteResult; they count only if answer->class is VF_S3_OK.
 */
extern void vf_s3_judge(const VfHttpAnswer *http, const char *region,
						VfS3XmlRoot wanted, const VfS3XmlHandler *handler,
						VfS3Answer *answer, VfS3XmlDocument *doc);
/* An answer for a request that our own side ended: code is one of ours. */
extern void vf_s3_judge_own(const char *code, const char *message,
							VfS3Answer *answer);
/* S3's code, fit to be stored: letters, digits, '.', '_' and '-'. */
extern void vf_s3_clean_code(const char *from, char *to, size_t size);
/*
 * S3's words without anything that may be a key, an address or a secret.
 * key may be NULL.
 */
extern void vf_s3_clean_message(const char *from, const char *key,
								size_t key_len, char *to, size_t size);
/* Seconds since 1970 of an HTTP date, and of a date in a list (ISO 8601). */
extern bool vf_s3_parse_date(const char *text, double *seconds);
extern bool vf_s3_parse_iso(const char *text, double *seconds);

/* s3_probe.c */

/*
 * Send a single request and wait for it: the answer, to be freed; NULL, with a
 * judgement, if none came.
 */
extern VfHttpAnswer *vf_s3_exchange(VfS3Client *client, VfS3Request *req,
									VfHttpTick tick, void *arg,
									VfS3Answer *answer);

/* s3_list.c */

/*
 * A key as it is listed, decoded if it is encoded; out takes len + 1 bytes.
 * Returns its length.
 */
extern size_t vf_s3_decode_listed(const char *text, size_t len, bool encoded,
								  char *out);

/* A size, in digits; false for what none can have. */
extern bool vf_s3_parse_size(const char *text, int64 *size);

/* s3_probe.c */

/*
 * One request, waited for; the answer, to be freed.  NULL, with a judgement,
 * if none came.
 */
extern VfHttpAnswer *vf_s3_exchange(VfS3Client *client, VfS3Request *req,
									VfHttpTick tick, void *arg,
									VfS3Answer *answer);

/* s3_delete.c */

/* The checksum that a body goes with: MD5, unless that is refused. */
extern VfS3Checksum vf_s3_choose_checksum(VfS3Client *client);
extern bool vf_s3_is_refusal_of_md5(const VfS3Answer *answer,
									const VfS3XmlDocument *doc);

/* Takes the answer of a delete; frees it. */
extern void vf_s3_delete_settle(VfS3Client *client, VfHttpAnswer *http);
/* The requests are gone: forget their exchanges. */
extern void vf_s3_delete_abandon(VfS3Client *client);

#endif							/* VF_S3_INTERNAL_H */
