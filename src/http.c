/*-------------------------------------------------------------------------
 *
 * http.c
 *	  HTTP over libcurl: several requests in flight, every one bounded.
 *
 * Order of things: one-time set-up; the client; finished requests; waiting.
 * http_request.c has the rest of the room.
 *
 * Memory.  What libcurl writes into is malloc'd; an answer is copied into
 * palloc'd memory once libcurl has returned.  The client and all its requests
 * hang on a reset callback of the memory context, so an error in tick leaks
 * nothing.
 *
 * Signals.  libcurl may start a thread to resolve a name.  All signals are
 * blocked while that can happen: the thread inherits the mask, and the
 * server's handlers run in the server's own thread only.
 *
 * Bounds.  Each request has one deadline, from its start to the last byte of
 * its answer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <time.h>

#include "utils/memutils.h"

#include "http.h"
#include "http_internal.h"

#define SLICE_MS		100
#define MAX_CONNECTIONS	64

/* One-time set-up */

/*
 * Not in _PG_init: a preloaded library runs it in the postmaster, and what
 * libcurl sets up there must not be carried over a fork.
 */
static void
set_up_curl(void)
{
	static bool done = false;

	if (done)
		return;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("libcurl could not be initialized")));
	done = true;
}

static void
block_signals(sigset_t *before)
{
	sigset_t	all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, before);
}

static int64
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
restore_signals(const sigset_t *before)
{
	sigprocmask(SIG_SETMASK, before, NULL);
}

/* The client */

static void
discard(VfHttpClient *client, VfHttpTransfer *transfer)
{
	if (transfer->easy)
	{
		curl_multi_remove_handle(client->multi, transfer->easy);
		curl_easy_cleanup(transfer->easy);
	}
	curl_slist_free_all(transfer->headers);
	if (transfer->body)
		explicit_bzero(transfer->body, transfer->body_len);
	free(transfer->body);
	free(transfer);
}

static void
discard_list(VfHttpClient *client, dlist_head *list)
{
	while (!dlist_is_empty(list))
	{
		dlist_node *node = dlist_pop_head_node(list);

		discard(client, dlist_container(VfHttpTransfer, node, node));
		client->in_flight--;
	}
}

static void
close_client(void *arg)
{
	VfHttpClient *client = arg;

	if (client->multi == NULL)
		return;
	discard_list(client, &client->running);
	discard_list(client, &client->done);
	curl_multi_cleanup(client->multi);
	client->multi = NULL;
}

static char *
copy_unless_empty(const char *text)
{
	return text && text[0] ? pstrdup(text) : NULL;
}

VfHttpClient *
vf_http_open(MemoryContext cxt, const VfHttpOptions *opt)
{
	MemoryContext caller = MemoryContextSwitchTo(cxt);
	VfHttpClient *client = palloc0(sizeof(VfHttpClient));
	long		connections = Min(Max(opt->max_connections, 1),
								  MAX_CONNECTIONS);

	client->cxt = cxt;
	client->ca_file = copy_unless_empty(opt->ca_file);
	client->proxy = copy_unless_empty(opt->proxy);
	client->connect_timeout_ms = opt->connect_timeout_ms;
	client->max_answer = Min(opt->max_answer, MaxAllocSize / 2);
	dlist_init(&client->running);
	dlist_init(&client->done);
	MemoryContextSwitchTo(caller);

	set_up_curl();
	client->callback.func = close_client;
	client->callback.arg = client;
	MemoryContextRegisterResetCallback(cxt, &client->callback);
	client->multi = curl_multi_init();
	if (client->multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("libcurl could not make a handle.")));
	curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
					  connections);
	curl_multi_setopt(client->multi, CURLMOPT_MAXCONNECTS, connections);
	curl_multi_setopt(client->multi, CURLMOPT_PIPELINING,
					  (long) CURLPIPE_NOTHING);
	return client;
}

/* The struct itself stays until the context goes: its callback points at it. */
void
vf_http_close(VfHttpClient *client)
{
	close_client(client);
}

int
vf_http_in_flight(const VfHttpClient *client)
{
	return client->in_flight;
}

/*
 * A request that can't even begin is handed out by vf_http_wait like any
 * other, as VF_HTTP_UNUSABLE.
 */
void
vf_http_start(VfHttpClient *client, const VfHttpRequest *req)
{
	VfHttpTransfer *transfer;

	if (client->multi == NULL)
		elog(ERROR, "HTTP client is closed");
	transfer = calloc(1, sizeof(VfHttpTransfer));
	if (transfer == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	transfer->tag = req->tag;
	transfer->max_body = req->max_answer > 0 ?
		Min(req->max_answer, client->max_answer) : client->max_answer;
	transfer->result = CURLE_FAILED_INIT;
	transfer->deadline = now_ms() + Max(req->timeout_ms, 1);
	dlist_push_tail(&client->done, &transfer->node);
	client->in_flight++;
	if (vf_http_prepare(transfer, client, req) &&
		curl_multi_add_handle(client->multi, transfer->easy) == CURLM_OK)
	{
		dlist_delete(&transfer->node);
		dlist_push_tail(&client->running, &transfer->node);
	}
}

/* Finished requests */

static VfHttpOutcome
outcome_of(const VfHttpTransfer *transfer)
{
	if (transfer->too_large)
		return VF_HTTP_TOO_LARGE;
	switch (transfer->result)
	{
		case CURLE_OK:
			/* libcurl takes a head that was cut for a whole one. */
			return transfer->head_ended ? VF_HTTP_ANSWERED : VF_HTTP_CUT;
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_RESOLVE_PROXY:
			return VF_HTTP_RESOLVE;
		case CURLE_COULDNT_CONNECT:
		case CURLE_INTERFACE_FAILED:
			return VF_HTTP_CONNECT;
		case CURLE_OPERATION_TIMEDOUT:
			return VF_HTTP_TIMEOUT;
		case CURLE_SEND_ERROR:
		case CURLE_RECV_ERROR:
		case CURLE_GOT_NOTHING:
		case CURLE_PARTIAL_FILE:
			return VF_HTTP_CUT;
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CERTPROBLEM:
		case CURLE_SSL_CIPHER:
		case CURLE_SSL_CACERT_BADFILE:
		case CURLE_SSL_CRL_BADFILE:
		case CURLE_SSL_ISSUER_ERROR:
		case CURLE_SSL_INVALIDCERTSTATUS:
		case CURLE_SSL_ENGINE_NOTFOUND:
		case CURLE_SSL_ENGINE_SETFAILED:
		case CURLE_SSL_ENGINE_INITFAILED:
		case CURLE_USE_SSL_FAILED:
			return VF_HTTP_TLS;
		default:
			return VF_HTTP_UNUSABLE;
	}
}

static const char *
words_for(const VfHttpTransfer *transfer)
{
	if (transfer->too_large)
		return "the answer is larger than allowed";
	if (transfer->no_memory)
		return "out of memory";
	if (transfer->result == CURLE_OK)
		return transfer->head_ended ? "" : "the answer's head was cut";
	if (transfer->error[0])
		return transfer->error;
	return curl_easy_strerror(transfer->result);
}

static void
fill_answer(VfHttpAnswer *answer, const VfHttpTransfer *transfer)
{
	const char *words = words_for(transfer);
	char		error[CURL_ERROR_SIZE];
	long		status = 0;
	long		sent = 0;

	if (transfer->easy)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
		curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &sent);
	}
	answer->outcome = outcome_of(transfer);
	answer->status = (int) status;
	answer->sent = sent > 0;
	answer->retry_after = transfer->retry_after;
	answer->tag = transfer->tag;
	strlcpy(answer->bucket_region, transfer->bucket_region,
			sizeof(answer->bucket_region));
	strlcpy(answer->request_id, transfer->request_id,
			sizeof(answer->request_id));
	strlcpy(answer->date, transfer->date, sizeof(answer->date));
	strlcpy(answer->etag, transfer->etag, sizeof(answer->etag));
	strlcpy(answer->last_modified, transfer->last_modified,
			sizeof(answer->last_modified));
	strlcpy(answer->version_id, transfer->version_id,
			sizeof(answer->version_id));
	strlcpy(answer->transition_minimum, transfer->transition_minimum,
			sizeof(answer->transition_minimum));
	strlcpy(answer->more, transfer->more, sizeof(answer->more));
	vf_http_copy_value(error, sizeof(error), words, strlen(words));
	answer->error = pstrdup(error);
	initStringInfo(&answer->body);
	appendBinaryStringInfo(&answer->body,
						   transfer->body ? transfer->body : "",
						   (int) transfer->body_len);
}

static VfHttpAnswer *
take_done(VfHttpClient *client)
{
	MemoryContext caller;
	VfHttpAnswer *answer;
	VfHttpTransfer *transfer;

	if (dlist_is_empty(&client->done))
		return NULL;
	transfer = dlist_head_element(VfHttpTransfer, node, &client->done);

	/* The copy may raise; until it is whole the transfer stays listed. */
	caller = MemoryContextSwitchTo(client->cxt);
	answer = palloc0(sizeof(VfHttpAnswer));
	fill_answer(answer, transfer);
	MemoryContextSwitchTo(caller);

	dlist_delete(&transfer->node);
	client->in_flight--;
	discard(client, transfer);
	return answer;
}

void
vf_http_free(VfHttpAnswer *answer)
{
	pfree(unconstify(char *, answer->error));
	pfree(answer->body.data);
	pfree(answer);
}

bool
vf_http_header(const VfHttpAnswer *answer, const char *name, char *to,
			   size_t size)
{
	size_t		len = strlen(name);
	const char *line = answer->more;
	const char *end;

	to[0] = '\0';
	for (; (end = strchr(line, '\n')) != NULL; line = end + 1)
	{
		if (strncmp(line, name, len) != 0 || line[len] != ':')
			continue;
		line += len + 2;
		if ((size_t) (end - line) >= size)
			return false;
		memcpy(to, line, end - line);
		to[end - line] = '\0';
		return true;
	}
	return false;
}

/* Waiting */

static void
collect_done(VfHttpClient *client)
{
	CURLMsg    *msg;
	int			left;

	while ((msg = curl_multi_info_read(client->multi, &left)) != NULL)
	{
		VfHttpTransfer *transfer = NULL;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &transfer);
		transfer->result = msg->data.result;
		dlist_delete(&transfer->node);
		dlist_push_tail(&client->done, &transfer->node);
	}
}

/* libcurl itself failed: every request fails with it. */
static void
fail_all(VfHttpClient *client)
{
	while (!dlist_is_empty(&client->running))
	{
		dlist_node *node = dlist_pop_head_node(&client->running);

		dlist_push_tail(&client->done, node);
	}
}

/* libcurl's own time-out forgets requests that wait for a connection. */
static void
end_overdue(VfHttpClient *client)
{
	int64		now = now_ms();
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &client->running)
	{
		VfHttpTransfer *transfer = dlist_container(VfHttpTransfer, node,
												   iter.cur);

		if (now < transfer->deadline)
			continue;
		curl_multi_remove_handle(client->multi, transfer->easy);
		transfer->result = CURLE_OPERATION_TIMEDOUT;
		dlist_delete(&transfer->node);
		dlist_push_tail(&client->done, &transfer->node);
	}
}

static void
make_progress(VfHttpClient *client)
{
	sigset_t	before;
	CURLMcode	result;
	int			running;

	block_signals(&before);
	result = curl_multi_perform(client->multi, &running);
	restore_signals(&before);
	collect_done(client);
	end_overdue(client);
	if (result != CURLM_OK)
		fail_all(client);
}

VfHttpAnswer *
vf_http_wait(VfHttpClient *client, VfHttpTick tick, void *arg)
{
	if (client->multi == NULL)
		return NULL;
	while (client->in_flight > 0)
	{
		VfHttpAnswer *answer = take_done(client);

		if (answer)
			return answer;
		make_progress(client);
		if (!dlist_is_empty(&client->done))
			continue;
		if (tick && !tick(arg))
		{
			discard_list(client, &client->running);
			return NULL;
		}
		curl_multi_poll(client->multi, NULL, 0, SLICE_MS, NULL);
	}
	return NULL;
}
