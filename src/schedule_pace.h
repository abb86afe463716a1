/*-------------------------------------------------------------------------
 *
 * schedule_pace.h
 *	  How fast to send keys, and how many at a time: pure functions of values.
 *
 * Additive increase, multiplicative decrease (Chiu and Jain, "Analysis of the
 * increase and decrease algorithms for congestion avoidance", 1989) on three
 * quantities: keys a second for each prefix, as S3 counts them; keys of a
 * request; bytes of a request.  No clock, no setting, no table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SCHEDULE_PACE_H
#define VF_SCHEDULE_PACE_H

#include "datatype/timestamp.h"

/* Prefixes told apart; any more share the last place. */
#define VF_PACE_PREFIXES 8
#define VF_PACE_PREFIX_SIZE 64

#define VF_PACE_MAX_KEYS 1000
#define VF_PACE_MAX_BYTES 1000000

typedef struct VfPacePrefix
{
	char		prefix[VF_PACE_PREFIX_SIZE];
	double		rate;			/* keys a second; 0: no limit is known */
	TimestampTz free_at;		/* what was sent is paid for by then */
} VfPacePrefix;

typedef struct VfPace
{
	int			batch_keys;		/* 1 to VF_PACE_MAX_KEYS */
	int			batch_bytes;	/* at most VF_PACE_MAX_BYTES */
	int			full;			/* full requests since the last change */
	int			n;
	VfPacePrefix prefixes[VF_PACE_PREFIXES];
	bool		changed;		/* set here, cleared by the caller */
} VfPace;

extern void vf_pace_init(VfPace *pace);

/* The place of a prefix, with the rate it had, if it is new. */
extern int	vf_pace_add(VfPace *pace, const char *prefix, size_t len,
						double rate);

/* The place of a key's prefix: up to and with its first slash. */
extern int	vf_pace_place(VfPace *pace, const char *key, size_t len);

/* How many keys a request may have, so that its turn comes within seconds. */
extern int	vf_pace_request_keys(const VfPace *pace);

/*
 * When a request with so many keys of each prefix may be sent; spend it once it
 * is.
 */
extern TimestampTz vf_pace_ready(const VfPace *pace, const int *counts,
								 TimestampTz now);
extern void vf_pace_spend(VfPace *pace, const int *counts, TimestampTz now);

/*
 * The store asked for patience while it was sent so many keys a second, which
 * counts where no limit was known.
 */
extern void vf_pace_slow(VfPace *pace, int place, double sent_rate);
/* It took so many keys of the prefix. */
extern void vf_pace_fine(VfPace *pace, int place, int keys);

/* A request of that many keys took too long; one of that size was refused. */
extern void vf_pace_too_many(VfPace *pace, int keys);
extern void vf_pace_too_large(VfPace *pace, int bytes);
/* A request was carried out: larger ones may be. */
extern void vf_pace_carried(VfPace *pace, int keys, int bytes);

#endif							/* VF_SCHEDULE_PACE_H */
