/*-------------------------------------------------------------------------
 *
 * s3_copy.h
 *	  Copying an object inside its bucket, and what it has beside its bytes.
 *
 * Single requests, each waited for, as in s3.h.  Keys are UTF-8.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_COPY_H
#define VF_S3_COPY_H

#include "s3.h"
#include "s3_xml_acl.h"

/* CopyObject takes no more, bytes. */
#define VF_S3_MAX_COPY (INT64CONST(5) * 1024 * 1024 * 1024)

/* What the head of an object tells; "" where it does not. */
typedef struct VfS3Head
{
	bool		exists;
	int64		size;			/* -1: not told */
	char		etag[128];
	bool		has_modified;
	double		modified;		/* by the store's clock, s since 1970 */
	char		encryption[32]; /* AES256, aws:kms, aws:kms:dsse */
	char		kms_key[512];
	bool		bucket_key;
	bool		customer_key;	/* encrypted with one that we do not have */
	char		checksum_name[16];	/* sha256, crc64nvme, ... */
	char		checksum[96];	/* of the whole object */
} VfS3Head;

/* A client, and who may stop it while it waits. */
typedef struct VfS3Asker
{
	VfS3Client *client;
	VfHttpTick	tick;
	void	   *arg;
} VfS3Asker;

/* head is set when answer->class is VF_S3_OK (a missing key is OK). */
extern void vf_s3_head_whole(const VfS3Asker *asker, const char *key,
							 size_t len, int timeout_ms, VfS3Answer *answer,
							 VfS3Head *head);

typedef enum VfS3Likeness
{
	VF_S3_SAME,
	VF_S3_DIFFERENT,
	VF_S3_UNKNOWN				/* alike, and nothing proves it */
} VfS3Likeness;

/*
 * Are two objects the same, byte for byte?  By checksum where both have one
 * of a kind, by ETag where that is one of the bytes.
 */
extern VfS3Likeness vf_s3_compare(const VfS3Head *a, const VfS3Head *b);

/*
 * Copy an object with its metadata, tags and encryption, as long as it is the
 * one of that head.  etag (of 128 bytes) gets the copy's.
 */
extern void vf_s3_copy_object(const VfS3Asker *asker, const char *source,
							  size_t source_len, const VfS3Head *head,
							  const char *target, size_t target_len,
							  int timeout_ms, VfS3Answer *answer, char *etag);

/* Has the store no access control of single objects, or switched it off? */
extern bool vf_s3_has_no_acl(const VfS3Answer *answer);

/* acl is set when answer->class is VF_S3_OK. */
extern void vf_s3_get_acl(const VfS3Asker *asker, const char *key, size_t len,
						  int timeout_ms, VfS3Answer *answer, VfS3Acl *acl);
extern void vf_s3_put_acl(const VfS3Asker *asker, const char *key, size_t len,
						  const VfS3Acl *acl, int timeout_ms,
						  VfS3Answer *answer);

#endif							/* VF_S3_COPY_H */
