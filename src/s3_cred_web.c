/*-------------------------------------------------------------------------
 *
 * s3_cred_web.c
 *	  Credentials from STS for a web identity token.
 *
 * AssumeRoleWithWebIdentity is not signed: the token is the proof.  It goes
 * in the body of a POST, for URLs end up in logs.  The token file is read at
 * every fetch: whoever wrote it replaces it before the token expires.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3_cred_internal.h"
#include "s3_internal.h"
#include "s3_sign.h"
#include "s3_xml.h"

#define TIMEOUT_MS	8000

/* What the XML reader hears. */
static void
on_credentials(void *arg, const char *access_key, const char *secret_key,
			   const char *token, const char *expiration)
{
	VfS3CredAnswer *answer = arg;

	strlcpy(answer->access_key, access_key, sizeof(answer->access_key));
	strlcpy(answer->secret_key, secret_key, sizeof(answer->secret_key));
	strlcpy(answer->session_token, token, sizeof(answer->session_token));
	strlcpy(answer->expiration, expiration, sizeof(answer->expiration));
}

static bool
add_field(StringInfo body, const char *name, const char *value)
{
	size_t		len = strlen(value);

	appendStringInfo(body, "&%s=", name);
	enlargeStringInfo(body, (int) len * 3 + 1);
	if (!vf_s3_sign_encode(value, len, false, body->data + body->len,
						   body->maxlen - body->len))
		return false;
	body->len += (int) strlen(body->data + body->len);
	return true;
}

/* The token's own troubles, the role's, and all else. */
static const char *
code_of(const char *code)
{
	if (strcmp(code, "ExpiredTokenException") == 0 ||
		strcmp(code, "ExpiredToken") == 0 ||
		strcmp(code, "InvalidIdentityToken") == 0)
		return "WebIdentityToken";
	if (strcmp(code, "AccessDenied") == 0 ||
		strcmp(code, "AccessDeniedException") == 0)
		return "StsAccessDenied";
	return "StsError";
}

static char *
refusal(const VfS3CredSource *source, int status, const char *token,
		const VfS3XmlDocument *doc, const char **code)
{
	bool		told = doc->fault == NULL &&
		(doc->root == VF_S3_XML_STS_ERROR || doc->root == VF_S3_XML_ERROR);
	char		name[64];
	char		message[128];

	vf_s3_clean_code(told ? doc->code : "", name, sizeof(name));
	vf_s3_clean_message(told ? doc->message : "", token, strlen(token),
						message, sizeof(message));
	*code = code_of(name);
	return psprintf("%s gives no credentials for the token: status %d%s%s%s%s",
					source->url, status, name[0] ? ", " : "", name,
					message[0] ? ": " : "", message);
}

static char *
read_answer(const VfS3CredSource *source, const VfHttpAnswer *http,
			const char *token, VfS3CredAnswer *answer, const char **code)
{
	VfS3XmlHandler handler = {0};
	VfS3XmlDocument doc;
	const char *fault;

	memset(answer, 0, sizeof(*answer));
	handler.credentials = on_credentials;
	handler.arg = answer;
	vf_s3_xml_read(http->body.data, http->body.len, &handler, &doc);
	if (http->status != 200 || doc.root == VF_S3_XML_STS_ERROR)
		return refusal(source, http->status, token, &doc, code);
	fault = doc.fault;
	if (fault == NULL && doc.root != VF_S3_XML_WEB_IDENTITY)
		fault = "it is not the document asked for";
	if (fault == NULL)
		fault = vf_s3_cred_answer_fault(answer);
	if (fault == NULL)
		return NULL;
	return psprintf("What %s answers is of no use: %s.", source->url, fault);
}

static char *
exchange(VfS3CredCall *call, const char *token, VfS3CredAnswer *answer,
		 const char **code)
{
	static const VfHttpHeader type = {
		"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"
	};
	const VfS3CredSource *source = call->source;
	VfHttpRequest req = {0};
	VfHttpAnswer *http = NULL;
	VfHttpOutcome outcome;
	StringInfoData body;
	char	   *fault;

	*code = "StsError";
	initStringInfo(&body);
	appendStringInfoString(&body,
						   "Action=AssumeRoleWithWebIdentity&Version=2011-06-15");
	if (add_field(&body, "RoleArn", source->role_arn) &&
		add_field(&body, "RoleSessionName", source->role_session) &&
		add_field(&body, "WebIdentityToken", token))
	{
		req.method = "POST";
		req.url = psprintf("%s/", source->url);
		req.headers = &type;
		req.nheaders = 1;
		req.body = body.data;
		req.body_len = body.len;
		req.timeout_ms = TIMEOUT_MS;
		http = vf_s3_cred_call_send(call, &req, &outcome, &fault);
	}
	else
		fault = pstrdup("The request to STS could not be written.");
	if (http)
	{
		fault = read_answer(source, http, token, answer, code);
		vf_s3_cred_call_free(http);
	}
	explicit_bzero(body.data, body.len);
	pfree(body.data);
	return fault;
}

char *
vf_s3_cred_web_fetch(VfS3CredCall *call, VfS3CredAnswer *answer,
					 const char **code)
{
	char	   *token;
	char	   *fault;

	*code = "WebIdentityToken";
	fault = vf_s3_cred_file_token(call->source->token_file, false, &token);
	if (fault)
		return fault;
	fault = exchange(call, token, answer, code);
	explicit_bzero(token, strlen(token));
	pfree(token);
	return fault;
}
