/*-------------------------------------------------------------------------
 *
 * s3_versions.c
 *	  Lists of versions, one key each, many in flight.
 *
 * There is no request for the versions of a key, only for those of all keys
 * that begin with it.  The key itself comes first among them, so a list is
 * read until another key shows.  Keys come URL-encoded where the store says
 * so: XML could not carry every key as it is.
 *
 * What is listed goes into room made before the answer is read: nothing may
 * raise inside expat's callbacks.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "s3.h"
#include "s3_internal.h"
#include "s3_sign.h"

/* What a page told of the key. */
typedef struct Page
{
	const VfS3Listing *listing;
	bool		encoded;		/* as far as is known while it is read */
	char	   *ids;			/* one after the other, each with its NUL */
	size_t		used;
	size_t		size;
	int			n;
	int			entries;		/* of whatever key */
	bool		foreign;		/* one is of a key that was not asked for */
	bool		full;			/* no room: cannot be, and is a fault */
} Page;

/* The time for the next page of a list is over. */
static bool
is_late(int64 deadline)
{
	return vf_s3_clock_ms() >= deadline;
}

/* ---- keys as they are listed ---- */

/* Does the listed text, decoded if it is encoded, begin with the key? */
static bool
begins_with(const char *text, size_t len, bool encoded, const char *key,
			size_t key_len, bool *equal)
{
	char		listed[VF_S3_LISTED_KEY + 1];

	*equal = false;
	if (len > VF_S3_LISTED_KEY)
		return false;
	len = vf_s3_decode_listed(text, len, encoded, listed);
	*equal = len == key_len && memcmp(listed, key, len) == 0;
	return len >= key_len && memcmp(listed, key, key_len) == 0;
}

static bool
is_key(const char *text, size_t len, bool encoded, const char *key,
	   size_t key_len)
{
	bool		equal;

	return begins_with(text, len, encoded, key, key_len, &equal) && equal;
}

static void
on_listed(void *arg, const VfS3XmlObject *object)
{
	Page	   *page = arg;
	size_t		size = strlen(object->version) + 1;
	bool		equal;

	page->entries++;
	if (!begins_with(object->key, object->len, page->encoded,
					 page->listing->key, page->listing->len, &equal))
		page->foreign = true;
	if (!equal)
		return;
	if (size > page->size - page->used)
	{
		page->full = true;
		return;
	}
	memcpy(page->ids + page->used, object->version, size);
	page->used += size;
	page->n++;
}

/* ---- requests ---- */

/* Ask for the page after a marker; an empty id begins at the beginning. */
static bool
send_page(VfS3Client *client, VfS3Listing *listing, const char *after)
{
	char		query[VF_S3_MAX_QUERY] = "encoding-type=url";
	VfS3Exchange *exchange;
	VfS3Request req = {0};
	bool		fits = true;

	if (after[0] != '\0')
		fits = vf_s3_add_parameter(query, "&key-marker=", listing->key,
								   listing->len);
	fits = fits && vf_s3_add_parameter(query, "&max-keys=", "1000", 4) &&
		vf_s3_add_parameter(query, "&prefix=", listing->key, listing->len);
	if (after[0] != '\0')
		fits = fits && vf_s3_add_parameter(query, "&version-id-marker=", after,
										   strlen(after));
	fits = fits && vf_s3_add_parameter(query, "&versions=", "", 0);
	exchange = MemoryContextAllocZero(client->cxt, sizeof(VfS3Exchange));
	exchange->listing = listing;
	req.method = "GET";
	req.query = query;
	req.timeout_ms = listing->timeout_ms;
	req.tag = exchange;
	if (fits && vf_s3_send(client, &req))
		return true;
	pfree(exchange);
	vf_s3_judge_own("CannotSign", "the request could not be signed",
					&listing->answer);
	listing->done = true;
	return false;
}

/* ---- answers ---- */

static void
take_page(VfS3Client *client, VfS3Listing *listing, const Page *page)
{
	MemoryContext old = MemoryContextSwitchTo(client->cxt);
	char	   *id = page->ids;

	if (page->n > 0)
		listing->versions = listing->versions == NULL ?
			palloc(sizeof(char *) * page->n) :
			repalloc(listing->versions,
					 sizeof(char *) * (listing->n + page->n));
	for (int i = 0; i < page->n; i++)
	{
		listing->versions[listing->n++] = pstrdup(id);
		id += strlen(id) + 1;
	}
	MemoryContextSwitchTo(old);
}

/* Does the list go on with versions of the same key? */
static bool
goes_on(const VfS3Listing *listing, const VfS3XmlDocument *doc)
{
	return strcmp(doc->truncated, "true") == 0 &&
		doc->next_version[0] != '\0' &&
		is_key(doc->next_key, strlen(doc->next_key),
			   strcmp(doc->encoding, "url") == 0, listing->key,
			   listing->len);
}

/* More is said to follow, and nothing tells that it is of other keys. */
static bool
is_cut_short(const VfS3Listing *listing, const Page *page,
			 const VfS3XmlDocument *doc)
{
	return strcmp(doc->truncated, "true") == 0 && !goes_on(listing, doc) &&
		(page->entries == 0 || doc->next_key[0] == '\0' ||
		 is_key(doc->next_key, strlen(doc->next_key), page->encoded,
				listing->key, listing->len));
}

/*
 * Read a page.  EncodingType may stand behind the entries: what was read on
 * the wrong assumption is read again.
 */
static void
read_page(VfS3Client *client, VfS3Listing *listing, const VfHttpAnswer *http,
		  VfS3XmlDocument *doc)
{
	VfS3XmlHandler handler = {.listed = on_listed};
	Page		page = {.listing = listing, .encoded = true};

	page.size = http->body.len + 1;
	page.ids = palloc(page.size);
	handler.arg = &page;
	vf_s3_judge(http, client->region, VF_S3_XML_VERSIONS, &handler,
				&listing->answer, doc);
	if (listing->answer.class == VF_S3_OK && strcmp(doc->encoding, "url") != 0)
	{
		page.encoded = false;
		page.used = 0;
		page.n = page.entries = 0;
		page.foreign = false;
		vf_s3_judge(http, client->region, VF_S3_XML_VERSIONS, &handler,
					&listing->answer, doc);
	}
	if (listing->answer.class == VF_S3_OK && (page.full || page.foreign))
		vf_s3_judge_own("MalformedAnswer", "the list of versions is odd",
						&listing->answer);
	if (listing->answer.class == VF_S3_OK &&
		is_cut_short(listing, &page, doc))
		vf_s3_judge_own("EndlessList",
						"the list of versions breaks off",
						&listing->answer);
	if (listing->answer.class == VF_S3_OK)
		take_page(client, listing, &page);
	pfree(page.ids);
}

/*
 * An answer; asks for the next page where there is one.  A list without end
 * has to end all the same: it goes round in circles, or lies.
 */
static void
settle_page(VfS3Client *client, VfHttpAnswer *http, int64 deadline)
{
	VfS3Exchange *exchange = http->tag;
	VfS3Listing *listing = exchange->listing;
	VfS3XmlDocument doc;

	pfree(exchange);
	read_page(client, listing, http, &doc);
	vf_http_free(http);
	vf_s3_note_refusal(client, listing->answer.code, 0);
	if (listing->answer.class != VF_S3_OK || !goes_on(listing, &doc))
		listing->done = true;
	else if (is_late(deadline))
	{
		vf_s3_judge_own("EndlessList",
						"the list of versions did not come to its end",
						&listing->answer);
		listing->done = true;
	}
	else
		(void) send_page(client, listing, doc.next_version);
}

bool
vf_s3_list_versions(VfS3Client *client, VfS3Listing *listings, int n,
					int concurrency, int64 deadline, VfHttpTick tick,
					void *arg)
{
	int			next = 0;

	for (;;)
	{
		VfHttpAnswer *http;

		while (next < n && vf_http_in_flight(client->http) < concurrency &&
			   !is_late(deadline))
			(void) send_page(client, &listings[next++], "");
		if (vf_http_in_flight(client->http) == 0)
			return true;
		http = vf_http_wait(client->http, tick, arg);
		if (http == NULL)
			return false;
		settle_page(client, http, deadline);
	}
}
