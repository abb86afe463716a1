/*-------------------------------------------------------------------------
 *
 * test_sign.c
 *	  Digests and SigV4, with the vectors that AWS publishes.
 *
 * The four requests are those of "Authenticating Requests: Using the
 * Authorization Header" in the S3 API reference.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "digest.h"
#include "s3_sign.h"
#include "unit.h"

#define EMPTY_HASH \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define PUT_HASH \
	"44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"
#define HOST	{"Host", "examplebucket.s3.amazonaws.com"}
#define DATE	{"x-amz-date", "20130524T000000Z"}

typedef struct Vector
{
	const char *label;
	const char *method;
	const char *path;
	const char *query;
	VfS3SignHeader headers[6];
	const char *payload_hash;
	const char *canonical_hash;
	const char *signature;
} Vector;

static const Vector vectors[] = {
	{
		"GET an object with Range", "GET", "/test.txt", NULL,
		{HOST, {"Range", "bytes=0-9"},
		{"x-amz-content-sha256", EMPTY_HASH}, DATE}, EMPTY_HASH,
		"7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972",
		"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
	},
	{
		"PUT an object", "PUT", "/test$file.text", NULL,
		{{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, HOST, DATE,
		{"x-amz-storage-class", "REDUCED_REDUNDANCY"},
		{"x-amz-content-sha256", PUT_HASH}}, PUT_HASH,
		"9e0e90d9c76de8fa5b200d8c849cd5b8dc7a3be3951ddb7f6a76b4158342019d",
		"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
	},
	{
		"GET the lifecycle", "GET", "/", "lifecycle",
		{HOST, DATE, {"x-amz-content-sha256", EMPTY_HASH}}, EMPTY_HASH,
		"9766c798316ff2757b517bc739a67f6213b4ab36dd5da2f94eaebf79c77395ca",
		"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
	},
	{
		"GET a list", "GET", "/", "prefix=J&max-keys=2",
		{HOST, DATE, {"x-amz-content-sha256", EMPTY_HASH}}, EMPTY_HASH,
		"df57d21db20da04d7fa30298dd4488ba3a2b47ca3a489c74750e0f1e7df1b9b7",
		"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
	}
};

static VfS3SignRequest
make_request(const Vector *vector)
{
	VfS3SignRequest req = {0};

	req.method = vector->method;
	req.path = vector->path;
	req.query = vector->query;
	req.headers = vector->headers;
	while (req.nheaders < 6 && vector->headers[req.nheaders].name)
		req.nheaders++;
	req.payload_hash = vector->payload_hash;
	req.date = "20130524T000000Z";
	req.region = "us-east-1";
	req.access_key = "AKIAIOSFODNN7EXAMPLE";
	req.secret_key = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
	return req;
}

static void
test_vectors(void)
{
	size_t		i;

	for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
	{
		VfS3SignRequest req = make_request(&vectors[i]);
		char		canonical[4096];
		char		hash[VF_HEX_SIZE(VF_SHA256_LEN)];
		char		auth[VF_S3_SIGN_AUTH];

		CHECK(vf_s3_sign_canonical_request(&req, canonical,
										   sizeof(canonical)));
		CHECK(vf_digest_sha256_hex(canonical, strlen(canonical), hash));
		LABELLED(hash, vectors[i].canonical_hash, vectors[i].label);
		CHECK(vf_s3_sign_authorization(&req, auth, sizeof(auth)));
		LABELLED(strstr(auth, "Signature=") + 10, vectors[i].signature,
				 vectors[i].label);
	}
}

static void
test_whole_header(void)
{
	VfS3SignRequest req = make_request(&vectors[0]);
	char		auth[VF_S3_SIGN_AUTH];

	CHECK(vf_s3_sign_authorization(&req, auth, sizeof(auth)));
	SAME(auth, "AWS4-HMAC-SHA256 "
		 "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
		 "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
		 "Signature=f0e8bdb87c964420e857bd35b5d6ed31"
		 "0bd44f0170aba48dd91039c6036bdb41");
}

static void
test_signing_key(void)
{
	unsigned char key[VF_SHA256_LEN];
	char		hex[VF_HEX_SIZE(VF_SHA256_LEN)];
	char		long_secret[2000];

	CHECK(vf_s3_sign_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
						 "20120215", "us-east-1", "iam", key));
	vf_digest_hex(key, sizeof(key), hex);
	SAME(hex,
		 "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
	memset(long_secret, 'x', sizeof(long_secret) - 1);
	long_secret[sizeof(long_secret) - 1] = '\0';
	CHECK(!vf_s3_sign_key(long_secret, "20120215", "us-east-1", "s3", key));
	CHECK(!vf_s3_sign_key("s", "2012", "us-east-1", "s3", key));
}

static void
test_encode(void)
{
	static const struct
	{
		const char *text;
		bool		keep_slash;
		const char *want;
	}			cases[] = {
		{"", true, ""},
		{"plain-_.~09azAZ", true, "plain-_.~09azAZ"},
		{"a b", true, "a%20b"},
		{"a+b", true, "a%2Bb"},
		{"100%25", true, "100%2525"},
		{"a/b", true, "a/b"},
		{"a/b", false, "a%2Fb"},
		{"a//b/./c/../d", true, "a//b/./c/../d"},
		{"/lead", true, "/lead"},
		{"\xC3\xBC\xE6\x97\xA5", true, "%C3%BC%E6%97%A5"},
		{"\xF0\x9F\x98\x80", true, "%F0%9F%98%80"},
		{"a\nb\rc\td\x01\x7F", true, "a%0Ab%0Dc%09d%01%7F"},
		{"!*'();:@&=$,?#[]\"<>\\^`{|}", true,
			"%21%2A%27%28%29%3B%3A%40%26%3D%24%2C%3F%23%5B%5D%22%3C%3E"
		"%5C%5E%60%7B%7C%7D"},
		{"\xFF", true, "%FF"}
	};
	char		out[256];
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CHECK(vf_s3_sign_encode(cases[i].text, strlen(cases[i].text),
								cases[i].keep_slash, out, sizeof(out)));
		LABELLED(out, cases[i].want, cases[i].text);
	}
	CHECK(vf_s3_sign_encode("a\0b", 3, true, out, sizeof(out)));
	SAME(out, "a%00b");
}

static void
test_canonical_path(void)
{
	static const char *const cases[][2] = {
		{"", "/"},
		{"/", "/"},
		{"/bucket", "/bucket"},
		{"/b/a b", "/b/a%20b"},
		{"/b/a%20b", "/b/a%20b"},
		{"/b/a%2Bb", "/b/a%2Bb"},
		{"/b/a+b", "/b/a%2Bb"},
		{"/b/%c3%bc", "/b/%C3%BC"},
		{"/b/a//b", "/b/a//b"},
		{"/b/./x/../y", "/b/./x/../y"},
		{"/b/%2E/x", "/b/./x"},
		{"/b/100%2525", "/b/100%2525"},
		{"/b/%zz", "/b/%25zz"},
		{"/b/%2", "/b/%252"},
		{"/b/%", "/b/%25"},
		{"/b/%7Etilde", "/b/~tilde"},
		{"/b/*()!", "/b/%2A%28%29%21"}
	};
	char		out[256];
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CHECK(vf_s3_sign_canonical_path(cases[i][0], out, sizeof(out)));
		LABELLED(out, cases[i][1], cases[i][0]);
	}
}

static void
test_canonical_query(void)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"delete", "delete="},
		{"delete=", "delete="},
		{"prefix=b&list-type=2", "list-type=2&prefix=b"},
		{"max-keys-x=1&max-keys=2", "max-keys=2&max-keys-x=1"},
		{"a=2&a=1", "a=1&a=2"},
		{"a=1&A=1", "A=1&a=1"},
		{"prefix=o/", "prefix=o%2F"},
		{"prefix=o%2f", "prefix=o%2F"},
		{"prefix=a+b", "prefix=a%20b"},
		{"prefix=a%2Bb", "prefix=a%2Bb"},
		{"prefix=a b", "prefix=a%20b"},
		{"prefix=%7E", "prefix=~"},
		{"prefix=", "prefix="},
		{"prefix=a=b", "prefix=a%3Db"},
		{"a=1&&b=2&", "a=1&b=2"},
		{"prefix=%0A%0D%26%3C%25", "prefix=%0A%0D%26%3C%25"},
		{"continuation-token=cC8w%2BMDA%2F5OTk%3D&list-type=2",
		"continuation-token=cC8w%2BMDA%2F5OTk%3D&list-type=2"},
		{"b=%C3%BC&b=z", "b=%C3%BC&b=z"},
		{"=x", "=x"}
	};
	char		out[256];
	char		many[512] = "";
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CHECK(vf_s3_sign_canonical_query(cases[i][0], out, sizeof(out)));
		LABELLED(out, cases[i][1], cases[i][0]);
	}
	CHECK(vf_s3_sign_canonical_query(NULL, out, sizeof(out)));
	SAME(out, "");
	for (i = 0; i <= VF_S3_SIGN_PARAMETERS; i++)
		strcat(many, "a=1&");
	CHECK(!vf_s3_sign_canonical_query(many, out, sizeof(out)));
}

static void
test_headers(void)
{
	VfS3SignHeader headers[] = {
		{"X-Amz-Meta-A", "  a   b\t c  "}, {"x-amz-meta", "2"},
		{"Host", "h"}, {"x-amz-security-token", "tok/en+="},
		{"x-amz-meta-e", ""}
	};
	VfS3SignRequest req = make_request(&vectors[0]);
	char		out[1024];
	char		auth[VF_S3_SIGN_AUTH];

	req.headers = headers;
	req.nheaders = 5;
	CHECK(vf_s3_sign_canonical_request(&req, out, sizeof(out)));
	SAME(out, "GET\n/test.txt\n\nhost:h\nx-amz-meta:2\nx-amz-meta-a:a b c\n"
		 "x-amz-meta-e:\nx-amz-security-token:tok/en+=\n\n"
		 "host;x-amz-meta;x-amz-meta-a;x-amz-meta-e;x-amz-security-token\n"
		 EMPTY_HASH);

	/* What can't be signed is refused. */
	headers[0].value = "a\r\nx-evil: 1";
	CHECK(!vf_s3_sign_authorization(&req, auth, sizeof(auth)));
	headers[0].value = "a";
	headers[1].name = "HOST";
	CHECK(!vf_s3_sign_authorization(&req, auth, sizeof(auth)));
	headers[1].name = "x-amz-meta";
	req.date = "2013";
	CHECK(!vf_s3_sign_authorization(&req, auth, sizeof(auth)));
}

/* Every buffer that is too small is noticed, and never overrun. */
static void
test_small_buffers(void)
{
	VfS3SignRequest req = make_request(&vectors[3]);
	char		whole[VF_S3_SIGN_AUTH];
	size_t		size;
	size_t		need;
	int			wrong = 0;

	CHECK(vf_s3_sign_authorization(&req, whole, sizeof(whole)));
	need = strlen(whole) + 1;
	for (size = 0; size <= need; size++)
	{
		char	   *out = malloc(size ? size : 1);

		if (vf_s3_sign_authorization(&req, out, size) != (size == need))
			wrong++;
		free(out);
	}
	CHECK(wrong == 0);
	for (size = 0; size <= 7; size++)
	{
		char	   *out = malloc(size ? size : 1);

		if (vf_s3_sign_encode("a b/", 4, true, out, size) != (size == 7))
			wrong++;
		free(out);
	}
	CHECK(wrong == 0);
}

static void
test_digest(void)
{
	unsigned char sum[VF_SHA256_LEN];
	char		text[VF_HEX_SIZE(VF_SHA256_LEN)];
	static const char *const base64[] = {
		"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"
	};
	size_t		i;

	CHECK(vf_digest_sha256_hex("", 0, text));
	SAME(text, EMPTY_HASH);
	CHECK(vf_digest_sha256_hex("abc", 3, text));
	SAME(text,
		 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	CHECK(vf_digest_md5("abc", 3, sum));
	vf_digest_hex(sum, VF_MD5_LEN, text);
	SAME(text, "900150983cd24fb0d6963f7d28e17f72");
	CHECK(vf_digest_hmac("Jefe", 4, "what do ya want for nothing?", 28, sum));
	vf_digest_hex(sum, VF_SHA256_LEN, text);
	SAME(text,
		 "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	for (i = 0; i < 7; i++)
	{
		vf_digest_base64((const unsigned char *) "foobar", i, text);
		SAME(text, base64[i]);
	}
}

static void
test_date(void)
{
	char		out[VF_S3_SIGN_DATE];

	CHECK(vf_s3_sign_date(1369353600, out));
	SAME(out, "20130524T000000Z");
	CHECK(vf_s3_sign_date(0, out));
	SAME(out, "19700101T000000Z");
}

int
main(void)
{
	test_digest();
	test_date();
	test_vectors();
	test_whole_header();
	test_signing_key();
	test_encode();
	test_canonical_path();
	test_canonical_query();
	test_headers();
	test_small_buffers();
	return unit_end();
}
