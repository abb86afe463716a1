/*-------------------------------------------------------------------------
 *
 * fuzz_origin.c
 *	  Any bytes as the URL of a service of credentials, a region, a role's
 *	  name and a time of expiry, a line for each.
 *
 * Promises: of a URL that is accepted libcurl reads the same scheme and host
 * as we do, no user, and without TLS one of the few addresses that may be
 * asked so; a region is a part of a host's name; a time that is read can be
 * written again, and a fraction or another zone's name does not change it.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "fuzz.h"
#include "s3_cred_url.h"

/* Who may be asked without TLS, besides 127.0.0.0/8, ::1 and localhost. */
static bool
may_be_asked(VfS3CredService service, const char *host)
{
	unsigned char address[16];

	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, address) == 1)
	{
		char		plain[INET_ADDRSTRLEN];

		inet_ntop(AF_INET, address, plain, sizeof(plain));
		return address[0] == 127 ||
			(service == VF_S3_CRED_CONTAINER &&
			 (strcmp(plain, "169.254.170.2") == 0 ||
			  strcmp(plain, "169.254.170.23") == 0)) ||
			(service == VF_S3_CRED_METADATA &&
			 strcmp(plain, "169.254.169.254") == 0);
	}
	if (host[0] == '[')
	{
		char		plain[INET6_ADDRSTRLEN];
		char		inner[64];
		size_t		len = strlen(host);

		if (len < 4 || len > sizeof(inner))
			return false;
		memcpy(inner, host + 1, len - 2);
		inner[len - 2] = '\0';
		if (inet_pton(AF_INET6, inner, address) != 1)
			return false;
		inet_ntop(AF_INET6, address, plain, sizeof(plain));
		return strcmp(plain, "::1") == 0 ||
			(service == VF_S3_CRED_CONTAINER &&
			 strcmp(plain, "fd00:ec2::23") == 0) ||
			(service == VF_S3_CRED_METADATA &&
			 strcmp(plain, "fd00:ec2::254") == 0);
	}
	return false;
}

static char *
part_of(CURLU *parsed, CURLUPart part)
{
	char	   *text = NULL;

	return curl_url_get(parsed, part, &text, 0) == CURLUE_OK ? text : NULL;
}

/* What libcurl would do with a URL that we let through. */
static void
check_accepted(VfS3CredService service, const char *url)
{
	CURLU	   *parsed = curl_url();
	bool		tls = strncmp(url, "https://", 8) == 0;
	int			origin = vf_s3_cred_url_origin(url);
	const char *host = url + (tls ? 8 : 7);
	char	   *theirs;
	char	   *scheme;

	PROMISE(tls || strncmp(url, "http://", 7) == 0);
	PROMISE(origin > (tls ? 8 : 7) && strchr("/?", url[origin]) != NULL);
	PROMISE((size_t) origin == strcspn(url + 8, "/?") + 8);
	if (curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
	{
		theirs = part_of(parsed, CURLUPART_HOST);
		scheme = part_of(parsed, CURLUPART_SCHEME);
		PROMISE(strcmp(scheme, tls ? "https" : "http") == 0);
		PROMISE(part_of(parsed, CURLUPART_USER) == NULL);
		PROMISE(part_of(parsed, CURLUPART_PASSWORD) == NULL);
		PROMISE(part_of(parsed, CURLUPART_FRAGMENT) == NULL);
		PROMISE(tls || may_be_asked(service, theirs));
		/* libcurl writes numbers its own way; a name stays as it is. */
		if (isalpha((unsigned char) theirs[0]))
			PROMISE(strncasecmp(host, theirs, strlen(theirs)) == 0);
		curl_free(theirs);
		curl_free(scheme);
	}
	curl_url_cleanup(parsed);
}

static void
check_url(const char *url)
{
	bool		ok[3];
	int			service;

	PROMISE(vf_s3_cred_url_origin(url) <= (int) strlen(url));
	for (service = VF_S3_CRED_STS; service <= VF_S3_CRED_METADATA; service++)
	{
		const char *fault = vf_s3_cred_url_fault(service, url);

		ok[service] = fault == NULL;
		if (fault == NULL)
			check_accepted(service, url);
		else
			PROMISE(fault[strlen(fault) - 1] == '.');
	}
	PROMISE(!ok[VF_S3_CRED_STS] ||
			(ok[VF_S3_CRED_CONTAINER] && ok[VF_S3_CRED_METADATA]));
}

static void
check_region(const char *region)
{
	CURLU	   *parsed;
	char	   *host;
	char		url[200];

	if (!vf_s3_cred_region_ok(region))
		return;
	PROMISE(snprintf(url, sizeof(url), "https://sts.%s.amazonaws.com/",
					 region) < (int) sizeof(url));
	PROMISE(vf_s3_cred_url_fault(VF_S3_CRED_STS, url) == NULL);
	parsed = curl_url();
	PROMISE(curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK);
	host = part_of(parsed, CURLUPART_HOST);
	PROMISE(strncmp(host, "sts.", 4) == 0 &&
			strncmp(host + 4, region, strlen(region)) == 0 &&
			strcmp(host + 4 + strlen(region), ".amazonaws.com") == 0);
	curl_free(host);
	curl_url_cleanup(parsed);
}

static void
check_name(const char *name)
{
	size_t		len = strlen(name);
	size_t		i;

	if (!vf_s3_cred_name_ok(name, len))
		return;
	PROMISE(len >= 1 && len <= 64);
	for (i = 0; i < len; i++)
		PROMISE(isalnum((unsigned char) name[i]) ||
				memchr("+=,.@_-", name[i], 7) != NULL);
	PROMISE(!vf_s3_cred_name_ok(name, len + 1));
}

static void
check_time(const char *text)
{
	char		again[64];
	char		other[200];
	time_t		when;
	time_t		same;
	struct tm	tm;

	if (!vf_s3_cred_time(text, &when))
		return;
	/* From a day before 1970 in a zone ahead to one after 9999. */
	PROMISE(when > -86400 && when < INT64_C(253402300800) + 86400);
	if (strlen(text) < sizeof(other) - 2)
	{
		sprintf(other, "%.19s.25%s", text,
				text + 19 + (text[19] == '.' ?
							 1 + strspn(text + 20, "0123456789") : 0));
		PROMISE(vf_s3_cred_time(other, &same) && same == when);
	}
	if (when < 0 || when >= INT64_C(253402300800))
		return;
	PROMISE(gmtime_r(&when, &tm) != NULL);
	strftime(again, sizeof(again), "%Y-%m-%dT%H:%M:%S", &tm);
	sprintf(other, "%sZ", again);
	PROMISE(vf_s3_cred_time(other, &same) && same == when);
	sprintf(other, "%s+01:30", again);
	PROMISE(vf_s3_cred_time(other, &same) && same == when - 5400);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *url = fuzz_line(&data, &size);
	char	   *region = fuzz_line(&data, &size);
	char	   *name = fuzz_line(&data, &size);
	char	   *when = fuzz_line(&data, &size);

	check_url(url);
	check_region(region);
	check_name(name);
	check_time(when);
	free(url);
	free(region);
	free(name);
	free(when);
	return 0;
}
