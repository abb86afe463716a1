/*-------------------------------------------------------------------------
 *
 * fuzz_sign.c
 *	  Any bytes as path, query, header values and credentials of a request:
 *	  a line for each.
 *
 * Promises: canonical forms are their own canonical forms, consist of what
 * may be sent, and keep the bytes they stand for; nothing is signed with a
 * line end inside a header; no secret appears in what is sent; a buffer that
 * is too small is told.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"
#include "s3_sign.h"

#define SIZE	VF_S3_SIGN_CANONICAL
#define HASH \
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

typedef bool (*Canonical) (const char *text, char *out, size_t size);

static void
check_canonical(Canonical canonical, const char *text, const char *allowed)
{
	static char once[SIZE];
	static char twice[SIZE];
	size_t		len;
	char	   *exact;

	if (!canonical(text, once, sizeof(once)))
		return;
	len = strlen(once);
	PROMISE(strspn(once, allowed) == len);
	PROMISE(canonical(once, twice, sizeof(twice)) &&
			strcmp(once, twice) == 0);
	exact = malloc(len + 1);
	PROMISE(canonical(text, exact, len + 1) && strcmp(exact, once) == 0);
	PROMISE(!canonical(text, exact, len));
	free(exact);
}

/* Parameters are in order, by name and then by value. */
static void
check_order(const char *query)
{
	static char canonical[SIZE];
	char	   *last = NULL;
	char	   *part;

	if (!vf_s3_sign_canonical_query(query, canonical, sizeof(canonical)))
		return;
	for (part = strtok(canonical, "&"); part; part = strtok(NULL, "&"))
	{
		char	   *sign = strchr(part, '=');

		PROMISE(sign != NULL && strchr(sign + 1, '=') == NULL);
		/* As '=' is after all that may stand in a name but letters. */
		*sign = '\x01';
		PROMISE(last == NULL || strcmp(last, part) <= 0);
		last = part;
	}
}

/* What is sent has the secret's words only where it would without it. */
static void
check_secret(const VfS3SignRequest *req, const char *out)
{
	static char other[VF_S3_SIGN_AUTH];
	VfS3SignRequest changed = *req;

	changed.secret_key = "another";
	PROMISE(vf_s3_sign_authorization(&changed, other, sizeof(other)));
	PROMISE(strcmp(req->secret_key, "another") == 0 ||
			strcmp(out, other) != 0);
	PROMISE(strlen(req->secret_key) < 20 ||
			strstr(out, req->secret_key) == NULL ||
			strstr(other, req->secret_key) != NULL);
}

#define UNRESERVED \
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char out[VF_S3_SIGN_AUTH];
	char	   *path = fuzz_line(&data, &size);
	char	   *query = fuzz_line(&data, &size);
	char	   *region = fuzz_line(&data, &size);
	char	   *secret = fuzz_line(&data, &size);
	char	   *value = fuzz_string(data, size);
	VfS3SignHeader headers[] = {
		{"host", "h"}, {"x-amz-content-sha256", HASH},
		{"x-amz-date", "20130524T000000Z"}, {"X-Amz-Meta", value}
	};
	VfS3SignRequest req = {
		.method = "GET", .path = path, .query = query, .headers = headers,
		.nheaders = 4, .payload_hash = HASH, .date = "20130524T000000Z",
		.region = region, .access_key = "AK", .secret_key = secret
	};

	check_canonical(vf_s3_sign_canonical_path, path, UNRESERVED "/");
	check_canonical(vf_s3_sign_canonical_query, query, UNRESERVED "&=");
	check_order(query);
	if (vf_s3_sign_authorization(&req, out, sizeof(out)))
	{
		size_t		len = strlen(out);

		PROMISE(strpbrk(value, "\r\n") == NULL);
		PROMISE(len > 75 && memcmp(out + len - 75, ",Signature=", 11) == 0 &&
				strspn(out + len - 64, "0123456789abcdef") == 64);
		PROMISE(strstr(out, "SignedHeaders=host;x-amz-content-sha256;"
					   "x-amz-date;x-amz-meta,") != NULL);
		check_secret(&req, out);
		PROMISE(!vf_s3_sign_authorization(&req, out, strlen(out)));
		/* A header twice, in whatever case, cannot be signed. */
		headers[3].name = "HOST";
		PROMISE(!vf_s3_sign_authorization(&req, out, sizeof(out)));
	}
	free(path);
	free(query);
	free(region);
	free(secret);
	free(value);
	return 0;
}
