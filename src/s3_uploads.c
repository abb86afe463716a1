/*-------------------------------------------------------------------------
 *
 * s3_uploads.c
 *	  The parts of an unfinished upload.
 *
 * s3_list.c lists the uploads; their sizes are in no list but that of their
 * parts, one request or more for each upload.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3.h"
#include "s3_internal.h"

/* No object is larger. */
#define MAX_BYTES (INT64CONST(1) << 50)

/* While an answer is read. */
typedef struct Reading
{
	int64		bytes;
	int			n;
	bool		odd;
} Reading;

static void
on_part(void *arg, const VfS3XmlObject *part)
{
	Reading    *r = arg;
	int64		size;

	if (!vf_s3_parse_size(part->size, &size) || part->cut)
		r->odd = true;
	else
		r->bytes = Min(r->bytes + size, MAX_BYTES + 1);
	r->n++;
}

/* The parts behind this one; "" for the first. */
static bool
make_query(const VfS3Found *upload, const char *after, char *query)
{
	bool		fits = true;

	/* In the order that signing wants. */
	strlcpy(query, "max-parts=1000", VF_S3_MAX_QUERY);
	if (after[0] != '\0')
		fits = vf_s3_add_parameter(query, "&part-number-marker=", after,
								   strlen(after));
	return fits && vf_s3_add_parameter(query, "&uploadId=", upload->upload,
									   strlen(upload->upload));
}

/* A page of them; *next is where the next one begins, "" at the end. */
static void
read_page(VfS3Client *client, VfHttpAnswer *http, const char *after,
		  VfS3Answer *answer, int64 *bytes, char next[16])
{
	Reading		r = {0};
	VfS3XmlHandler handler = {.listed = on_part, .arg = &r};
	VfS3XmlDocument doc;

	next[0] = '\0';
	vf_s3_judge(http, client->region, VF_S3_XML_PARTS, &handler, answer, &doc);
	vf_s3_note_refusal(client, answer->code, 0);
	if (answer->class != VF_S3_OK)
		return;
	*bytes += r.bytes;
	if (r.odd || *bytes > MAX_BYTES)
		vf_s3_judge_own("MalformedAnswer", "the list of parts is odd",
						answer);
	else if (strcmp(doc.truncated, "true") == 0)
	{
		if (r.n == 0 || strlen(doc.next_version) >= 16 ||
			doc.next_version[0] == '\0' ||
			strcmp(doc.next_version, after) == 0)
			vf_s3_judge_own("EndlessList", "the list of parts does not go on",
							answer);
		else
			strlcpy(next, doc.next_version, 16);
	}
}

void
vf_s3_count_parts(VfS3Client *client, const VfS3Found *upload, int *requests,
				  int timeout_ms, VfHttpTick tick, void *arg,
				  VfS3Answer *answer, int64 *bytes)
{
	char		after[16] = "";
	char		next[16];

	*bytes = 0;
	do
	{
		char		query[VF_S3_MAX_QUERY];
		VfS3Request req = {0};
		VfHttpAnswer *http;

		if (*requests <= 0)
		{
			vf_s3_judge_own("EndlessList",
							"the list of parts did not come to its end",
							answer);
			return;
		}
		(*requests)--;
		if (!make_query(upload, after, query))
		{
			vf_s3_judge_own("CannotSign", "the upload's id is too long",
							answer);
			return;
		}
		req.method = "GET";
		req.key = upload->key;
		req.key_len = upload->len;
		req.query = query;
		req.timeout_ms = timeout_ms;
		http = vf_s3_exchange(client, &req, tick, arg, answer);
		if (http == NULL)
			return;
		read_page(client, http, after, answer, bytes, next);
		vf_http_free(http);
		strlcpy(after, next, sizeof(after));
	} while (answer->class == VF_S3_OK && after[0] != '\0');
}
