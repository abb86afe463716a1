/*-------------------------------------------------------------------------
 *
 * s3_cred_url.h
 *	  Whom we ask for credentials, and until when they hold.
 *
 * Pure: no postgres.h, no allocation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_CRED_URL_H
#define VF_S3_CRED_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

typedef enum VfS3CredService
{
	VF_S3_CRED_STS,				/* https, or this machine */
	VF_S3_CRED_CONTAINER,		/* the same, and the hosts of ECS and EKS */
	VF_S3_CRED_METADATA			/* the same, and the hosts of EC2 */
} VfS3CredService;

/*
 * NULL if a token may be sent there and credentials taken from there, else
 * what is wrong: a whole sentence without the URL, a constant.  Only the
 * container's has a path and a query, for the others a lone / is all.
 */
extern const char *vf_s3_cred_url_fault(VfS3CredService service,
										const char *url);

/* Length of scheme://host:port, for people: the path may be a secret. */
extern int	vf_s3_cred_url_origin(const char *url);

/* A region's name that can be part of a host's? */
extern bool vf_s3_cred_region_ok(const char *region);

/* A role's or a session's name in IAM: 1 to 64 of [A-Za-z0-9+=,.@_-]? */
extern bool vf_s3_cred_name_ok(const char *name, size_t len);

/* Seconds since 1970 of a time as ISO 8601 writes it, with its zone. */
extern bool vf_s3_cred_time(const char *text, time_t *seconds);

#endif							/* VF_S3_CRED_URL_H */
