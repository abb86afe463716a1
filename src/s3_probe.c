/*-------------------------------------------------------------------------
 *
 * s3_probe.c
 *	  Single requests, each waited for: heads, versioning, a list, a put,
 *	  and a small object read and written under conditions.
 *
 * Deletes of the same client may be in flight; answers to them that come in
 * between are kept for vf_s3_delete_wait.
 *
 * A HEAD is answered without a body, so its failures are judged by status;
 * see vf_s3_head_object() for what that cannot tell.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3.h"
#include "s3_internal.h"
#include "s3_sign.h"

#define MAX_QUERY	4096

/* Who waits, and how. */
typedef struct Waiter
{
	VfS3Client *client;
	VfHttpTick	tick;
	void	   *arg;
} Waiter;

/* The answer to the request, or NULL when tick told to stop. */
static VfHttpAnswer *
wait_for(const Waiter *waiter, const VfS3Exchange *exchange)
{
	for (;;)
	{
		VfHttpAnswer *http = vf_http_wait(waiter->client->http, waiter->tick,
										  waiter->arg);

		if (http == NULL || http->tag == exchange)
			return http;
		vf_s3_delete_settle(waiter->client, http);
	}
}

/* The answer, to be freed; NULL, with a judgement, if none came. */
static VfHttpAnswer *
exchange_one(const Waiter *waiter, VfS3Request *req, VfS3Answer *answer)
{
	VfS3Client *client = waiter->client;
	VfS3Exchange *exchange;
	VfHttpAnswer *http;

	exchange = MemoryContextAllocZero(client->cxt, sizeof(VfS3Exchange));
	req->tag = exchange;
	if (!vf_s3_send(client, req))
	{
		pfree(exchange);
		vf_s3_judge_own("CannotSign", "the request could not be signed",
						answer);
		return NULL;
	}
	http = wait_for(waiter, exchange);
	pfree(exchange);
	if (http == NULL)
	{
		vf_s3_delete_abandon(client);
		vf_s3_judge_own("Timeout", "the request was abandoned", answer);
		answer->uncertain = true;
	}
	return http;
}

VfHttpAnswer *
vf_s3_exchange(VfS3Client *client, VfS3Request *req, VfHttpTick tick,
			   void *arg, VfS3Answer *answer)
{
	Waiter		waiter = {client, tick, arg};

	return exchange_one(&waiter, req, answer);
}

static void
request(const Waiter *waiter, VfS3Request *req, VfS3XmlRoot wanted,
		VfS3Answer *answer, VfS3XmlDocument *doc)
{
	VfHttpAnswer *http = exchange_one(waiter, req, answer);

	memset(doc, 0, sizeof(*doc));
	if (http == NULL)
		return;
	vf_s3_judge(http, waiter->client->region, wanted, NULL, answer, doc);
	vf_s3_note_refusal(waiter->client, answer->code,
					   strcmp(req->method, "HEAD") == 0 ? http->status : 0);
	vf_http_free(http);
}

void
vf_s3_head_bucket(VfS3Client *client, int timeout_ms, VfHttpTick tick,
				  void *arg, VfS3Answer *answer)
{
	Waiter		waiter = {client, tick, arg};
	VfS3Request req = {0};
	VfS3XmlDocument doc;

	req.method = "HEAD";
	req.timeout_ms = timeout_ms;
	request(&waiter, &req, VF_S3_XML_NOTHING, answer, &doc);
}

void
vf_s3_get_versioning(VfS3Client *client, int timeout_ms, VfHttpTick tick,
					 void *arg, VfS3Answer *answer, VfS3Versioning *result,
					 bool *mfa_delete)
{
	Waiter		waiter = {client, tick, arg};
	VfS3Request req = {0};
	VfS3XmlDocument doc;

	*result = VF_S3_VERSIONING_OFF;
	req.method = "GET";
	req.query = "versioning=";
	req.timeout_ms = timeout_ms;
	request(&waiter, &req, VF_S3_XML_VERSIONING, answer, &doc);
	if (strcmp(doc.status, "Enabled") == 0)
		*result = VF_S3_VERSIONING_ENABLED;
	else if (strcmp(doc.status, "Suspended") == 0)
		*result = VF_S3_VERSIONING_SUSPENDED;
	*mfa_delete = strcmp(doc.mfa_delete, "Enabled") == 0;
}

void
vf_s3_list_probe(VfS3Client *client, const char *prefix, int timeout_ms,
				 VfHttpTick tick, void *arg, VfS3Answer *answer)
{
	Waiter		waiter = {client, tick, arg};
	VfS3Request req = {0};
	VfS3XmlDocument doc;
	char		query[MAX_QUERY];
	size_t		len;

	strlcpy(query, "encoding-type=url&list-type=2&max-keys=1&prefix=",
			sizeof(query));
	len = strlen(query);
	if (!vf_s3_sign_encode(prefix, strlen(prefix), false, query + len,
						   sizeof(query) - len))
	{
		vf_s3_judge_own("CannotSign", "the prefix is too long", answer);
		return;
	}
	req.method = "GET";
	req.query = query;
	req.timeout_ms = timeout_ms;
	request(&waiter, &req, VF_S3_XML_LIST, answer, &doc);
}

void
vf_s3_head_object(VfS3Client *client, const char *key, size_t len,
				  int timeout_ms, VfHttpTick tick, void *arg,
				  VfS3Answer *answer, bool *exists)
{
	Waiter		waiter = {client, tick, arg};
	VfS3Request req = {0};
	VfS3XmlDocument doc;

	req.method = "HEAD";
	req.key = key;
	req.key_len = len;
	req.timeout_ms = timeout_ms;
	request(&waiter, &req, VF_S3_XML_NOTHING, answer, &doc);
	*exists = answer->class == VF_S3_OK;
	/* The code that the table gives to a bare 404. */
	if (strcmp(answer->code, "NoSuchBucket") == 0)
	{
		answer->class = VF_S3_OK;
		answer->code[0] = '\0';
		answer->message[0] = '\0';
	}
}

void
vf_s3_put_object(VfS3Client *client, const char *key, size_t len,
				 const char *body, size_t body_len, int timeout_ms,
				 VfHttpTick tick, void *arg, VfS3Answer *answer)
{
	Waiter		waiter = {client, tick, arg};
	VfS3Request req = {0};
	VfS3XmlDocument doc;

	req.method = "PUT";
	req.key = key;
	req.key_len = len;
	req.body = body;
	req.body_len = body_len;
	req.timeout_ms = timeout_ms;
	request(&waiter, &req, VF_S3_XML_NOTHING, answer, &doc);
}

/* ---- a small object ---- */

/* The code, the status or both say that the condition was not met. */
static bool
is_unmet(const VfS3Answer *answer)
{
	return answer->class != VF_S3_OK &&
		(answer->status == 412 ||
		 strcmp(answer->code, "PreconditionFailed") == 0 ||
		 strcmp(answer->code, "ConditionalRequestConflict") == 0 ||
		 strcmp(answer->code, "NoSuchKey") == 0);
}

/* What the head of an answer tells of an object. */
static void
note_object(const VfHttpAnswer *http, VfS3Object *object)
{
	double		modified;

	strlcpy(object->etag, http->etag, sizeof(object->etag));
	strlcpy(object->version, http->version_id, sizeof(object->version));
	object->has_date = vf_s3_parse_date(http->date, &object->date);
	object->has_age = object->has_date &&
		vf_s3_parse_date(http->last_modified, &modified);
	if (object->has_age)
		object->age = object->date - modified;
}

void
vf_s3_get_object(VfS3Client *client, const char *key, size_t len,
				 int timeout_ms, VfHttpTick tick, void *arg,
				 VfS3Answer *answer, VfS3Object *object)
{
	Waiter		waiter = {client, tick, arg};
	VfS3Request req = {0};
	VfS3XmlDocument doc;
	VfHttpAnswer *http;

	memset(object, 0, sizeof(*object));
	req.method = "GET";
	req.key = key;
	req.key_len = len;
	req.max_answer = VF_S3_SMALL;
	req.timeout_ms = timeout_ms;
	http = exchange_one(&waiter, &req, answer);
	if (http == NULL)
		return;
	note_object(http, object);
	if (http->outcome == VF_HTTP_ANSWERED && http->status == 200)
	{
		/* The body is the object and no document of S3's. */
		object->exists = true;
		object->len = Min((size_t) http->body.len, (size_t) VF_S3_SMALL);
		memcpy(object->body, http->body.data, object->len);
		object->body[object->len] = '\0';
		http->body.len = 0;
	}
	vf_s3_judge(http, client->region, VF_S3_XML_NOTHING, NULL, answer, &doc);
	vf_s3_note_refusal(client, answer->code, 0);
	vf_http_free(http);
	if (strcmp(answer->code, "NoSuchKey") == 0)
	{
		answer->class = VF_S3_OK;
		answer->code[0] = '\0';
		answer->message[0] = '\0';
	}
}

void
vf_s3_put_if(VfS3Client *client, const char *key, size_t len,
			 const char *body, size_t body_len,
			 const VfS3Condition *condition, int timeout_ms,
			 VfHttpTick tick, void *arg, VfS3Answer *answer, bool *unmet,
			 VfS3Object *written)
{
	Waiter		waiter = {client, tick, arg};
	VfS3Request req = {0};
	VfS3XmlDocument doc;
	VfHttpAnswer *http;

	memset(written, 0, sizeof(*written));
	*unmet = false;
	req.method = "PUT";
	req.key = key;
	req.key_len = len;
	req.body = body;
	req.body_len = body_len;
	req.content_type = "text/plain";
	req.if_match = condition->etag;
	req.if_absent = condition->absent;
	req.timeout_ms = timeout_ms;
	http = exchange_one(&waiter, &req, answer);
	if (http == NULL)
		return;
	note_object(http, written);
	vf_s3_judge(http, client->region, VF_S3_XML_NOTHING, NULL, answer, &doc);
	vf_s3_note_refusal(client, answer->code, 0);
	vf_http_free(http);
	*unmet = (condition->etag != NULL || condition->absent) &&
		is_unmet(answer);
	written->exists = answer->class == VF_S3_OK;
}

void
vf_s3_delete_version(VfS3Client *client, const char *key, size_t len,
					 const char *version, int timeout_ms, VfHttpTick tick,
					 void *arg, VfS3Answer *answer)
{
	Waiter		waiter = {client, tick, arg};
	VfS3Request req = {0};
	VfS3XmlDocument doc;
	char		query[MAX_QUERY] = "versionId=";
	size_t		done = strlen(query);

	if (!vf_s3_sign_encode(version, strlen(version), false, query + done,
						   sizeof(query) - done))
	{
		vf_s3_judge_own("CannotSign", "the version is too long", answer);
		return;
	}
	req.method = "DELETE";
	req.key = key;
	req.key_len = len;
	req.query = query;
	req.timeout_ms = timeout_ms;
	request(&waiter, &req, VF_S3_XML_NOTHING, answer, &doc);
}
