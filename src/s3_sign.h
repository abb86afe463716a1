/*-------------------------------------------------------------------------
 *
 * s3_sign.h
 *	  AWS Signature Version 4 for S3, as a pure function of its arguments.
 *
 * Signs what is on the wire: path and query are given exactly as they will
 * be sent and are brought into canonical form here, so a request can't be
 * sent in one spelling and signed in another.  No clock, no setting, no
 * allocation; every function returns false when its buffer is too small or
 * the input can't be signed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_SIGN_H
#define VF_S3_SIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "digest.h"

/* Limits of one request. */
#define VF_S3_SIGN_HEADERS		24
#define VF_S3_SIGN_PARAMETERS	24
#define VF_S3_SIGN_CANONICAL	32768
#define VF_S3_SIGN_AUTH			2048

/* "20130524T000000Z" and its NUL. */
#define VF_S3_SIGN_DATE			17

typedef struct VfS3SignHeader
{
	const char *name;
	const char *value;
} VfS3SignHeader;

typedef struct VfS3SignRequest
{
	const char *method;
	const char *path;			/* as sent; "" counts as "/" */
	const char *query;			/* as sent, without '?'; NULL if none */
	const VfS3SignHeader *headers;	/* all are signed; host must be there */
	int			nheaders;
	const char *payload_hash;	/* value of x-amz-content-sha256 */
	const char *date;			/* value of x-amz-date */
	const char *region;
	const char *access_key;
	const char *secret_key;
} VfS3SignRequest;

/* The value of the Authorization header. */
extern bool vf_s3_sign_authorization(const VfS3SignRequest *req,
									 char *out, size_t size);

/* The value of x-amz-date. */
extern bool vf_s3_sign_date(time_t when, char out[VF_S3_SIGN_DATE]);

/*
 * Percent-encode all but unreserved characters, upper-case hexadecimal.  In
 * a path '/' is kept: "a//../b" must stay the key that it is.
 */
extern bool vf_s3_sign_encode(const char *text, size_t len, bool keep_slash,
							  char *out, size_t size);

/* The steps, each for its own tests. */
extern bool vf_s3_sign_canonical_path(const char *path,
									  char *out, size_t size);
extern bool vf_s3_sign_canonical_query(const char *query,
									   char *out, size_t size);
extern bool vf_s3_sign_canonical_request(const VfS3SignRequest *req,
										 char *out, size_t size);
extern bool vf_s3_sign_string_to_sign(const VfS3SignRequest *req,
									  const char *canonical,
									  char *out, size_t size);
extern bool vf_s3_sign_key(const char *secret, const char *date,
						   const char *region, const char *service,
						   unsigned char out[VF_SHA256_LEN]);

#endif							/* VF_S3_SIGN_H */
