/*-------------------------------------------------------------------------
 *
 * s3_cred_container.c
 *	  Credentials from a container's endpoint: ECS, EKS Pod Identity, agents.
 *
 * One GET, with the authorization token where there is one.  A token file is
 * read at every fetch: EKS replaces it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3_cred_internal.h"

/* EKS's agent asks its cloud in turn. */
#define TIMEOUT_MS	5000

static char *
find_token(const VfS3CredSource *source, char **token)
{
	*token = NULL;
	if (source->token_file)
		return vf_s3_cred_file_token(source->token_file, true, token);
	if (source->token)
		*token = pstrdup(source->token);
	return NULL;
}

char *
vf_s3_cred_container_fetch(VfS3CredCall *call, VfS3CredAnswer *answer,
						   const char **code)
{
	VfHttpRequest req = {0};
	VfHttpHeader header = {"Authorization", NULL};
	VfHttpAnswer *http;
	VfHttpOutcome outcome;
	char	   *token;
	char	   *fault;

	*code = "ContainerCredentials";
	fault = find_token(call->source, &token);
	if (fault)
		return fault;
	header.value = token;
	req.method = "GET";
	req.url = call->source->url;
	req.headers = &header;
	req.nheaders = token ? 1 : 0;
	req.timeout_ms = TIMEOUT_MS;
	http = vf_s3_cred_call_send(call, &req, &outcome, &fault);
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
