/*-------------------------------------------------------------------------
 *
 * test_class.c
 *	  The table of answer classes; keys, buckets, endpoints and addresses.
 *
 *-------------------------------------------------------------------------
 */
#include "s3_class.h"
#include "s3_name.h"
#include "unit.h"

/* Every row has a cure, and that is a whole sentence. */
static void
test_rows(void)
{
	const char *code;
	const char *cure;
	VfS3Class	class;
	int			status;
	int			n;

	for (n = 0; vf_s3_class_entry(n, &status, &code, &class, &cure); n++)
	{
		size_t		len = strlen(cure);

		unit_check(len > 20 && cure[0] >= 'A' && cure[0] <= 'Z' &&
				   cure[len - 1] == '.', __FILE__, __LINE__, code);
		unit_check(code[0] && strlen(code) < 64, __FILE__, __LINE__, code);
		CHECK(vf_s3_cure(code)[0] && vf_s3_key_cure(code)[0]);
		CHECK(class <= VF_S3_KEY_FINAL);
	}
	CHECK(n > 60);
	CHECK(!vf_s3_class_entry(-1, &status, &code, &class, &cure));
	SAME(vf_s3_cure("Never heard of"), vf_s3_cure("UnknownError"));
	CHECK(strcmp(vf_s3_cure("AccessDenied"),
				 vf_s3_key_cure("AccessDenied")) != 0);
}

static void
test_requests(void)
{
	static const struct
	{
		int			status;
		const char *code;
		VfS3Class	class;
		const char *name;
	}			cases[] = {
		{403, "AccessDenied", VF_S3_BUCKET, "AccessDenied"},
		{403, "", VF_S3_BUCKET, "AccessDenied"},
		{403, "Novel", VF_S3_BUCKET, "Novel"},
		{400, "ExpiredToken", VF_S3_BUCKET, "ExpiredToken"},
		{400, "AuthorizationHeaderMalformed", VF_S3_BUCKET,
		"AuthorizationHeaderMalformed"},
		{400, "RequestTimeout", VF_S3_BUCKET, "RequestTimeout"},
		{400, "MalformedXML", VF_S3_BATCH, "MalformedXML"},
		{400, "Novel", VF_S3_BATCH, "Novel"},
		{400, "", VF_S3_BATCH, "BadRequest"},
		{413, "", VF_S3_BATCH, "EntityTooLarge"},
		{416, "", VF_S3_BATCH, "InvalidRange"},
		{301, "", VF_S3_BUCKET, "PermanentRedirect"},
		{307, "TemporaryRedirect", VF_S3_BUCKET, "TemporaryRedirect"},
		{404, "NoSuchBucket", VF_S3_BUCKET, "NoSuchBucket"},
		{429, "", VF_S3_BUCKET, "TooManyRequests"},
		{503, "SlowDown", VF_S3_BUCKET, "SlowDown"},
		{503, "Busy", VF_S3_BUCKET, "Busy"},
		{500, "", VF_S3_BUCKET, "InternalError"},
		{599, "", VF_S3_BUCKET, "UnexpectedFailure"},
		{418, "", VF_S3_BUCKET, "UnexpectedRefusal"},
		{304, "", VF_S3_BUCKET, "UnexpectedRedirect"},
		{200, "InternalError", VF_S3_BUCKET, "InternalError"},
		{200, "Novel", VF_S3_BUCKET, "Novel"},
		{0, "Timeout", VF_S3_BUCKET, "Timeout"},
		{0, "", VF_S3_BUCKET, "MalformedAnswer"},
		{999, "", VF_S3_BUCKET, "MalformedAnswer"}
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const char *name;

		unit_check(vf_s3_class_of_request(cases[i].status, cases[i].code,
										  &name) == cases[i].class,
				   __FILE__, __LINE__, cases[i].name);
		SAME(name, cases[i].name);
	}
}

static void
test_keys(void)
{
	static const struct
	{
		const char *code;
		VfS3Class	class;
	}			cases[] = {
		{"AccessDenied", VF_S3_KEY_FINAL},
		{"InternalError", VF_S3_KEY_PASSING},
		{"SlowDown", VF_S3_KEY_PASSING},
		{"MissingFromAnswer", VF_S3_KEY_PASSING},
		{"NoSuchKey", VF_S3_OK},
		{"NoSuchVersion", VF_S3_OK},
		{"NoSuchBucket", VF_S3_KEY_PASSING},
		{"ObjectLocked", VF_S3_KEY_FINAL},
		{"KeyTooLongError", VF_S3_KEY_FINAL},
		{"InvalidArgument", VF_S3_KEY_FINAL},
		{"Novel", VF_S3_KEY_PASSING},
		{"", VF_S3_KEY_PASSING}
	};
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		unit_check(vf_s3_class_of_key(cases[i].code) == cases[i].class,
				   __FILE__, __LINE__, cases[i].code);
}

static void
test_key_faults(void)
{
	static const char *const cases[][2] = {
		{"", "EmptyKey"},
		{"temp_photos/a.jpg", NULL},
		{"https://b.s3.amazonaws.com/temp_photos/a", "KeyIsUrl"},
		{"s3://b/temp", "KeyIsUrl"},
		{"a:/b", NULL},
		{"a/../b", NULL},
		{"a\x01", NULL},
		{"\xC3\xBC", NULL},
		{"\xED\x9F\xBF", NULL},
		{"\xEE\x80\x80", NULL},
		{"\xF4\x8F\xBF\xBF", NULL},
		{"\xFF", "KeyNotUtf8"},
		{"\xC3", "KeyNotUtf8"},
		{"\xE6\x97", "KeyNotUtf8"},
		{"\xC0\xAF", "KeyNotUtf8"},
		{"\xE0\x80\x80", "KeyNotUtf8"},
		{"\xED\xA0\x80", "KeyNotUtf8"},
		{"\xF4\x90\x80\x80", "KeyNotUtf8"},
		{"\xF5\x80\x80\x80", "KeyNotUtf8"},
		{"\xF0\x80\x80\x80", "KeyNotUtf8"},
		{"a\x80", "KeyNotUtf8"}
	};
	char		long_key[VF_S3_MAX_KEY_BYTES + 2];
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		LABELLED(vf_s3_key_fault(cases[i][0], strlen(cases[i][0])),
				 cases[i][1], cases[i][0]);
	CHECK(vf_s3_key_fault("a\0b", 3) != NULL);
	memset(long_key, 'k', sizeof(long_key));
	SAME(vf_s3_key_fault(long_key, VF_S3_MAX_KEY_BYTES), NULL);
	SAME(vf_s3_key_fault(long_key, VF_S3_MAX_KEY_BYTES + 1), "KeyTooLong");
	CHECK(vf_s3_key_needs_path("a\x01", 2) && !vf_s3_key_needs_path("a\r", 2));
	CHECK(vf_s3_key_body_bytes("&", 1) == vf_s3_key_body_bytes("a", 1) + 4);
}

static void
test_bucket_faults(void)
{
	static const char *const good[] = {
		"abc", "my-bucket.1", "a.b.c", "1bucket", "x--y",
		"a23456789012345678901234567890123456789012345678901234567890123"
	};
	static const char *const bad[] = {
		"", "ab", "Abc", "a_b", "-abc", "abc-", ".abc", "abc.", "a..b",
		"a.-b", "a-.b", "192.168.1.1", "a b", "a/b", "b\xC3\xBCxy",
		"a234567890123456789012345678901234567890123456789012345678901234"
	};
	size_t		i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		LABELLED(vf_s3_bucket_fault(good[i]), NULL, good[i]);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		unit_check(vf_s3_bucket_fault(bad[i]) != NULL, __FILE__, __LINE__,
				   bad[i]);
}

static void
test_endpoint_faults(void)
{
	static const char *const good[] = {
		"https://s3.eu-west-1.amazonaws.com", "http://127.0.0.1:9000",
		"http://[::1]:9000", "https://[2001:db8::1]", "http://minio:9000",
		"http://localhost", "https://HOST.example", "http://a_b:1",
		"https://h:65535"
	};
	static const char *const bad[] = {
		"", "s3.amazonaws.com", "ftp://h", "HTTP://h", "http://", "http:///",
		"https://h/", "https://h/path", "https://u:p@h", "https://u@h",
		"https://h:0", "https://h:65536", "https://h:", "https://h:1x",
		"https://h?x", "https://h#x", "http://[::1", "http://[]",
		"http://[::1]x", "http://h h", "http://h\n", "http://.h",
		"http://[fe80::1%25eth0]", "https://h:99999999999999999999"
	};
	size_t		i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		LABELLED(vf_s3_endpoint_fault(good[i]), NULL, good[i]);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		unit_check(vf_s3_endpoint_fault(bad[i]) != NULL, __FILE__, __LINE__,
				   bad[i]);
}

static void
test_addresses(void)
{
	static const struct
	{
		const char *endpoint;
		const char *bucket;
		VfS3PathStyle style;
		const char *origin;
		const char *host;
		const char *path;
	}			cases[] = {
		{"https://s3.amazonaws.com", "bkt", VF_S3_PATH_AUTO,
		"https://bkt.s3.amazonaws.com", "bkt.s3.amazonaws.com", "/"},
		{"https://s3.amazonaws.com", "b.kt", VF_S3_PATH_AUTO,
		"https://s3.amazonaws.com", "s3.amazonaws.com", "/b.kt"},
		{"http://s3.test", "b.kt", VF_S3_PATH_AUTO, "http://b.kt.s3.test",
		"b.kt.s3.test", "/"},
		{"http://127.0.0.1:9000", "bkt", VF_S3_PATH_AUTO,
		"http://127.0.0.1:9000", "127.0.0.1:9000", "/bkt"},
		{"http://[::1]:9000", "bkt", VF_S3_PATH_AUTO, "http://[::1]:9000",
		"[::1]:9000", "/bkt"},
		{"http://localhost:9000", "bkt", VF_S3_PATH_AUTO,
		"http://localhost:9000", "localhost:9000", "/bkt"},
		{"http://LOCALHOST", "bkt", VF_S3_PATH_AUTO, "http://localhost",
		"localhost", "/bkt"},
		{"https://S3.Test:443", "bkt", VF_S3_PATH_ALWAYS, "https://s3.test",
		"s3.test", "/bkt"},
		{"http://s3.test:80", "bkt", VF_S3_PATH_NEVER, "http://bkt.s3.test",
		"bkt.s3.test", "/"},
		{"http://s3.test:443", "bkt", VF_S3_PATH_NEVER,
		"http://bkt.s3.test:443", "bkt.s3.test:443", "/"},
		{"https://s3.test", "b.kt", VF_S3_PATH_NEVER, "https://b.kt.s3.test",
		"b.kt.s3.test", "/"}
	};
	VfS3Address address;
	size_t		i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		CHECK(vf_s3_address(cases[i].endpoint, cases[i].bucket,
							cases[i].style, &address));
		SAME(address.origin, cases[i].origin);
		SAME(address.host, cases[i].host);
		SAME(address.path, cases[i].path);
	}
	CHECK(!vf_s3_address("http://[::1]", "bkt", VF_S3_PATH_NEVER, &address));
	CHECK(!vf_s3_address("nonsense", "bkt", VF_S3_PATH_AUTO, &address));
	CHECK(!vf_s3_address("http://h", "B", VF_S3_PATH_AUTO, &address));
}

int
main(void)
{
	test_rows();
	test_requests();
	test_keys();
	test_key_faults();
	test_bucket_faults();
	test_endpoint_faults();
	test_addresses();
	return unit_end();
}
