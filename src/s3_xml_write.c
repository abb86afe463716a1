/*-------------------------------------------------------------------------
 *
 * s3_xml_write.c
 *	  The XML of S3: writes the body of DeleteObjects.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "s3_xml.h"

#define FRAME_BEGIN \
	"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" \
	"<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
#define FRAME_END	"<Quiet>false</Quiet></Delete>"
#define KEY_BEGIN	"<Object><Key>"
#define KEY_END		"</Key>"
#define VERSION_BEGIN	"<VersionId>"
#define VERSION_END	"</VersionId>"
#define ETAG_BEGIN	"<ETag>"
#define ETAG_END	"</ETag>"
#define OBJECT_END	"</Object>"

bool
vf_s3_xml_can_carry(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *) text;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (p[i] < 0x20 && p[i] != '\t' && p[i] != '\n' && p[i] != '\r')
			return false;
		/* U+FFFE and U+FFFF */
		if (p[i] == 0xEF && len - i >= 3 && p[i + 1] == 0xBF &&
			p[i + 2] >= 0xBE)
			return false;
	}
	return true;
}

/*
 * How a character is written, or NULL if as itself.  A parser turns a bare
 * CR into LF, and some strip TAB and LF at the ends.
 */
static const char *
escape(char c)
{
	switch (c)
	{
		case '&':
			return "&amp;";
		case '<':
			return "&lt;";
		case '>':
			return "&gt;";
		case '"':
			return "&quot;";
		case '\r':
			return "&#13;";
		case '\n':
			return "&#10;";
		case '\t':
			return "&#9;";
		default:
			return NULL;
	}
}

size_t
vf_s3_xml_frame_size(void)
{
	return strlen(FRAME_BEGIN) + strlen(FRAME_END);
}

static size_t
escaped_size(const char *text, size_t len)
{
	size_t		size = 0;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		const char *escaped = escape(text[i]);

		size += escaped ? strlen(escaped) : 1;
	}
	return size;
}

size_t
vf_s3_xml_object_size(const char *key, size_t len, const char *version,
					  const char *etag)
{
	size_t		size = strlen(KEY_BEGIN) + escaped_size(key, len) +
		strlen(KEY_END) + strlen(OBJECT_END);

	if (version)
		size += strlen(VERSION_BEGIN) +
			escaped_size(version, strlen(version)) + strlen(VERSION_END);
	if (etag)
		size += strlen(ETAG_BEGIN) + escaped_size(etag, strlen(etag)) +
			strlen(ETAG_END);
	return size;
}

size_t
vf_s3_xml_key_size(const char *key, size_t len)
{
	return vf_s3_xml_object_size(key, len, NULL, NULL);
}

static bool
append(VfS3XmlBody *body, const char *text, size_t len)
{
	if (body->failed || len >= body->size - body->len)
	{
		body->failed = true;
		return false;
	}
	memcpy(body->data + body->len, text, len);
	body->len += len;
	body->data[body->len] = '\0';
	return true;
}

bool
vf_s3_xml_begin(VfS3XmlBody *body, char *data, size_t size)
{
	body->data = data;
	body->size = size;
	body->len = 0;
	body->failed = size == 0;
	return append(body, FRAME_BEGIN, strlen(FRAME_BEGIN));
}

static void
append_escaped(VfS3XmlBody *body, const char *text, size_t len)
{
	size_t		plain = 0;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		const char *escaped = escape(text[i]);

		if (escaped == NULL)
			continue;
		append(body, text + plain, i - plain);
		append(body, escaped, strlen(escaped));
		plain = i + 1;
	}
	append(body, text + plain, len - plain);
}

bool
vf_s3_xml_object(VfS3XmlBody *body, const char *key, size_t len,
				 const char *version, const char *etag)
{
	append(body, KEY_BEGIN, strlen(KEY_BEGIN));
	append_escaped(body, key, len);
	append(body, KEY_END, strlen(KEY_END));
	if (version)
	{
		append(body, VERSION_BEGIN, strlen(VERSION_BEGIN));
		append_escaped(body, version, strlen(version));
		append(body, VERSION_END, strlen(VERSION_END));
	}
	if (etag)
	{
		append(body, ETAG_BEGIN, strlen(ETAG_BEGIN));
		append_escaped(body, etag, strlen(etag));
		append(body, ETAG_END, strlen(ETAG_END));
	}
	return append(body, OBJECT_END, strlen(OBJECT_END));
}

bool
vf_s3_xml_key(VfS3XmlBody *body, const char *key, size_t len)
{
	return vf_s3_xml_object(body, key, len, NULL, NULL);
}

bool
vf_s3_xml_end(VfS3XmlBody *body)
{
	return append(body, FRAME_END, strlen(FRAME_END));
}
