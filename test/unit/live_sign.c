/*-------------------------------------------------------------------------
 *
 * live_sign.c
 *	  Our signatures before a store that verifies them.
 *
 * live_sign ENDPOINT KEY SECRET REGION [KEY2 SECRET2 TOKEN]
 *
 * Signs with src/s3_sign.c and sends with bare libcurl: odd paths, queries,
 * headers, bodies and tokens.  Every request is well formed, so a refused
 * signature is our fault, but for those that are meant to be refused.  Uses
 * the bucket "sigp", which it makes and leaves behind empty of what it knows.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <time.h>

#include <curl/curl.h>

#include "digest.h"
#include "s3_sign.h"
#include "unit.h"

#define BUCKET	"/sigp"

/* How the payload's hash is told. */
typedef enum Payload
{
	SHA,						/* in x-amz-content-sha256 */
	NO_HEADER,					/* signed, but in no header: S3 wants it */
	UNSIGNED,
	WRONG
} Payload;

typedef struct Probe
{
	const char *label;
	const char *method;
	const char *path;
	const char *query;
	const char *body;
	size_t		body_len;		/* 0: strlen */
	Payload		payload;
	bool		md5;
	VfS3SignHeader more[2];
	const char *unsigned_line;	/* for libcurl alone */
	bool		refused;		/* a signature error is the right answer */
	bool		keep;			/* on a connection kept open */
} Probe;

static const char *endpoint;
static const char *host;
static const char *region;
static const char *access_key;
static const char *secret_key;
static const char *token;
static CURL *kept;

static char answer[1 << 16];
static size_t answer_len;

static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
	size_t		len = size * count;

	(void) arg;
	if (answer_len + len < sizeof(answer))
	{
		memcpy(answer + answer_len, data, len);
		answer_len += len;
		answer[answer_len] = '\0';
	}
	return len;
}

static const char *
find_code(void)
{
	static char code[64];
	const char *found = strstr(answer, "<Code>");

	code[0] = '\0';
	if (found)
		sscanf(found + 6, "%63[^<]", code);
	return code;
}

/* Texts of one request's headers. */
typedef struct Signed
{
	VfS3SignHeader list[VF_S3_SIGN_HEADERS];
	int			n;
	char		date[VF_S3_SIGN_DATE];
	char		hash[VF_HEX_SIZE(VF_SHA256_LEN)];
	char		md5[VF_BASE64_SIZE(VF_MD5_LEN)];
	char		auth[VF_S3_SIGN_AUTH];
} Signed;

static void
add(Signed *s, const char *name, const char *value)
{
	s->list[s->n].name = name;
	s->list[s->n].value = value;
	s->n++;
}

static bool
sign(Signed *s, const Probe *probe, const char *body, size_t len)
{
	VfS3SignRequest req = {0};
	unsigned char sum[VF_MD5_LEN];
	bool		own_host = false;
	int			i;

	s->n = 0;
	if (!vf_s3_sign_date(time(NULL), s->date) ||
		!vf_digest_sha256_hex(probe->payload == WRONG ? "zzz" : body,
							  probe->payload == WRONG ? 3 : len, s->hash) ||
		!vf_digest_md5(body, len, sum))
		return false;
	vf_digest_base64(sum, sizeof(sum), s->md5);
	if (probe->payload == UNSIGNED)
		strcpy(s->hash, "UNSIGNED-PAYLOAD");
	req.date = s->date;
	for (i = 0; i < 2 && probe->more[i].name; i++)
	{
		add(s, probe->more[i].name, probe->more[i].value);
		if (strcmp(probe->more[i].name, "Host") == 0)
			own_host = true;
		if (strcmp(probe->more[i].name, "x-amz-date") == 0)
			req.date = probe->more[i].value;
	}
	if (!own_host)
		add(s, "Host", host);
	if (req.date == s->date)
		add(s, "X-Amz-Date", s->date);
	if (probe->payload != NO_HEADER)
		add(s, "x-amz-content-sha256", s->hash);
	if (probe->md5)
		add(s, "Content-MD5", s->md5);
	if (token)
		add(s, "x-amz-security-token", token);
	req.method = probe->method;
	req.path = probe->path;
	req.query = probe->query;
	req.headers = s->list;
	req.nheaders = s->n;
	req.payload_hash = s->hash;
	req.region = region;
	req.access_key = access_key;
	req.secret_key = secret_key;
	if (!vf_s3_sign_authorization(&req, s->auth, sizeof(s->auth)))
		return false;
	add(s, "Authorization", s->auth);
	return true;
}

static struct curl_slist *
header_lines(const Signed *s, const Probe *probe)
{
	struct curl_slist *lines = NULL;
	char		line[8192];
	int			i;

	for (i = 0; i < s->n; i++)
	{
		snprintf(line, sizeof(line), s->list[i].value[0] ? "%s: %s" : "%s;%s",
				 s->list[i].name, s->list[i].value);
		lines = curl_slist_append(lines, line);
	}
	lines = curl_slist_append(lines, "Expect:");
	if (!probe->unsigned_line)
		lines = curl_slist_append(lines, "Accept:");
	else
		lines = curl_slist_append(lines, probe->unsigned_line);
	return lines;
}

static long
send_probe(CURL *curl, const Probe *probe, struct curl_slist *lines,
		   const char *body, size_t len)
{
	char		url[8192];
	long		status = 0;

	snprintf(url, sizeof(url), "%s%s%s%s", endpoint, probe->path,
			 probe->query ? "?" : "", probe->query ? probe->query : "");
	answer_len = 0;
	answer[0] = '\0';
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, lines);
	if (strcmp(probe->method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	else if (probe->body || strcmp(probe->method, "PUT") == 0)
	{
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long) len);
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, probe->method);
	}
	else
	{
		curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L);
		curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, probe->method);
	}
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static void
run(Probe probe)
{
	const char *body = probe.body ? probe.body : "";
	size_t		len = probe.body_len ? probe.body_len : strlen(body);
	CURL	   *curl = probe.keep && kept ? kept : curl_easy_init();
	struct curl_slist *lines;
	const char *code;
	Signed		s;
	long		status;
	bool		accepted;

	if (!sign(&s, &probe, body, len))
	{
		unit_check(false, __FILE__, __LINE__, probe.label);
		curl_easy_cleanup(curl);
		return;
	}
	lines = header_lines(&s, &probe);
	status = send_probe(curl, &probe, lines, body, len);
	code = find_code();
	accepted = status != 0 && status != 401 &&
		(status != 403 || strcmp(probe.method, "HEAD") != 0) &&
		strcmp(code, "SignatureDoesNotMatch") != 0 &&
		strcmp(code, "XAmzContentSHA256Mismatch") != 0 &&
		strcmp(code, "AccessDenied") != 0 &&
		strcmp(code, "RequestTimeTooSkewed") != 0 &&
		strcmp(code, "InvalidAccessKeyId") != 0;
	if (probe.payload == NO_HEADER)
		probe.refused = true;
	printf("%-4s %3ld %-24s %s %s%s%s\n",
		   accepted == probe.refused ? "BAD" : "ok", status, code,
		   probe.method, probe.path, probe.query ? "?" : "",
		   probe.query ? probe.query : "");
	unit_check(accepted != probe.refused, __FILE__, __LINE__, probe.label);
	curl_slist_free_all(lines);
	if (probe.keep)
	{
		kept = curl;
		curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL);
	}
	else
		curl_easy_cleanup(curl);
}

#define DELETE_BODY \
	"<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object>" \
	"<Key>o/a</Key></Object></Delete>"
#define XML_TYPE	{"Content-Type", "application/xml"}

static void
probe_buckets(void)
{
	run((Probe) {.label = "make", .method = "PUT", .path = BUCKET,
		.payload = NO_HEADER});
	run((Probe) {.label = "make", .method = "PUT", .path = BUCKET});
	run((Probe) {.label = "head", .method = "HEAD", .path = BUCKET,
		.payload = NO_HEADER});
	run((Probe) {.label = "head", .method = "HEAD", .path = BUCKET});
	run((Probe) {.label = "service", .method = "GET", .path = "/"});
	run((Probe) {.label = "no path", .method = "GET", .path = ""});
}

static void
probe_queries(void)
{
	static const char *const queries[] = {
		"list-type=2&prefix=o%2F", "prefix=o%2F&list-type=2",
		"list-type=2&max-keys=2&max-keys-x=1",
		"continuation-token=cC8w%2BMDA%2F5OTk%3D&list-type=2&prefix=o%2F",
		"list-type=2&prefix=o/", "list-type=2&prefix=o%2f",
		"list-type=2&prefix=a%20b", "list-type=2&prefix=a+b",
		"list-type=2&prefix=a%2Bb",
		"list-type=2&prefix=%C3%BC%E6%97%A5",
		"list-type=2&prefix=%0A%0D%26%3C%25", "list-type=2&prefix=%7E",
		"list-type=2&prefix=~-_.",
		"list-type=2&prefix=%21%2A%27%28%29%3B%3A%40%2C%24",
		"list-type=2&prefix=!*'();:@,$", "list-type=2&prefix=",
		"versioning", "versioning=", "max-keys=5&prefix=o%2F&versions=",
		"prefix=o%2F&versions",
		"encoding-type=url&list-type=2&max-keys=1&prefix=temp%2F"
	};
	size_t		i;

	for (i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
		run((Probe) {.label = queries[i], .method = "GET", .path = BUCKET,
			.query = queries[i]});
	run((Probe) {.label = "no sha header", .method = "GET", .path = BUCKET,
		.query = queries[0], .payload = NO_HEADER});
}

static void
probe_delete(const char *label, const char *name, const char *value,
			 const char *name2, const char *value2, const char *line)
{
	run((Probe) {.label = label, .method = "POST", .path = BUCKET,
		.query = "delete=", .body = DELETE_BODY, .md5 = true,
		.more = {{name, value}, {name2, value2}}, .unsigned_line = line});
}

static void
probe_posts(void)
{
	static const Payload payloads[] = {SHA, NO_HEADER, UNSIGNED};
	size_t		i;

	for (i = 0; i < 3; i++)
	{
		run((Probe) {.label = "delete=", .method = "POST", .path = BUCKET,
			.query = "delete=", .body = DELETE_BODY, .md5 = true,
			.payload = payloads[i], .more = {XML_TYPE}});
		run((Probe) {.label = "delete", .method = "POST", .path = BUCKET,
			.query = "delete", .body = DELETE_BODY, .md5 = true,
			.payload = payloads[i], .more = {XML_TYPE}});
	}
	run((Probe) {.label = "wrong sha", .method = "POST", .path = BUCKET,
		.query = "delete=", .body = DELETE_BODY, .md5 = true,
		.payload = WRONG, .refused = true});
	probe_delete("inner blanks", "x-amz-meta-z", "a   b", NULL, NULL, NULL);
	probe_delete("outer blanks", "x-amz-meta-z", "  ab  ", NULL, NULL, NULL);
	probe_delete("capitals", "X-Amz-Meta-Z", "ab", NULL, NULL, NULL);
	probe_delete("empty", "x-amz-meta-e", "", NULL, NULL, NULL);
	probe_delete("shared start", "x-amz-meta-a", "1", "x-amz-meta", "2",
				 NULL);
	probe_delete("agent", "User-Agent", "probe/1.0 (x; y)", NULL, NULL, NULL);
	probe_delete("checksum", "x-amz-sdk-checksum-algorithm", "SHA256", NULL,
				 NULL, NULL);
	probe_delete("unsigned agent", NULL, NULL, NULL, NULL, "User-Agent: x");
	probe_delete("unsigned accept", NULL, NULL, NULL, NULL, "Accept: */*");
	run((Probe) {.label = "old date", .method = "GET", .path = BUCKET,
		.more = {{"x-amz-date", "20200101T000000Z"}}, .refused = true});
	run((Probe) {.label = "own host", .method = "GET", .path = BUCKET,
		.more = {{"Host", "s3.infra.test"}}});
}

static void
probe_key(const char *path, bool encode)
{
	char		wire[4096] = BUCKET "/";
	size_t		at = strlen(wire);

	if (!encode)
		snprintf(wire + at, sizeof(wire) - at, "%s", path);
	else
		CHECK(vf_s3_sign_encode(path, strlen(path), true, wire + at,
								sizeof(wire) - at));
	run((Probe) {.label = path, .method = "PUT", .path = wire, .body = "x"});
	run((Probe) {.label = path, .method = "DELETE", .path = wire});
}

/* As they are on the wire, in spellings that are not ours. */
static void
probe_wire_paths(void)
{
	static const char *const paths[] = {
		"o/a", "o/sp%20ace", "o/pl%2Bus", "o/pl+us-raw", "o/am%26p",
		"o/am&p-raw", "o/l%3Ct%3Egt", "o/q%27u%22o", "o/q'raw",
		"o/%C3%BC%E6%97%A5%E6%9C%AC", "o/%c3%bc-lower", "o/new%0Aline",
		"o/cr%0Dlf", "o/tab%09", "o/100%2525", "o/%25zz", "o/a%3Fb%23c",
		"o/~tilde", "o/%2A%28%29%21", "o/*()!raw", "o/%3B%3D%40%3A%24%2C",
		"o/;=@:$,raw", "o/double//slash", "o/bs%5Cx", "o/end/", "o/%01",
		"o/%F0%9F%98%80", "o/br%5B%5D%7B%7D", "o/sl%2Fash", "o/./dot",
		"o/%2E/dot"
	};
	size_t		i;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		probe_key(paths[i], false);
	run((Probe) {.label = "no sha header", .method = "DELETE",
		.path = BUCKET "/o/a", .payload = NO_HEADER});
}

/* As our own encoder writes them. */
static void
probe_own_paths(void)
{
	static const char *const keys[] = {
		"k/plain", "k/a b+c%d&e=f", "k/\xC3\xBC\xE6\x97\xA5", "k/a\nb\rc\td",
		"k//double", "/lead", "k/../up", "k/./dot", "k/100%25", "k/\x01\x7F",
		"k/?#[]@!$'()*,;:\"<>\\^`{|}~", "k/end/", "k/\xF0\x9F\x98\x80", " ",
		"+", "%2F", "k/ lead and trail "
	};
	size_t		i;

	for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		probe_key(keys[i], true);
}

static void
probe_bodies(void)
{
	run((Probe) {.label = "body", .method = "PUT", .path = BUCKET "/u1",
		.body = "hello"});
	run((Probe) {.label = "body", .method = "PUT", .path = BUCKET "/u2",
		.body = "hello", .payload = NO_HEADER});
	run((Probe) {.label = "body", .method = "PUT", .path = BUCKET "/u3",
		.body = "hello", .payload = UNSIGNED});
	run((Probe) {.label = "NUL", .method = "PUT", .path = BUCKET "/u4",
		.body = "hel\0lo", .body_len = 6});
	run((Probe) {.label = "NUL", .method = "PUT", .path = BUCKET "/u4",
		.body = "hel\0lo", .body_len = 6, .payload = NO_HEADER});
	run((Probe) {.label = "empty", .method = "PUT", .path = BUCKET "/u5",
		.body = ""});
	run((Probe) {.label = "odd key", .method = "PUT", .body = "x",
		.path = BUCKET "/c%20%C3%BC%2B"});
	run((Probe) {.label = "copy", .method = "PUT", .path = BUCKET "/c1",
		.more = {{"x-amz-copy-source", "/sigp/u1"}}});
	run((Probe) {.label = "copy odd", .method = "PUT", .path = BUCKET "/c2",
		.more = {{"x-amz-copy-source", "/sigp/c%20%C3%BC%2B"}}});
	run((Probe) {.label = "copy order", .method = "PUT",
		.path = BUCKET "/c4", .more = {{"x-amz-copy-source", "/sigp/u1"},
		{"x-amz-copy-source-if-none-match", "\"0\""}}});
	run((Probe) {.label = "copy directive", .method = "PUT",
		.path = BUCKET "/c3", .more = {{"x-amz-copy-source", "/sigp/u1"},
		{"x-amz-metadata-directive", "REPLACE"}}});
	run((Probe) {.label = "lifecycle", .method = "PUT", .path = BUCKET,
		.query = "lifecycle=", .md5 = true, .more = {XML_TYPE},
		.body = "<LifecycleConfiguration><Rule><ID>r</ID><Filter><Prefix>p/"
		"</Prefix></Filter><Status>Enabled</Status><Expiration><Days>30"
		"</Days></Expiration></Rule></LifecycleConfiguration>"});
	run((Probe) {.label = "lifecycle", .method = "GET", .path = BUCKET,
		.query = "lifecycle="});
	run((Probe) {.label = "version", .method = "DELETE",
		.path = BUCKET "/u5", .query = "versionId=null"});
}

static void
probe_kept_connection(void)
{
	run((Probe) {.label = "kept", .method = "GET", .path = BUCKET,
		.query = "list-type=2&prefix=k", .keep = true});
	run((Probe) {.label = "kept", .method = "POST", .path = BUCKET,
		.query = "delete=", .body = DELETE_BODY, .md5 = true, .keep = true});
	run((Probe) {.label = "kept", .method = "GET", .path = BUCKET,
		.query = "list-type=2&prefix=k", .keep = true});
	curl_easy_cleanup(kept);
	kept = NULL;
}

static void
probe_token(char **argv)
{
	const char *own_key = access_key;
	const char *own_secret = secret_key;

	access_key = argv[5];
	secret_key = argv[6];
	token = argv[7];
	run((Probe) {.label = "token", .method = "GET", .path = BUCKET,
		.query = "list-type=2&prefix=o%2F"});
	probe_delete("token", NULL, NULL, NULL, NULL, NULL);
	token = "AAAA";
	run((Probe) {.label = "wrong token", .method = "GET", .path = BUCKET,
		.refused = true});
	token = NULL;
	access_key = own_key;
	secret_key = own_secret;
}

static void
clean_up(void)
{
	static const char *const paths[] = {
		BUCKET "/u1", BUCKET "/u2", BUCKET "/u3", BUCKET "/u4", BUCKET "/c1",
		BUCKET "/c2", BUCKET "/c3", BUCKET "/c4", BUCKET "/c%20%C3%BC%2B"
	};
	size_t		i;

	for (i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		run((Probe) {.label = paths[i], .method = "DELETE",
			.path = paths[i]});
}

int
main(int argc, char **argv)
{
	if (argc != 5 && argc != 8)
	{
		fprintf(stderr, "usage: live_sign ENDPOINT KEY SECRET REGION "
				"[KEY2 SECRET2 TOKEN]\n");
		return 2;
	}
	endpoint = argv[1];
	access_key = argv[2];
	secret_key = argv[3];
	region = argv[4];
	host = strstr(endpoint, "://");
	host = host ? host + 3 : endpoint;
	curl_global_init(CURL_GLOBAL_DEFAULT);
	probe_buckets();
	probe_queries();
	probe_posts();
	probe_wire_paths();
	probe_own_paths();
	probe_bodies();
	probe_kept_connection();
	if (argc == 8)
		probe_token(argv);
	clean_up();
	secret_key = "wrong";
	run((Probe) {.label = "wrong secret", .method = "GET", .path = BUCKET,
		.refused = true});
	curl_global_cleanup();
	return unit_end();
}
