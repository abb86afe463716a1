/*-------------------------------------------------------------------------
 *
 * s3_cred.c
 *	  Where S3 credentials come from.
 *
 * Order of things: faults in words; one file; the environment; the search.
 * What is read from a file is wiped from every buffer but the result's.
 *
 * A file is judged by what was opened, not by its name: its name is resolved
 * first (a secret mounted into a container is a symbolic link), what that
 * gives is opened without following a further link, and owner and mode are
 * those of the open file.
 *
 * Faults are returned, not raised.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "s3_cred.h"
#include "s3_cred_parse.h"

#define MAX_FILE	(64 * 1024)

/* The settings' and variables' names, for people. */
#define ORIGIN_SETTING	"voiceframe.s3_credentials_file"
#define ORIGIN_ENV		"environment"
#define ORIGIN_SHARED	"shared credentials file"

/* One file */

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
check_status(const char *path, const struct stat *st)
{
	mode_t		forbidden = S_IRWXG | S_IRWXO;

	if (!S_ISREG(st->st_mode))
		return psprintf("\"%s\" is not a regular file.", path);
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return psprintf("\"%s\" belongs neither to the server's user nor "
						"to root.", path);
	if (st->st_uid == 0 && geteuid() != 0)
		forbidden &= ~S_IRGRP;
	if (st->st_mode & forbidden)
		return psprintf("\"%s\" can be used by others: its mode is %04o, it "
						"must be 0600 or less.", path,
						(unsigned) (st->st_mode & 07777));
	if (st->st_size > MAX_FILE)
		return psprintf("\"%s\" is larger than %d bytes.", path, MAX_FILE);
	return NULL;
}

/*
 * Open what path leads to.  A FIFO must not make us wait, so without
 * blocking.
 */
static char *
open_file(const char *path, int *fd)
{
	char		resolved[PATH_MAX];
	struct stat st;
	char	   *fault;

	if (path[0] != '/')
		return psprintf("\"%s\" is not an absolute path.", path);
	if (realpath(path, resolved) == NULL)
		return psprintf("\"%s\" cannot be found: %s.", path, strerror(errno));
	if (is_inside_data_directory(resolved))
		return psprintf("\"%s\" lies inside the data directory, where a base "
						"backup would copy it.", path);
	*fd = open(resolved, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
			   O_CLOEXEC);
	if (*fd < 0)
		return psprintf("\"%s\" cannot be opened: %s.", path,
						strerror(errno));
	if (fstat(*fd, &st) != 0)
		fault = psprintf("\"%s\" cannot be examined: %s.", path,
						 strerror(errno));
	else
		fault = check_status(path, &st);
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

static char *
explain(VfS3CredVerdict verdict, const char *path, const char *profile,
		int line)
{
	switch (verdict)
	{
		case VF_S3_CRED_FOUND:
			break;
		case VF_S3_CRED_NO_PROFILE:
			return psprintf("\"%s\" has no profile \"%s\".", path, profile);
		case VF_S3_CRED_NO_ACCESS_KEY:
			return psprintf("Profile \"%s\" of \"%s\" has no "
							"aws_access_key_id.", profile, path);
		case VF_S3_CRED_NO_SECRET_KEY:
			return psprintf("Profile \"%s\" of \"%s\" has no "
							"aws_secret_access_key.", profile, path);
		case VF_S3_CRED_NOT_STATIC:
			return psprintf("Profile \"%s\" of \"%s\" names a role, a "
							"sign-on or a process instead of keys, which is "
							"not supported.", profile, path);
		case VF_S3_CRED_BAD_LINE:
			return psprintf("Line %d of \"%s\" is neither a section, a "
							"setting nor a comment.", line, path);
		case VF_S3_CRED_BAD_VALUE:
			return psprintf("The value on line %d of \"%s\" is too long, or "
							"not plain ASCII without blanks.", line, path);
	}
	return NULL;
}

static void
fill(VfS3Credentials *cred, const VfS3CredText *text, const char *origin)
{
	cred->access_key = pstrdup(text->access_key);
	cred->secret_key = pstrdup(text->secret_key);
	cred->session_token = text->session_token[0] ?
		pstrdup(text->session_token) : NULL;
	cred->expires_at = DT_NOEND;
	cred->origin = origin;
}

static char *
read_file(const char *path, const char *profile, const char *origin,
		  VfS3Credentials *cred)
{
	char		buffer[MAX_FILE];
	VfS3CredText text;
	VfS3CredVerdict verdict;
	ssize_t		len;
	char	   *fault;
	int			fd = -1;
	int			line;

	fault = open_file(path, &fd);
	if (fault)
		return fault;
	len = read_all(fd, buffer, sizeof(buffer));
	close(fd);
	if (len < 0)
		return psprintf("\"%s\" cannot be read.", path);
	verdict = vf_s3_cred_parse(buffer, len, profile, &text, &line);
	explicit_bzero(buffer, sizeof(buffer));
	if (verdict != VF_S3_CRED_FOUND)
		return explain(verdict, path, profile, line);
	fill(cred, &text, origin);
	vf_s3_cred_parse_wipe(&text);
	return NULL;
}

/* The environment */

static const char *
variable(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static bool
take_variable(const char *name, char *to, size_t size)
{
	const char *value = variable(name);
	size_t		len = strlen(value);

	if (len >= size || !vf_s3_cred_value_ok(value, len))
		return false;
	memcpy(to, value, len + 1);
	return true;
}

static char *
read_environment(VfS3Credentials *cred)
{
	VfS3CredText text;
	char	   *fault = NULL;

	memset(&text, 0, sizeof(text));
	if (!take_variable("AWS_ACCESS_KEY_ID", text.access_key,
					   sizeof(text.access_key)) ||
		!take_variable("AWS_SECRET_ACCESS_KEY", text.secret_key,
					   sizeof(text.secret_key)) ||
		!take_variable("AWS_SESSION_TOKEN", text.session_token,
					   sizeof(text.session_token)))
		fault = pstrdup("A value in the server's environment is too long, or "
						"not plain ASCII without blanks.");
	else if (text.secret_key[0] == '\0')
		fault = pstrdup("AWS_ACCESS_KEY_ID is in the server's environment, "
						"but AWS_SECRET_ACCESS_KEY is not.");
	else
		fill(cred, &text, ORIGIN_ENV);
	vf_s3_cred_parse_wipe(&text);
	return fault;
}

/* The search */

/* ~/.aws/credentials of the server's user, or NULL. */
static char *
home_file(void)
{
	const char *home = variable("HOME");

	if (home[0] == '\0')
	{
		struct passwd *entry = getpwuid(geteuid());

		if (entry == NULL)
			return NULL;
		home = entry->pw_dir;
	}
	return psprintf("%s/.aws/credentials", home);
}

static char *
find_shared(const char *profile, VfS3Credentials *cred, const char **code)
{
	const char *named = variable("AWS_SHARED_CREDENTIALS_FILE");
	char	   *path = named[0] ? pstrdup(named) : home_file();

	*code = "CredentialsFile";
	if (!named[0] && (path == NULL ||
					  (access(path, F_OK) != 0 && errno != EACCES)))
	{
		*code = "NoCredentials";
		return pstrdup("There are no credentials: "
					   "voiceframe.s3_credentials_file is not set, the "
					   "server's environment has none, and its user has no "
					   "shared credentials file.");
	}
	return read_file(path, profile, ORIGIN_SHARED, cred);
}

char *
vf_s3_cred_find(const char *file, const char *profile,
				VfS3Credentials *cred, const char **code)
{
	bool		named_profile = profile != NULL && profile[0] != '\0';
	char	   *fault;

	memset(cred, 0, sizeof(*cred));
	*code = "CredentialsFile";
	if (!named_profile)
		profile = "default";
	if (file != NULL && file[0] != '\0')
		fault = read_file(file, profile, ORIGIN_SETTING, cred);
	else if (!named_profile && variable("AWS_ACCESS_KEY_ID")[0] != '\0')
	{
		*code = "NoCredentials";
		fault = read_environment(cred);
	}
	else
		fault = find_shared(profile, cred, code);
	if (fault == NULL)
		*code = NULL;
	return fault;
}

static void
wipe_string(char **string)
{
	if (*string == NULL)
		return;
	explicit_bzero(*string, strlen(*string));
	pfree(*string);
	*string = NULL;
}

void
vf_s3_cred_wipe(VfS3Credentials *cred)
{
	wipe_string(&cred->access_key);
	wipe_string(&cred->secret_key);
	wipe_string(&cred->session_token);
}
