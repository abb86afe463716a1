/*-------------------------------------------------------------------------
 *
 * drain_wave.h
 *	  A few leased entries, their requests and what became of each key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_DRAIN_WAVE_H
#define VF_DRAIN_WAVE_H

#include "outbox.h"
#include "s3.h"
#include "schedule_pace.h"
#include "source.h"

/*
 * Seconds that a lease lasts, and milliseconds that a request may take.  A
 * request starts only if it ends, with this margin (ms), before the lease.
 */
#define VF_WAVE_LEASE 120
#define VF_WAVE_TIMEOUT 30000
#define VF_WAVE_MARGIN 5000

typedef struct VfWaveRequest
{
	VfS3Delete	del;
	int			entry;			/* number of its entry */
	int		   *position;		/* of each key in the entry */
	int			counts[VF_PACE_PREFIXES];	/* of keys, by prefix */
	int			bytes;			/* of the body, about */
	bool		half;			/* of one that failed */
	bool		split;			/* its halves stand for it */
	bool		started;
	bool		finished;
} VfWaveRequest;

typedef struct VfWaveListing VfWaveListing;

typedef struct VfWave
{
	TimestampTz lease_until;
	VfPace	   *pace;			/* of the bucket */
	bool		stubborn;		/* the bucket has failed again and again */
	VfOutboxEntry *entries;
	int			n;
	VfKeyOutcome **outcomes;	/* per entry, per key */
	VfWaveRequest **requests;
	int			n_requests;
	int			max_requests;

	/* versions, where they are asked for (drain_versions.c) */
	struct VfWaveListing *listings;
	int			n_listings;
	int		  **pending;		/* per entry, per key: not known to be gone */

	/* orphans, of a single entry (drain_orphans.c) */
	bool		orphans;
	struct VfInventoryObject *known;	/* as the scans saw them, sorted */
	int			n_known;
	VfS3Look   *heads;
	int			n_heads;

	/* what the bucket had to say */
	bool		answered;		/* at least one request was carried out */
	VfS3Answer	bucket_failure; /* code "" if none */
	bool		has_offset;
	double		offset;
} VfWave;

/*
 * In the claiming transaction: let the keys wait that rows name which can
 * still be put back, or copies that are still to be made; cancel those that
 * the present settings do not let us delete, and in a statement after all that
 * those that live rows reference; then make the requests.
 */
extern void vf_wave_defer_undo(VfWave *wave);
extern void vf_wave_defer_copied(VfWave *wave);
extern void vf_wave_cancel_outside(VfWave *wave, int64 *cancelled);
extern void vf_wave_cancel_referenced(VfWave *wave, const VfSource *source,
									  int64 *cancelled);
extern void vf_wave_prepare(VfWave *wave);

/*
 * Where every version is to go: list them, with no transaction open; false if
 * tick stopped it.  Then, in a new one, look at the references again and make
 * the requests anew.
 */
extern bool vf_wave_list_versions(VfWave *wave, VfS3Client *client,
								  VfHttpTick tick, void *arg);
extern void vf_wave_expand_versions(VfWave *wave, const VfSource *source);

/*
 * A wave of orphans: in the claiming transaction cancel what the last scan
 * did not find as it was; with no transaction open ask the store for each,
 * or, where another database works in the bucket, let all wait;
 * false if tick stopped it.  Then, in a new one, leave out what has changed or
 * is named meanwhile, and make the requests anew, each key with its ETag.
 */
extern void vf_wave_cancel_changed(VfWave *wave, int bucket_id,
								   int64 *cancelled);
extern void vf_wave_hold_orphans(VfWave *wave, const char *code,
								 const char *message);
extern bool vf_wave_ask_orphans(VfWave *wave, VfS3Client *client,
								VfHttpTick tick, void *arg);
extern void vf_wave_expand_orphans(VfWave *wave, const VfSource *source);
/* With the settling: the list of orphans has them no more. */
extern void vf_wave_forget_orphans(const VfWave *wave, int bucket_id);

/* Keys in the wave's requests. */
extern int64 vf_wave_keys(const VfWave *wave);

/*
 * Send all, as fast as the pace allows; what fails as a batch is halved and
 * sent again, until the keys at fault stand alone or the lease has no time
 * left.  False if tick stopped it.
 */
extern bool vf_wave_send(VfWave *wave, VfS3Client *client, VfHttpTick tick,
						 void *arg);

/* In a new transaction: settle what is known. */
extern void vf_wave_settle(VfWave *wave, VfOutboxCounts *counts);

#endif							/* VF_DRAIN_WAVE_H */
