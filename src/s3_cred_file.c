/*-------------------------------------------------------------------------
 *
 * s3_cred_file.c
 *	  Files with keys, and files with tokens.
 *
 * A file is judged by what was opened, not by its name: its name is resolved
 * first (a secret mounted into a container is a symbolic link), what that
 * gives is opened without following a further link, and owner and mode are
 * those of the open file.
 *
 * Files with keys are kept by people, who can be asked to close them.  Token
 * files are written by others (the kubelet, an agent beside us), mostly
 * readable for a group or for all of a container, and replaced at any time;
 * what counts is that not everybody can put another identity there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"

#include "s3_cred_internal.h"

/* A link that was just being turned to another file is followed again. */
#define MAX_TRIES	3

static bool
is_inside_data_directory(const char *resolved)
{
	char		data_dir[PATH_MAX];
	size_t		len;

	if (DataDir == NULL || realpath(DataDir, data_dir) == NULL)
		return false;
	len = strlen(data_dir);
	return strncmp(resolved, data_dir, len) == 0 &&
		(resolved[len] == '/' || resolved[len] == '\0');
}

/*
 * The owner's own file is closed to all others.  One of root's may be open
 * to a group, as the server allows it for its TLS key: else the server could
 * not read it.
 */
static char *
check_owner(const char *path, const struct stat *st)
{
	mode_t		forbidden = S_IRWXG | S_IRWXO;

	if (st->st_uid != geteuid() && st->st_uid != 0)
		return psprintf("\"%s\" belongs neither to the server's user nor "
						"to root.", path);
	if (st->st_uid == 0 && geteuid() != 0)
		forbidden &= ~S_IRGRP;
	if (st->st_mode & forbidden)
		return psprintf("\"%s\" can be used by others: its mode is %04o, it "
						"must be 0600 or less.", path,
						(unsigned) (st->st_mode & 07777));
	return NULL;
}

static char *
check_status(const char *path, const struct stat *st, VfS3CredFileKind kind,
			 size_t size)
{
	if (!S_ISREG(st->st_mode))
		return psprintf("\"%s\" is not a regular file.", path);
	if (st->st_size > (off_t) size)
		return psprintf("\"%s\" is larger than %zu bytes.", path, size);
	if (kind == VF_S3_CRED_FILE_KEYS)
		return check_owner(path, st);
	if (st->st_mode & S_IWOTH)
		return psprintf("\"%s\" can be written by everybody: its mode is "
						"%04o.", path, (unsigned) (st->st_mode & 07777));
	return NULL;
}

/* Resolve the name and open what it leads to; < 0 with errno where not. */
static int
open_resolved(const char *path, char *resolved)
{
	int			fd = -1;
	int			i;

	for (i = 0; fd < 0 && i < MAX_TRIES; i++)
	{
		if (realpath(path, resolved) == NULL)
			return -1;

		/* A FIFO must not make us wait, so without blocking. */
		fd = open(resolved, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
				  O_CLOEXEC);
		if (fd < 0 && errno != ENOENT)
			return -1;
	}
	return fd;
}

static char *
open_file(const char *path, VfS3CredFileKind kind, size_t size, int *fd)
{
	char		resolved[PATH_MAX];
	struct stat st;
	char	   *fault;

	if (path[0] != '/')
		return psprintf("\"%s\" is not an absolute path.", path);
	*fd = open_resolved(path, resolved);
	if (*fd < 0)
		return psprintf(errno == ENOENT ? "\"%s\" cannot be found: %s." :
						"\"%s\" cannot be opened: %s.", path,
						strerror(errno));
	if (is_inside_data_directory(resolved))
		fault = psprintf("\"%s\" lies inside the data directory, where a "
						 "base backup would copy it.", path);
	else if (fstat(*fd, &st) != 0)
		fault = psprintf("\"%s\" cannot be examined: %s.", path,
						 strerror(errno));
	else
		fault = check_status(path, &st, kind, size);
	if (fault)
	{
		close(*fd);
		*fd = -1;
	}
	return fault;
}

/* Bytes read, or -1.  Nothing between opening and closing may raise. */
static ssize_t
read_all(int fd, char *buffer, size_t size)
{
	size_t		len = 0;
	ssize_t		n;

	while (len < size)
	{
		n = read(fd, buffer + len, size - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		len += n;
	}
	return (ssize_t) len;
}

char *
vf_s3_cred_file_read(const char *path, VfS3CredFileKind kind, char *buffer,
					 size_t size, size_t *len)
{
	char	   *fault;
	ssize_t		n;
	int			fd = -1;

	fault = open_file(path, kind, size, &fd);
	if (fault)
		return fault;
	n = read_all(fd, buffer, size);
	close(fd);
	if (n < 0)
		return psprintf("\"%s\" cannot be read.", path);
	*len = (size_t) n;
	return NULL;
}

/* Tokens */

static bool
is_token(const char *text, size_t len, bool blanks)
{
	size_t		i;

	for (i = 0; i < len; i++)
	{
		if (text[i] > '~' || text[i] < (blanks ? ' ' : '!'))
			return false;
	}
	return true;
}

char *
vf_s3_cred_file_token(const char *path, bool blanks, char **token)
{
	static const char white[] = " \t\r\n";
	char		buffer[VF_S3_CRED_MAX_TOKEN + 2];
	char	   *text = buffer;
	char	   *fault;
	size_t		len = 0;

	fault = vf_s3_cred_file_read(path, VF_S3_CRED_FILE_TOKEN, buffer,
								 sizeof(buffer) - 1, &len);
	if (fault)
		return fault;
	buffer[len] = '\0';
	while (len > 0 && strchr(white, text[len - 1]))
		len--;
	while (len > 0 && strchr(white, *text))
	{
		text++;
		len--;
	}
	if (len == 0)
		fault = psprintf("\"%s\" is empty.", path);
	else if (!is_token(text, len, blanks))
		fault = psprintf("\"%s\" does not hold a token: it is not one line of "
						 "plain ASCII.", path);
	else
	{
		*token = palloc(len + 1);
		memcpy(*token, text, len);
		(*token)[len] = '\0';
	}
	explicit_bzero(buffer, sizeof(buffer));
	return fault;
}
