/*-------------------------------------------------------------------------
 *
 * s3_heads.c
 *	  HEADs of objects, many in flight.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3.h"
#include "s3_internal.h"

static void
start_head(VfS3Client *client, VfS3Look *head)
{
	VfS3Exchange *exchange = MemoryContextAllocZero(client->cxt,
													sizeof(VfS3Exchange));
	VfS3Request req = {0};

	exchange->head = head;
	req.method = "HEAD";
	req.key = head->key;
	req.key_len = head->len;
	req.timeout_ms = head->timeout_ms;
	req.tag = exchange;
	if (vf_s3_send(client, &req))
		return;
	pfree(exchange);
	vf_s3_judge_own("CannotSign", "the request could not be signed",
					&head->answer);
	head->done = true;
}

static void
settle_head(VfS3Client *client, VfHttpAnswer *http)
{
	VfS3Exchange *exchange = http->tag;
	VfS3Look   *head = exchange->head;
	VfS3XmlDocument doc;

	pfree(exchange);
	vf_s3_judge(http, client->region, VF_S3_XML_NOTHING, NULL, &head->answer,
				&doc);
	vf_s3_note_refusal(client, head->answer.code, http->status);
	head->done = true;
	head->exists = head->answer.class == VF_S3_OK;
	strlcpy(head->etag, http->etag, sizeof(head->etag));
	head->has_modified = vf_s3_parse_date(http->last_modified,
										  &head->modified);
	/* The code that the table gives to a bare 404. */
	if (strcmp(head->answer.code, "NoSuchBucket") == 0)
	{
		head->answer.class = VF_S3_OK;
		head->answer.code[0] = '\0';
		head->answer.message[0] = '\0';
	}
	vf_http_free(http);
}

bool
vf_s3_heads(VfS3Client *client, VfS3Look *heads, int n, int concurrency,
			int64 deadline, VfHttpTick tick, void *arg)
{
	int			next = 0;

	for (;;)
	{
		VfHttpAnswer *http;

		while (next < n && vf_http_in_flight(client->http) < concurrency &&
			   vf_s3_clock_ms() < deadline)
			start_head(client, &heads[next++]);
		if (vf_http_in_flight(client->http) == 0)
			return true;
		http = vf_http_wait(client->http, tick, arg);
		if (http == NULL)
			return false;
		settle_head(client, http);
	}
}
