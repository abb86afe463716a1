/*-------------------------------------------------------------------------
 *
 * test_cred_find.c
 *	  The search for credentials over a scripted transport, with the time
 *	  moved: what is asked, in which order, by way of whom; what is kept, and
 *	  for how long.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "s3_cred.h"
#include "s3_internal.h"

#include "fake_server.h"
#include "unit.h"

#undef snprintf
#undef printf

/* What the server frees with a memory context. */
const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
	return "detect_leaks=0";
}

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
} Reply;

typedef struct Sent
{
	char		method[8];
	char		url[512];
	char		headers[1024];
	char		body[8192];
	char		proxy[64];
	int			timeout_ms;
} Sent;

static struct VfHttpClient client;
static Reply script[MAX_SCRIPT];
static Sent sent[MAX_SCRIPT];
static int	nsent;
static char proxy_now[64];
static bool stop;

VfHttpClient *
vf_http_open(MemoryContext cxt, const VfHttpOptions *opt)
{
	(void) cxt;
	CHECK(opt->max_answer == 65536 && opt->max_connections == 1);
	strlcpy(proxy_now, opt->proxy ? opt->proxy : "", sizeof(proxy_now));
	return &client;
}

void
vf_http_start(VfHttpClient *to_client, const VfHttpRequest *req)
{
	Sent	   *to = &sent[nsent++];
	int			i;

	(void) to_client;
	memset(to, 0, sizeof(*to));
	strlcpy(to->method, req->method, sizeof(to->method));
	strlcpy(to->url, req->url, sizeof(to->url));
	strlcpy(to->proxy, proxy_now, sizeof(to->proxy));
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
}

VfHttpAnswer *
vf_http_wait(VfHttpClient *of_client, VfHttpTick tick, void *arg)
{
	VfHttpAnswer *answer;
	const Reply *reply = &script[nsent - 1];

	(void) of_client;
	(void) tick;
	(void) arg;
	if (stop)
		return NULL;
	answer = calloc(1, sizeof(VfHttpAnswer));
	answer->outcome = reply->outcome;
	answer->status = reply->status;
	answer->error = strdup("words of libcurl");
	answer->body.data = strdup(reply->body ? reply->body : "");
	answer->body.len = (int) strlen(answer->body.data);
	return answer;
}

void
vf_http_free(VfHttpAnswer *answer)
{
	free(unconstify(char *, answer->error));
	free(answer->body.data);
	free(answer);
}

/* What a test says, and what it looks at */

#define EXPIRES	INT64CONST(1795450799)	/* 2026-11-23T16:19:59Z */

#define KEYS_OF(name, time) \
	"{\"Code\":\"Success\",\"AccessKeyId\":\"" name "\"," \
	"\"SecretAccessKey\":\"S-" name "\",\"Token\":\"T-" name "\"," \
	"\"Expiration\":\"" time "\"}"
#define KEYS(name) KEYS_OF(name, "2026-11-23T16:19:59Z")
#define LATER(name) KEYS_OF(name, "2026-11-24T16:19:59Z")
#define STS(name) \
	"<AssumeRoleWithWebIdentityResponse xmlns=\"https://x\">" \
	"<AssumeRoleWithWebIdentityResult><Credentials><SessionToken>T-" name \
	"</SessionToken><SecretAccessKey>S-" name "</SecretAccessKey>" \
	"<Expiration>2026-11-23T16:19:59Z</Expiration><AccessKeyId>" name \
	"</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>" \
	"</AssumeRoleWithWebIdentityResponse>"
#define STS_ERROR(code, message) \
	"<ErrorResponse><Error><Type>Sender</Type><Code>" code "</Code>" \
	"<Message>" message "</Message></Error></ErrorResponse>"

static char dir[] = "/tmp/vf-cred-XXXXXX";
static char data_dir[64];
static VfS3CredQuery query;
static VfS3Credentials cred;
static const char *code;
static char *fault;

static void
reply(int n, VfHttpOutcome outcome, int status, const char *body)
{
	script[n].outcome = outcome;
	script[n].status = status;
	script[n].body = body;
}

static void
answer(const char *body)
{
	reply(0, VF_HTTP_ANSWERED, 200, body);
}

/* Seconds before the end of KEYS. */
static void
set_time(int64 before)
{
	fake_now = time_t_to_timestamptz(EXPIRES - before);
}

/* How many requests it took. */
static int
find(void)
{
	nsent = 0;
	code = "unset";
	fault = vf_s3_cred_find(&query, &cred, &code);
	if (fault == NULL)
		CHECK(code == NULL);
	else
		CHECK(code != NULL && strlen(fault) < 256 &&
			  strcmp(vf_s3_cure(code), vf_s3_cure("UnknownError")) != 0);
	return nsent;
}

/* A new environment, and nothing kept. */
static void
reset(void)
{
	static const char *const names[] = {
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
		"AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS", "AWS_REGION",
		"AWS_DEFAULT_REGION", "AWS_SHARED_CREDENTIALS_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN",
		"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
		"AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
		"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
	};
	static const char *const keys[] = {"A", "B", "C", "D", "E"};
	size_t		i;

	for (i = 0; i < lengthof(names); i++)
		unsetenv(names[i]);
	for (i = 0; i < lengthof(keys); i++)
		vf_s3_cred_refused(keys[i]);
	setenv("HOME", dir, 1);
	memset(script, 0, sizeof(script));
	memset(&query, 0, sizeof(query));
	query.region = "eu-west-1";
	query.proxy = "http://proxy.test:3128";
	query.timeout_ms = 10000;
	stop = false;
	set_time(3600);
}

static char *
write_file(const char *name, const char *text, mode_t mode)
{
	char	   *path = psprintf("%s/%s", dir, name);
	FILE	   *file;

	unlink(path);
	file = fopen(path, "w");
	CHECK(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
	CHECK(chmod(path, mode) == 0);
	return path;
}

static void
check_found(const char *name, const char *origin, int line)
{
	char		expected[64];

	unit_same(fault, NULL, __FILE__, line, "fault");
	if (fault)
		return;
	unit_same(cred.access_key, name, __FILE__, line, "access key");
	snprintf(expected, sizeof(expected), "S-%s", name);
	unit_same(cred.secret_key, expected, __FILE__, line, "secret key");
	snprintf(expected, sizeof(expected), "T-%s", name);
	unit_same(cred.session_token, expected, __FILE__, line, "token");
	unit_same(cred.origin, origin, __FILE__, line, "origin");
}

#define FOUND(name, origin) check_found((name), (origin), __LINE__)
#define FAULT(its_code, words) \
	(SAME(code, (its_code)), unit_check(fault && strstr(fault, (words)), \
		__FILE__, __LINE__, fault ? fault : "no fault"))

/* The container's endpoint, and how long its keys are kept */

static void
test_container(void)
{
	reset();
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x", 1);
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/", 1);
	answer(KEYS("A"));
	CHECK(find() == 1);
	FOUND("A", "container endpoint");
	SAME(sent[0].method, "GET");
	SAME(sent[0].url, "http://169.254.170.2/v2/credentials/x");
	SAME(sent[0].headers, "");
	SAME(sent[0].proxy, "");
	CHECK(sent[0].timeout_ms <= 5000);
	CHECK(cred.expires_at == time_t_to_timestamptz(EXPIRES));

	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "v2", 1);
	CHECK(find() == 0);
	FAULT("ContainerCredentials", "slash");
	setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/@evil\n", 1);
	CHECK(find() == 0);
	FAULT("ContainerCredentials", "RELATIVE_URI");
	unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://evil.test/x", 1);
	CHECK(find() == 0);
	FAULT("ContainerCredentials", "https only");
}

static void
test_container_token(void)
{
	char	   *file = write_file("auth", "Basic one\n", 0440);

	reset();
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://h.test/secret", 1);
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic zero", 1);
	answer(KEYS("A"));
	CHECK(find() == 1);
	SAME(sent[0].headers, "Authorization: Basic zero\n");
	SAME(sent[0].proxy, "");
	setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file, 1);
	CHECK(find() == 1);
	SAME(sent[0].headers, "Authorization: Basic one\n");

	/* The file as it is at the renewal; the path and the token stay ours. */
	write_file("auth", "two", 0600);
	set_time(5);
	reply(0, VF_HTTP_ANSWERED, 403,
		  "{\"code\":\"Denied!\",\"message\":\"two is not good\"}");
	CHECK(find() == 1);
	SAME(sent[0].headers, "Authorization: two\n");
	FAULT("ContainerCredentials", "status 403, Denied: ... is not good");
	CHECK(fault && !strstr(fault, "secret") && !strstr(fault, "two"));
	unlink(file);
	CHECK(find() == 0);
	FAULT("ContainerCredentials", "cannot be found");
}

static void
test_kept(void)
{
	int			logged;

	reset();
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/c", 1);
	answer(KEYS("A"));
	CHECK(find() == 1);
	CHECK(find() == 0);
	set_time(301);
	CHECK(find() == 0);
	FOUND("A", "container endpoint");

	/* Five minutes before their end; but the service is ill. */
	set_time(300);
	logged = fake_logged;
	reply(0, VF_HTTP_TIMEOUT, 0, NULL);
	CHECK(find() == 1);
	FOUND("A", "container endpoint");
	CHECK(fake_logged == logged + 1);
	CHECK(find() == 0);
	FOUND("A", "container endpoint");
	set_time(300 - 61);
	reply(0, VF_HTTP_ANSWERED, 500, "");
	CHECK(find() == 1);
	FOUND("A", "container endpoint");
	CHECK(fake_logged == logged + 1);

	/* It gives the same again: asked once more later, and nobody is told. */
	set_time(300 - 122);
	answer(KEYS("A"));
	CHECK(find() == 1);
	CHECK(find() == 0);
	set_time(300 - 183);
	answer(LATER("B"));
	CHECK(find() == 1);
	FOUND("B", "container endpoint");
	set_time(0);
	CHECK(find() == 0);
	FOUND("B", "container endpoint");

	/* At their very end they are of no use. */
	set_time(-86400 + 9);
	reply(0, VF_HTTP_CONNECT, 0, NULL);
	CHECK(find() == 1);
	FAULT("ContainerCredentials", "connected");
	set_time(3600);
	answer(KEYS("C"));
	CHECK(find() == 1);
	FOUND("C", "container endpoint");

	/* Refused by the store; and what came has expired already. */
	vf_s3_cred_refused("other");
	CHECK(find() == 0);
	vf_s3_cred_refused("C");
	set_time(-1);
	answer(KEYS("D"));
	CHECK(find() == 1);
	FAULT("ContainerCredentials", "expired already");
	CHECK(find() == 1);
	answer(KEYS_OF("E", "tomorrow"));
	CHECK(find() == 1);
	FAULT("ContainerCredentials", "when they expire");
	stop = true;
	CHECK(find() == 1);
	FAULT("ContainerCredentials", "abandoned");
}

/* More sources than are kept: none is mixed up with another. */
static void
test_many(void)
{
	char		url[64];
	int			i;

	reset();
	answer(KEYS("A"));
	for (i = 0; i < 20; i++)
	{
		snprintf(url, sizeof(url), "http://127.0.0.1/%d", i);
		setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url, 1);
		CHECK(find() == 1);
		CHECK(find() == 0);
		FOUND("A", "container endpoint");
	}
	query.proxy = "http://other.test";
	CHECK(find() == 1);
	query.ca_file = "/ca";
	CHECK(find() == 1);
	CHECK(find() == 0);
}

/* The metadata service */

static void
use_metadata(const char *endpoint)
{
	reset();
	if (endpoint)
		setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint, 1);
	reply(0, VF_HTTP_ANSWERED, 200, "tok==");
	reply(1, VF_HTTP_ANSWERED, 200, "my-role\nother");
	reply(2, VF_HTTP_ANSWERED, 200, KEYS("A"));
}

static void
test_metadata(void)
{
	static const char list[] =
		"http://169.254.169.254/latest/meta-data/iam/security-credentials/";
	int			i;

	use_metadata(NULL);
	CHECK(find() == 3);
	FOUND("A", "metadata service");
	SAME(sent[0].method, "PUT");
	SAME(sent[0].url, "http://169.254.169.254/latest/api/token");
	SAME(sent[0].headers, "X-aws-ec2-metadata-token-ttl-seconds: 21600\n");
	SAME(sent[1].method, "GET");
	SAME(sent[1].url, list);
	SAME(sent[2].method, "GET");
	CHECK(strncmp(sent[2].url, list, strlen(list)) == 0);
	SAME(sent[2].url + strlen(list), "my-role");
	for (i = 0; i < 3; i++)
	{
		CHECK(sent[i].timeout_ms <= 1000);
		SAME(sent[i].proxy, "");
		if (i > 0)
			SAME(sent[i].headers, "X-aws-ec2-metadata-token: tok==\n");
	}
	CHECK(find() == 0);

	use_metadata(NULL);
	setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6", 1);
	CHECK(find() == 3);
	SAME(sent[0].url, "http://[fd00:ec2::254]/latest/api/token");
	use_metadata("http://127.0.0.1:1/");
	CHECK(find() == 3);
	SAME(sent[0].url, "http://127.0.0.1:1/latest/api/token");
	use_metadata("http://127.0.0.1:1/latest");
	CHECK(find() == 0);
	FAULT("MetadataService", "no path");
	use_metadata("http://evil.test");
	CHECK(find() == 0);
	FAULT("MetadataService", "https only");
	setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
	CHECK(find() == 0);
	FAULT("NoCredentials", "no credentials");
}

/* Each step fails in each way: never a further request, never version 1. */
static void
test_metadata_faults(void)
{
	static const struct
	{
		int			step;
		VfHttpOutcome outcome;
		int			status;
		const char *body;
		const char *words;
	}			cases[] = {
		{0, VF_HTTP_TIMEOUT, 0, NULL, "hop limit"},
		{0, VF_HTTP_CONNECT, 0, NULL, "connected"},
		{0, VF_HTTP_CUT, 0, NULL, "cut"},
		{0, VF_HTTP_TOO_LARGE, 200, NULL, "larger"},
		{0, VF_HTTP_ANSWERED, 403, "", "status 403"},
		{0, VF_HTTP_ANSWERED, 404, "", "status 404"},
		{0, VF_HTTP_ANSWERED, 405, "", "status 405"},
		{0, VF_HTTP_ANSWERED, 302, "x", "status 302"},
		{0, VF_HTTP_ANSWERED, 200, "", "that is none"},
		{0, VF_HTTP_ANSWERED, 200, "a b", "that is none"},
		{0, VF_HTTP_ANSWERED, 200, "\xC3\xBC", "that is none"},
		{1, VF_HTTP_TIMEOUT, 0, NULL, "in time"},
		{1, VF_HTTP_ANSWERED, 401, "", "status 401"},
		{1, VF_HTTP_ANSWERED, 404, "", "no role"},
		{1, VF_HTTP_ANSWERED, 200, "", "that is none"},
		{1, VF_HTTP_ANSWERED, 200, "../x", "that is none"},
		{1, VF_HTTP_ANSWERED, 200, "a?b", "that is none"},
		{1, VF_HTTP_ANSWERED, 200, "<html>", "that is none"},
		{2, VF_HTTP_TIMEOUT, 0, NULL, "in time"},
		{2, VF_HTTP_ANSWERED, 404, "", "status 404"},
		{2, VF_HTTP_ANSWERED, 200, "", "of no use"},
		{2, VF_HTTP_ANSWERED, 200, "{\"Code\":\"Failed\"}", "Failed"},
		{2, VF_HTTP_ANSWERED, 200, "{\"Code\":\"Success\"}", "no access key"}
	};
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
	{
		use_metadata("http://127.0.0.1:1");
		reply(cases[i].step, cases[i].outcome, cases[i].status,
			  cases[i].body);
		CHECK(find() == cases[i].step + 1);
		FAULT("MetadataService", cases[i].words);
		CHECK(fault && strstr(fault, "tok==") == NULL);
	}

	/* Where nobody named it, a host without one just has no credentials. */
	use_metadata(NULL);
	reply(0, VF_HTTP_CONNECT, 0, NULL);
	CHECK(find() == 1);
	FAULT("NoCredentials", "no metadata service");
	reply(0, VF_HTTP_TIMEOUT, 0, NULL);
	CHECK(find() == 1);
	FAULT("MetadataService", "hop limit");
}

/* Web identity */

static void
use_web(void)
{
	reset();
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE",
		   write_file("token", "eyJ.x-1\n", 0444), 1);
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/a+b", 1);
	answer(STS("A"));
}

static void
test_web(void)
{
	use_web();
	CHECK(find() == 1);
	FOUND("A", "web identity");
	SAME(sent[0].method, "POST");
	SAME(sent[0].url, "https://sts.eu-west-1.amazonaws.com/");
	SAME(sent[0].headers,
		 "Content-Type: application/x-www-form-urlencoded; charset=utf-8\n");
	SAME(sent[0].body,
		 "Action=AssumeRoleWithWebIdentity&Version=2011-06-15"
		 "&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fa%2Bb"
		 "&RoleSessionName=voiceframe-retention&WebIdentityToken=eyJ.x-1");
	SAME(sent[0].proxy, "http://proxy.test:3128");
	CHECK(sent[0].timeout_ms <= 8000);

	/* Whose STS. */
	query.region = "cn-north-1";
	CHECK(find() == 1);
	SAME(sent[0].url, "https://sts.cn-north-1.amazonaws.com.cn/");
	setenv("AWS_DEFAULT_REGION", "us-west-2", 1);
	CHECK(find() == 1);
	SAME(sent[0].url, "https://sts.us-west-2.amazonaws.com/");
	setenv("AWS_REGION", "sa-east-1", 1);
	CHECK(find() == 1);
	SAME(sent[0].url, "https://sts.sa-east-1.amazonaws.com/");
	setenv("AWS_REGION", "evil.test/", 1);
	CHECK(find() == 0);
	FAULT("StsError", "region");
	setenv("AWS_ENDPOINT_URL_STS", "https://sts.test:8443/", 1);
	setenv("AWS_ROLE_SESSION_NAME", "me@here", 1);
	CHECK(find() == 1);
	SAME(sent[0].url, "https://sts.test:8443/");
	CHECK(strstr(sent[0].body, "RoleSessionName=me%40here&") != NULL);
	setenv("AWS_ROLE_SESSION_NAME", "a b", 1);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "session name");
	unsetenv("AWS_ROLE_SESSION_NAME");
	setenv("AWS_ENDPOINT_URL_STS", "http://sts.test", 1);
	CHECK(find() == 0);
	FAULT("StsError", "https only");
	unsetenv("AWS_ROLE_ARN");
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "AWS_ROLE_ARN");
	query.timeout_ms = 0;
	setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/none", 1);
	unsetenv("AWS_ENDPOINT_URL_STS");
	setenv("AWS_REGION", "x", 1);
	CHECK(find() == 0);
	FAULT("StsError", "in time");
}

static void
test_web_answers(void)
{
	static const struct
	{
		int			status;
		const char *body;
		const char *code;
		const char *words;
	}			cases[] = {
		{400, STS_ERROR("ExpiredTokenException", "Token expired: eyJ.x-1"),
			"WebIdentityToken", "ExpiredTokenException: Token expired: ..."},
		{400, STS_ERROR("InvalidIdentityToken", "x"), "WebIdentityToken",
		"InvalidIdentityToken"},
		{403, STS_ERROR("AccessDenied", "x"), "StsAccessDenied",
		"AccessDenied"},
		{400, STS_ERROR("IDPCommunicationError", "x"), "StsError",
		"IDPCommunicationError"},
		{200, STS_ERROR("Throttling", "x"), "StsError", "Throttling"},
		{503, "<html>", "StsError", "status 503"},
		{301, "", "StsError", "status 301"},
		{200, "", "StsError", "of no use"},
		{200, "<Error><Code>x</Code></Error>", "StsError",
		"not the document"},
		{200, "<ListBucketResult/>", "StsError", "not the document"},
		{200, "<AssumeRoleWithWebIdentityResponse/>", "StsError",
		"no access key"},
		{200, "<!DOCTYPE x>" STS("A"), "StsError", "DOCTYPE"},
		{200, KEYS("A"), "StsError", "not well-formed"}
	};
	char		cut[sizeof(STS("A"))];
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
	{
		use_web();
		reply(0, VF_HTTP_ANSWERED, cases[i].status, cases[i].body);
		CHECK(find() == 1);
		FAULT(cases[i].code, cases[i].words);
		CHECK(fault && strstr(fault, "eyJ") == NULL);
	}
	/* A token that looks like a word. */
	use_web();
	write_file("token", "onlyletters", 0444);
	reply(0, VF_HTTP_ANSWERED, 400,
		  STS_ERROR("InvalidIdentityToken", "No provider for onlyletters"));
	CHECK(find() == 1);
	FAULT("WebIdentityToken", "No provider for ...");
	use_web();
	for (i = 0; i < strlen(STS("A")); i++)
	{
		memcpy(cut, STS("A"), i);
		cut[i] = '\0';
		answer(cut);
		CHECK(find() == 1);
		SAME(code, "StsError");
	}
	reply(0, VF_HTTP_TLS, 0, NULL);
	CHECK(find() == 1);
	FAULT("StsError", "TLS");
}

static void
test_token_files(void)
{
	static char huge[VF_S3_MAX_BODY / 20];
	char	   *path = psprintf("%s/token", dir);
	char	   *link_path = psprintf("%s/link", dir);

	use_web();
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", link_path, 1);
	CHECK(symlink(path, link_path) == 0);
	write_file("token", " \n eyJ.x-2 \r\n", 0440);
	CHECK(find() == 1);
	CHECK(strstr(sent[0].body, "=eyJ.x-2") != NULL);
	vf_s3_cred_refused("A");
	write_file("token", "t", 0646);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "by everybody: its mode is 0646");
	write_file("token", "", 0444);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "empty");
	write_file("token", "a\nb", 0444);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "not one line");
	write_file("token", "a b", 0444);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "not one line");
	memset(huge, 'x', sizeof(huge) - 1);
	write_file("token", huge, 0444);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "larger than");
	huge[20000] = '\0';
	write_file("token", huge, 0444);
	CHECK(find() == 1);
	FOUND("A", "web identity");
	vf_s3_cred_refused("A");
	unlink(path);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "cannot be found");
	CHECK(mkfifo(path, 0444) == 0);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "not a regular file");
	unlink(path);
	CHECK(symlink("data/token", path) == 0);
	write_file("data/token", "t", 0444);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "inside the data directory");
	unlink(path);
	setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "token", 1);
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "not an absolute path");
}

/* The order of the search */

static void
test_order(void)
{
	char	   *shared;

	use_web();
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/c", 1);
	shared = write_file("shared", "[default]\naws_access_key_id = B\n"
						"aws_secret_access_key = S-B\n"
						"aws_session_token = T-B\n[web]\nrole_arn = r\n"
						"web_identity_token_file = /nowhere\n", 0600);
	setenv("AWS_SHARED_CREDENTIALS_FILE", shared, 1);
	setenv("AWS_ACCESS_KEY_ID", "C", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "S-C", 1);
	setenv("AWS_SESSION_TOKEN", "T-C", 1);

	query.file = shared;
	CHECK(find() == 0);
	FOUND("B", "voiceframe.s3_credentials_file");
	CHECK(cred.expires_at == DT_NOEND && !vf_s3_cred_due(&cred, fake_now));
	query.file = NULL;
	query.profile = "default";
	CHECK(find() == 0);
	FOUND("B", "shared credentials file");
	query.profile = "web";
	CHECK(find() == 0);
	FAULT("WebIdentityToken", "\"/nowhere\" cannot be found");
	query.profile = NULL;
	CHECK(find() == 0);
	FOUND("C", "environment");
	unsetenv("AWS_ACCESS_KEY_ID");
	CHECK(find() == 1);
	FOUND("A", "web identity");
	unsetenv("AWS_WEB_IDENTITY_TOKEN_FILE");
	CHECK(find() == 0);
	FOUND("B", "shared credentials file");
	unsetenv("AWS_SHARED_CREDENTIALS_FILE");
	answer(KEYS("D"));
	CHECK(find() == 1);
	FOUND("D", "container endpoint");
	unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
	reply(0, VF_HTTP_CONNECT, 0, NULL);
	CHECK(find() == 1);
	FAULT("NoCredentials", "no metadata service");

	/* A profile that is named is looked for in files alone. */
	setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/c", 1);
	query.profile = "default";
	CHECK(find() == 0);
	FAULT("NoCredentials", "no shared");
	setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere", 1);
	query.profile = NULL;
	CHECK(find() == 0);
	FAULT("CredentialsFile", "cannot be found");
}

/* A client whose credentials the store refuses */

static void
test_refused(void)
{
	static const char *const refused[] = {
		"ExpiredToken", "InvalidToken", "InvalidAccessKeyId"
	};
	VfS3Target	target = {"http://127.0.0.1:1", "bkt", "r", VF_S3_PATH_AUTO, NULL,
	false};
	VfHttpOptions options = {0};
	VfS3Client *s3;
	size_t		i;

	options.max_answer = 65536;
	options.max_connections = 1;
	for (i = 0; i < lengthof(refused); i++)
	{
		reset();
		setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1/c", 1);
		answer(KEYS("A"));
		CHECK(find() == 1);
		s3 = vf_s3_open(NULL, &target, &cred, &options);
		CHECK(!vf_s3_credentials_due(s3, fake_now));
		vf_s3_note_refusal(s3, "AccessDenied", 0);
		vf_s3_note_refusal(s3, "NoSuchBucket", 404);
		CHECK(!vf_s3_credentials_due(s3, fake_now) && find() == 0);
		vf_s3_note_refusal(s3, i == 2 ? "" : refused[i], i == 2 ? 403 : 0);
		CHECK(vf_s3_credentials_due(s3, fake_now) && find() == 1);
	}
}

int
main(void)
{
	char	   *clean;

	CHECK(mkdtemp(dir) != NULL);
	snprintf(data_dir, sizeof(data_dir), "%s/data", dir);
	CHECK(mkdir(data_dir, 0700) == 0);
	DataDir = data_dir;
	test_container();
	test_container_token();
	test_kept();
	test_many();
	test_metadata();
	test_metadata_faults();
	test_web();
	test_web_answers();
	test_token_files();
	test_order();
	test_refused();
	clean = psprintf("rm -rf %s", dir);
	CHECK(system(clean) == 0);
	return unit_end();
}
