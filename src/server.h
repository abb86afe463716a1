/*-------------------------------------------------------------------------
 *
 * server.h
 *	  Which server this is, and how much time has passed for it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SERVER_H
#define VF_SERVER_H

/* Terminated, 16 hexadecimal digits. */
#define VF_SERVER_START_SIZE 17

/*
 * An id of this start of the server: of its postmaster, so that it outlives
 * the crash of a backend, and is another one in every copy of the data
 * directory that is started anywhere else.
 */
extern void vf_server_start(char *id);

/* The host's name, for people; "" if it has none. */
extern void vf_server_host(char *name, size_t size);

/* A random number that stands for who holds something. */
extern int64 vf_server_token(void);

/* Two clocks, ms. */
typedef struct VfServerTime
{
	int64		steady;			/* counts on while the machine sleeps */
	int64		wall;
} VfServerTime;

extern void vf_server_now(VfServerTime *now);

/*
 * Milliseconds since then by whichever clock says more: a guest that was
 * suspended may learn of it from the wall clock alone.
 */
extern int64 vf_server_since(const VfServerTime *then);

#endif							/* VF_SERVER_H */
