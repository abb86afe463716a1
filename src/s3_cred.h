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

typedef struct VfS3Credentials
{
	char	   *access_key;
	char	   *secret_key;
	char	   *session_token;	/* NULL if none */
	TimestampTz expires_at;		/* DT_NOEND if they do not expire */
	const char *origin;			/* for people: "voiceframe.s3_credentials_file",
								 * "environment", "shared credentials file" */
} VfS3Credentials;

/*
 * Find credentials: the file named by file (NULL or "": none) with profile
 * (NULL or "": "default"), else the server's environment (AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN), else the shared file
 * (AWS_SHARED_CREDENTIALS_FILE or ~/.aws/credentials).  A file that is named
 * and cannot be used is a failure, never a reason to look further.
 *
 * A profile that is named skips the environment, as it does for AWS's own
 * tools: whoever names one means the one in the file.
 *
 * Files must be regular, owned by the server's user or root, closed to
 * everybody else, and outside the data directory.  Root's may be readable by
 * a group, as for the server's TLS key.
 *
 * Returns NULL and fills *cred (palloc'd in the current context), or returns
 * what is wrong as a palloc'd sentence without any secret, and in *code one of
 * the codes of s3_class.c (NoCredentials, CredentialsFile), else NULL there.
 */
extern char *vf_s3_cred_find(const char *file, const char *profile,
							 VfS3Credentials *cred, const char **code);

/* Overwrite and free. */
extern void vf_s3_cred_wipe(VfS3Credentials *cred);

#endif							/* VF_S3_CRED_H */
