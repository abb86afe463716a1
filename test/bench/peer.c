/*
 * peer.c: the cheapest S3 server that a drain believes, on 127.0.0.1.
 *
 * It answers every POST ?delete with "Deleted" for each key of the body, a list
 * with a page of as many objects as its argument says, and anything else with
 * an empty 200.  Keys go back as they came, escaped as they are; nothing is
 * signed or checked, nothing stored but the owners' markers.  One thread,
 * epoll, connections kept alive.
 * Prints its port when it listens; ends with SIGTERM.
 *
 * Not part of the extension: test/bench/drain.sh and scan.sh compile and run it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_REQUEST (4 * 1024 * 1024)
#define HEAD_ROOM 256

typedef struct Conn
{
	int			fd;
	size_t		len;
	char	   *in;				/* MAX_REQUEST bytes and a 0 */
	char	   *out;
} Conn;

static const char *prologue = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
	"<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";

static void
die(const char *what)
{
	perror(what);
	exit(1);
}

/* Each <Key>...</Key> of the body, wrapped in <Deleted>; returns the length. */
static size_t
echo_keys(const char *body, char *to)
{
	char	   *p = stpcpy(to, prologue);
	const char *key = body;

	while ((key = strstr(key, "<Key>")) != NULL)
	{
		const char *end = strstr(key, "</Key>");

		if (end == NULL)
			break;
		p = stpcpy(p, "<Deleted>");
		p = mempcpy(p, key, end + 6 - key);
		p = stpcpy(p, "</Deleted>");
		key = end + 6;
	}
	p = stpcpy(p, "</DeleteResult>");
	return p - to;
}

/* The objects of a list: LISTED and a number of eight digits. */
#define LISTED "temp_photos/"
#define LISTED_ENCODED "temp_photos%2F"
#define PAGE 1000

static long objects;

/* The number of the first object behind start-after. */
static long
first_listed(const char *head)
{
	const char *after = strstr(head, "start-after=");

	if (after == NULL)
		return 0;
	after += strlen("start-after=");
	if (strncmp(after, LISTED_ENCODED, strlen(LISTED_ENCODED)) == 0)
	{
		after += strlen(LISTED_ENCODED);
		return *after >= '0' && *after <= '9' ? strtol(after, NULL, 10) + 1 : 0;
	}
	return strncmp(after, LISTED, strlen(LISTED)) < 0 ? 0 : objects;
}

#define EMPTY(root) \
	"<" root "><IsTruncated>false</IsTruncated></" root ">"

static size_t
list_page(const char *head, char *to)
{
	long		first = first_listed(head);
	long		end = first + PAGE < objects ? first + PAGE : objects;
	char	   *p = to;

	p += sprintf(p, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
				 "<ListBucketResult><Name>bench</Name><MaxKeys>%d</MaxKeys>"
				 "<EncodingType>url</EncodingType><IsTruncated>%s</IsTruncated>",
				 PAGE, end < objects ? "true" : "false");
	for (long i = first; i < end; i++)
		p += sprintf(p, "<Contents><Key>" LISTED "%08ld.jpg</Key><LastModified>"
					 "2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;"
					 "%032lx&quot;</ETag><Size>%ld</Size><StorageClass>STANDARD"
					 "</StorageClass></Contents>", i, i, 1000 + i % 1000);
	p += sprintf(p, "</ListBucketResult>");
	return p - to;
}

static int
write_all(int fd, const char *data, size_t len)
{
	while (len > 0)
	{
		ssize_t		n = send(fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return -1;
		data += n;
		len -= n;
	}
	return 0;
}

#define MARKER "/.voiceframe_retention/"
#define NO_SUCH_KEY "<Error><Code>NoSuchKey</Code></Error>"
#define MARKERS 64				/* then the oldest is forgotten */
#define MAX_MARKER 2048

/* The owners' markers, one of each database, are all that is kept. */
typedef struct Marker
{
	char		path[MAX_MARKER];
	char		body[MAX_MARKER];
} Marker;

static Marker markers[MARKERS];

/* The path of a request for a marker, or NULL. */
static const char *
marker_path(const char *head, size_t *len)
{
	const char *path = strchr(head, ' ');
	const char *found = strstr(head, MARKER);

	if (path == NULL || found == NULL)
		return NULL;
	*len = strcspn(++path, " ?\r");
	return found < path + *len && *len < MAX_MARKER ? path : NULL;
}

/* Tell, keep or forget a marker; returns the answer's status. */
static const char *
serve_marker(const char *head, const char *path, size_t path_len,
			 const char *body, char *to, size_t *len)
{
	static int	next;
	Marker	   *m = markers;

	while (m < markers + MARKERS && (m->path[path_len] != '\0' ||
									 strncmp(m->path, path, path_len) != 0))
		m++;
	if (strncmp(head, "GET ", 4) == 0)
	{
		int			found = m < markers + MARKERS;

		*len = stpcpy(to, found ? m->body : NO_SUCH_KEY) - to;
		return found ? "200 OK" : "404 Not Found";
	}
	if (strncmp(head, "PUT ", 4) == 0 && strlen(body) < MAX_MARKER)
	{
		if (m == markers + MARKERS)
			m = &markers[next++ % MARKERS];
		memcpy(m->path, path, path_len);
		m->path[path_len] = '\0';
		strcpy(m->body, body);
	}
	else if (strncmp(head, "DELETE ", 7) == 0 && m < markers + MARKERS)
		m->path[0] = '\0';
	return "200 OK";
}

/* The head goes right before the body, so that both leave in one write. */
static int
answer(Conn *c, const char *body)
{
	size_t		len = 0;
	const char *status = "200 OK";
	size_t		path_len = 0;
	const char *path = marker_path(c->in, &path_len);
	char		head[HEAD_ROOM];
	int			head_len;

	if (path != NULL)
		status = serve_marker(c->in, path, path_len, body,
							  c->out + HEAD_ROOM, &len);
	else if (strncmp(c->in, "POST ", 5) == 0)
		len = echo_keys(body, c->out + HEAD_ROOM);
	else if (strncmp(c->in, "GET ", 4) == 0 && strstr(c->in, "&prefix="))
		len = stpcpy(c->out + HEAD_ROOM, EMPTY("ListBucketResult")) -
			(c->out + HEAD_ROOM);
	else if (strncmp(c->in, "GET ", 4) == 0 && strstr(c->in, "&uploads="))
		len = stpcpy(c->out + HEAD_ROOM,
					 EMPTY("ListMultipartUploadsResult")) -
			(c->out + HEAD_ROOM);
	else if (strncmp(c->in, "GET ", 4) == 0 && strstr(c->in, "list-type=2"))
		len = list_page(c->in, c->out + HEAD_ROOM);
	else if (strncmp(c->in, "GET ", 4) == 0 && strstr(c->in, "?versioning"))
		len = stpcpy(c->out + HEAD_ROOM, "<VersioningConfiguration/>") -
			(c->out + HEAD_ROOM);
	head_len = snprintf(head, sizeof(head),
						"HTTP/1.1 %s\r\nContent-Type: application/xml\r\n"
						"Content-Length: %zu\r\n\r\n", status, len);
	memcpy(c->out + HEAD_ROOM - head_len, head, head_len);
	return write_all(c->fd, c->out + HEAD_ROOM - head_len, head_len + len);
}

/* Answer every whole request that is there; -1 to close. */
static int
serve(Conn *c)
{
	for (;;)
	{
		char	   *body,
				   *field;
		size_t		body_len = 0;
		char		saved;

		c->in[c->len] = '\0';
		body = strstr(c->in, "\r\n\r\n");
		if (body == NULL)
			return 0;
		body += 4;
		field = strcasestr(c->in, "\r\nContent-Length:");
		if (field != NULL && field < body)
			body_len = strtoul(field + 17, NULL, 10);
		if (body_len > MAX_REQUEST / 2)
			return -1;
		if ((size_t) (c->in + c->len - body) < body_len)
			return 0;
		saved = body[body_len];
		body[body_len] = '\0';
		if (answer(c, body) < 0)
			return -1;
		body[body_len] = saved;
		c->len -= body + body_len - c->in;
		memmove(c->in, body + body_len, c->len);
	}
}

static int
readable(Conn *c)
{
	ssize_t		n;

	if (c->len >= MAX_REQUEST)
		return -1;
	n = recv(c->fd, c->in + c->len, MAX_REQUEST - c->len, 0);
	if (n <= 0)
		return -1;
	c->len += n;
	return serve(c);
}

static void
take_in(int epoll, int listener)
{
	int			on = 1;
	Conn	   *c = calloc(1, sizeof(Conn));
	struct epoll_event event = {.events = EPOLLIN,.data.ptr = c};

	if (c == NULL || (c->in = malloc(MAX_REQUEST + 1)) == NULL ||
		(c->out = malloc(MAX_REQUEST * 2 + HEAD_ROOM)) == NULL)
		die("malloc");
	c->fd = accept(listener, NULL, NULL);
	if (c->fd < 0)
		die("accept");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
		die("epoll_ctl");
}

static int
listen_anywhere(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
	.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t	len = sizeof(at);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *) &at, len) < 0 ||
		listen(fd, 64) < 0 ||
		getsockname(fd, (struct sockaddr *) &at, &len) < 0)
		die("listen");
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	return fd;
}

int
main(int argc, char **argv)
{
	int			listener = listen_anywhere();
	int			epoll = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN,.data.ptr = NULL};

	objects = argc > 1 ? atol(argv[1]) : 0;
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
		die("epoll");
	for (;;)
	{
		struct epoll_event events[64];
		int			n = epoll_wait(epoll, events, 64, -1);

		for (int i = 0; i < n; i++)
		{
			Conn	   *c = events[i].data.ptr;

			if (c == NULL)
				take_in(epoll, listener);
			else if (readable(c) < 0)
			{
				close(c->fd);
				free(c->in);
				free(c->out);
				free(c);
			}
		}
	}
}
