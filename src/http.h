/*-------------------------------------------------------------------------
 *
 * http.h
 *	  HTTP over libcurl: several requests in flight, every one bounded.
 *
 * The only room that knows libcurl.  It knows no S3, no table, no setting:
 * all it needs comes in VfHttpOptions.  A client belongs to a memory context
 * and is closed when that context is reset, so an error at any line leaks
 * neither a socket nor a handle.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_HTTP_H
#define VF_HTTP_H

#include "lib/stringinfo.h"

typedef struct VfHttpClient VfHttpClient;

/* How a request ended as far as the transport is concerned. */
typedef enum VfHttpOutcome
{
	VF_HTTP_ANSWERED,			/* a complete HTTP answer, whatever status */
	VF_HTTP_RESOLVE,			/* the host name has no address */
	VF_HTTP_CONNECT,			/* refused, unreachable */
	VF_HTTP_TLS,				/* handshake or certificate */
	VF_HTTP_TIMEOUT,			/* the deadline passed */
	VF_HTTP_CUT,				/* connection lost after the request began */
	VF_HTTP_TOO_LARGE,			/* the answer exceeded its cap */
	VF_HTTP_UNUSABLE			/* anything else libcurl refuses */
} VfHttpOutcome;

typedef struct VfHttpOptions
{
	const char *ca_file;		/* PEM file, or NULL for the system's */
	const char *proxy;			/* NULL or "": none, whatever the environment */
	int			connect_timeout_ms;
	int			max_connections;	/* 1 to 64 */
	size_t		max_answer;		/* cap on an answer's body, bytes */
} VfHttpOptions;

typedef struct VfHttpHeader
{
	const char *name;			/* as sent */
	const char *value;
} VfHttpHeader;

typedef struct VfHttpRequest
{
	const char *method;			/* GET, HEAD, PUT, POST, DELETE */
	const char *url;			/* sent as it is, path never rewritten */
	const VfHttpHeader *headers;
	int			nheaders;
	const char *body;			/* may be NULL; must outlive the request */
	size_t		body_len;
	size_t		max_answer;		/* a cap below the client's; 0: the client's */
	int			timeout_ms;		/* whole request, from its start */
	void	   *tag;			/* the caller's, comes back in the answer */
} VfHttpRequest;

/* What is kept of an answer's x-amz-* headers, but for metadata and ids. */
#define VF_HTTP_MORE 4096

typedef struct VfHttpAnswer
{
	VfHttpOutcome outcome;
	int			status;			/* 0 unless an answer's head arrived */
	bool		sent;			/* some of the request left: the peer may have
								 * acted on it */
	const char *error;			/* libcurl's words, "" if none; no secret */
	StringInfoData body;		/* NUL-terminated, at most max_answer bytes */
	char		bucket_region[64];	/* x-amz-bucket-region */
	char		request_id[128];	/* x-amz-request-id */
	char		date[64];		/* Date */
	int			retry_after;	/* seconds, 0 if absent or not a number */
	char		etag[128];
	char		last_modified[64];
	char		version_id[128];	/* x-amz-version-id */
	/* x-amz-transition-default-minimum-object-size */
	char		transition_minimum[64];
	char		more[VF_HTTP_MORE]; /* for vf_http_header() */
	void	   *tag;
} VfHttpAnswer;

/*
 * Called about ten times a second while waiting, outside libcurl: may raise
 * an error (CHECK_FOR_INTERRUPTS); returning false abandons all requests.
 */
typedef bool (*VfHttpTick) (void *arg);

/* A client in cxt.  Raises an error only if libcurl cannot be set up. */
extern VfHttpClient *vf_http_open(MemoryContext cxt, const VfHttpOptions *opt);
extern void vf_http_close(VfHttpClient *client);

/* Start a request; it makes progress in vf_http_wait only. */
extern void vf_http_start(VfHttpClient *client, const VfHttpRequest *req);
extern int	vf_http_in_flight(const VfHttpClient *client);

/*
 * The next finished answer, palloc'd in the client's context and owned by the
 * caller (vf_http_free), or NULL if none is in flight or tick said to stop.
 */
extern VfHttpAnswer *vf_http_wait(VfHttpClient *client,
								  VfHttpTick tick, void *arg);
extern void vf_http_free(VfHttpAnswer *answer);

/*
 * The value of Content-Length or of an x-amz-* header, by its lower-case name;
 * false, and "", if the answer had none or one that is longer.
 */
extern bool vf_http_header(const VfHttpAnswer *answer, const char *name,
						   char *to, size_t size);

#endif							/* VF_HTTP_H */
