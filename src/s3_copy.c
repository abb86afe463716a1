/*-------------------------------------------------------------------------
 *
 * s3_copy.c
 *	  Copying an object inside its bucket, and what it has beside its bytes.
 *
 * CopyObject may answer 200 and then an error: the store sends the head while
 * it still works.  Only a CopyObjectResult is a success.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "s3_copy.h"
#include "s3_internal.h"
#include "s3_sign.h"

/* "/bucket/" and a key of 1,024 bytes, all encoded. */
#define MAX_SOURCE 4096

#define AMZ "x-amz-"
#define SSE AMZ "server-side-encryption"

static void
set_fine(VfS3Answer *answer)
{
	answer->class = VF_S3_OK;
	answer->code[0] = '\0';
	answer->message[0] = '\0';
}

/* ---- heads ---- */

static void
read_size(const VfHttpAnswer *http, VfS3Head *head)
{
	char		text[24];

	head->size = -1;
	if (vf_http_header(http, "content-length", text, sizeof(text)) &&
		text[0] != '\0' && strspn(text, "0123456789") == strlen(text) &&
		strlen(text) < 19)
		head->size = strtoll(text, NULL, 10);
}

static void
read_encryption(const VfHttpAnswer *http, VfS3Head *head)
{
	char		text[64];

	vf_http_header(http, SSE, head->encryption, sizeof(head->encryption));
	vf_http_header(http, SSE "-aws-kms-key-id", head->kms_key,
				   sizeof(head->kms_key));
	vf_http_header(http, SSE "-bucket-key-enabled", text, sizeof(text));
	head->bucket_key = strcmp(text, "true") == 0;
	head->customer_key = vf_http_header(http, SSE "-customer-algorithm",
										text, sizeof(text));
}

/* That of parts says as much about how they were cut as about the bytes. */
static void
read_checksum(const VfHttpAnswer *http, VfS3Head *head)
{
	static const char *const names[] = {
		"sha256", "sha1", "crc64nvme", "crc32c", "crc32"
	};
	char		type[32];

	vf_http_header(http, AMZ "checksum-type", type, sizeof(type));
	if (strcmp(type, "COMPOSITE") == 0)
		return;
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		char		header[64];

		snprintf(header, sizeof(header), AMZ "checksum-%s", names[i]);
		if (!vf_http_header(http, header, head->checksum,
							sizeof(head->checksum)) ||
			strchr(head->checksum, '-') != NULL)
			continue;
		strlcpy(head->checksum_name, names[i], sizeof(head->checksum_name));
		return;
	}
	head->checksum[0] = '\0';
}

void
vf_s3_head_whole(const VfS3Asker *asker, const char *key, size_t len,
				 int timeout_ms, VfS3Answer *answer, VfS3Head *head)
{
	static const VfHttpHeader more[] = {{AMZ "checksum-mode", "ENABLED"}};
	VfS3Request req = {0};
	VfS3XmlDocument doc;
	VfHttpAnswer *http;

	memset(head, 0, sizeof(*head));
	req.method = "HEAD";
	req.key = key;
	req.key_len = len;
	req.more = more;
	req.n_more = lengthof(more);
	req.timeout_ms = timeout_ms;
	http = vf_s3_exchange(asker->client, &req, asker->tick, asker->arg,
						  answer);
	if (http == NULL)
		return;
	vf_s3_judge(http, asker->client->region, VF_S3_XML_NOTHING, NULL, answer,
				&doc);
	vf_s3_note_refusal(asker->client, answer->code, http->status);
	head->exists = answer->class == VF_S3_OK;
	strlcpy(head->etag, http->etag, sizeof(head->etag));
	head->has_modified = vf_s3_parse_date(http->last_modified,
										  &head->modified);
	read_size(http, head);
	read_encryption(http, head);
	read_checksum(http, head);
	vf_http_free(http);

	/* A bare 404, as vf_s3_head_object() has it. */
	if (strcmp(answer->code, "NoSuchBucket") == 0)
		set_fine(answer);
}

/* Is the ETag the MD5 of the bytes? */
static bool
is_plain_etag(const VfS3Head *head)
{
	const char *p = head->etag;
	size_t		len = strlen(p);

	if (len != 34 || p[0] != '"' || p[33] != '"' || head->customer_key ||
		strncmp(head->encryption, "aws:", 4) == 0)
		return false;
	for (int i = 1; i < 33; i++)
		if (!isxdigit((unsigned char) p[i]))
			return false;
	return true;
}

VfS3Likeness
vf_s3_compare(const VfS3Head *a, const VfS3Head *b)
{
	if (a->size < 0 || a->size != b->size)
		return VF_S3_DIFFERENT;
	if (a->checksum_name[0] != '\0' &&
		strcmp(a->checksum_name, b->checksum_name) == 0)
		return strcmp(a->checksum, b->checksum) == 0 ? VF_S3_SAME :
			VF_S3_DIFFERENT;
	if (a->etag[0] != '\0' && strcmp(a->etag, b->etag) == 0)
		return VF_S3_SAME;
	return is_plain_etag(a) && is_plain_etag(b) ? VF_S3_DIFFERENT :
		VF_S3_UNKNOWN;
}

/* ---- the copy ---- */

/* The source as a header's value: "/bucket/key", encoded. */
static bool
write_source(const VfS3Client *client, const char *key, size_t len, char *to)
{
	size_t		n;

	snprintf(to, MAX_SOURCE, "/%s/", client->bucket);
	n = strlen(to);
	return vf_s3_sign_encode(key, len, true, to + n, MAX_SOURCE - n);
}

static void
add(VfS3Request *req, VfHttpHeader *list, const char *name, const char *value)
{
	list[req->n_more].name = name;
	list[req->n_more++].value = value;
}

/* Blanks before the document keep the connection alive. */
static void
skip_blanks(VfHttpAnswer *http)
{
	int			n = 0;

	while (n < http->body.len && isspace((unsigned char) http->body.data[n]))
		n++;
	memmove(http->body.data, http->body.data + n, http->body.len - n + 1);
	http->body.len -= n;
}

void
vf_s3_copy_object(const VfS3Asker *asker, const char *source,
				  size_t source_len, const VfS3Head *head, const char *target,
				  size_t target_len, int timeout_ms, VfS3Answer *answer,
				  char *etag)
{
	VfS3Client *client = asker->client;
	VfS3Request req = {0};
	VfHttpHeader list[8];
	char		from[MAX_SOURCE];
	VfS3XmlDocument doc;
	VfHttpAnswer *http;

	etag[0] = '\0';
	if (!write_source(client, source, source_len, from))
	{
		vf_s3_judge_own("CannotSign", "the source is too long", answer);
		return;
	}
	add(&req, list, AMZ "copy-source", from);
	if (head->etag[0] != '\0')
		add(&req, list, AMZ "copy-source-if-match", head->etag);
	add(&req, list, AMZ "metadata-directive", "COPY");
	add(&req, list, AMZ "tagging-directive", "COPY");
	if (head->encryption[0] != '\0')
		add(&req, list, SSE, head->encryption);
	if (head->kms_key[0] != '\0')
		add(&req, list, SSE "-aws-kms-key-id", head->kms_key);
	if (head->bucket_key)
		add(&req, list, SSE "-bucket-key-enabled", "true");
	if (client->expected_owner != NULL)
		add(&req, list, AMZ "source-expected-bucket-owner",
			client->expected_owner);
	req.method = "PUT";
	req.key = target;
	req.key_len = target_len;
	req.more = list;
	req.timeout_ms = timeout_ms;
	http = vf_s3_exchange(client, &req, asker->tick, asker->arg, answer);
	if (http == NULL)
		return;
	skip_blanks(http);
	vf_s3_judge(http, client->region, VF_S3_XML_COPY, NULL, answer, &doc);
	vf_s3_note_refusal(client, answer->code, 0);
	strlcpy(etag, doc.etag, sizeof(doc.etag));
	vf_http_free(http);
}

/* ---- access control ---- */

bool
vf_s3_has_no_acl(const VfS3Answer *answer)
{
	return strcmp(answer->code, "AccessControlListNotSupported") == 0 ||
		strcmp(answer->code, "NotImplemented") == 0 ||
		strcmp(answer->code, "MethodNotAllowed") == 0 ||
		answer->status == 405 || answer->status == 501;
}

static void
request_acl(VfS3Request *req, const char *method, const char *key, size_t len,
			int timeout_ms)
{
	memset(req, 0, sizeof(*req));
	req->method = method;
	req->key = key;
	req->key_len = len;
	req->query = "acl=";
	req->max_answer = VF_S3_ACL_TEXT;
	req->timeout_ms = timeout_ms;
}

void
vf_s3_get_acl(const VfS3Asker *asker, const char *key, size_t len,
			  int timeout_ms, VfS3Answer *answer, VfS3Acl *acl)
{
	VfS3Request req;
	VfS3XmlDocument doc;
	VfHttpAnswer *http;
	const char *fault;

	request_acl(&req, "GET", key, len, timeout_ms);
	http = vf_s3_exchange(asker->client, &req, asker->tick, asker->arg,
						  answer);
	if (http == NULL)
		return;
	vf_s3_judge(http, asker->client->region, VF_S3_XML_OTHER, NULL, answer,
				&doc);
	vf_s3_note_refusal(asker->client, answer->code, 0);
	if (answer->class == VF_S3_OK)
	{
		fault = vf_s3_acl_read(http->body.data, http->body.len, acl);
		if (fault != NULL)
			vf_s3_judge_own("AclUnreadable", fault, answer);
	}
	vf_http_free(http);
}

void
vf_s3_put_acl(const VfS3Asker *asker, const char *key, size_t len,
			  const VfS3Acl *acl, int timeout_ms, VfS3Answer *answer)
{
	VfS3Request req;
	VfS3XmlDocument doc;
	VfHttpAnswer *http;
	char	   *body = palloc(VF_S3_ACL_TEXT);

	request_acl(&req, "PUT", key, len, timeout_ms);
	req.body = body;
	req.body_len = vf_s3_acl_write(acl, body, VF_S3_ACL_TEXT);
	req.content_type = "application/xml";
	req.checksum = vf_s3_choose_checksum(asker->client);
	if (req.body_len == 0)
	{
		vf_s3_judge_own("AclUnreadable", "the policy is too long", answer);
		return;
	}
	http = vf_s3_exchange(asker->client, &req, asker->tick, asker->arg,
						  answer);
	if (http == NULL)
		return;
	vf_s3_judge(http, asker->client->region, VF_S3_XML_NOTHING, NULL, answer,
				&doc);
	vf_s3_note_refusal(asker->client, answer->code, 0);
	vf_http_free(http);
}
