/*-------------------------------------------------------------------------
 *
 * s3.c
 *	  The client of one bucket, and how one of its requests is signed.
 *
 * A client has a memory context of its own, a child of the caller's; http's
 * handles hang on it, and so does the wiping of the secret.  s3_internal.h
 * says what the other files of this room do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "utils/memutils.h"

#include "digest.h"
#include "s3.h"
#include "s3_internal.h"
#include "s3_sign.h"

/* Origin, path, a key of 1,024 bytes all encoded, a query. */
#define MAX_URL			8192
#define MAX_PATH		4096
#define DEFAULT_ANSWER	(8 * 1024 * 1024)

/* Headers under construction; the values' texts live here too. */
typedef struct HeaderList
{
	VfHttpHeader list[VF_S3_SIGN_HEADERS];
	int			n;
	char		date[VF_S3_SIGN_DATE];
	char		payload[VF_HEX_SIZE(VF_SHA256_LEN)];
	char		checksum[VF_BASE64_SIZE(VF_SHA256_LEN)];
	char		authorization[VF_S3_SIGN_AUTH];
} HeaderList;

int64
vf_s3_clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The client */

static void
wipe_client(void *arg)
{
	VfS3Client *client = arg;

	vf_s3_cred_wipe(&client->cred);
}

static void
copy_credentials(VfS3Client *client, const VfS3Credentials *cred)
{
	MemoryContext caller = MemoryContextSwitchTo(client->cxt);

	client->cred = *cred;
	client->cred.access_key = pstrdup(cred->access_key);
	client->cred.secret_key = pstrdup(cred->secret_key);
	client->cred.session_token = cred->session_token ?
		pstrdup(cred->session_token) : NULL;
	MemoryContextSwitchTo(caller);
}

static void
check_address(const VfS3Target *target, VfS3Address *address)
{
	const char *fault;

	if (vf_s3_address(target->endpoint, target->bucket, target->path_style,
					  address))
		return;
	fault = vf_s3_endpoint_fault(target->endpoint);
	if (fault == NULL)
		fault = vf_s3_bucket_fault(target->bucket);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the endpoint and the bucket make no usable address"),
			 errdetail("%s", fault ? fault :
					   "The bucket's name cannot be put before an IP "
					   "address."),
			 errhint("Correct them with vf_configure_bucket().")));
}

VfS3Client *
vf_s3_open(MemoryContext cxt, const VfS3Target *target,
		   const VfS3Credentials *cred, const VfHttpOptions *opt)
{
	VfHttpOptions http_options = *opt;
	VfS3Address address;
	MemoryContext own;
	VfS3Client *client;

	check_address(target, &address);
	own = AllocSetContextCreate(cxt, "voiceframe S3 client",
								ALLOCSET_DEFAULT_SIZES);
	client = MemoryContextAllocZero(own, sizeof(VfS3Client));
	client->cxt = own;
	client->address = address;
	client->region = MemoryContextStrdup(own, target->region);
	client->bucket = MemoryContextStrdup(own, target->bucket);
	client->expected_owner = target->expected_owner != NULL ?
		MemoryContextStrdup(own, target->expected_owner) : NULL;
	client->request_payer = target->request_payer;
	dlist_init(&client->pending);
	dlist_init(&client->ready);
	client->wipe.func = wipe_client;
	client->wipe.arg = client;
	MemoryContextRegisterResetCallback(own, &client->wipe);
	copy_credentials(client, cred);
	if (http_options.max_answer == 0)
		http_options.max_answer = DEFAULT_ANSWER;
	client->http = vf_http_open(own, &http_options);
	return client;
}

void
vf_s3_close(VfS3Client *client)
{
	MemoryContextDelete(client->cxt);
}

void
vf_s3_set_credentials(VfS3Client *client, const VfS3Credentials *cred)
{
	VfS3Credentials old = client->cred;

	copy_credentials(client, cred);
	vf_s3_cred_wipe(&old);
}

bool
vf_s3_credentials_due(const VfS3Client *client, TimestampTz now)
{
	return vf_s3_cred_due(&client->cred, now);
}

void
vf_s3_note_refusal(VfS3Client *client, const char *code, int bare_status)
{
	static const char *const codes[] = {
		"ExpiredToken", "InvalidToken", "InvalidAccessKeyId",
		"ExpiredTokenException", "TokenRefreshRequired",
		"InvalidClientTokenId"
	};
	bool		refused = bare_status == 400 || bare_status == 401 ||
		bare_status == 403;
	size_t		i;

	for (i = 0; i < lengthof(codes); i++)
		refused |= strcmp(code, codes[i]) == 0;
	if (!refused || client->cred.expires_at == DT_NOEND)
		return;
	vf_s3_cred_refused(client->cred.access_key);
	client->cred.expires_at = DT_NOBEGIN;
}

/* One request */

static void
add(HeaderList *headers, const char *name, const char *value)
{
	if (headers->n >= VF_S3_SIGN_HEADERS)
		elog(ERROR, "too many headers");
	headers->list[headers->n].name = name;
	headers->list[headers->n].value = value;
	headers->n++;
}

static bool
add_checksum(HeaderList *headers, const VfS3Request *req)
{
	unsigned char sum[VF_SHA256_LEN];

	switch (req->checksum)
	{
		case VF_S3_CHECKSUM_NONE:
			break;
		case VF_S3_CHECKSUM_MD5:
			if (!vf_digest_md5(req->body, req->body_len, sum))
				return false;
			vf_digest_base64(sum, VF_MD5_LEN, headers->checksum);
			add(headers, "content-md5", headers->checksum);
			break;
		case VF_S3_CHECKSUM_SHA256:
			if (!vf_digest_sha256(req->body, req->body_len, sum))
				return false;
			vf_digest_base64(sum, VF_SHA256_LEN, headers->checksum);
			add(headers, "x-amz-checksum-sha256", headers->checksum);
			add(headers, "x-amz-sdk-checksum-algorithm", "SHA256");
			break;
	}
	return true;
}

static bool
add_headers(HeaderList *headers, const VfS3Client *client,
			const VfS3Request *req)
{
	const char *body = req->body ? req->body : "";

	if (!vf_s3_sign_date(time(NULL), headers->date) ||
		!vf_digest_sha256_hex(body, req->body ? req->body_len : 0,
							  headers->payload))
		return false;
	add(headers, "Host", client->address.host);
	add(headers, "x-amz-content-sha256", headers->payload);
	add(headers, "x-amz-date", headers->date);
	if (client->cred.session_token)
		add(headers, "x-amz-security-token", client->cred.session_token);
	if (req->content_type)
		add(headers, "content-type", req->content_type);
	if (req->if_match)
		add(headers, "if-match", req->if_match);
	if (req->if_absent)
		add(headers, "if-none-match", "*");
	if (req->transition_minimum)
		add(headers, "x-amz-transition-default-minimum-object-size",
			req->transition_minimum);
	if (client->expected_owner)
		add(headers, "x-amz-expected-bucket-owner", client->expected_owner);
	if (client->request_payer)
		add(headers, "x-amz-request-payer", "requester");
	for (int i = 0; i < req->n_more; i++)
		add(headers, req->more[i].name, req->more[i].value);
	return add_checksum(headers, req);
}

static bool
sign(HeaderList *headers, const VfS3Client *client, const VfS3Request *req,
	 const char *path)
{
	VfS3SignHeader to_sign[VF_S3_SIGN_HEADERS];
	VfS3SignRequest request = {0};
	int			i;

	for (i = 0; i < headers->n; i++)
	{
		to_sign[i].name = headers->list[i].name;
		to_sign[i].value = headers->list[i].value;
	}
	request.method = req->method;
	request.path = path;
	request.query = req->query;
	request.headers = to_sign;
	request.nheaders = headers->n;
	request.payload_hash = headers->payload;
	request.date = headers->date;
	request.region = client->region;
	request.access_key = client->cred.access_key;
	request.secret_key = client->cred.secret_key;
	if (!vf_s3_sign_authorization(&request, headers->authorization,
								  sizeof(headers->authorization)))
		return false;
	add(headers, "Authorization", headers->authorization);
	return true;
}

static bool
make_path(const VfS3Client *client, const VfS3Request *req, char *path)
{
	const char *base = client->address.path;
	size_t		len = strlen(base);

	strlcpy(path, base, MAX_PATH);
	if (req->key == NULL)
		return true;
	if (base[len - 1] != '/')
		path[len++] = '/';
	return vf_s3_sign_encode(req->key, req->key_len, true,
							 path + len, MAX_PATH - len);
}

bool
vf_s3_add_parameter(char *query, const char *name, const char *value,
					size_t len)
{
	size_t		used = strlen(query);
	size_t		n = strlen(name);

	if (used + n + 1 >= VF_S3_MAX_QUERY)
		return false;
	memcpy(query + used, name, n + 1);
	return vf_s3_sign_encode(value, len, false, query + used + n,
							 VF_S3_MAX_QUERY - used - n);
}

bool
vf_s3_send(VfS3Client *client, const VfS3Request *req)
{
	char		path[MAX_PATH];
	char		url[MAX_URL];
	HeaderList	headers;
	VfHttpRequest http = {0};
	int			n;

	headers.n = 0;
	if (!make_path(client, req, path) ||
		!add_headers(&headers, client, req) ||
		!sign(&headers, client, req, path))
		return false;
	n = snprintf(url, sizeof(url), "%s%s%s%s", client->address.origin, path,
				 req->query ? "?" : "", req->query ? req->query : "");
	if (n < 0 || n >= (int) sizeof(url))
		return false;
	http.method = req->method;
	http.url = url;
	http.headers = headers.list;
	http.nheaders = headers.n;
	http.body = req->body;
	http.body_len = req->body_len;
	http.max_answer = req->max_answer;
	http.timeout_ms = req->timeout_ms;
	http.tag = req->tag;
	vf_http_start(client->http, &http);
	return true;
}

char *
vf_s3_default_endpoint(const char *region)
{
	return psprintf("https://s3.%s.amazonaws.com%s", region,
					strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
}
