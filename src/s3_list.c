/*-------------------------------------------------------------------------
 *
 * s3_list.c
 *	  Lists of objects, page by page, many in flight.
 *
 * ListObjectsV2, or ListObjectVersions where noncurrent versions count too;
 * and ListMultipartUploads, whose pages come in an order of the store's.
 * A page is asked for by the key that it comes after, not by the token of the
 * page before: a key is good for ever and can be stored, a token is neither.
 * Both lists are in the order of the keys' UTF-8 bytes; a store that gives
 * them in another one is refused, for its pages would have gaps.
 *
 * What is listed goes into room made before the answer is read: nothing may
 * raise inside expat's callbacks.  An entry takes more room in the answer than
 * here, so that the answer's cap is ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3.h"
#include "s3_internal.h"
#include "s3_name.h"
#include "s3_sign.h"

/* The least that an entry can be: its tags and those of its key. */
#define MIN_ENTRY	32

/* While an answer is read. */
typedef struct Reading
{
	VfS3Page   *page;
	int			max;			/* entries that there is room for */
	char	   *at;				/* the texts' room */
	char	   *end;
	bool		encoded;		/* as far as is known while it is read */
	const char *fault;
} Reading;

/* ---- keys as they are listed ---- */

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

size_t
vf_s3_decode_listed(const char *text, size_t len, bool encoded, char *out)
{
	size_t		n = 0;

	for (size_t i = 0; i < len; i++)
	{
		char		c = text[i];

		if (encoded && c == '%' && len - i >= 3 &&
			hex_value(text[i + 1]) >= 0 && hex_value(text[i + 2]) >= 0)
		{
			c = (char) (hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
			i += 2;
		}
		else if (encoded && c == '+')
			c = ' ';
		out[n++] = c;
	}
	out[n] = '\0';
	return n;
}

/* ---- entries ---- */

/* Nothing is larger; more of them together would not fit a bigint. */
#define MAX_SIZE (INT64CONST(1) << 50)

bool
vf_s3_parse_size(const char *text, int64 *size)
{
	char	   *end;

	errno = 0;
	*size = strtoll(text, &end, 10);
	return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 &&
		*size <= MAX_SIZE;
}

/* A copy in the texts' room; there always is, see MIN_ENTRY. */
static const char *
keep_text(Reading *r, const char *text, size_t len)
{
	char	   *copy = r->at;

	if ((size_t) (r->end - r->at) <= len)
	{
		r->fault = "the list is odd";
		return "";
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	r->at += len + 1;
	return copy;
}

static void
on_listed(void *arg, const VfS3XmlObject *object)
{
	Reading    *r = arg;
	VfS3Found  *found = &r->page->found[r->page->n];
	char		key[VF_S3_LISTED_KEY + 1];
	double		modified = 0;

	if (r->fault != NULL)
		return;
	if (r->page->n == r->max || object->len > VF_S3_LISTED_KEY ||
		object->cut)
	{
		r->fault = "the list is odd";
		return;
	}
	memset(found, 0, sizeof(*found));
	found->len = vf_s3_decode_listed(object->key, object->len, r->encoded,
									 key);
	if (found->len == 0 || found->len > VF_S3_MAX_KEY_BYTES)
		r->fault = "the list has a key of no length, or of too much";
	found->key = keep_text(r, key, found->len);
	found->etag = keep_text(r, object->etag, strlen(object->etag));
	found->storage_class = object->storage_class[0] == '\0' ? "STANDARD" :
		keep_text(r, object->storage_class, strlen(object->storage_class));
	found->marker = object->marker;
	found->latest = object->latest;
	if (r->page->uploads)
		found->upload = keep_text(r, object->version,
								  strlen(object->version));
	else if (!object->marker &&
			 !vf_s3_parse_size(object->size, &found->size))
		r->fault = "an object in the list has no size";
	if (!r->page->uploads &&
		!vf_s3_parse_iso(object->modified, &modified))
		r->fault = "an object in the list has no date";
	found->modified = modified;
	r->page->n++;
}

/* By their bytes; the shorter first where it begins the other. */
static int
compare_keys(const char *a, size_t a_len, const char *b, size_t b_len)
{
	int			order = memcmp(a, b, Min(a_len, b_len));

	if (order != 0)
		return order;
	return a_len < b_len ? -1 : a_len > b_len;
}

/* Does the list go up, from the key that it comes after, where it has to? */
static bool
is_ordered(const VfS3Page *page)
{
	const char *last = page->after;
	size_t		len = page->after_len;

	for (int i = 0; i < page->n && !page->uploads; i++)
	{
		int			order = compare_keys(page->found[i].key,
										 page->found[i].len, last, len);

		/* Versions of one key follow each other. */
		if (order < 0 || (order == 0 && len > 0 && !page->versions))
			return false;
		last = page->found[i].key;
		len = page->found[i].len;
	}
	return true;
}

/* ---- requests ---- */

static bool
add_prefix(const VfS3Page *page, char *query)
{
	return page->prefix == NULL ||
		vf_s3_add_parameter(query, "&prefix=", page->prefix,
							strlen(page->prefix));
}

/* The parameters in the order that signing wants. */
static bool
make_uploads_query(const VfS3Page *page, const char *max, char *query)
{
	bool		fits = true;

	if (page->after_len > 0)
		fits = vf_s3_add_parameter(query, "&key-marker=", page->after,
								   page->after_len);
	fits = fits && vf_s3_add_parameter(query, "&max-uploads=", max,
									   strlen(max));
	if (page->after_version[0] != '\0')
		fits = fits && vf_s3_add_parameter(query, "&upload-id-marker=",
										   page->after_version,
										   strlen(page->after_version));
	return fits && vf_s3_add_parameter(query, "&uploads=", "", 0);
}

/* The same. */
static bool
make_query(const VfS3Page *page, char *query)
{
	char		max[16];
	bool		fits = true;

	snprintf(max, sizeof(max), "%d", page->max_keys);
	strlcpy(query, "encoding-type=url", VF_S3_MAX_QUERY);
	if (page->uploads)
		return make_uploads_query(page, max, query);
	if (page->versions)
	{
		if (page->after_len > 0)
			fits = vf_s3_add_parameter(query, "&key-marker=", page->after,
									   page->after_len);
		fits = fits && vf_s3_add_parameter(query, "&max-keys=", max,
										   strlen(max)) &&
			add_prefix(page, query);
		if (page->after_version[0] != '\0')
			fits = fits && vf_s3_add_parameter(query, "&version-id-marker=",
											   page->after_version,
											   strlen(page->after_version));
		return fits && vf_s3_add_parameter(query, "&versions=", "", 0);
	}
	fits = vf_s3_add_parameter(query, "&list-type=", "2", 1) &&
		vf_s3_add_parameter(query, "&max-keys=", max, strlen(max)) &&
		add_prefix(page, query);
	if (page->after_len > 0)
		fits = fits && vf_s3_add_parameter(query, "&start-after=", page->after,
										   page->after_len);
	return fits;
}

bool
vf_s3_page_start(VfS3Client *client, VfS3Page *page)
{
	char		query[VF_S3_MAX_QUERY];
	VfS3Exchange *exchange;
	VfS3Request req = {0};

	page->found = NULL;
	page->room = NULL;
	page->n = 0;
	page->more = false;
	exchange = MemoryContextAllocZero(client->cxt, sizeof(VfS3Exchange));
	exchange->page = page;
	req.method = "GET";
	req.query = query;
	req.timeout_ms = page->timeout_ms;
	req.tag = exchange;
	if (make_query(page, query) && vf_s3_send(client, &req))
		return true;
	pfree(exchange);
	vf_s3_judge_own("CannotSign", "the request could not be signed",
					&page->answer);
	return false;
}

/* ---- answers ---- */

/* Where the next page begins; false if that is no further than this one. */
static bool
goes_on(VfS3Page *page, const VfS3XmlDocument *doc)
{
	const VfS3Found *last = page->n > 0 ? &page->found[page->n - 1] : NULL;

	page->next_version[0] = '\0';
	if (!page->versions && !page->uploads)
	{
		if (last == NULL)
			return false;
		memcpy(page->next_key, last->key, last->len + 1);
		page->next_len = last->len;
		return true;
	}
	page->next_len = vf_s3_decode_listed(doc->next_key, strlen(doc->next_key),
										 strcmp(doc->encoding, "url") == 0,
										 page->next_key);
	strlcpy(page->next_version, doc->next_version,
			sizeof(page->next_version));
	if (last == NULL || page->next_len == 0 || (!page->uploads &&
		(page->next_len != last->len ||
		 memcmp(page->next_key, last->key, last->len) != 0)))
		return false;
	return page->next_len != page->after_len ||
		memcmp(page->next_key, page->after, page->after_len) != 0 ||
		strcmp(page->next_version, page->after_version) != 0;
}

static void
refuse(VfS3Page *page, const char *code, const char *message)
{
	vf_s3_judge_own(code, message, &page->answer);
	page->n = 0;
}

/*
 * Ceph encodes the keys of uploads when it is asked to, says nothing of it,
 * and leaves the one where the list goes on as it is: the last key, decoded.
 */
static bool
is_encoded(const VfS3Page *page, const VfS3XmlDocument *doc)
{
	const VfS3Found *last = page->n > 0 ? &page->found[page->n - 1] : NULL;

	return page->uploads && last != NULL && doc->encoding[0] == '\0' &&
		strlen(doc->next_key) == last->len &&
		memcmp(doc->next_key, last->key, last->len) == 0;
}

/*
 * Read an answer.  EncodingType may stand behind the entries: what was read on
 * the wrong assumption is read again.
 */
static void
read_answer(VfS3Client *client, VfS3Page *page, const VfHttpAnswer *http)
{
	VfS3XmlRoot root = page->uploads ? VF_S3_XML_UPLOADS :
		page->versions ? VF_S3_XML_VERSIONS : VF_S3_XML_LIST;
	VfS3XmlHandler handler = {.listed = on_listed};
	VfS3XmlDocument doc;
	Reading		r = {.page = page, .encoded = true};

	r.max = Min((int) http->body.len / MIN_ENTRY, page->max_keys);
	page->room = MemoryContextAllocHuge(client->cxt,
										sizeof(VfS3Found) * (r.max + 1) +
										http->body.len + 1);
	page->found = (VfS3Found *) page->room;
	handler.arg = &r;
	for (;;)
	{
		page->n = 0;
		r.at = page->room + sizeof(VfS3Found) * (r.max + 1);
		r.end = r.at + http->body.len + 1;
		r.fault = NULL;
		vf_s3_judge(http, client->region, root, &handler, &page->answer,
					&doc);
		if (page->answer.class != VF_S3_OK || !r.encoded ||
			strcmp(doc.encoding, "url") == 0 || is_encoded(page, &doc))
			break;
		r.encoded = false;
	}
	if (page->answer.class != VF_S3_OK)
	{
		page->n = 0;
		return;
	}
	page->more = strcmp(doc.truncated, "true") == 0;
	if (r.fault == NULL && !r.encoded && doc.encoding[0] != '\0')
		r.fault = "the list is encoded in an unknown way";
	if (r.fault != NULL)
		refuse(page, "MalformedAnswer", r.fault);
	else if (!page->more && strcmp(doc.truncated, "false") != 0)
		refuse(page, "MalformedAnswer",
			   "the list does not say whether it goes on");
	else if (!is_ordered(page))
		refuse(page, "UnorderedList",
			   "the store does not list its keys in their order");
	else if (page->more && !goes_on(page, &doc))
		refuse(page, "EndlessList", "the list of objects does not go on");
}

VfS3Page *
vf_s3_page_wait(VfS3Client *client, VfHttpTick tick, void *arg)
{
	VfHttpAnswer *http = vf_http_wait(client->http, tick, arg);
	VfS3Exchange *exchange;
	VfS3Page   *page;

	if (http == NULL)
		return NULL;
	exchange = http->tag;
	page = exchange->page;
	pfree(exchange);
	read_answer(client, page, http);
	vf_http_free(http);
	vf_s3_note_refusal(client, page->answer.code, 0);
	return page;
}

void
vf_s3_page_free(VfS3Page *page)
{
	if (page->room != NULL)
		pfree(page->room);
	page->room = NULL;
	page->found = NULL;
	page->n = 0;
}
