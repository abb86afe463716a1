/*-------------------------------------------------------------------------
 *
 * preload.c
 *	  What a server needs besides libasan and libubsan, preloaded with them.
 *
 * libgpg-error's constructor calls bindtextdomain, which allocates with a lock
 * held.  That first allocation starts libasan, which wants the same lock: the
 * server would hang before main().
 *
 * libubsan does not follow its own log_path beside libasan, and a message in
 * some server's log is easily overlooked: so it is told by us, into the folder
 * that WATCH_REPORTS names, and ends the process.
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE
#include <execinfo.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern char *bindtextdomain(const char *domain, const char *folder);
extern void __ubsan_get_current_report_data(const char **kind,
											const char **message,
											const char **file,
											unsigned *line, unsigned *column,
											char **address);
extern void __ubsan_on_report(void);

char *
bindtextdomain(const char *domain, const char *folder)
{
	(void) domain;
	return (char *) folder;
}

void
__ubsan_on_report(void)
{
	const char *folder = getenv("WATCH_REPORTS");
	const char *kind;
	const char *message;
	const char *file;
	char	   *address;
	unsigned	line;
	unsigned	column;
	char		path[1024];
	void	   *frames[40];
	int			fd;

	__ubsan_get_current_report_data(&kind, &message, &file, &line, &column,
									&address);
	snprintf(path, sizeof(path), "%s/ubsan.%d", folder ? folder : "/tmp",
			 (int) getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
	if (fd >= 0)
	{
		dprintf(fd, "%s:%u: %s: %s\n", file, line, kind, message);
		backtrace_symbols_fd(frames, backtrace(frames, 40), fd);
	}
	abort();
}
