/*-------------------------------------------------------------------------
 *
 * s3_cred_url.c
 *	  Whom we ask for credentials, and until when they hold.
 *
 * A URL comes from the server's environment.  Whoever can set that is to be
 * believed, but a mistyped one must not hand a token to a stranger over a
 * plain connection: without TLS only this machine and the fixed addresses of
 * the cloud's own services are asked, as in AWS's libraries.
 *
 * A host counts as it is written, never as it resolves.  What libcurl would
 * take for another host than we read (user@, \, %, odd numbers) is refused.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "s3_cred_url.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define MAX_HOST 255

typedef struct Url
{
	bool		tls;
	bool		bracketed;		/* an IPv6 address */
	char		host[MAX_HOST + 1];
	const char *rest;			/* what follows host and port */
} Url;

/* Host, and port if any.  Returns what follows, or NULL. */
static const char *
read_host(const char *at, Url *url)
{
	size_t		len;
	size_t		digits;

	url->bracketed = *at == '[';
	if (url->bracketed)
		at++;
	len = strspn(at, url->bracketed ? DIGITS ":.abcdefABCDEF" :
				 LETTERS DIGITS "._-");
	if (len == 0 || len > MAX_HOST)
		return NULL;
	memcpy(url->host, at, len);
	url->host[len] = '\0';
	at += len;
	if (url->bracketed && *at++ != ']')
		return NULL;
	if (*at != ':')
		return at;
	digits = strspn(++at, DIGITS);
	return digits >= 1 && digits <= 5 ? at + digits : NULL;
}

static bool
read_url(const char *text, Url *url)
{
	const char *c;

	if (strncmp(text, "http://", 7) == 0)
		text += 7;
	else if (strncmp(text, "https://", 8) == 0)
	{
		url->tls = true;
		text += 8;
	}
	else
		return false;
	url->rest = read_host(text, url);
	if (url->rest == NULL || strchr("/?", url->rest[0]) == NULL)
		return false;
	for (c = url->rest; *c; c++)
	{
		if (*c <= ' ' || *c > '~' || *c == '#' || *c == '\\')
			return false;
	}
	return true;
}

static bool
is_address(const Url *url, const char *address)
{
	unsigned char theirs[16];
	unsigned char ours[16];
	int			family = url->bracketed ? AF_INET6 : AF_INET;
	size_t		len = url->bracketed ? 16 : 4;

	return inet_pton(family, url->host, theirs) == 1 &&
		inet_pton(family, address, ours) == 1 &&
		memcmp(theirs, ours, len) == 0;
}

static bool
is_loopback(const Url *url)
{
	unsigned char address[4];

	if (!url->bracketed && strcasecmp(url->host, "localhost") == 0)
		return true;
	if (is_address(url, "::1"))
		return true;
	return !url->bracketed && inet_pton(AF_INET, url->host, address) == 1 &&
		address[0] == 127;
}

static bool
is_allowed(VfS3CredService service, const Url *url)
{
	if (url->tls || is_loopback(url))
		return true;
	switch (service)
	{
		case VF_S3_CRED_CONTAINER:
			return is_address(url, "169.254.170.2") ||
				is_address(url, "169.254.170.23") ||
				is_address(url, "fd00:ec2::23");
		case VF_S3_CRED_METADATA:
			return is_address(url, "169.254.169.254") ||
				is_address(url, "fd00:ec2::254");
		case VF_S3_CRED_STS:
			break;
	}
	return false;
}

const char *
vf_s3_cred_url_fault(VfS3CredService service, const char *url)
{
	Url			parts;

	memset(&parts, 0, sizeof(parts));
	if (!read_url(url, &parts))
		return "It is not a plain http or https URL.";
	if (service != VF_S3_CRED_CONTAINER && parts.rest[0] != '\0' &&
		strcmp(parts.rest, "/") != 0)
		return "It may have no path.";
	if (!is_allowed(service, &parts))
		return "Its host is asked over https only.";
	return NULL;
}

int
vf_s3_cred_url_origin(const char *url)
{
	const char *host = strstr(url, "://");

	if (host == NULL)
		return 0;
	return (int) (host + 3 - url + strcspn(host + 3, "/?"));
}

bool
vf_s3_cred_region_ok(const char *region)
{
	size_t		len = strlen(region);

	return len >= 1 && len < 64 && region[0] != '-' &&
		strspn(region, "abcdefghijklmnopqrstuvwxyz" DIGITS "-") == len;
}

bool
vf_s3_cred_name_ok(const char *name, size_t len)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (name[i] == '\0' || strchr(LETTERS DIGITS "+=,.@_-",
									  name[i]) == NULL)
			return false;
	}
	return len >= 1 && len <= 64;
}

/* "Z", "+00:00" or another distance, in seconds. */
static bool
read_zone(const char *text, int *distance)
{
	int			hours;
	int			minutes;
	int			end = 0;

	*distance = 0;
	if (strcmp(text, "Z") == 0)
		return true;
	if (text[0] != '+' && text[0] != '-')
		return false;
	if (sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &end) != 2 ||
		end != 5 || text[6] != '\0' || strspn(text + 1, DIGITS ":") != 5 ||
		hours > 14 || minutes > 59)
		return false;
	*distance = (hours * 60 + minutes) * 60 * (text[0] == '-' ? -1 : 1);
	return true;
}

bool
vf_s3_cred_time(const char *text, time_t *seconds)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";
	struct tm	tm;
	size_t		i;
	int			distance;

	for (i = 0; form[i]; i++)
	{
		if (form[i] == 'd' ? text[i] < '0' || text[i] > '9' :
			text[i] != form[i])
			return false;
	}
	memset(&tm, 0, sizeof(tm));
	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon,
			   &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
		return false;
	text += i;
	if (*text == '.')
		text += 1 + strspn(text + 1, DIGITS);
	if (tm.tm_year < 1970 || tm.tm_mon < 1 || tm.tm_mon > 12 ||
		tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
		tm.tm_min > 59 || tm.tm_sec > 60 || !read_zone(text, &distance))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	*seconds = timegm(&tm) - distance;
	return true;
}
