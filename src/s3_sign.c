/*-------------------------------------------------------------------------
 *
 * s3_sign.c
 *	  AWS Signature Version 4 for S3, as a pure function of its arguments.
 *
 * Order of things: text into a bounded buffer; percent coding; canonical
 * path, query and headers; canonical request; string to sign; signing key;
 * Authorization header.
 *
 * S3 differs from the other services in two ways that matter: the path is
 * encoded once, and dot segments and double slashes stay as they are.
 *
 * Builds without postgres.h.  Nothing is raised; false means that a buffer
 * was too small or the input can't be signed.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "digest.h"
#include "s3_sign.h"

#define ALGORITHM	"AWS4-HMAC-SHA256"
#define SERVICE		"s3"

/* Text under construction; once it did not fit it stays failed. */
typedef struct Text
{
	char	   *data;
	size_t		size;
	size_t		len;
	bool		failed;
} Text;

/* One parameter of a query in canonical form: offsets into a buffer. */
typedef struct Parameter
{
	const char *name;
	const char *value;
} Parameter;

static void
begin(Text *text, char *out, size_t size)
{
	text->data = out;
	text->size = size;
	text->len = 0;
	text->failed = size == 0;
	if (size > 0)
		out[0] = '\0';
}

static void
put_char(Text *text, char c)
{
	if (text->failed || text->len + 1 >= text->size)
	{
		text->failed = true;
		return;
	}
	text->data[text->len++] = c;
	text->data[text->len] = '\0';
}

static void
put(Text *text, const char *string)
{
	size_t		len = strlen(string);

	if (text->failed || len >= text->size - text->len)
	{
		text->failed = true;
		return;
	}
	memcpy(text->data + text->len, string, len + 1);
	text->len += len;
}

static bool
is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
		(c >= '0' && c <= '9') ||
		c == '-' || c == '.' || c == '_' || c == '~';
}

static void
put_encoded(Text *text, unsigned char c, bool keep_slash)
{
	static const char digits[] = "0123456789ABCDEF";

	if (is_unreserved(c) || (c == '/' && keep_slash))
	{
		put_char(text, c);
		return;
	}
	put_char(text, '%');
	put_char(text, digits[c >> 4]);
	put_char(text, digits[c & 15]);
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/*
 * Take the next byte off encoded text.  A bare '+' is a plus in a path and a
 * blank in a query, as S3 reads them; a percent sign without two digits
 * stands for itself.
 */
static unsigned char
next_decoded(const char **cursor, const char *end, bool in_path)
{
	const char *p = *cursor;

	if (*p == '%' && end - p >= 3 &&
		hex_value(p[1]) >= 0 && hex_value(p[2]) >= 0)
	{
		*cursor = p + 3;
		return (unsigned char) (hex_value(p[1]) * 16 + hex_value(p[2]));
	}
	*cursor = p + 1;
	return *p == '+' && !in_path ? ' ' : (unsigned char) *p;
}

static void
put_recoded(Text *text, const char *from, const char *end, bool in_path)
{
	while (from < end)
		put_encoded(text, next_decoded(&from, end, in_path), in_path);
}

bool
vf_s3_sign_encode(const char *text, size_t len, bool keep_slash,
				  char *out, size_t size)
{
	Text		result;
	size_t		i;

	begin(&result, out, size);
	for (i = 0; i < len; i++)
		put_encoded(&result, (unsigned char) text[i], keep_slash);
	return !result.failed;
}

bool
vf_s3_sign_canonical_path(const char *path, char *out, size_t size)
{
	Text		result;

	begin(&result, out, size);
	if (path[0] == '\0')
		put_char(&result, '/');
	else
		put_recoded(&result, path, path + strlen(path), true);
	return !result.failed;
}

/* Names first, and only between equal names the values. */
static bool
parameter_before(const Parameter *a, const Parameter *b)
{
	int			order = strcmp(a->name, b->name);

	if (order == 0)
		order = strcmp(a->value, b->value);
	return order < 0;
}

static void
insert_parameter(Parameter *list, int n, Parameter new)
{
	while (n > 0 && parameter_before(&new, &list[n - 1]))
	{
		list[n] = list[n - 1];
		n--;
	}
	list[n] = new;
}

/*
 * Write name and value of one parameter, each with a NUL of its own, into
 * text.
 */
static Parameter
put_parameter(Text *text, const char *from, const char *end)
{
	const char *equals = memchr(from, '=', end - from);
	const char *name_end = equals ? equals : end;
	Parameter	result;

	result.name = text->data + text->len;
	put_recoded(text, from, name_end, false);
	put_char(text, '\0');
	result.value = text->data + text->len;
	if (equals)
		put_recoded(text, equals + 1, end, false);
	put_char(text, '\0');
	return result;
}

bool
vf_s3_sign_canonical_query(const char *query, char *out, size_t size)
{
	char		buffer[VF_S3_SIGN_CANONICAL / 2];
	Parameter	list[VF_S3_SIGN_PARAMETERS];
	Text		parts;
	Text		result;
	const char *p = query;
	int			n = 0;
	int			i;

	begin(&parts, buffer, sizeof(buffer));
	begin(&result, out, size);
	while (p != NULL && *p != '\0')
	{
		const char *end = p + strcspn(p, "&");

		if (n == VF_S3_SIGN_PARAMETERS)
			return false;
		if (end > p)
		{
			Parameter	new = put_parameter(&parts, p, end);

			if (parts.failed)
				return false;
			insert_parameter(list, n++, new);
		}
		p = *end == '&' ? end + 1 : end;
	}
	for (i = 0; i < n; i++)
	{
		if (i > 0)
			put_char(&result, '&');
		put(&result, list[i].name);
		put_char(&result, '=');
		put(&result, list[i].value);
	}
	return !result.failed;
}

/*
 * The indexes of the headers in the order of their lower-case names.  False
 * if there are too many, or a name comes twice.
 */
static bool
sort_headers(const VfS3SignRequest *req, int *order)
{
	int			i;

	if (req->nheaders > VF_S3_SIGN_HEADERS)
		return false;
	for (i = 0; i < req->nheaders; i++)
	{
		const char *name = req->headers[i].name;
		int			at = i;

		while (at > 0)
		{
			int			cmp = strcasecmp(name,
										 req->headers[order[at - 1]].name);

			if (cmp == 0)
				return false;
			if (cmp > 0)
				break;
			order[at] = order[at - 1];
			at--;
		}
		order[at] = i;
	}
	return true;
}

static void
put_lower(Text *text, const char *name)
{
	for (; *name; name++)
	{
		char		c = *name;

		put_char(text, c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
	}
}

/* Without blanks at the ends, and with one where there are several. */
static void
put_trimmed(Text *text, const char *value)
{
	bool		blank = false;
	bool		any = false;

	for (; *value; value++)
	{
		if (*value == ' ' || *value == '\t')
		{
			blank = any;
			continue;
		}
		/* A line end in a value would smuggle in a header. */
		if (*value == '\r' || *value == '\n')
			text->failed = true;
		if (blank)
			put_char(text, ' ');
		put_char(text, *value);
		blank = false;
		any = true;
	}
}

static void
put_signed_headers(Text *text, const VfS3SignRequest *req, const int *order)
{
	int			i;

	for (i = 0; i < req->nheaders; i++)
	{
		if (i > 0)
			put_char(text, ';');
		put_lower(text, req->headers[order[i]].name);
	}
}

/* Continue text with what an encoder writes that wants a buffer of its own. */
static void
put_by(Text *text, bool (*encoder) (const char *, char *, size_t),
	   const char *input)
{
	if (text->failed ||
		!encoder(input, text->data + text->len, text->size - text->len))
	{
		text->failed = true;
		return;
	}
	text->len += strlen(text->data + text->len);
}

bool
vf_s3_sign_canonical_request(const VfS3SignRequest *req,
							 char *out, size_t size)
{
	Text		text;
	int			order[VF_S3_SIGN_HEADERS];
	int			i;

	if (!sort_headers(req, order))
		return false;
	begin(&text, out, size);
	put(&text, req->method);
	put_char(&text, '\n');
	put_by(&text, vf_s3_sign_canonical_path, req->path);
	put_char(&text, '\n');
	put_by(&text, vf_s3_sign_canonical_query, req->query);
	put_char(&text, '\n');
	for (i = 0; i < req->nheaders; i++)
	{
		put_lower(&text, req->headers[order[i]].name);
		put_char(&text, ':');
		put_trimmed(&text, req->headers[order[i]].value);
		put_char(&text, '\n');
	}
	put_char(&text, '\n');
	put_signed_headers(&text, req, order);
	put_char(&text, '\n');
	put(&text, req->payload_hash);
	return !text.failed;
}

static void
put_scope(Text *text, const VfS3SignRequest *req)
{
	char		day[9];

	memcpy(day, req->date, 8);
	day[8] = '\0';
	put(text, day);
	put_char(text, '/');
	put(text, req->region);
	put(text, "/" SERVICE "/aws4_request");
}

bool
vf_s3_sign_string_to_sign(const VfS3SignRequest *req, const char *canonical,
						  char *out, size_t size)
{
	char		hash[VF_HEX_SIZE(VF_SHA256_LEN)];
	Text		text;

	if (strlen(req->date) != VF_S3_SIGN_DATE - 1 ||
		!vf_digest_sha256_hex(canonical, strlen(canonical), hash))
		return false;
	begin(&text, out, size);
	put(&text, ALGORITHM "\n");
	put(&text, req->date);
	put_char(&text, '\n');
	put_scope(&text, req);
	put_char(&text, '\n');
	put(&text, hash);
	return !text.failed;
}

bool
vf_s3_sign_key(const char *secret, const char *date, const char *region,
			   const char *service, unsigned char out[VF_SHA256_LEN])
{
	char		first[1024];
	int			len;
	bool		ok;

	len = snprintf(first, sizeof(first), "AWS4%s", secret);
	if (len < 0 || (size_t) len >= sizeof(first) || strlen(date) < 8)
		return false;
	ok = vf_digest_hmac(first, len, date, 8, out) &&
		vf_digest_hmac(out, VF_SHA256_LEN, region, strlen(region), out) &&
		vf_digest_hmac(out, VF_SHA256_LEN, service, strlen(service), out) &&
		vf_digest_hmac(out, VF_SHA256_LEN, "aws4_request", 12, out);
	explicit_bzero(first, sizeof(first));
	return ok;
}

bool
vf_s3_sign_authorization(const VfS3SignRequest *req, char *out, size_t size)
{
	char		canonical[VF_S3_SIGN_CANONICAL];
	char		to_sign[512];
	char		hex[VF_HEX_SIZE(VF_SHA256_LEN)];
	unsigned char key[VF_SHA256_LEN];
	unsigned char signature[VF_SHA256_LEN];
	int			order[VF_S3_SIGN_HEADERS];
	Text		text;
	bool		ok;

	if (!vf_s3_sign_canonical_request(req, canonical, sizeof(canonical)) ||
		!vf_s3_sign_string_to_sign(req, canonical, to_sign, sizeof(to_sign)))
		return false;
	ok = vf_s3_sign_key(req->secret_key, req->date, req->region, SERVICE,
						key) &&
		vf_digest_hmac(key, sizeof(key), to_sign, strlen(to_sign), signature);
	explicit_bzero(key, sizeof(key));
	if (!ok || !sort_headers(req, order))
		return false;
	vf_digest_hex(signature, sizeof(signature), hex);

	begin(&text, out, size);
	put(&text, ALGORITHM " Credential=");
	put(&text, req->access_key);
	put_char(&text, '/');
	put_scope(&text, req);
	put(&text, ",SignedHeaders=");
	put_signed_headers(&text, req, order);
	put(&text, ",Signature=");
	put(&text, hex);
	return !text.failed;
}

bool
vf_s3_sign_date(time_t when, char out[VF_S3_SIGN_DATE])
{
	struct tm	tm;

	return gmtime_r(&when, &tm) != NULL &&
		strftime(out, VF_S3_SIGN_DATE, "%Y%m%dT%H%M%SZ", &tm) ==
		VF_S3_SIGN_DATE - 1;
}
