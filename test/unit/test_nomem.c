/*-------------------------------------------------------------------------
 *
 * test_nomem.c
 *	  The Nth allocation fails, for N = 1, 2, ... until none is left to fail.
 *
 * This program's own malloc stands before that of every library, expat and the
 * digests' included.  Whatever fails, the rooms that depend on no server must
 * say so, hold no memory afterwards, and never count a key as confirmed that
 * the store did not confirm.  Order of things: the allocator; the XML reader;
 * signing; credentials; a whole DeleteObjects over a scripted transport (the
 * server's own memory, behind palloc, does not fail here: it raises).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdlib.h>

#include "digest.h"
#include "s3.h"
#include "s3_cred_parse.h"
#include "s3_internal.h"
#include "s3_sign.h"
#include "s3_xml.h"

#include "fake_server.h"
#include "unit.h"

/* The allocator */

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void __libc_free(void *p);
extern void *unfailing_malloc(size_t size);
extern void *unfailing_calloc(size_t n, size_t size);
extern char *unfailing_strdup(const char *text);

static long fail_at;			/* 0: none */
static long next_fault;			/* what arm() takes */
static bool and_after;			/* all that come after it too */
static long asked;
static long held;				/* blocks */

static bool
fails(void)
{
	if (fail_at == 0)
		return false;
	asked++;
	return asked == fail_at || (and_after && asked > fail_at);
}

void *
malloc(size_t size)
{
	if (fails())
		return NULL;
	held++;
	return __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
	if (fails())
		return NULL;
	held++;
	return __libc_calloc(n, size);
}

void *
realloc(void *old, size_t size)
{
	if (fails())
		return NULL;
	if (old == NULL)
		held++;
	return __libc_realloc(old, size);
}

void
free(void *p)
{
	if (p != NULL)
		held--;
	__libc_free(p);
}

/* What stands behind palloc in this program. */
void *
unfailing_malloc(size_t size)
{
	held++;
	return __libc_malloc(size);
}

void *
unfailing_calloc(size_t n, size_t size)
{
	held++;
	return __libc_calloc(n, size);
}

char *
unfailing_strdup(const char *text)
{
	size_t		size = strlen(text) + 1;

	return memcpy(unfailing_malloc(size), text, size);
}

/* Allocations fail between these two: the checks need memory of their own. */
static void
arm(void)
{
	asked = 0;
	fail_at = next_fault;
}

static bool
disarm(void)
{
	fail_at = 0;
	return next_fault > 0 && asked >= next_fault;
}

/*
 * Run the body with each allocation failing in turn, alone and then with all
 * after it; the body arms, and returns what disarm() did.  Once before that
 * without any fault, for what libraries keep for ever.  Returns how many there
 * were.
 */
static long
every_allocation(bool (*body) (void))
{
	long		n = 0;

	next_fault = 0;
	(void) body();
	for (int all = 0; all < 2; all++)
	{
		and_after = all;
		n = 0;
		do
			next_fault = ++n;
		while (body() && n < 100000);
	}
	return n - 1;
}

/* The XML reader */

#define N_KEYS 300

static char document[N_KEYS * 400];
static int	n_deleted;
static int	n_failed;

static void
make_document(void)
{
	char	   *to = document;

	to += sprintf(to, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
				  "<DeleteResult xmlns=\"urn:x\">");
	for (int i = 0; i < N_KEYS; i++)
		to += sprintf(to, i % 2 == 0 ?
					  "<Deleted a%d=\"%0*d\"><Key>k%d&amp;</Key></Deleted>" :
					  "<Error a%d=\"%0*d\"><Key>k%d</Key><Code>X</Code>"
					  "<Message>m</Message></Error>", i, i % 97 + 1, i, i);
	sprintf(to, "</DeleteResult>");
}

static void
on_deleted(void *arg, const char *key, size_t len)
{
	(void) arg;
	(void) key;
	(void) len;
	n_deleted++;
}

static void
on_failed(void *arg, const char *key, size_t len, const char *code,
		  const char *message)
{
	(void) arg;
	(void) key;
	(void) len;
	(void) code;
	(void) message;
	n_failed++;
}

/* In pieces, so that the reader has to keep what came before. */
static bool
read_pieces(const VfS3XmlHandler *handler, VfS3XmlDocument *doc)
{
	VfS3XmlReader *reader = vf_s3_xml_open(handler);
	size_t		len = strlen(document);

	if (reader == NULL)
	{
		memset(doc, 0, sizeof(*doc));
		doc->fault = "none";
		return false;
	}
	for (size_t at = 0; at < len; at += 777)
		vf_s3_xml_feed(reader, document + at, Min(len - at, 777));
	return vf_s3_xml_finish(reader, doc);
}

static bool in_pieces;

static bool
read_document(void)
{
	static const VfS3XmlHandler handler = {
		.deleted = on_deleted, .failed = on_failed
	};
	VfS3XmlDocument doc;
	long		before = held;
	bool		ok,
				met;

	n_deleted = n_failed = 0;
	arm();
	ok = in_pieces ? read_pieces(&handler, &doc) :
		vf_s3_xml_read(document, strlen(document), &handler, &doc);
	met = disarm();
	CHECK(held == before);
	CHECK(ok == (doc.fault == NULL));
	CHECK(ok || met);
	/* What lived through the fault lived through it whole. */
	CHECK(!ok || (n_deleted == N_KEYS / 2 && n_failed == N_KEYS / 2));
	return met;
}

static void
test_reader(void)
{
	make_document();
	in_pieces = false;
	CHECK(every_allocation(read_document) > 10);
	in_pieces = true;
	CHECK(every_allocation(read_document) > 10);
}

/* Signing */

static char signature[VF_S3_SIGN_AUTH];

static bool
sign(void)
{
	static const VfS3SignHeader headers[] = {{"host", "s3.test"},
	{"x-amz-date", "20130524T000000Z"}};
	VfS3SignRequest req = {"POST", "/b", "delete=", headers, 2, "UNSIGNED",
	"20130524T000000Z", "us-east-1", "AKID", "secret"};
	char		out[VF_S3_SIGN_AUTH];
	bool		ok,
				met;

	arm();
	ok = vf_s3_sign_authorization(&req, out, sizeof(out));
	met = disarm();
	CHECK(ok || met);
	if (signature[0] == '\0')
		strlcpy(signature, out, sizeof(signature));
	CHECK(!ok || strcmp(out, signature) == 0);
	return met;
}

static bool
digest(void)
{
	unsigned char sum[VF_SHA256_LEN];
	unsigned char md5[VF_MD5_LEN];
	bool		ok,
				ok5,
				met;

	arm();
	ok = vf_digest_sha256("abc", 3, sum);
	ok5 = vf_digest_md5("abc", 3, md5);
	met = disarm();
	CHECK((ok && ok5) || met);
	CHECK(!ok || (sum[0] == 0xba && sum[31] == 0xad));
	CHECK(!ok5 || (md5[0] == 0x90 && md5[15] == 0x72));
	return met;
}

static void
test_signing(void)
{
	CHECK(every_allocation(sign) > 3);
	CHECK(every_allocation(digest) > 1);
}

/* Credentials: read without a single allocation */

static bool
parse_credentials(void)
{
	static const char text[] = "[default]\naws_access_key_id = AK\n"
	"aws_secret_access_key = SK\naws_session_token = T\n";
	VfS3CredText out;
	VfS3CredVerdict verdict;
	int			line;
	bool		met;

	arm();
	verdict = vf_s3_cred_parse(text, strlen(text), "default", &out, &line);
	met = disarm();
	CHECK(verdict == VF_S3_CRED_FOUND);
	SAME(out.secret_key, "SK");
	return met;
}

static void
test_credentials(void)
{
	CHECK(every_allocation(parse_credentials) == 0);
}

/* A whole DeleteObjects: the transport answers that a is gone and b is not */

static void *tag;
static bool waits;

VfHttpClient *
vf_http_open(MemoryContext cxt, const VfHttpOptions *opt)
{
	(void) cxt;
	(void) opt;
	waits = false;
	return unfailing_malloc(1);
}

void
vf_http_start(VfHttpClient *client, const VfHttpRequest *req)
{
	(void) client;
	tag = req->tag;
	waits = true;
}

VfHttpAnswer *
vf_http_wait(VfHttpClient *client, VfHttpTick tick, void *arg)
{
	VfHttpAnswer *answer;

	(void) client;
	(void) tick;
	(void) arg;
	if (!waits)
		return NULL;
	waits = false;
	answer = unfailing_calloc(1, sizeof(VfHttpAnswer));
	answer->outcome = VF_HTTP_ANSWERED;
	answer->status = 200;
	answer->sent = true;
	answer->error = unfailing_strdup("");
	answer->body.data = unfailing_strdup("<DeleteResult>"
										 "<Deleted><Key>p/a</Key></Deleted>"
										 "<Error><Key>p/b</Key>"
										 "<Code>AccessDenied</Code></Error>"
										 "</DeleteResult>");
	answer->body.len = (int) strlen(answer->body.data);
	answer->tag = tag;
	return answer;
}

void
vf_http_free(VfHttpAnswer *answer)
{
	free(unconstify(char *, answer->error));
	free(answer->body.data);
	free(answer);
}

static bool
delete_two(void)
{
	VfS3Target	target = {"https://s3.test", "bkt", "r", VF_S3_PATH_AUTO, NULL,
	false};
	VfS3Credentials cred = {"AKID", "very-secret", NULL, 0, "test"};
	VfHttpOptions options = {0};
	VfS3Client *client = vf_s3_open(NULL, &target, &cred, &options);
	VfS3Key		keys[2] = {{.key = "p/a", .len = 3}, {.key = "p/b", .len = 3}};
	VfS3Delete	batch = {.keys = keys, .nkeys = 2, .timeout_ms = 5000};
	volatile bool raised;
	bool		met;

	arm();
	raised = RAISES(vf_s3_delete_start(client, &batch));
	if (!raised)
		raised = RAISES((void) vf_s3_delete_wait(client, NULL, NULL));
	met = disarm();
	CHECK(!raised || met);
	CHECK(raised || met || batch.answer.class == VF_S3_OK);
	/* An answer counts whole or not at all, and never for the second. */
	if (!raised && batch.answer.class == VF_S3_OK)
	{
		CHECK(keys[0].class == VF_S3_OK);
		SAME(keys[1].code, "AccessDenied");
	}
	else if (!raised)
		CHECK(batch.answer.code[0] != '\0');
	vf_s3_close(client);
	free(client->region);
	free(client->bucket);
	free(client->http);
	free(client);
	return met;
}

static void
test_delete(void)
{
	CHECK(every_allocation(delete_two) > 10);
}

int
main(void)
{
	/* stdout's buffer, before anything can fail. */
	setvbuf(stdout, NULL, _IOLBF, 4096);
	test_reader();
	test_signing();
	test_credentials();
	test_delete();
	return unit_end();
}
