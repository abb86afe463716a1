/*-------------------------------------------------------------------------
 *
 * fuzz_url.c
 *	  Any bytes as endpoint and bucket: three lines of style, endpoint and
 *	  bucket.
 *
 * Promises: an address exists exactly where neither has a fault; it holds no
 * user, path, query or blank, and names the host of the endpoint alone; read
 * again it is itself.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>

#include "fuzz.h"
#include "s3_name.h"

/* Only what a URL's scheme, host and port consist of. */
static void
check_host(const char *host)
{
	const char *p;

	PROMISE(host[0] != '\0');
	for (p = host; *p; p++)
		PROMISE(isalnum((unsigned char) *p) || strchr(".-_:[]", *p));
	for (p = host; *p; p++)
		PROMISE(!isupper((unsigned char) *p) || host[0] == '[');
}

static void
check_address(const VfS3Address *a, const char *endpoint, const char *bucket,
			  VfS3PathStyle style)
{
	const char *scheme = strncmp(endpoint, "https", 5) == 0 ? "https://" :
		"http://";
	VfS3Address again;

	PROMISE(memchr(a->origin, '\0', sizeof(a->origin)) &&
			memchr(a->host, '\0', sizeof(a->host)) &&
			memchr(a->path, '\0', sizeof(a->path)));
	check_host(a->host);
	PROMISE(strncmp(a->origin, scheme, strlen(scheme)) == 0 &&
			strcmp(a->origin + strlen(scheme), a->host) == 0);
	PROMISE(a->path[0] == '/');
	if (a->path[1] != '\0')
		PROMISE(strcmp(a->path + 1, bucket) == 0 &&
				style != VF_S3_PATH_NEVER);
	else
		PROMISE(strncmp(a->host, bucket, strlen(bucket)) == 0 &&
				a->host[strlen(bucket)] == '.' &&
				style != VF_S3_PATH_ALWAYS);

	/* The origin is an endpoint itself, unless the bucket made it too long. */
	if (vf_s3_address(a->origin, bucket, VF_S3_PATH_ALWAYS, &again))
		PROMISE(strcmp(again.origin, a->origin) == 0 &&
				strcmp(again.host, a->host) == 0);
	else
		PROMISE(strlen(a->host) > 255);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *style_line = fuzz_line(&data, &size);
	char	   *endpoint = fuzz_line(&data, &size);
	char	   *bucket = fuzz_line(&data, &size);
	VfS3PathStyle style = style_line[0] == 'p' ? VF_S3_PATH_ALWAYS :
		style_line[0] == 'v' ? VF_S3_PATH_NEVER : VF_S3_PATH_AUTO;
	const char *endpoint_fault = vf_s3_endpoint_fault(endpoint);
	const char *bucket_fault = vf_s3_bucket_fault(bucket);
	VfS3Address address;
	bool		ok = vf_s3_address(endpoint, bucket, style, &address);

	PROMISE(endpoint_fault == NULL || strlen(endpoint_fault) > 20);
	PROMISE(bucket_fault == NULL || strlen(bucket_fault) > 20);
	PROMISE(bucket_fault != NULL ||
			(strlen(bucket) >= 3 && strlen(bucket) <= 63));
	if (endpoint_fault != NULL || bucket_fault != NULL)
		PROMISE(!ok);
	else if (!ok)
		PROMISE(strstr(endpoint, "://[") != NULL && style == VF_S3_PATH_NEVER);
	else
		check_address(&address, endpoint, bucket, style);
	free(style_line);
	free(endpoint);
	free(bucket);
	return 0;
}
