/*-------------------------------------------------------------------------
 *
 * s3_xml_acl.h
 *	  The access control of an object: read, compared, written.
 *
 * Pure: no postgres.h, nothing raised.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_XML_ACL_H
#define VF_S3_XML_ACL_H

#include <stdbool.h>
#include <stddef.h>

/* As many as S3 allows. */
#define VF_S3_ACL_GRANTS	100
#define VF_S3_ACL_NAME		256

/* Room for a document of that many grants. */
#define VF_S3_ACL_TEXT		131072

typedef enum VfS3Grantee
{
	VF_S3_GRANTEE_ID,			/* CanonicalUser */
	VF_S3_GRANTEE_GROUP,		/* by its URI */
	VF_S3_GRANTEE_EMAIL			/* AmazonCustomerByEmail */
} VfS3Grantee;

typedef struct VfS3Grant
{
	VfS3Grantee kind;
	char		who[VF_S3_ACL_NAME];
	char		permission[32];
} VfS3Grant;

typedef struct VfS3Acl
{
	char		owner[VF_S3_ACL_NAME];
	int			n;
	VfS3Grant	grants[VF_S3_ACL_GRANTS];
} VfS3Acl;

/* NULL, or what is wrong with the document: a constant. */
extern const char *vf_s3_acl_read(const char *data, size_t len, VfS3Acl *acl);

/* Does it say no more than that its owner may do everything? */
extern bool vf_s3_acl_is_private(const VfS3Acl *acl);

/*
 * Let to grant all that from grants, its owner's rights to to's owner; true
 * if that changed anything.  *full: there was no room for it.
 */
extern bool vf_s3_acl_add(VfS3Acl *to, const VfS3Acl *from, bool *full);

/* The document, terminated; its length, 0 if there is no room. */
extern size_t vf_s3_acl_write(const VfS3Acl *acl, char *text, size_t size);

#endif							/* VF_S3_XML_ACL_H */
