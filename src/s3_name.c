/*-------------------------------------------------------------------------
 *
 * s3_name.c
 *	  Names: keys, buckets, endpoints, and the address they make together.
 *
 * Order of things: keys, buckets, endpoints, addresses.  Pure; the faults
 * returned are constant strings, whole sentences but for the codes of keys.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "s3_name.h"
#include "s3_xml.h"

#define MAX_HOST	255

/* An endpoint taken apart; host keeps its brackets. */
typedef struct Endpoint
{
	bool		https;
	char		host[MAX_HOST + 1];
	int			port;			/* 0 if none is given */
} Endpoint;

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_lower_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || is_digit(c);
}

/* Keys */

/* Bytes of the UTF-8 character that p begins with, or 0 if none does. */
static size_t
utf8_length(const unsigned char *p, size_t left)
{
	size_t		n;
	size_t		i;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xC2 || p[0] > 0xF4)
		return 0;
	n = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	if (left < n)
		return 0;
	for (i = 1; i < n; i++)
	{
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	}
	/* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
	if ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F) ||
		(p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))
		return 0;
	return n;
}

static bool
is_utf8(const char *text, size_t len)
{
	size_t		i = 0;

	while (i < len)
	{
		size_t		n = utf8_length((const unsigned char *) text + i,
									len - i);

		if (n == 0 || text[i] == '\0')
			return false;
		i += n;
	}
	return true;
}

static bool
contains(const char *text, size_t len, const char *part)
{
	size_t		n = strlen(part);
	size_t		i;

	for (i = 0; i + n <= len; i++)
	{
		if (memcmp(text + i, part, n) == 0)
			return true;
	}
	return false;
}

const char *
vf_s3_key_fault(const char *key, size_t len)
{
	if (len == 0)
		return "EmptyKey";
	if (contains(key, len, "://"))
		return "KeyIsUrl";
	if (len > VF_S3_MAX_KEY_BYTES)
		return "KeyTooLong";
	if (!is_utf8(key, len))
		return "KeyNotUtf8";
	return NULL;
}

bool
vf_s3_key_needs_path(const char *key, size_t len)
{
	return !vf_s3_xml_can_carry(key, len);
}

size_t
vf_s3_key_body_bytes(const char *key, size_t len)
{
	return vf_s3_xml_key_size(key, len);
}

/* Buckets */

static bool
looks_like_ipv4(const char *text)
{
	int			dots = 0;

	for (; *text; text++)
	{
		if (*text == '.')
			dots++;
		else if (!is_digit(*text))
			return false;
	}
	return dots == 3;
}

const char *
vf_s3_bucket_fault(const char *bucket)
{
	size_t		len = strlen(bucket);
	size_t		i;

	if (len < 3 || len > 63)
		return "A bucket's name has 3 to 63 characters.";
	for (i = 0; i < len; i++)
	{
		if (!is_lower_or_digit(bucket[i]) && bucket[i] != '-' &&
			bucket[i] != '.')
			return "A bucket's name has only lower-case letters, digits, "
				"hyphens and dots.";
	}
	if (!is_lower_or_digit(bucket[0]) || !is_lower_or_digit(bucket[len - 1]))
		return "A bucket's name begins and ends with a letter or a digit.";
	if (strstr(bucket, "..") || strstr(bucket, ".-") || strstr(bucket, "-."))
		return "Each part between dots of a bucket's name begins and ends "
			"with a letter or a digit.";
	if (looks_like_ipv4(bucket))
		return "A bucket's name is not written like an IP address.";
	return NULL;
}

/* Endpoints */

/* The end of the host at p, or NULL if there is no valid one. */
static const char *
scan_host(const char *p)
{
	const char *start = p;

	if (*p == '[')
	{
		p++;
		p += strspn(p, "0123456789abcdefABCDEF:.");
		return *p == ']' && p > start + 2 ? p + 1 : NULL;
	}
	while (is_lower_or_digit(*p) || (*p >= 'A' && *p <= 'Z') ||
		   *p == '.' || *p == '-' || *p == '_')
		p++;
	return p > start && *start != '.' && *start != '-' ? p : NULL;
}

static const char *
parse_endpoint(const char *text, Endpoint *endpoint)
{
	const char *host;
	const char *end;
	size_t		i;

	endpoint->https = strncmp(text, "https://", 8) == 0;
	if (!endpoint->https && strncmp(text, "http://", 7) != 0)
		return "An endpoint begins with http:// or https://.";
	host = text + (endpoint->https ? 8 : 7);
	end = scan_host(host);
	if (end == NULL)
		return "After the scheme comes a host name, an IPv4 address or an "
			"IPv6 address in brackets.";
	if (end - host > MAX_HOST)
		return "The host name is too long.";
	for (i = 0; host + i < end; i++)
		endpoint->host[i] = host[i] >= 'A' && host[i] <= 'Z' ?
			host[i] - 'A' + 'a' : host[i];
	endpoint->host[i] = '\0';
	endpoint->port = 0;
	if (*end == '\0')
		return NULL;
	if (*end != ':')
		return "An endpoint has nothing after the host but a port: no user, "
			"no path, no final slash.";
	for (end++; is_digit(*end) && endpoint->port <= 65535; end++)
		endpoint->port = endpoint->port * 10 + (*end - '0');
	if (*end != '\0' || endpoint->port < 1 || endpoint->port > 65535)
		return "After the colon comes a port from 1 to 65535 and nothing "
			"else.";
	return NULL;
}

const char *
vf_s3_endpoint_fault(const char *text)
{
	Endpoint	endpoint;

	return parse_endpoint(text, &endpoint);
}

/* Addresses */

static bool
wants_path(const Endpoint *endpoint, const char *bucket, VfS3PathStyle style)
{
	if (style != VF_S3_PATH_AUTO)
		return style == VF_S3_PATH_ALWAYS;
	return endpoint->host[0] == '[' || looks_like_ipv4(endpoint->host) ||
		strcmp(endpoint->host, "localhost") == 0 ||
		(endpoint->https && strchr(bucket, '.') != NULL);
}

bool
vf_s3_address(const char *text, const char *bucket, VfS3PathStyle style,
			  VfS3Address *address)
{
	Endpoint	endpoint;
	bool		by_path;
	char		port[16] = "";
	int			n;

	if (parse_endpoint(text, &endpoint) || vf_s3_bucket_fault(bucket))
		return false;
	by_path = wants_path(&endpoint, bucket, style);
	if (!by_path && endpoint.host[0] == '[')
		return false;

	/* What is signed is the Host header, which omits the usual port. */
	if (endpoint.port != 0 && endpoint.port != (endpoint.https ? 443 : 80))
		snprintf(port, sizeof(port), ":%d", endpoint.port);
	n = snprintf(address->host, sizeof(address->host), "%s%s%s%s",
				 by_path ? "" : bucket, by_path ? "" : ".", endpoint.host,
				 port);
	if (n < 0 || (size_t) n >= sizeof(address->host))
		return false;
	n = snprintf(address->origin, sizeof(address->origin), "%s://%s",
				 endpoint.https ? "https" : "http", address->host);
	if (n < 0 || (size_t) n >= sizeof(address->origin))
		return false;
	snprintf(address->path, sizeof(address->path), "/%s",
			 by_path ? bucket : "");
	return true;
}
