/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Which server this is, and how much time has passed for it.
 *
 * The id of a start is made from what differs between any two postmasters:
 * the machine and its boot, the data directory's place on disk, the
 * postmaster's pid and the microsecond of its start.  A random number in
 * shared memory would be lost whenever a crashed backend makes the server
 * begin anew, and its own lease would then look like a stranger's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "server.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

/* What two servers cannot have in common; zeroed, for it is hashed whole. */
typedef struct Traits
{
	char		host[256];
	char		boot[64];
	int64		device;
	int64		inode;
	int64		pid;
	int64		started;
} Traits;

int64
vf_server_token(void)
{
	int64		token;

	if (!pg_strong_random(&token, sizeof(token)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a lease token")));
	return token;
}

void
vf_server_host(char *name, size_t size)
{
	name[0] = '\0';
	if (gethostname(name, size - 1) != 0)
		name[0] = '\0';
	name[size - 1] = '\0';
}

/* Only Linux has it; the rest of the traits do without. */
static void
read_boot(char *boot, size_t size)
{
	int			fd = open(BOOT_ID, O_RDONLY | O_CLOEXEC);
	ssize_t		n;

	if (fd < 0)
		return;
	n = read(fd, boot, size - 1);
	boot[Max(n, 0)] = '\0';
	close(fd);
}

void
vf_server_start(char *id)
{
	Traits		t;
	struct stat st;

	memset(&t, 0, sizeof(t));
	vf_server_host(t.host, sizeof(t.host));
	read_boot(t.boot, sizeof(t.boot));
	if (stat(DataDir, &st) == 0)
	{
		t.device = (int64) st.st_dev;
		t.inode = (int64) st.st_ino;
	}
	t.pid = PostmasterPid;
	t.started = PgStartTime;
	snprintf(id, VF_SERVER_START_SIZE, "%016llx",
			 (unsigned long long)
			 hash_bytes_extended((unsigned char *) &t, sizeof(t), 0));
}

#ifdef CLOCK_BOOTTIME
#define STEADY CLOCK_BOOTTIME
#else
#define STEADY CLOCK_MONOTONIC
#endif

static int64
read_clock(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
vf_server_now(VfServerTime *now)
{
	now->steady = read_clock(STEADY);
	now->wall = read_clock(CLOCK_REALTIME);
}

int64
vf_server_since(const VfServerTime *then)
{
	VfServerTime now;

	vf_server_now(&now);
	return Max(now.steady - then->steady, now.wall - then->wall);
}
