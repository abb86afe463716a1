/*-------------------------------------------------------------------------
 *
 * s3_cred_json.h
 *	  Reads the JSON in which credentials come, and its errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_CRED_JSON_H
#define VF_S3_CRED_JSON_H

#include <stdbool.h>
#include <stddef.h>

/* What a service of credentials answered, as texts: "" where absent. */
typedef struct VfS3CredAnswer
{
	char		access_key[129];
	char		secret_key[257];
	char		session_token[8193];
	char		expiration[65];
	char		code[65];		/* "Success", or of an error */
	char		message[1025];	/* of an error */
	const char *fault;			/* NULL, or what is wrong: a constant */
} VfS3CredAnswer;

/*
 * One object whose fields stand at its top: AccessKeyId, SecretAccessKey,
 * Token, Expiration; Code and Message in either case.  All else is skipped.
 * ASCII only, nested at most 16 deep, no field twice.  False if out->fault is
 * set; then nothing else is.  Raises nothing but an error for want of memory.
 */
extern bool vf_s3_cred_json_read(const char *text, size_t len,
								 VfS3CredAnswer *out);

/*
 * Are these credentials?  NULL, or what is missing or cannot stand in a
 * header: a constant.
 */
extern const char *vf_s3_cred_answer_fault(const VfS3CredAnswer *answer);

#endif							/* VF_S3_CRED_JSON_H */
