/*-------------------------------------------------------------------------
 *
 * s3_cred_call.c
 *	  Requests to a service of credentials, one after the other.
 *
 * A call has a memory context of its own for its connection, and one deadline
 * for all its requests.  No proxy comes near a request for credentials but
 * voiceframe.s3_proxy, and that only on the way to STS: a container's or an
 * instance's keys are for nobody in between.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "s3_cred_internal.h"
#include "s3_internal.h"

/* Credentials are a few KB, their errors less. */
#define MAX_ANSWER	(64 * 1024)

void
vf_s3_cred_call_open(VfS3CredCall *call, const VfS3CredSource *source,
					 const VfS3CredQuery *query)
{
	VfHttpOptions options;

	call->source = source;
	call->query = query;
	call->deadline = vf_s3_clock_ms() + query->timeout_ms;
	call->context = AllocSetContextCreate(CurrentMemoryContext,
										  "voiceframe credentials call",
										  ALLOCSET_SMALL_SIZES);
	memset(&options, 0, sizeof(options));
	options.ca_file = query->ca_file;
	options.proxy = source->service == VF_S3_CRED_STS ? query->proxy : NULL;
	options.max_connections = 1;
	options.max_answer = MAX_ANSWER;
	call->http = vf_http_open(call->context, &options);
}

void
vf_s3_cred_call_close(VfS3CredCall *call)
{
	MemoryContextDelete(call->context);
}

static const char *
outcome_words(VfHttpOutcome outcome)
{
	switch (outcome)
	{
		case VF_HTTP_ANSWERED:
			break;
		case VF_HTTP_RESOLVE:
			return "its name has no address";
		case VF_HTTP_CONNECT:
			return "it cannot be connected to";
		case VF_HTTP_TLS:
			return "its certificate or its TLS is not good";
		case VF_HTTP_TIMEOUT:
			return "it did not answer in time";
		case VF_HTTP_CUT:
			return "it cut the connection";
		case VF_HTTP_TOO_LARGE:
			return "its answer is larger than allowed";
		case VF_HTTP_UNUSABLE:
			return "the request could not be made";
	}
	return "the request was abandoned";
}

/* Of the URL only the origin is told: the path may be a secret. */
static char *
told_fault(const VfS3CredCall *call, const char *words)
{
	const char *url = call->source->url;

	return psprintf("%.*s was asked for credentials, but %s.",
					vf_s3_cred_url_origin(url), url, words);
}

VfHttpAnswer *
vf_s3_cred_call_send(VfS3CredCall *call, VfHttpRequest *req,
					 VfHttpOutcome *outcome, char **fault)
{
	int64		left = call->deadline - vf_s3_clock_ms();
	VfHttpAnswer *http;

	*fault = NULL;
	*outcome = VF_HTTP_TIMEOUT;
	if (left > 0)
	{
		req->timeout_ms = (int) Min(left, req->timeout_ms);
		vf_http_start(call->http, req);
		http = vf_http_wait(call->http, call->query->tick, call->query->arg);
		*outcome = http ? http->outcome : VF_HTTP_ANSWERED;
		if (http && http->outcome == VF_HTTP_ANSWERED)
			return http;
		if (http)
			vf_s3_cred_call_free(http);
	}
	*fault = told_fault(call, outcome_words(*outcome));
	return NULL;
}

void
vf_s3_cred_call_free(VfHttpAnswer *http)
{
	explicit_bzero(http->body.data, http->body.len);
	vf_http_free(http);
}

/* What the service says is wrong, without anything that may be a secret. */
static char *
refusal(const VfS3CredCall *call, int status, const char *secret,
		const VfS3CredAnswer *answer)
{
	char		code[64];
	char		message[128];
	char	   *words;

	vf_s3_clean_code(answer->code, code, sizeof(code));
	vf_s3_clean_message(answer->message, secret, secret ? strlen(secret) : 0,
						message, sizeof(message));
	words = psprintf("it answers with status %d%s%s%s%s", status,
					 code[0] ? ", " : "", code, message[0] ? ": " : "",
					 message);
	return told_fault(call, words);
}

char *
vf_s3_cred_call_read(const VfS3CredCall *call, const VfHttpAnswer *http,
					 const char *secret, VfS3CredAnswer *answer)
{
	bool		success = http->status >= 200 && http->status < 300;
	const char *fault;

	vf_s3_cred_json_read(http->body.data, http->body.len, answer);

	/* IMDS tells its own errors with status 200. */
	if (!success || (answer->fault == NULL && answer->code[0] != '\0' &&
					 strcmp(answer->code, "Success") != 0))
		return refusal(call, http->status, secret, answer);
	fault = answer->fault ? answer->fault : vf_s3_cred_answer_fault(answer);
	if (fault)
		return told_fault(call, psprintf("what it answers is of no use: %s",
										 fault));
	return NULL;
}
