/*-------------------------------------------------------------------------
 *
 * s3_cred_parse.h
 *	  Reads the text of an AWS shared credentials file.
 *
 * Pure: no postgres.h, no allocation.  The text holds secrets: the caller
 * wipes it, and the result with vf_s3_cred_parse_wipe().
 *
 * A profile holds keys, or names a role and the file of a web identity token
 * to get keys with.  Where it has both, the keys count.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_CRED_PARSE_H
#define VF_S3_CRED_PARSE_H

#include <stdbool.h>
#include <stddef.h>

typedef struct VfS3CredText
{
	char		access_key[129];
	char		secret_key[257];
	char		session_token[8193];	/* "" if none */
	char		role_arn[2049];
	char		role_session[65];	/* "" if none */
	char		token_file[1025];
} VfS3CredText;

typedef enum VfS3CredVerdict
{
	VF_S3_CRED_FOUND,			/* keys */
	VF_S3_CRED_WEB,				/* a role and a token file, no keys */
	VF_S3_CRED_NO_PROFILE,
	VF_S3_CRED_NO_ACCESS_KEY,
	VF_S3_CRED_NO_SECRET_KEY,
	VF_S3_CRED_NO_ROLE,			/* a token file without a role */
	VF_S3_CRED_UNSUPPORTED,		/* another profile, SSO or a process */
	VF_S3_CRED_BAD_LINE,		/* not a section, a comment or a setting */
	VF_S3_CRED_BAD_VALUE		/* too long, or not printable ASCII */
} VfS3CredVerdict;

/*
 * Sections "[name]" and "[profile name]"; lines "name = value", comments
 * after # or ; at the start of a line or after a blank; either line ending.
 * A profile written twice adds up, the later value wins.  *line is the line
 * at fault (from 1), 0 where no single line is.
 */
extern VfS3CredVerdict vf_s3_cred_parse(const char *text, size_t len,
										const char *profile,
										VfS3CredText *out, int *line);

/* Can the value stand in a header: printable ASCII without blanks? */
extern bool vf_s3_cred_value_ok(const char *value, size_t len);

extern void vf_s3_cred_parse_wipe(VfS3CredText *text);

#endif							/* VF_S3_CRED_PARSE_H */
