/*-------------------------------------------------------------------------
 *
 * s3_cred_imds.c
 *	  Credentials from EC2's instance metadata service, version 2.
 *
 * Three requests: PUT for a session token, GET for the role's name, GET for
 * its credentials.  Version 1, which answers to anybody who can make this
 * machine send a GET, is never spoken: without a session token there are no
 * credentials.
 *
 * The answer to the PUT travels with a hop limit, 1 unless somebody raised
 * it: from within a container it does not come back, so a PUT that times out
 * says so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3_cred_internal.h"

#define TIMEOUT_MS	1000
#define MAX_TOKEN	1024
#define MAX_NAME	64

#define TOKEN_PATH	"/latest/api/token"
#define ROLE_PATH	"/latest/meta-data/iam/security-credentials/"

static VfHttpAnswer *
ask(VfS3CredCall *call, const char *method, const char *path,
	const VfHttpHeader *header, VfHttpOutcome *outcome, char **fault)
{
	VfHttpRequest req = {0};
	VfHttpAnswer *http;
	char	   *url = psprintf("%s%s", call->source->url, path);

	req.method = method;
	req.url = url;
	req.headers = header;
	req.nheaders = 1;
	req.timeout_ms = TIMEOUT_MS;
	http = vf_s3_cred_call_send(call, &req, outcome, fault);
	pfree(url);
	return http;
}

/* The first line, if it is nothing but printable ASCII and fits. */
static char *
first_line(const VfHttpAnswer *http, size_t max)
{
	size_t		len = strcspn(http->body.data, "\r\n");

	if (len == 0 || len > max ||
		!vf_s3_cred_value_ok(http->body.data, len))
		return NULL;
	return pnstrdup(http->body.data, len);
}

/* Why there is no session token. */
static char *
explain_silence(const VfS3CredSource *source, VfHttpOutcome outcome,
				char *fault, const char **code)
{
	switch (outcome)
	{
		case VF_HTTP_TIMEOUT:
			return psprintf("The metadata service %s did not answer within "
							"1 s. This is no EC2 instance, or its hop limit "
							"is 1 and the server runs in a container.",
							source->url);
		case VF_HTTP_RESOLVE:
		case VF_HTTP_CONNECT:
			if (source->named)
				return fault;
			*code = "NoCredentials";
			return pstrdup("There are no credentials: "
						   "voiceframe.s3_credentials_file is not set, the "
						   "server's environment names none, its user has "
						   "no shared credentials file, and there is no "
						   "metadata service.");
		default:
			return fault;
	}
}

static char *
fetch_token(VfS3CredCall *call, char **token, const char **code)
{
	static const VfHttpHeader ttl = {
		"X-aws-ec2-metadata-token-ttl-seconds", "21600"
	};
	VfHttpOutcome outcome;
	VfHttpAnswer *http;
	char	   *fault;

	http = ask(call, "PUT", TOKEN_PATH, &ttl, &outcome, &fault);
	if (http == NULL)
		return explain_silence(call->source, outcome, fault, code);
	if (http->status != 200)
		fault = psprintf("The metadata service %s gives no session token: "
						 "status %d.", call->source->url, http->status);
	else
	{
		*token = first_line(http, MAX_TOKEN);
		if (*token == NULL)
			fault = psprintf("The metadata service %s gives a session token "
							 "that is none.", call->source->url);
	}
	vf_s3_cred_call_free(http);
	return fault;
}

static char *
fetch_role(VfS3CredCall *call, const VfHttpHeader *header, char **role)
{
	VfHttpOutcome outcome;
	VfHttpAnswer *http;
	char	   *fault;

	http = ask(call, "GET", ROLE_PATH, header, &outcome, &fault);
	if (http == NULL)
		return fault;
	if (http->status == 404)
		fault = pstrdup("The instance has no role.");
	else if (http->status != 200)
		fault = psprintf("The metadata service %s does not name the "
						 "instance's role: status %d.", call->source->url,
						 http->status);
	else
	{
		*role = first_line(http, MAX_NAME);
		if (*role == NULL || !vf_s3_cred_name_ok(*role, strlen(*role)))
			fault = psprintf("The metadata service %s names a role that is "
							 "none.", call->source->url);
	}
	vf_s3_cred_call_free(http);
	return fault;
}

char *
vf_s3_cred_imds_fetch(VfS3CredCall *call, VfS3CredAnswer *answer,
					  const char **code)
{
	VfHttpHeader header = {"X-aws-ec2-metadata-token", NULL};
	VfHttpAnswer *http = NULL;
	VfHttpOutcome outcome;
	char	   *token = NULL;
	char	   *role = NULL;
	char	   *fault;

	*code = "MetadataService";
	fault = fetch_token(call, &token, code);
	if (fault)
		return fault;
	header.value = token;
	fault = fetch_role(call, &header, &role);
	if (fault == NULL)
		http = ask(call, "GET", psprintf("%s%s", ROLE_PATH, role), &header,
				   &outcome, &fault);
	if (http)
	{
		fault = vf_s3_cred_call_read(call, http, token, answer);
		vf_s3_cred_call_free(http);
	}
	if (token)
	{
		explicit_bzero(token, strlen(token));
		pfree(token);
	}
	return fault;
}
