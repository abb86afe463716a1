/*
 * full_disk.c: a disk that is full while a file says so.
 *
 * For LD_PRELOAD into a server.  While the file named by VF_FULL_DISK exists,
 * no file under base/ grows: what lies beyond its end fails with ENOSPC, what
 * lies within can be overwritten, as on a real full disk.  The log of the
 * server and its WAL are on another one, so to speak: PostgreSQL stops when
 * its WAL finds no room, and that is not what is tried here.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int
no_room(int fd, off_t end)
{
	const char *flag = getenv("VF_FULL_DISK");
	char		link[64];
	char		path[4096];
	struct stat st;
	ssize_t		len;

	if (flag == NULL || access(flag, F_OK) != 0)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len <= 0)
		return 0;
	path[len] = '\0';
	if (strstr(path, "/base/") == NULL || fstat(fd, &st) != 0 ||
		end <= st.st_size)
		return 0;
	errno = ENOSPC;
	return 1;
}

#define REAL(name) dlsym(RTLD_NEXT, name)

ssize_t
pwrite64(int fd, const void *buf, size_t len, off64_t at)
{
	static ssize_t (*real) (int, const void *, size_t, off64_t);

	if (real == NULL)
		real = REAL("pwrite64");
	return no_room(fd, at + (off_t) len) ? -1 : real(fd, buf, len, at);
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t at)
{
	return pwrite64(fd, buf, len, at);
}

ssize_t
pwritev64(int fd, const struct iovec *iov, int n, off64_t at)
{
	static ssize_t (*real) (int, const struct iovec *, int, off64_t);
	off_t		end = at;

	if (real == NULL)
		real = REAL("pwritev64");
	for (int i = 0; i < n; i++)
		end += (off_t) iov[i].iov_len;
	return no_room(fd, end) ? -1 : real(fd, iov, n, at);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	return pwritev64(fd, iov, n, at);
}

int
posix_fallocate64(int fd, off64_t at, off64_t len)
{
	static int	(*real) (int, off64_t, off64_t);

	if (real == NULL)
		real = REAL("posix_fallocate64");
	return no_room(fd, at + len) ? ENOSPC : real(fd, at, len);
}

int
posix_fallocate(int fd, off_t at, off_t len)
{
	return posix_fallocate64(fd, at, len);
}
