/*-------------------------------------------------------------------------
 *
 * s3_name.h
 *	  Names: keys, buckets, endpoints, and the address they make together.
 *
 * Pure: no postgres.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_NAME_H
#define VF_S3_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define VF_S3_MAX_KEY_BYTES	1024

typedef enum VfS3PathStyle
{
	VF_S3_PATH_AUTO,			/* path style for IP literals, localhost and,
								 * over https, bucket names with a dot */
	VF_S3_PATH_ALWAYS,
	VF_S3_PATH_NEVER
} VfS3PathStyle;

/*
 * Why a key can never be sent, as a code for the dead letter (a constant
 * string), or NULL if it can: empty, over 1,024 bytes, not UTF-8, a URL.
 */
extern const char *vf_s3_key_fault(const char *key, size_t len);

/* Must the key travel alone, in the path, because XML cannot carry it? */
extern bool vf_s3_key_needs_path(const char *key, size_t len);

/* Bytes that the key takes in a DeleteObjects body. */
extern size_t vf_s3_key_body_bytes(const char *key, size_t len);

/*
 * NULL if the endpoint is scheme, host or [IPv6], port and nothing more
 * (http or https), else what is wrong with it, for an error's detail.
 */
extern const char *vf_s3_endpoint_fault(const char *endpoint);

/* NULL if the bucket's name is one that S3 allows, else what is wrong. */
extern const char *vf_s3_bucket_fault(const char *bucket);

/* Where requests for a bucket go. */
typedef struct VfS3Address
{
	char		origin[512];	/* scheme://host[:port] as in the URL */
	char		host[512];		/* as in the Host header */
	char		path[80];		/* "/" or "/bucket" */
} VfS3Address;

/* False if the endpoint or the bucket is faulty, or the two do not fit. */
extern bool vf_s3_address(const char *endpoint, const char *bucket,
						  VfS3PathStyle style, VfS3Address *address);

#endif							/* VF_S3_NAME_H */
