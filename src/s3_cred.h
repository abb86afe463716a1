/*-------------------------------------------------------------------------
 *
 * s3_cred.h
 *	  Where S3 credentials come from.
 *
 * The only room that sees a secret at rest.  Nothing read here is ever part
 * of an error message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_CRED_H
#define VF_S3_CRED_H

#include "datatype/timestamp.h"

#include "http.h"

typedef struct VfS3Credentials
{
	char	   *access_key;
	char	   *secret_key;
	char	   *session_token;	/* NULL if none */
	TimestampTz expires_at;		/* DT_NOEND if they do not expire */
	const char *origin;			/* for people: "voiceframe.s3_credentials_file",
								 * "environment", "shared credentials file",
								 * "web identity", "container endpoint",
								 * "metadata service" */
} VfS3Credentials;

/* What a search goes by. */
typedef struct VfS3CredQuery
{
	const char *file;			/* NULL or "": none */
	const char *profile;		/* NULL or "": "default" */
	const char *region;			/* the bucket's: whose STS to ask */
	const char *ca_file;		/* for services over https; NULL or "" */
	const char *proxy;			/* for STS alone; NULL or "" */
	int			timeout_ms;		/* for all that goes over the wire */
	VfHttpTick	tick;
	void	   *arg;
} VfS3CredQuery;

/*
 * Find credentials, in this order, and stop at the first that is named:
 *
 *	1. query->file, the profile in it;
 *	2. with a profile and no file: that of the shared file (4.), for whoever
 *	   names one means the one in the file;
 *	3. the server's environment: AWS_ACCESS_KEY_ID with AWS_SECRET_ACCESS_KEY
 *	   and AWS_SESSION_TOKEN, else AWS_WEB_IDENTITY_TOKEN_FILE with
 *	   AWS_ROLE_ARN (web identity, by way of STS);
 *	4. AWS_SHARED_CREDENTIALS_FILE, or ~/.aws/credentials if there is one;
 *	5. the container's endpoint: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or
 *	   _FULL_URI;
 *	6. the instance's metadata service, version 2 only, unless
 *	   AWS_EC2_METADATA_DISABLED is true.
 *
 * What is named and cannot be used is a failure, never a reason to look
 * further.  A profile may hold keys, or a role with a token file.
 *
 * Keys that expire are kept in this process and used until five minutes
 * before; then they are asked for anew.  Where that fails the old ones serve
 * as long as they can, and the log says so once.  Asking waits for a network:
 * call this with nothing of the database held.
 *
 * Files with keys must be regular, owned by the server's user or root, closed
 * to everybody else, and outside the data directory.  Root's may be readable
 * by a group, as for the server's TLS key.  Token files are read at every
 * renewal; they must be regular, outside the data directory and not writable
 * for everybody.
 *
 * Returns NULL and fills *cred (palloc'd in the current context), or returns
 * what is wrong as a palloc'd sentence without any secret, and in *code one of
 * the codes of s3_class.c (NoCredentials, CredentialsFile, WebIdentityToken,
 * StsAccessDenied, StsError, ContainerCredentials, MetadataService), else NULL
 * there.
 */
extern char *vf_s3_cred_find(const VfS3CredQuery *query,
							 VfS3Credentials *cred, const char **code);

/* Do they expire within five minutes? */
extern bool vf_s3_cred_due(const VfS3Credentials *cred, TimestampTz now);

/* The store does not take this key: forget the credentials that have it. */
extern void vf_s3_cred_refused(const char *access_key);

/* Overwrite and free. */
extern void vf_s3_cred_wipe(VfS3Credentials *cred);

#endif							/* VF_S3_CRED_H */
