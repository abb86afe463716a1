/*-------------------------------------------------------------------------
 *
 * http_internal.h
 *	  What the files of the room http share, and nobody else sees.
 *
 * http.c: the client, waiting, finished requests.  http_request.c: a
 * request's options, and what libcurl calls while it runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_HTTP_INTERNAL_H
#define VF_HTTP_INTERNAL_H

#include <curl/curl.h>

#include "lib/ilist.h"

#include "http.h"

/* One request and its answer as it grows: malloc'd, all of it. */
typedef struct VfHttpTransfer
{
	dlist_node	node;			/* in client->running or client->done */
	CURL	   *easy;
	struct curl_slist *headers;
	char		error[CURL_ERROR_SIZE];
	CURLcode	result;
	int64		deadline;		/* milliseconds of a steady clock */
	void	   *tag;

	/* The answer as it grows. */
	char	   *body;
	size_t		body_len;
	size_t		body_size;
	size_t		max_body;
	size_t		head_len;
	bool		head_ended;		/* the empty line after it has come */
	bool		too_large;
	bool		no_memory;
	int			retry_after;
	char		bucket_region[64];
	char		request_id[128];
	char		date[64];
	char		etag[128];
	char		last_modified[64];
	char		version_id[128];
	char		transition_minimum[64];
	char		more[VF_HTTP_MORE]; /* lines "name: value" */
	size_t		more_len;
} VfHttpTransfer;

struct VfHttpClient
{
	MemoryContext cxt;
	MemoryContextCallback callback;
	CURLM	   *multi;
	dlist_head	running;
	dlist_head	done;			/* finished, not yet handed out */
	int			in_flight;		/* in both lists */
	size_t		max_answer;
	int			connect_timeout_ms;
	char	   *ca_file;
	char	   *proxy;
};

/*
 * Make the easy handle of a transfer.  False if the request cannot be sent
 * so; what was made then is the caller's to free.
 */
extern bool vf_http_prepare(VfHttpTransfer *transfer,
							const VfHttpClient *client,
							const VfHttpRequest *req);
/* Printable ASCII only, cut where it does not fit. */
extern void vf_http_copy_value(char *to, size_t size, const char *from,
							   size_t len);

#endif							/* VF_HTTP_INTERNAL_H */
