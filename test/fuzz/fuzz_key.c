/*-------------------------------------------------------------------------
 *
 * fuzz_key.c
 *	  Any bytes as a key: written, sent back and read again.
 *
 * Promises: a key that is accepted is UTF-8 by an independent reading and of
 * an allowed length; the body has the size foretold; XML and the URL's path
 * both give back every byte.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"
#include "s3_name.h"
#include "s3_sign.h"
#include "s3_xml.h"

#define KEY_BEGIN	"<Key>"
#define KEY_END		"</Key>"

/* By code points, and their shortest forms; not as s3_name.c does it. */
static bool
is_utf8(const unsigned char *p, size_t len)
{
	static const unsigned long least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t		i = 0;

	while (i < len)
	{
		unsigned char c = p[i];
		size_t		n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 :
			c >> 3 == 30 ? 4 : 0;
		unsigned long point = n == 1 ? c : c & (0x7F >> n);
		size_t		k;

		if (n == 0 || n > len - i || c == 0)
			return false;
		for (k = 1; k < n; k++)
		{
			if (p[i + k] >> 6 != 2)
				return false;
			point = point << 6 | (p[i + k] & 63);
		}
		if (n > 1 && (point < least[n] || point > 0x10FFFF ||
					  (point >= 0xD800 && point < 0xE000)))
			return false;
		i += n;
	}
	return true;
}

static void
check_fault(const char *key, size_t len)
{
	const char *fault = vf_s3_key_fault(key, len);

	if (fault == NULL)
		PROMISE(len > 0 && len <= VF_S3_MAX_KEY_BYTES &&
				is_utf8((const unsigned char *) key, len) &&
				!CONTAINS(key, len, "://"));
	else if (strcmp(fault, "KeyNotUtf8") == 0)
		PROMISE(!is_utf8((const unsigned char *) key, len));
}

/* As a client of the store would, and into exactly the bytes it needs. */
static void
check_path(const char *key, size_t len)
{
	char	   *coded = malloc(3 * len + 1);
	char	   *canonical = malloc(3 * len + 2);
	size_t		n;
	size_t		i;
	size_t		k = 0;

	PROMISE(vf_s3_sign_encode(key, len, true, coded, 3 * len + 1));
	n = strlen(coded);
	for (i = 0; i < n; i++)
	{
		unsigned	byte = (unsigned char) coded[i];

		PROMISE(byte > 0x20 && byte < 0x7F && byte != '?' && byte != '#');
		if (byte == '%')
		{
			PROMISE(sscanf(coded + i, "%%%2X", &byte) == 1);
			i += 2;
		}
		PROMISE(k < len && byte == (unsigned char) key[k]);
		k++;
	}
	PROMISE(k == len);

	/* What is signed is what is sent. */
	PROMISE(n == 0 || (vf_s3_sign_canonical_path(coded, canonical, n + 1) &&
					   strcmp(coded, canonical) == 0));
	PROMISE(n == 0 || !vf_s3_sign_encode(key, len, true, canonical, n));
	free(coded);
	free(canonical);
}

typedef struct Expected
{
	const char *key;
	size_t		len;
	int			times;
} Expected;

static void
on_deleted(void *arg, const char *key, size_t len)
{
	Expected   *expected = arg;

	PROMISE(len == expected->len && memcmp(key, expected->key, len) == 0);
	expected->times++;
}

/* What the writer wrote, in the place where an answer has it. */
static void
check_xml(const char *key, size_t len)
{
	size_t		size = vf_s3_xml_frame_size() + vf_s3_xml_key_size(key, len);
	char	   *data = malloc(size + 1);
	char	   *answer = malloc(size + 100);
	Expected	expected = {key, len, 0};
	VfS3XmlHandler handler = {.deleted = on_deleted, .arg = &expected};
	VfS3XmlDocument doc;
	VfS3XmlBody body;
	const char *begin;
	const char *end;
	int			n;

	PROMISE(vf_s3_key_body_bytes(key, len) == vf_s3_xml_key_size(key, len));
	PROMISE(vf_s3_xml_begin(&body, data, size + 1) &&
			vf_s3_xml_key(&body, key, len) && vf_s3_xml_end(&body));
	PROMISE(body.len == size && strlen(data) == size);
	begin = strstr(data, KEY_BEGIN);
	end = strstr(data, KEY_END);
	PROMISE(begin != NULL && end > begin &&
			strstr(end + 1, KEY_END) == NULL &&
			memchr(begin, '\r', end - begin) == NULL);
	n = sprintf(answer, "<DeleteResult><Deleted>%.*s</Deleted>"
				"</DeleteResult>",
				(int) (end + strlen(KEY_END) - begin), begin);
	PROMISE(vf_s3_xml_read(answer, n, &handler, &doc));
	PROMISE(expected.times == 1 && doc.root == VF_S3_XML_DELETE_RESULT);

	/* One byte less is too little, and is told. */
	vf_s3_xml_begin(&body, data, size);
	vf_s3_xml_key(&body, key, len);
	PROMISE(!vf_s3_xml_end(&body));
	free(data);
	free(answer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *key = fuzz_copy(data, size);

	check_fault(key, size);
	check_path(key, size);
	PROMISE(vf_s3_key_needs_path(key, size) ==
			!vf_s3_xml_can_carry(key, size));
	if (vf_s3_key_fault(key, size) == NULL && !vf_s3_key_needs_path(key, size))
		check_xml(key, size);
	free(key);
	return 0;
}
