/*-------------------------------------------------------------------------
 *
 * s3_cred_internal.h
 *	  What the files of the room s3_cred share, and nobody else sees.
 *
 * s3_cred.c: the search.  s3_cred_file.c: files with keys or tokens.
 * s3_cred_cache.c: keys that expire.  s3_cred_web.c, s3_cred_container.c and
 * s3_cred_imds.c: one service each, over s3_cred_call.c.  s3_cred_parse.c,
 * s3_cred_json.c and s3_cred_url.c: pure readers.
 *
 * Faults are returned as palloc'd sentences with a code, not raised.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_S3_CRED_INTERNAL_H
#define VF_S3_CRED_INTERNAL_H

#include "s3_cred.h"
#include "s3_cred_json.h"
#include "s3_cred_parse.h"
#include "s3_cred_url.h"

/* The longest web identity token that STS takes. */
#define VF_S3_CRED_MAX_TOKEN 20000

/* Where keys that expire come from. */
typedef struct VfS3CredSource
{
	VfS3CredService service;
	const char *url;
	const char *role_arn;		/* STS */
	const char *role_session;	/* STS */
	const char *token_file;		/* STS; the container's, or NULL */
	const char *token;			/* the container's from the environment */
	bool		named;			/* the metadata service, not just the default */
} VfS3CredSource;

/* s3_cred.c */

extern const char *vf_s3_cred_variable(const char *name);

/* s3_cred_file.c */

typedef enum VfS3CredFileKind
{
	VF_S3_CRED_FILE_KEYS,
	VF_S3_CRED_FILE_TOKEN
} VfS3CredFileKind;

/* All of a file; size is the most it may have.  The caller wipes buffer. */
extern char *vf_s3_cred_file_read(const char *path, VfS3CredFileKind kind,
								  char *buffer, size_t size, size_t *len);
/*
 * The token in a file, without what is blank at its ends, palloc'd: printable
 * ASCII, with blanks inside only if asked for.
 */
extern char *vf_s3_cred_file_token(const char *path, bool blanks,
								   char **token);

/* s3_cred_cache.c */

/* The source's keys: at hand, or fetched. */
extern char *vf_s3_cred_cached(const VfS3CredSource *source,
							   const VfS3CredQuery *query,
							   VfS3Credentials *cred, const char **code);

/* s3_cred_call.c: requests to one service */

typedef struct VfS3CredCall
{
	const VfS3CredSource *source;
	const VfS3CredQuery *query;
	MemoryContext context;
	VfHttpClient *http;
	int64		deadline;		/* vf_s3_clock_ms() */
} VfS3CredCall;

extern void vf_s3_cred_call_open(VfS3CredCall *call,
								 const VfS3CredSource *source,
								 const VfS3CredQuery *query);
extern void vf_s3_cred_call_close(VfS3CredCall *call);
/*
 * One request.  Its answer (vf_s3_cred_call_free), or NULL with *fault where
 * none came; then *outcome says how, and VF_HTTP_ANSWERED that we gave up.
 */
extern VfHttpAnswer *vf_s3_cred_call_send(VfS3CredCall *call,
										  VfHttpRequest *req,
										  VfHttpOutcome *outcome,
										  char **fault);
/* Wipes what it holds. */
extern void vf_s3_cred_call_free(VfHttpAnswer *http);
/*
 * Read the JSON of an answer: NULL if it has credentials.  secret is what no
 * message may repeat, or NULL.
 */
extern char *vf_s3_cred_call_read(const VfS3CredCall *call,
								  const VfHttpAnswer *http,
								  const char *secret, VfS3CredAnswer *answer);

/* The services.  On a fault *code is set. */

extern char *vf_s3_cred_web_fetch(VfS3CredCall *call, VfS3CredAnswer *answer,
								  const char **code);
extern char *vf_s3_cred_container_fetch(VfS3CredCall *call,
										VfS3CredAnswer *answer,
										const char **code);
extern char *vf_s3_cred_imds_fetch(VfS3CredCall *call, VfS3CredAnswer *answer,
								   const char **code);

#endif							/* VF_S3_CRED_INTERNAL_H */
