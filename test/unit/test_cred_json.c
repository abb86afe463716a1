/*-------------------------------------------------------------------------
 *
 * test_cred_json.c
 *	  The JSON of credentials: right, cut, deep, huge, of wrong types.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres_fe.h"

#include <stdlib.h>

#include "s3_cred_json.h"
#include "unit.h"

#undef printf

/* What the parser holds when it gives up belongs to a memory context. */
const char *__asan_default_options(void);

const char *
__asan_default_options(void)
{
	return "detect_leaks=0";
}

#define WHOLE \
	"{\"AccessKeyId\":\"AK\",\"SecretAccessKey\":\"S/K+\",\"Token\":\"T==\"," \
	"\"Expiration\":\"2026-11-23T16:19:59Z\",\"Code\":\"Success\"}"
#define ASCII "the document is not plain ASCII"
#define DEEP "the document is nested too deeply"
#define FORM "the document is not well-formed JSON"
#define TYPE "a value is not a string"
#define TWICE "a field comes twice"
#define NO_OBJECT "the document is not an object"

static VfS3CredAnswer answer;

/* In a block of its own size, so that the sanitizer sees a look beyond. */
static const char *
read_all(const char *text, size_t len)
{
	char	   *copy = malloc(len ? len : 1);
	bool		ok;

	memcpy(copy, text, len);
	ok = vf_s3_cred_json_read(copy, len, &answer);
	free(copy);
	CHECK(ok == (answer.fault == NULL));
	if (!ok)
		CHECK(!answer.access_key[0] && !answer.secret_key[0] &&
			  !answer.session_token[0] && !answer.message[0]);
	return answer.fault;
}

static void
test_table(void)
{
	static const char *const cases[][2] = {
		{"{}", NULL}, {" \t\r\n{ } ", NULL}, {"{\"a\":[{\"Code\":1}]}", NULL},
		{"{\"Code\":null,\"Token\":null}", NULL},
		{"{\"RoleArn\":{\"AccessKeyId\":7},\"x\":[1,2.5e3,true,[null]]}", NULL},
		{"{\"code\":\"X\",\"message\":\"words\"}", NULL},
		{"{\"a\\u0041\":\"\\\"{[\\\\\"}", NULL},

		{"", FORM}, {"{", FORM}, {"}", FORM}, {"{}}", FORM}, {"{}{}", FORM},
		{"{\"Code\"}", FORM}, {"{\"Code\":}", FORM}, {"{\"Code\":\"x\",}", FORM},
		{"{'Code':'x'}", FORM}, {"{\"Code\":nul}", FORM}, {"{]", FORM},
		{"{\"a\":\"\\x\"}", FORM}, {"{\"a\":\"\\u00\"}", FORM},
		{"{\"a\":\"\\u0000\"}", FORM}, {"{\"a\":\"\\u001z\"}", FORM},
		{"{\"a\":\"x\\", FORM}, {"<html>", FORM}, {"\"Code", FORM},
		{"\"Code\"", NO_OBJECT}, {"7", NO_OBJECT}, {"null", NO_OBJECT},
		{"[]", NO_OBJECT}, {"[{\"Code\":\"x\"}]", NO_OBJECT},
		{"{\"AccessKeyId\":7}", TYPE}, {"{\"Token\":true}", TYPE},
		{"{\"SecretAccessKey\":{}}", TYPE}, {"{\"Code\":[\"x\"]}", TYPE},
		{"{\"Expiration\":1795450799}", TYPE},
		{"{\"Code\":\"x\",\"Code\":\"y\"}", TWICE},
		{"{\"Code\":\"x\",\"code\":\"y\"}", TWICE},
		{"{\"Token\":null,\"Token\":\"y\"}", TWICE},
		{"{\"a\":\"\xC3\xBC\"}", ASCII}, {"{\"a\":\"\x01\"}", ASCII},
		{"{\"a\":\"\\u00e9\"}", ASCII}, {"{\"a\":\"\\ud83d\\ude00\"}", ASCII},
		{"{\"a\":\"\\u0080\"}", ASCII}, {"\xEF\xBB\xBF{}", ASCII},
		{"{\"a\":\"\x7F\"}", ASCII}
	};
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
		LABELLED(read_all(cases[i][0], strlen(cases[i][0])), cases[i][1],
				 cases[i][0]);
	SAME(read_all("{\"a\0\":1}", 8), ASCII);
}

static void
test_whole(void)
{
	size_t		len;

	SAME(read_all(WHOLE, strlen(WHOLE)), NULL);
	SAME(answer.access_key, "AK");
	SAME(answer.secret_key, "S/K+");
	SAME(answer.session_token, "T==");
	SAME(answer.expiration, "2026-11-23T16:19:59Z");
	SAME(answer.code, "Success");
	SAME(vf_s3_cred_answer_fault(&answer), NULL);
	for (len = 0; len < strlen(WHOLE); len++)
		SAME(read_all(WHOLE, len), FORM);

	/* A field counts at the top alone. */
	SAME(read_all("{\"x\":" WHOLE "}", strlen(WHOLE) + 6), NULL);
	SAME(answer.access_key, "");
	CHECK(vf_s3_cred_answer_fault(&answer) != NULL);
}

static void
test_missing(void)
{
	static const char *const cases[] = {
		"{\"SecretAccessKey\":\"S\",\"Expiration\":\"x\"}",
		"{\"AccessKeyId\":\"A\",\"Expiration\":\"x\"}",
		"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\"}",
		"{\"AccessKeyId\":\"\",\"SecretAccessKey\":\"S\",\"Expiration\":\"x\"}",
		"{\"AccessKeyId\":\"A B\",\"SecretAccessKey\":\"S\","
		"\"Expiration\":\"x\"}",
		"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\\n\","
		"\"Expiration\":\"x\"}",
		"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\","
		"\"Token\":\"a\\r\\nX-Header: b\",\"Expiration\":\"x\"}"
	};
	size_t		i;

	for (i = 0; i < lengthof(cases); i++)
	{
		SAME(read_all(cases[i], strlen(cases[i])), NULL);
		unit_check(vf_s3_cred_answer_fault(&answer) != NULL, __FILE__,
				   __LINE__, cases[i]);
	}
}

static void
test_depth(void)
{
	static const char *const opens[] = {"[", "{\"a\":", "{\"Token\":["};
	size_t		size = 60000;
	char	   *text = malloc(size + 100);
	size_t		i;
	int			n;

	for (i = 0; i < lengthof(opens); i++)
	{
		text[0] = '\0';
		for (n = 0; strlen(text) < size; n++)
			strcat(text + (n > 100 ? n - 100 : 0), opens[i]);
		SAME(read_all(text, strlen(text)), DEEP);
	}

	/* Sixteen are read, and brackets in a string are none. */
	strcpy(text, "{\"a\":[[[[[[[[[[[[[[[\"[[[[[[[[[[[[[[[[[[\"]]]]]]]]]]]]]]]}");
	SAME(read_all(text, strlen(text)), NULL);
	strcpy(text, "{\"a\":[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}");
	SAME(read_all(text, strlen(text)), DEEP);
	free(text);
}

static void
test_huge(void)
{
	static const struct
	{
		const char *name;
		size_t		most;
	}			fields[] = {
		{"AccessKeyId", 128}, {"SecretAccessKey", 256}, {"Token", 8192},
		{"Expiration", 64}, {"Code", 64}, {"Message", 1024}
	};
	char	   *text = malloc(70000);
	size_t		i;

	for (i = 0; i < lengthof(fields); i++)
	{
		size_t		more;

		for (more = 0; more < 2; more++)
		{
			int			at = sprintf(text, "{\"%s\":\"", fields[i].name);

			memset(text + at, 'x', fields[i].most + more);
			strcpy(text + at + fields[i].most + more, "\"}");
			LABELLED(read_all(text, strlen(text)),
					 more ? "a value is too long" : NULL, fields[i].name);
		}
	}
	memset(text, ' ', 65536);
	memcpy(text, "{\"x\":\"", 6);
	memcpy(text + 65534, "\"}", 2);
	SAME(read_all(text, 65536), NULL);
	free(text);
}

/* Any byte at any place: read or refused, never beyond, never half. */
static void
test_every_byte(void)
{
	char		text[sizeof(WHOLE)];
	size_t		at;
	int			byte;

	for (at = 0; at < strlen(WHOLE); at++)
	{
		for (byte = 0; byte < 256; byte++)
		{
			strcpy(text, WHOLE);
			text[at] = (char) byte;
			(void) read_all(text, strlen(WHOLE));
		}
	}
}

int
main(void)
{
	test_table();
	test_whole();
	test_missing();
	test_depth();
	test_huge();
	test_every_byte();
	return unit_end();
}
