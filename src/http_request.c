/*-------------------------------------------------------------------------
 *
 * http_request.c
 *	  A request's options, and what libcurl calls while it runs.
 *
 * Order of things: bodies and heads of answers as libcurl hands them over;
 * headers, security, transport and body of a request.
 *
 * libcurl writes into malloc'd memory only, for a palloc may raise and would
 * jump over libcurl's frames.  A body ends at max_body, all header lines
 * together at MAX_HEAD.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <fcntl.h>

#include "http.h"
#include "http_internal.h"

#define MAX_HEAD		(256 * 1024)
#define MAX_RETRY_AFTER	86400

/* What libcurl calls */

static bool
make_room(VfHttpTransfer *transfer, size_t more)
{
	size_t		size = transfer->body_size ? transfer->body_size : 4096;
	char	   *body;

	while (size - transfer->body_len < more)
		size *= 2;
	if (size == transfer->body_size)
		return true;
	body = realloc(transfer->body, size);
	if (body == NULL)
		return false;
	transfer->body = body;
	transfer->body_size = size;
	return true;
}

/* Anything but the length offered makes libcurl end the transfer. */
static size_t
on_body(char *data, size_t size, size_t count, void *arg)
{
	VfHttpTransfer *transfer = arg;
	size_t		len = size * count;

	if (len > transfer->max_body - transfer->body_len)
	{
		transfer->too_large = true;
		return 0;
	}
	if (!make_room(transfer, len))
	{
		transfer->no_memory = true;
		return 0;
	}
	memcpy(transfer->body + transfer->body_len, data, len);
	transfer->body_len += len;
	return len;
}

/* An interim answer (100) may have filled these. */
static void
forget_head(VfHttpTransfer *transfer)
{
	transfer->head_ended = false;
	transfer->retry_after = 0;
	transfer->bucket_region[0] = '\0';
	transfer->request_id[0] = '\0';
	transfer->date[0] = '\0';
	transfer->etag[0] = '\0';
	transfer->last_modified[0] = '\0';
	transfer->version_id[0] = '\0';
	transfer->transition_minimum[0] = '\0';
	transfer->more[0] = '\0';
	transfer->more_len = 0;
}

void
vf_http_copy_value(char *to, size_t size, const char *from, size_t len)
{
	size_t		n = 0;
	size_t		i;

	for (i = 0; i < len && n < size - 1; i++)
	{
		if (from[i] >= ' ' && from[i] <= '~')
			to[n++] = from[i];
	}
	to[n] = '\0';
}

static int
parse_seconds(const char *text, size_t len)
{
	int			seconds = 0;
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return 0;
		if (seconds < MAX_RETRY_AFTER)
			seconds = seconds * 10 + (text[i] - '0');
	}
	return Min(seconds, MAX_RETRY_AFTER);
}

/* Is it one that vf_http_header() can be asked for? */
static bool
is_asked_for(const char *name, size_t len)
{
	static const char *const but[] = {
		"x-amz-meta-", "x-amz-id-2", "x-amz-request-id"
	};

	if (len == 14 && pg_strncasecmp(name, "content-length", 14) == 0)
		return true;
	if (len <= 6 || pg_strncasecmp(name, "x-amz-", 6) != 0)
		return false;
	for (int i = 0; i < (int) lengthof(but); i++)
	{
		if (len >= strlen(but[i]) &&
			pg_strncasecmp(name, but[i], strlen(but[i])) == 0)
			return false;
	}
	return true;
}

/* Add "name: value"; one that has no room is left out whole. */
static void
keep_more(VfHttpTransfer *transfer, const char *name, size_t name_len,
		  const char *value, size_t len)
{
	char	   *at = transfer->more + transfer->more_len;
	size_t		room = sizeof(transfer->more) - transfer->more_len;

	if (!is_asked_for(name, name_len) || name_len + len + 4 > room)
		return;
	for (size_t i = 0; i < name_len; i++)
		*at++ = (char) pg_tolower((unsigned char) name[i]);
	*at++ = ':';
	*at++ = ' ';
	vf_http_copy_value(at, len + 1, value, len);
	at += strlen(at);
	*at++ = '\n';
	*at = '\0';
	transfer->more_len = at - transfer->more;
}

static void
keep_header(VfHttpTransfer *transfer, const char *name, size_t name_len,
			const char *value, size_t len)
{
#define IS_NAMED(n) \
	(name_len == sizeof(n) - 1 && pg_strncasecmp(name, n, name_len) == 0)
#define KEEP(field) \
	vf_http_copy_value(transfer->field, sizeof(transfer->field), value, len)

	if (IS_NAMED("x-amz-bucket-region"))
		KEEP(bucket_region);
	else if (IS_NAMED("x-amz-request-id"))
		KEEP(request_id);
	else if (IS_NAMED("date"))
		KEEP(date);
	else if (IS_NAMED("etag"))
		KEEP(etag);
	else if (IS_NAMED("last-modified"))
		KEEP(last_modified);
	else if (IS_NAMED("x-amz-version-id"))
		KEEP(version_id);
	else if (IS_NAMED("x-amz-transition-default-minimum-object-size"))
		KEEP(transition_minimum);
	else if (IS_NAMED("retry-after"))
		transfer->retry_after = parse_seconds(value, len);

#undef IS_NAMED
#undef KEEP
}

static size_t
on_header(char *data, size_t size, size_t count, void *arg)
{
	VfHttpTransfer *transfer = arg;
	size_t		len = size * count;
	const char *end = data + len;
	const char *colon;
	const char *value;

	transfer->head_len += len;
	if (transfer->head_len > MAX_HEAD)
	{
		transfer->too_large = true;
		return 0;
	}
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		forget_head(transfer);
		return len;
	}
	if (data[0] == '\r' || data[0] == '\n')
		transfer->head_ended = true;
	colon = memchr(data, ':', len);
	if (colon == NULL)
		return len;
	value = colon + 1;
	while (value < end && (*value == ' ' || *value == '\t'))
		value++;
	while (end > value && isspace((unsigned char) end[-1]))
		end--;
	keep_header(transfer, data, colon - data, value, end - value);
	keep_more(transfer, data, colon - data, value, end - value);
	return len;
}

/* Programs that the server starts have no business with our sockets. */
static int
on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	(void) arg;
	(void) purpose;
	(void) fcntl(fd, F_SETFD, FD_CLOEXEC);
	return CURL_SOCKOPT_OK;
}

/* A request's options */

static bool
is_clean(const char *text)
{
	for (; *text; text++)
	{
		if ((unsigned char) *text < ' ' || *text == 0x7F)
			return false;
	}
	return true;
}

static bool
add_line(VfHttpTransfer *transfer, const char *line)
{
	struct curl_slist *list = curl_slist_append(transfer->headers, line);

	if (list == NULL)
		return false;
	transfer->headers = list;
	return true;
}

/* libcurl reads "Name:" as "send none", and "Name;" as "send it empty". */
static bool
add_header(VfHttpTransfer *transfer, const VfHttpHeader *header)
{
	const char *form = header->value[0] ? "%s: %s" : "%s;%s";
	char	   *line;
	bool		ok;

	if (!is_clean(header->name) || !is_clean(header->value))
		return false;
	line = psprintf(form, header->name, header->value);
	ok = add_line(transfer, line);
	explicit_bzero(line, strlen(line));
	pfree(line);
	return ok;
}

static bool
add_headers(VfHttpTransfer *transfer, const VfHttpRequest *req)
{
	bool		has_type = false;
	int			i;

	for (i = 0; i < req->nheaders; i++)
	{
		if (!add_header(transfer, &req->headers[i]))
			return false;
		if (pg_strcasecmp(req->headers[i].name, "Content-Type") == 0)
			has_type = true;
	}

	/* What libcurl would add by itself. */
	return add_line(transfer, "Expect:") && add_line(transfer, "Accept:") &&
		(has_type || add_line(transfer, "Content-Type:"));
}

#define SET(option, value) \
	(curl_easy_setopt(transfer->easy, (option), (value)) == CURLE_OK)

#if LIBCURL_VERSION_NUM >= 0x075500
#define SET_PROTOCOLS()		SET(CURLOPT_PROTOCOLS_STR, "http,https")
#else
#define SET_PROTOCOLS() \
	SET(CURLOPT_PROTOCOLS, (long) (CURLPROTO_HTTP | CURLPROTO_HTTPS))
#endif

/* Without this a cancelled request would wait for a slow name server. */
#if LIBCURL_VERSION_NUM >= 0x075700
#define SET_QUICK_EXIT()	SET(CURLOPT_QUICK_EXIT, 1L)
#else
#define SET_QUICK_EXIT()	true
#endif

static bool
set_security(VfHttpTransfer *transfer, const VfHttpClient *client)
{
	bool		ok;

	ok = SET(CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2) &&
		SET(CURLOPT_SSL_VERIFYPEER, 1L) &&
		SET(CURLOPT_SSL_VERIFYHOST, 2L) &&
		SET(CURLOPT_FOLLOWLOCATION, 0L) &&
		SET(CURLOPT_NETRC, (long) CURL_NETRC_IGNORED) &&
		SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);

	/* An authority of one's own replaces the system's, both file and path. */
	if (ok && client->ca_file)
		ok = SET(CURLOPT_CAINFO, client->ca_file) &&
			SET(CURLOPT_CAPATH, NULL);

	ok = ok && SET_PROTOCOLS();

	/*
	 * An empty proxy shuts out the environment's; an empty list of hosts
	 * without proxy shuts out the environment's exceptions to ours.
	 */
	return ok && SET(CURLOPT_PROXY, client->proxy ? client->proxy : "") &&
		SET(CURLOPT_NOPROXY, client->proxy ? "" : "*");
}

static bool
set_transport(VfHttpTransfer *transfer, const VfHttpClient *client,
			  const VfHttpRequest *req)
{
	int			connect_ms = client->connect_timeout_ms;

	if (connect_ms <= 0 || connect_ms > req->timeout_ms)
		connect_ms = req->timeout_ms;

	return SET_QUICK_EXIT() &&
		SET(CURLOPT_NOSIGNAL, 1L) &&
		SET(CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1) &&
		SET(CURLOPT_TIMEOUT_MS, (long) Max(req->timeout_ms, 1)) &&
		SET(CURLOPT_CONNECTTIMEOUT_MS, (long) Max(connect_ms, 1)) &&
		SET(CURLOPT_TCP_KEEPALIVE, 1L) &&
		SET(CURLOPT_SOCKOPTFUNCTION, on_socket) &&
		SET(CURLOPT_WRITEFUNCTION, on_body) &&
		SET(CURLOPT_WRITEDATA, transfer) &&
		SET(CURLOPT_HEADERFUNCTION, on_header) &&
		SET(CURLOPT_HEADERDATA, transfer) &&
		SET(CURLOPT_ERRORBUFFER, transfer->error) &&
		SET(CURLOPT_PRIVATE, transfer);
}

/* PUT and POST always have a body, so that its length 0 is told as well. */
static bool
set_body(VfHttpTransfer *transfer, const VfHttpRequest *req)
{
	bool		sends = strcmp(req->method, "PUT") == 0 ||
		strcmp(req->method, "POST") == 0;

	if (strcmp(req->method, "HEAD") == 0)
		return SET(CURLOPT_NOBODY, 1L);
	if (!sends && req->body == NULL)
		return SET(CURLOPT_HTTPGET, 1L) &&
			SET(CURLOPT_CUSTOMREQUEST, req->method);
	return SET(CURLOPT_POST, 1L) &&
		SET(CURLOPT_POSTFIELDS, req->body ? req->body : "") &&
		SET(CURLOPT_POSTFIELDSIZE_LARGE,
			(curl_off_t) (req->body ? req->body_len : 0)) &&
		SET(CURLOPT_CUSTOMREQUEST, req->method);
}

bool
vf_http_prepare(VfHttpTransfer *transfer, const VfHttpClient *client,
				const VfHttpRequest *req)
{
	transfer->easy = curl_easy_init();
	return transfer->easy != NULL &&
		is_clean(req->url) && strchr(req->url, ' ') == NULL &&
		SET(CURLOPT_URL, req->url) &&
		SET(CURLOPT_PATH_AS_IS, 1L) &&
		set_security(transfer, client) &&
		set_transport(transfer, client, req) &&
		set_body(transfer, req) &&
		add_headers(transfer, req) &&
		SET(CURLOPT_HTTPHEADER, transfer->headers);
}

#undef SET
#undef SET_PROTOCOLS
#undef SET_QUICK_EXIT
