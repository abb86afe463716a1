/*-------------------------------------------------------------------------
 *
 * s3_lifecycle.c
 *	  The lifecycle document of a bucket: GET, PUT and DELETE ?lifecycle.
 *
 * Stores that do not know the subresource take the request for one about the
 * bucket itself: GET then answers with a list of objects, PUT with
 * MalformedXML, and DELETE deletes the bucket.  So nothing but a whole
 * LifecycleConfiguration, or the code that says there is none, proves that the
 * store knows what it is asked; and DELETE asks for that proof.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3.h"
#include "s3_internal.h"

#define QUERY "lifecycle="

static bool
code_is(const VfS3Answer *answer, const char *code)
{
	return strcmp(answer->code, code) == 0;
}

/* Our own code for an answer, in its words. */
static void
rename_failure(VfS3Answer *answer, const char *code)
{
	VfS3Answer	own;

	vf_s3_judge_own(code, answer->message, &own);
	answer->class = own.class;
	strlcpy(answer->code, own.code, sizeof(answer->code));
}

static void
set_ok(VfS3Answer *answer)
{
	answer->class = VF_S3_OK;
	answer->code[0] = '\0';
	answer->message[0] = '\0';
	answer->uncertain = false;
}

/* A word that can be sent back as a header; anything else is dropped. */
static void
keep_minimum(const char *from, char *to, size_t size)
{
	size_t		len = strspn(from, "abcdefghijklmnopqrstuvwxyz"
							 "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");

	to[0] = '\0';
	if (from[len] == '\0' && len < size)
		memcpy(to, from, len + 1);
}

/* Does the store not know what it was asked? */
static bool
is_unknown(const VfS3Answer *answer)
{
	return (answer->status == 200 && code_is(answer, "MalformedAnswer")) ||
		answer->status == 405 || answer->status == 501;
}

void
vf_s3_get_lifecycle(VfS3Client *client, int timeout_ms, VfHttpTick tick,
					void *arg, VfS3Answer *answer, VfS3Lifecycle *found)
{
	VfS3Request req = {0};
	VfS3XmlDocument doc;
	VfHttpAnswer *http;

	memset(found, 0, sizeof(*found));
	req.method = "GET";
	req.query = QUERY;
	req.max_answer = VF_S3_LIFECYCLE_MAX;
	req.timeout_ms = timeout_ms;
	http = vf_s3_exchange(client, &req, tick, arg, answer);
	if (http == NULL)
		return;
	vf_s3_judge(http, client->region, VF_S3_XML_LIFECYCLE, NULL, answer,
				&doc);
	vf_s3_note_refusal(client, answer->code, 0);
	keep_minimum(http->transition_minimum, found->minimum,
				 sizeof(found->minimum));
	if (answer->class == VF_S3_OK)
	{
		found->known = found->exists = true;
		found->len = http->body.len;
		found->text = palloc(found->len + 1);
		memcpy(found->text, http->body.data, found->len + 1);
	}
	else if (code_is(answer, "NoSuchLifecycleConfiguration"))
	{
		found->known = true;
		set_ok(answer);
	}
	else if (is_unknown(answer))
		rename_failure(answer, "LifecycleUnknown");
	vf_http_free(http);
}

/* Does this answer to a PUT say that it was the document's fault? */
static bool
is_refused(const VfS3Answer *answer)
{
	static const char *const codes[] = {
		"MalformedXML", "InvalidArgument", "InvalidRequest",
		"InvalidStorageClass", "NotImplemented", "MethodNotAllowed",
		"InvalidTag", "SchemaViolation", "BadRequest", "UnexpectedRefusal"
	};

	for (size_t i = 0; i < lengthof(codes); i++)
		if (code_is(answer, codes[i]))
			return true;
	return false;
}

void
vf_s3_put_lifecycle(VfS3Client *client, const char *text, size_t len,
					const char *minimum, int timeout_ms, VfHttpTick tick,
					void *arg, VfS3Answer *answer)
{
	int64		deadline = vf_s3_clock_ms() + timeout_ms;
	VfS3Request req = {0};
	VfS3XmlDocument doc;
	bool		again;

	req.method = "PUT";
	req.query = QUERY;
	req.body = text;
	req.body_len = len;
	req.content_type = "application/xml";
	req.transition_minimum = minimum[0] != '\0' ? minimum : NULL;
	do
	{
		int64		left = deadline - vf_s3_clock_ms();
		VfHttpAnswer *http;

		again = false;
		req.checksum = vf_s3_choose_checksum(client);
		req.timeout_ms = (int) Max(left, 1);
		http = vf_s3_exchange(client, &req, tick, arg, answer);
		if (http == NULL)
			return;
		vf_s3_judge(http, client->region, VF_S3_XML_NOTHING, NULL, answer,
					&doc);
		vf_s3_note_refusal(client, answer->code, 0);
		vf_http_free(http);
		if (req.checksum == VF_S3_CHECKSUM_MD5 &&
			vf_s3_is_refusal_of_md5(answer, &doc))
		{
			client->refuses_md5 = true;
			again = true;
		}
	} while (again);
	if (is_refused(answer))
	{
		char		code[sizeof(answer->code)];

		/* Its own code tells more than ours. */
		strlcpy(code, answer->code, sizeof(code));
		rename_failure(answer, "LifecycleRefused");
		if (strncmp(answer->message, code, strlen(code)) != 0)
		{
			char		words[sizeof(answer->message)];

			strlcpy(words, answer->message, sizeof(words));
			snprintf(answer->message, sizeof(answer->message), "%s: %.180s",
					 code, words);
		}
	}
}

void
vf_s3_delete_lifecycle(VfS3Client *client, const VfS3Lifecycle *proof,
					   int timeout_ms, VfHttpTick tick, void *arg,
					   VfS3Answer *answer)
{
	VfS3Request req = {0};
	VfS3XmlDocument doc;
	VfHttpAnswer *http;

	if (!proof->known || !proof->exists)
		elog(ERROR, "nothing shows that the store knows lifecycles");
	req.method = "DELETE";
	req.query = QUERY;
	req.timeout_ms = timeout_ms;
	http = vf_s3_exchange(client, &req, tick, arg, answer);
	if (http == NULL)
		return;
	vf_s3_judge(http, client->region, VF_S3_XML_NOTHING, NULL, answer, &doc);
	vf_s3_note_refusal(client, answer->code, 0);
	vf_http_free(http);
}
