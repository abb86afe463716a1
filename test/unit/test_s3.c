/*-------------------------------------------------------------------------
 *
 * test_s3.c
 *	  The verbs of S3 over a scripted transport.
 *
 * The peer is strict: the test says which answer each request gets, and
 * looks at every request that was made.  Order of things: the transport;
 * judgements; the account of the keys; checksums; single requests.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdlib.h>
#include <time.h>

#include "s3.h"
#include "s3_internal.h"

#include "fake_server.h"
#include "unit.h"

#undef snprintf

/* The transport */

#define MAX_SCRIPT	8

struct VfHttpClient
{
	int			unused;
};

typedef struct Reply
{
	VfHttpOutcome outcome;
	int			status;
	const char *body;
	const char *region;
	const char *date;
	const char *modified;
	const char *etag;
	const char *version;
} Reply;

typedef struct Sent
{
	char		method[8];
	char		url[4096];
	char		headers[8192];
	char		body[65536];
	int			timeout_ms;
	void	   *tag;
} Sent;

static Reply script[MAX_SCRIPT];
static Sent sent[MAX_SCRIPT];
static int	nsent;
static int	nanswered;
static bool stop;

VfHttpClient *
vf_http_open(MemoryContext cxt, const VfHttpOptions *opt)
{
	(void) cxt;
	(void) opt;
	return malloc(sizeof(struct VfHttpClient));
}

void
vf_http_start(VfHttpClient *client, const VfHttpRequest *req)
{
	Sent	   *to = &sent[nsent++];
	int			i;

	(void) client;
	memset(to, 0, sizeof(*to));
	snprintf(to->method, sizeof(to->method), "%s", req->method);
	snprintf(to->url, sizeof(to->url), "%s", req->url);
	for (i = 0; i < req->nheaders; i++)
	{
		size_t		at = strlen(to->headers);

		snprintf(to->headers + at, sizeof(to->headers) - at, "%s: %s\n",
				 req->headers[i].name, req->headers[i].value);
	}
	if (req->body)
		memcpy(to->body, req->body, Min(req->body_len,
										sizeof(to->body) - 1));
	to->timeout_ms = req->timeout_ms;
	to->tag = req->tag;
}

VfHttpAnswer *
vf_http_wait(VfHttpClient *client, VfHttpTick tick, void *arg)
{
	VfHttpAnswer *answer;
	const Reply *reply;

	(void) client;
	(void) tick;
	(void) arg;
	if (stop || nanswered == nsent)
		return NULL;
	reply = &script[nanswered];
	answer = calloc(1, sizeof(VfHttpAnswer));
	answer->outcome = reply->outcome;
	answer->status = reply->status;
	answer->sent = reply->outcome >= VF_HTTP_TIMEOUT;
	answer->error = strdup(reply->outcome ? "words of libcurl" : "");
	answer->body.data = strdup(reply->body ? reply->body : "");
	answer->body.len = (int) strlen(answer->body.data);
	strlcpy(answer->bucket_region, reply->region ? reply->region : "",
			sizeof(answer->bucket_region));
	strlcpy(answer->date, reply->date ? reply->date : "",
			sizeof(answer->date));
	strlcpy(answer->last_modified, reply->modified ? reply->modified : "",
			sizeof(answer->last_modified));
	strlcpy(answer->etag, reply->etag ? reply->etag : "",
			sizeof(answer->etag));
	strlcpy(answer->version_id, reply->version ? reply->version : "",
			sizeof(answer->version_id));
	answer->tag = sent[nanswered++].tag;
	return answer;
}

void
vf_http_free(VfHttpAnswer *answer)
{
	free(unconstify(char *, answer->error));
	free(answer->body.data);
	free(answer);
}

static VfS3Client *
open_client(const char *endpoint)
{
	VfS3Target	target = {endpoint, "bkt", "eu-west-1", VF_S3_PATH_AUTO, NULL,
	false};
	VfS3Credentials cred = {"AKID", "very-secret", NULL, 0, "test"};
	VfHttpOptions options = {0};

	nsent = nanswered = 0;
	stop = false;
	memset(script, 0, sizeof(script));
	return vf_s3_open(NULL, &target, &cred, &options);
}

/* The client itself is the fake context's to free. */
static void
close_client(VfS3Client *client)
{
	vf_s3_close(client);
	free(client->region);
	free(client->bucket);
	free(client->http);
	free(client);
}

static void
reply(int n, int status, const char *body)
{
	script[n].outcome = VF_HTTP_ANSWERED;
	script[n].status = status;
	script[n].body = body;
}

/* Judgements */

static VfS3Answer
head(VfHttpOutcome outcome, int status, const char *body, const char *region,
	 const char *date)
{
	VfS3Client *client = open_client("http://127.0.0.1:9000");
	VfS3Answer	result;

	script[0].outcome = outcome;
	script[0].status = status;
	script[0].body = body;
	script[0].region = region;
	script[0].date = date;
	vf_s3_head_bucket(client, 1000, NULL, NULL, &result);
	close_client(client);
	return result;
}

static void
test_transport(void)
{
	static const struct
	{
		VfHttpOutcome outcome;
		const char *code;
		bool		uncertain;
	}			cases[] = {
		{VF_HTTP_RESOLVE, "ResolveError", false},
		{VF_HTTP_CONNECT, "ConnectError", false},
		{VF_HTTP_TLS, "TlsError", false},
		{VF_HTTP_TIMEOUT, "Timeout", true},
		{VF_HTTP_CUT, "ConnectionCut", true},
		{VF_HTTP_TOO_LARGE, "AnswerTooLarge", true},
		{VF_HTTP_UNUSABLE, "TransportError", true}
	};
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
	{
		VfS3Answer	answer = head(cases[i].outcome, 0, NULL, NULL, NULL);

		CHECK(answer.class == VF_S3_BUCKET);
		SAME(answer.code, cases[i].code);
		SAME(answer.message, "words of libcurl");
		CHECK(answer.uncertain == cases[i].uncertain);
	}
}

static void
test_region(void)
{
	VfS3Answer	answer;

	answer = head(VF_HTTP_ANSWERED, 301, "", "us-east-2", NULL);
	SAME(answer.code, "WrongRegion");
	SAME(answer.region, "us-east-2");
	SAME(answer.message,
		 "the bucket is in region \"us-east-2\", not \"eu-west-1\"");
	answer = head(VF_HTTP_ANSWERED, 400, "", "us-east-2", NULL);
	SAME(answer.code, "WrongRegion");
	answer = head(VF_HTTP_ANSWERED, 400,
				  "<Error><Code>AuthorizationHeaderMalformed</Code>"
				  "<Message>m</Message><Region>ap-1</Region></Error>",
				  NULL, NULL);
	SAME(answer.code, "WrongRegion");
	SAME(answer.region, "ap-1");
	CHECK(answer.class == VF_S3_BUCKET);
	answer = head(VF_HTTP_ANSWERED, 307, "", "eu-west-1", NULL);
	SAME(answer.code, "TemporaryRedirect");
	answer = head(VF_HTTP_ANSWERED, 400,
				  "<Error><Code>ExpiredToken</Code></Error>", "us-east-2",
				  NULL);
	SAME(answer.code, "ExpiredToken");
	answer = head(VF_HTTP_ANSWERED, 301, "", "bad \"region", NULL);
	SAME(answer.code, "PermanentRedirect");
	SAME(answer.region, "");
}

static void
test_clock(void)
{
	char		date[64];
	time_t		then = time(NULL) - 1200;
	VfS3Answer	answer;
	double		seconds;

	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime(&then));
	answer = head(VF_HTTP_ANSWERED, 403, "", NULL, date);
	SAME(answer.code, "RequestTimeTooSkewed");
	CHECK(answer.has_offset && answer.offset < -1199 &&
		  answer.offset > -1205);
	CHECK(strstr(answer.message, "the store's clock is 120") != NULL &&
		  strstr(answer.message, " seconds behind this server's") != NULL);
	answer = head(VF_HTTP_ANSWERED, 200, "", NULL, date);
	CHECK(answer.class == VF_S3_OK && answer.has_offset);
	answer = head(VF_HTTP_ANSWERED, 200, "", NULL, "junk");
	CHECK(!answer.has_offset);

	CHECK(vf_s3_parse_date("Sun, 06 Nov 1994 08:49:37 GMT", &seconds) &&
		  seconds == 784111777);
	CHECK(vf_s3_parse_date("Thu, 29 Feb 2024 00:00:00 GMT", &seconds) &&
		  seconds == 1709164800);
	CHECK(!vf_s3_parse_date("Sun, 06 Foo 1994 08:49:37 GMT", &seconds));
	CHECK(!vf_s3_parse_date("Sun, 06 anF 1994 08:49:37 GMT", &seconds));
	CHECK(!vf_s3_parse_date("", &seconds));
}

static void
test_messages(void)
{
	static const char *const cases[][2] = {
		{"Access Denied", "Access Denied"},
		{"User: arn:aws:iam::123456789012:user/x is not authorized to "
			"perform: s3:DeleteObject on resource: "
			"\"arn:aws:s3:::b/temp_photos/tok.jpg\" because no policy",
			"User: ... is not authorized to perform: s3:DeleteObject on "
		"resource: ... because no policy"},
		{"see temp_photos/my holiday.jpg now", "see ... now"},
		{"the key is secret key", "the ... is secret ..."},
		{"Content-MD5 or x-amz-checksum-sha256 in 15 minutes.",
		"Content-MD5 or x-amz-checksum-sha256 in 15 minutes."},
		{"wJalrXUtnFEMI/K7MDENG 0123456789abcdef",  "..."},
		{"line\nbreak\ttab", "line break tab"},
		{"\xC3\xBC" "ber", "..."},
		{"", ""},
		{"   ", ""}
	};
	char		out[128];
	char		small[8];
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
	{
		vf_s3_clean_message(cases[i][0], "key", 3, out, sizeof(out));
		LABELLED(out, cases[i][1], cases[i][0]);
	}
	vf_s3_clean_message("some words here", NULL, 0, small, sizeof(small));
	SAME(small, "some wo");
	vf_s3_clean_message("my own key went", "own key", 7, out, sizeof(out));
	SAME(out, "my ... went");
	vf_s3_clean_code("Bad<Code>\"; x", out, sizeof(out));
	SAME(out, "BadCodex");
}

/* The account of the keys */

static void
set_keys(VfS3Delete *batch, VfS3Key *keys, const char *const *names, int n)
{
	int			i;

	memset(batch, 0, sizeof(*batch));
	memset(keys, 0, sizeof(VfS3Key) * n);
	for (i = 0; i < n; i++)
	{
		keys[i].key = names[i];
		keys[i].len = strlen(names[i]);
	}
	batch->keys = keys;
	batch->nkeys = n;
	batch->timeout_ms = 5000;
}

/* Delete a, ab and b&b; what comes of it, as text. */
static const char *
delete_with(int status, const char *body, VfS3Delete *batch)
{
	static const char *const names[] = {"p/a", "p/ab", "p/b&b"};
	static const char *const classes[] = {"ok", "bucket", "batch", "passing",
	"final"};
	static char text[512];
	VfS3Client *client = open_client("https://s3.test");
	VfS3Key		keys[3];
	int			i;

	set_keys(batch, keys, names, 3);
	reply(0, status, body);
	vf_s3_delete_start(client, batch);
	CHECK(vf_s3_in_flight(client) == 1);
	CHECK(vf_s3_delete_wait(client, NULL, NULL) == batch);
	CHECK(vf_s3_in_flight(client) == 0);
	CHECK(vf_s3_delete_wait(client, NULL, NULL) == NULL);
	snprintf(text, sizeof(text), "%s", classes[batch->answer.class]);
	for (i = 0; batch->answer.class == VF_S3_OK && i < 3; i++)
	{
		size_t		at = strlen(text);

		snprintf(text + at, sizeof(text) - at, " %s:%s",
				 classes[keys[i].class], keys[i].code);
	}
	close_client(client);
	return text;
}

#define DELETED(k)	"<Deleted><Key>" k "</Key></Deleted>"
#define FAILED(k, c) \
	"<Error><Key>" k "</Key><Code>" c "</Code><Message>of " k \
	"</Message></Error>"
#define RESULT(x)	"<DeleteResult>" x "</DeleteResult>"
#define A DELETED("p/a")
#define AB DELETED("p/ab")
#define BB DELETED("p/b&amp;b")

static void
test_account(void)
{
	static const struct
	{
		const char *body;
		const char *want;
		int			unasked;
	}			cases[] = {
		{RESULT(A AB BB), "ok ok: ok: ok:", 0},
		{RESULT(BB AB A), "ok ok: ok: ok:", 0},
		{RESULT(AB AB A BB BB), "ok ok: ok: ok:", 0},
		{RESULT(""), "ok passing:MissingFromAnswer passing:MissingFromAnswer "
		"passing:MissingFromAnswer", 0},
		{RESULT(A BB), "ok ok: passing:MissingFromAnswer ok:", 0},
		{RESULT(A AB BB DELETED("p/z") DELETED("p/")), "ok ok: ok: ok:", 2},
		{RESULT(DELETED("P/A") AB BB),
		"ok passing:MissingFromAnswer ok: ok:", 1},
		{RESULT(DELETED(" p/a") AB BB),
		"ok passing:MissingFromAnswer ok: ok:", 1},
		{RESULT(A FAILED("p/ab", "AccessDenied")
				FAILED("p/b&amp;b", "SlowDown")),
		"ok ok: final:AccessDenied passing:SlowDown", 0},
		{RESULT(FAILED("p/a", "InternalError") A AB BB),
		"ok passing:InternalError ok: ok:", 0},
		{RESULT(A FAILED("p/a", "InternalError") AB BB),
		"ok passing:InternalError ok: ok:", 0},
		{RESULT(FAILED("p/a", "NoSuchKey") AB BB), "ok ok: ok: ok:", 0},
		{RESULT(FAILED("p/a", "") AB BB),
		"ok passing:UnknownError ok: ok:", 0},
		{RESULT(FAILED("p/a", "New&lt;x&gt;") AB BB),
		"ok passing:Newx ok: ok:", 0},
		{RESULT("<Error><Code>AccessDenied</Code></Error>" A AB BB),
		"ok ok: ok: ok:", 1}
	};
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
	{
		VfS3Delete	batch;

		LABELLED(delete_with(200, cases[i].body, &batch), cases[i].want,
				 cases[i].body);
		CHECK(batch.unasked == cases[i].unasked);
	}
}

static void
test_bad_answers(void)
{
	static const struct
	{
		int			status;
		const char *body;
		const char *want;
		const char *code;
		bool		uncertain;
	}			cases[] = {
		{200, "", "bucket", "MalformedAnswer", true},
		{200, "not <xml at all", "bucket", "MalformedAnswer", true},
		{200, "<DeleteResult>" A AB BB, "bucket", "MalformedAnswer", true},
		{200, "<html/>", "bucket", "MalformedAnswer", true},
		{200, "<ListBucketResult/>", "bucket", "MalformedAnswer", true},
		{204, "", "bucket", "MalformedAnswer", true},
		{200, "<Error><Code>InternalError</Code></Error>", "bucket",
		"InternalError", true},
		{200, "<Error><Code>SlowDown</Code></Error>", "bucket", "SlowDown",
		true},
		{403, "<Error><Code>AccessDenied</Code></Error>", "bucket",
		"AccessDenied", false},
		{403, "<Error><Code>Access", "bucket", "AccessDenied", false},
		{400, "<Error><Code>MalformedXML</Code></Error>", "batch",
		"MalformedXML", false},
		{413, "<html>too large</html>", "batch", "EntityTooLarge", false},
		{503, "<Error><Code>SlowDown</Code></Error>", "bucket", "SlowDown",
		true},
		{500, "plain text", "bucket", "InternalError", true},
		{100, "", "bucket", "MalformedAnswer", true}
	};
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
	{
		VfS3Delete	batch;

		LABELLED(delete_with(cases[i].status, cases[i].body, &batch),
				 cases[i].want, cases[i].body);
		SAME(batch.answer.code, cases[i].code);
		CHECK(batch.answer.uncertain == cases[i].uncertain);
		CHECK(batch.answer.message[0] != '\0');
	}
}

/* Many keys, answered in reverse: the search, not the guess, finds them. */
static void
test_many_keys(void)
{
	static char names[VF_S3_MAX_KEYS][16];
	static VfS3Key keys[VF_S3_MAX_KEYS];
	static char body[100000];
	VfS3Client *client = open_client("https://s3.test");
	VfS3Delete	batch = {0};
	int			wrong = 0;
	int			i;

	strcpy(body, "<DeleteResult>");
	for (i = 0; i < VF_S3_MAX_KEYS; i++)
	{
		snprintf(names[i], sizeof(names[i]), "p/%d", i * 7919 % 1000);
		keys[i].key = names[i];
		keys[i].len = strlen(names[i]);
	}
	for (i = VF_S3_MAX_KEYS - 1; i >= 0; i--)
	{
		size_t		at = strlen(body);

		snprintf(body + at, sizeof(body) - at,
				 "<Deleted><Key>%s</Key></Deleted>", names[i]);
	}
	strcat(body, "</DeleteResult>");
	batch.keys = keys;
	batch.nkeys = VF_S3_MAX_KEYS;
	batch.timeout_ms = 1000;
	reply(0, 200, body);
	vf_s3_delete_start(client, &batch);
	CHECK(vf_s3_delete_wait(client, NULL, NULL) == &batch);
	for (i = 0; i < VF_S3_MAX_KEYS; i++)
	{
		if (keys[i].class != VF_S3_OK)
			wrong++;
	}
	CHECK(batch.answer.class == VF_S3_OK && wrong == 0 &&
		  batch.unasked == 0);
	close_client(client);
}

static void
test_request(void)
{
	VfS3Delete	batch;

	delete_with(200, RESULT(A AB BB), &batch);
	SAME(sent[0].method, "POST");
	SAME(sent[0].url, "https://bkt.s3.test/?delete=");
	CHECK(strstr(sent[0].headers, "Host: bkt.s3.test\n") != NULL);
	CHECK(strstr(sent[0].headers, "content-md5: ") != NULL);
	CHECK(strstr(sent[0].headers, "x-amz-content-sha256: ") != NULL);
	CHECK(strstr(sent[0].headers, "/eu-west-1/s3/aws4_request") != NULL);
	CHECK(strstr(sent[0].headers, "very-secret") == NULL);
	CHECK(strstr(sent[0].body, "<Key>p/b&amp;b</Key>") != NULL);
}

/* A key that XML can't carry goes by path; its answer has no body. */
static const char *
delete_by_path(int status, const char *body)
{
	static const char *const names[] = {"p/../a\x01"};
	static char text[256];
	VfS3Client *client = open_client("https://s3.test");
	VfS3Delete	batch;
	VfS3Key		key;

	set_keys(&batch, &key, names, 1);
	reply(0, status, body);
	vf_s3_delete_start(client, &batch);
	CHECK(vf_s3_delete_wait(client, NULL, NULL) == &batch);
	SAME(sent[0].method, "DELETE");
	SAME(sent[0].url, "https://bkt.s3.test/p/../a%01");
	snprintf(text, sizeof(text), "%d%s %d%s", batch.answer.class,
			 batch.answer.code, key.class,
			 batch.answer.class == VF_S3_OK ? key.code : "");
	close_client(client);
	return text;
}

static void
test_by_path(void)
{
	static const char *const names[] = {"p/a\x01", "p/b"};
	VfS3Client *client;
	VfS3Delete	batch;
	VfS3Key		keys[2];

	SAME(delete_by_path(204, ""), "0 0");
	SAME(delete_by_path(200, ""), "0 0");
	SAME(delete_by_path(404, "<Error><Code>NoSuchKey</Code></Error>"),
		 "0 0");
	SAME(delete_by_path(403, "<Error><Code>AccessDenied</Code></Error>"),
		 "0 3AccessDenied");
	SAME(delete_by_path(404, "<Error><Code>NoSuchBucket</Code></Error>"),
		 "1NoSuchBucket 3");
	SAME(delete_by_path(200, "<html>log in</html>"), "1MalformedAnswer 3");
	client = open_client("https://s3.test");
	set_keys(&batch, keys, names, 2);
	CHECK(RAISES(vf_s3_delete_start(client, &batch)));
	batch.nkeys = 0;
	CHECK(RAISES(vf_s3_delete_start(client, &batch)));
	CHECK(nsent == 0);
	close_client(client);
}

/* Checksums */

static void
test_refused_md5(const char *refusal)
{
	static const char *const names[] = {"p/a"};
	VfS3Client *client = open_client("https://s3.test");
	VfS3Delete	batch;
	VfS3Key		key;

	set_keys(&batch, &key, names, 1);
	reply(0, 400, refusal);
	reply(1, 200, RESULT(A));
	reply(2, 200, RESULT(A));
	vf_s3_delete_start(client, &batch);
	CHECK(vf_s3_delete_wait(client, NULL, NULL) == &batch);
	CHECK(batch.answer.class == VF_S3_OK && key.class == VF_S3_OK);
	CHECK(nsent == 2 && sent[1].timeout_ms <= 5000);
	CHECK(strstr(sent[0].headers, "content-md5") != NULL);
	CHECK(strstr(sent[1].headers, "content-md5") == NULL);
	CHECK(strstr(sent[1].headers, "x-amz-checksum-sha256: ") != NULL);
	CHECK(strstr(sent[1].headers, "x-amz-sdk-checksum-algorithm: SHA256") !=
		  NULL);
	vf_s3_delete_start(client, &batch);
	CHECK(vf_s3_delete_wait(client, NULL, NULL) == &batch);
	CHECK(strstr(sent[2].headers, "x-amz-checksum-sha256: ") != NULL);
	close_client(client);
}

static void
test_checksums(void)
{
	VfS3Delete	batch;

	test_refused_md5("<Error><Code>BadDigest</Code></Error>");
	test_refused_md5("<Error><Code>InvalidDigest</Code></Error>");
	test_refused_md5("<Error><Code>InvalidRequest</Code><Message>Missing "
					 "required header: Checksum</Message></Error>");
	SAME(delete_with(400, "<Error><Code>InvalidRequest</Code><Message>No."
					 "</Message></Error>", &batch), "bucket");
	CHECK(nsent == 1);
}

/* Single requests */

static void
test_probes(void)
{
	VfS3Client *client = open_client("http://127.0.0.1:9000");
	VfS3Versioning versioning;
	bool		mfa_delete;
	VfS3Answer	answer;
	bool		exists = true;

	reply(0, 404, "");
	vf_s3_head_object(client, "p/ü", 4, 1000, NULL, NULL, &answer, &exists);
	CHECK(answer.class == VF_S3_OK && !exists);
	SAME(sent[0].url, "http://127.0.0.1:9000/bkt/p/%C3%BC");
	reply(1, 200, "");
	vf_s3_head_object(client, "k", 1, 1000, NULL, NULL, &answer, &exists);
	CHECK(answer.class == VF_S3_OK && exists);
	reply(2, 403, "");
	vf_s3_head_object(client, "k", 1, 1000, NULL, NULL, &answer, &exists);
	CHECK(answer.class == VF_S3_BUCKET && !exists);
	reply(3, 200, "<VersioningConfiguration><Status>Enabled</Status>"
		  "</VersioningConfiguration>");
	vf_s3_get_versioning(client, 1000, NULL, NULL, &answer, &versioning,
						 &mfa_delete);
	CHECK(answer.class == VF_S3_OK &&
		  versioning == VF_S3_VERSIONING_ENABLED);
	reply(4, 200, "<ListBucketResult/>");
	vf_s3_get_versioning(client, 1000, NULL, NULL, &answer, &versioning,
						 &mfa_delete);
	SAME(answer.code, "MalformedAnswer");
	reply(5, 200, "<ListBucketResult><Name>b</Name></ListBucketResult>");
	vf_s3_list_probe(client, "a b/", 1000, NULL, NULL, &answer);
	CHECK(answer.class == VF_S3_OK);
	SAME(sent[5].url, "http://127.0.0.1:9000/bkt?encoding-type=url&"
		 "list-type=2&max-keys=1&prefix=a%20b%2F");
	reply(6, 200, "");
	vf_s3_put_object(client, "m", 1, "body", 4, 1000, NULL, NULL, &answer);
	CHECK(answer.class == VF_S3_OK);
	SAME(sent[6].body, "body");
	reply(7, 404, "");
	vf_s3_head_bucket(client, 1000, NULL, NULL, &answer);
	SAME(answer.code, "NoSuchBucket");
	close_client(client);
}

static void
reply_object(int n, int status, const char *body)
{
	reply(n, status, body);
	script[n].date = "Mon, 23 Nov 2026 15:20:00 GMT";
	script[n].modified = "Mon, 23 Nov 2026 15:10:30 GMT";
	script[n].etag = "\"abc\"";
	script[n].version = "v 1/";
}

static void
test_reading_object(void)
{
	VfS3Client *client = open_client("http://127.0.0.1:9000");
	static VfS3Object object;
	VfS3Answer	answer;
	static char huge[VF_S3_SMALL + 100];

#define GET() \
	vf_s3_get_object(client, "k", 1, 1000, NULL, NULL, &answer, &object)

	reply_object(0, 200, "not <XML at all");
	GET();
	CHECK(answer.class == VF_S3_OK && object.exists);
	SAME(object.body, "not <XML at all");
	CHECK(object.len == 15);
	SAME(object.etag, "\"abc\"");
	SAME(object.version, "v 1/");
	CHECK(object.has_age && object.age == 570);
	SAME(sent[0].method, "GET");
	SAME(sent[0].url, "http://127.0.0.1:9000/bkt/k");

	/* An object that looks like an error is an object. */
	reply_object(1, 200, "<Error><Code>NoSuchKey</Code></Error>");
	GET();
	CHECK(answer.class == VF_S3_OK && object.exists);

	reply(2, 404, "<Error><Code>NoSuchKey</Code></Error>");
	GET();
	CHECK(answer.class == VF_S3_OK && !object.exists && !object.has_age);
	reply(3, 404, "<Error><Code>NoSuchBucket</Code></Error>");
	GET();
	SAME(answer.code, "NoSuchBucket");
	reply(4, 403, "<Error><Code>AccessDenied</Code></Error>");
	GET();
	SAME(answer.code, "AccessDenied");
	CHECK(!object.exists);
	reply_object(5, 200, "x");
	script[5].modified = "yesterday";
	GET();
	CHECK(object.exists && object.has_date && !object.has_age);

	/* Whatever the transport lets through, the room is kept to. */
	memset(huge, 'x', sizeof(huge) - 1);
	reply_object(6, 200, huge);
	GET();
	CHECK(object.len == VF_S3_SMALL && object.body[VF_S3_SMALL] == '\0');
	close_client(client);
#undef GET
}

static void
test_writing_object(void)
{
	VfS3Client *client = open_client("http://127.0.0.1:9000");
	VfS3Condition is_absent = {NULL, true};
	VfS3Condition is_this = {"\"abc\"", false};
	VfS3Condition none = {NULL, false};
	static VfS3Object written;
	VfS3Answer	answer;
	bool		unmet;

#define PUT(condition) \
	vf_s3_put_if(client, "k", 1, "body", 4, &(condition), 1000, NULL, NULL, \
				 &answer, &unmet, &written)

	reply_object(0, 200, "");
	PUT(is_absent);
	CHECK(answer.class == VF_S3_OK && !unmet && written.exists);
	SAME(written.etag, "\"abc\"");
	SAME(written.version, "v 1/");
	CHECK(strstr(sent[0].headers, "if-none-match: *\n") != NULL);
	CHECK(strstr(sent[0].headers, "if-match") == NULL);
	CHECK(strstr(sent[0].headers, "SignedHeaders=content-type;host;"
				 "if-none-match;") != NULL);
	reply(1, 412, "<Error><Code>PreconditionFailed</Code></Error>");
	PUT(is_this);
	CHECK(answer.class != VF_S3_OK && unmet && !written.exists);
	CHECK(strstr(sent[1].headers, "if-match: \"abc\"\n") != NULL);
	reply(2, 409, "<Error><Code>ConditionalRequestConflict</Code></Error>");
	PUT(is_this);
	CHECK(unmet);
	reply(3, 404, "<Error><Code>NoSuchKey</Code></Error>");
	PUT(is_this);
	CHECK(unmet);
	reply(4, 404, "<Error><Code>NoSuchBucket</Code></Error>");
	PUT(is_this);
	CHECK(!unmet && answer.class == VF_S3_BUCKET);
	reply(5, 412, "");
	PUT(none);
	CHECK(!unmet && answer.class != VF_S3_OK);
	CHECK(strstr(sent[5].headers, "if-") == NULL);
	reply(6, 200, "<Error><Code>InternalError</Code></Error>");
	PUT(is_this);
	CHECK(answer.class != VF_S3_OK && !written.exists);
	reply(7, 204, "");
	vf_s3_delete_version(client, "k", 1, "v 1/", 1000, NULL, NULL, &answer);
	CHECK(answer.class == VF_S3_OK);
	SAME(sent[7].url, "http://127.0.0.1:9000/bkt/k?versionId=v%201%2F");
	SAME(sent[7].method, "DELETE");
	close_client(client);
#undef PUT
}

/* A single request while deletes are in flight keeps their answers. */
static void
test_interleaved(void)
{
	static const char *const names[] = {"p/a"};
	VfS3Client *client = open_client("https://s3.test");
	VfS3Delete	batch;
	VfS3Key		key;
	VfS3Answer	answer;

	set_keys(&batch, &key, names, 1);
	reply(0, 200, RESULT(A));
	reply(1, 200, "");
	vf_s3_delete_start(client, &batch);
	vf_s3_head_bucket(client, 1000, NULL, NULL, &answer);
	CHECK(answer.class == VF_S3_OK && vf_s3_in_flight(client) == 1);
	CHECK(vf_s3_delete_wait(client, NULL, NULL) == &batch);
	CHECK(key.class == VF_S3_OK);

	/* When tick stops all, nothing is left in flight. */
	vf_s3_delete_start(client, &batch);
	stop = true;
	vf_s3_head_bucket(client, 1000, NULL, NULL, &answer);
	SAME(answer.code, "Timeout");
	CHECK(vf_s3_in_flight(client) == 0);
	CHECK(vf_s3_delete_wait(client, NULL, NULL) == NULL);
	close_client(client);
}

static void
test_client(void)
{
	VfS3Target	target = {"http://[::1]", "bkt", "r", VF_S3_PATH_NEVER, NULL,
	false};
	VfS3Credentials cred = {"A", "S", NULL, 0, "test"};
	VfS3Credentials fresh = {"NEWKEY", "S", "tok-en", 0, "test"};
	VfHttpOptions options = {0};
	VfS3Client *client;
	VfS3Answer	answer;
	char	   *endpoint;

	CHECK(RAISES(vf_s3_open(NULL, &target, &cred, &options)));
	client = open_client("http://127.0.0.1:1");
	vf_s3_set_credentials(client, &fresh);
	reply(0, 200, "");
	vf_s3_head_bucket(client, 1000, NULL, NULL, &answer);
	CHECK(strstr(sent[0].headers, "x-amz-security-token: tok-en\n") != NULL);
	CHECK(strstr(sent[0].headers, "SignedHeaders=host;x-amz-content-sha256;"
				 "x-amz-date;x-amz-security-token") != NULL);
	CHECK(strstr(sent[0].headers, "Credential=NEWKEY/") != NULL);
	close_client(client);
	endpoint = vf_s3_default_endpoint("eu-west-1");
	SAME(endpoint, "https://s3.eu-west-1.amazonaws.com");
	free(endpoint);
	endpoint = vf_s3_default_endpoint("cn-north-1");
	SAME(endpoint, "https://s3.cn-north-1.amazonaws.com.cn");
	free(endpoint);
}

int
main(void)
{
	test_transport();
	test_region();
	test_clock();
	test_messages();
	test_account();
	test_bad_answers();
	test_many_keys();
	test_request();
	test_by_path();
	test_checksums();
	test_probes();
	test_reading_object();
	test_writing_object();
	test_interleaved();
	test_client();
	return unit_end();
}
