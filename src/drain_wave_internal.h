/*-------------------------------------------------------------------------
 *
 * drain_wave_internal.h
 *	  What the files of a wave share, and nobody else sees.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_DRAIN_WAVE_INTERNAL_H
#define VF_DRAIN_WAVE_INTERNAL_H

#include "drain_wave.h"

/* What a body has beside its keys, at most, bytes. */
#define VF_WAVE_FRAME 1000

/* The code of what there was no time for. */
#define VF_WAVE_NOT_SENT "NotSent"

/* Of an orphan that is none any more. */
#define VF_ORPHAN_CHANGED "OrphanChanged"
#define VF_ORPHAN_CHANGED_MESSAGE \
	"the object is not the one that the scans saw"

/* Of a key that must stay. */
#define VF_REFERENCED "Referenced"
#define VF_REFERENCED_MESSAGE \
	"a row of sessions or orders references the object"

/* drain_wave.c */

extern VfWaveRequest *vf_wave_new_request(VfWave *wave, int entry);
/* position: that of the key in its entry. */
extern void vf_wave_add_key(VfWave *wave, VfWaveRequest *r,
							const VfS3Key *key, int position);
/* To the request that fills up, or to a new one. */
extern void vf_wave_put_key(VfWave *wave, int entry, VfWaveRequest **bulk,
							const VfS3Key *key, int position);
/* What a key takes of a body, bytes. */
extern size_t vf_wave_key_bytes(const VfS3Key *key);
extern void vf_wave_set_outcome(VfKeyOutcome *o, VfKeyFate fate,
								const char *code, const char *message);
/* Does a request that starts now end before the lease? */
extern bool vf_wave_fits_lease(const VfWave *wave);

/* drain_keep.c */

/*
 * Another look at what names the keys, for what came before the requests took
 * its time.
 */
typedef struct VfWaveLook
{
	char	  **referenced;
	int			n_referenced;
	char	  **undo;			/* named by what can still be put back */
	int			n_undo;
	char	  **undo_now;		/* the same, asked once more at the end */
	int			n_undo_now;
	char	  **copied;			/* named by a copy that is still to be made */
	int			n_copied;
} VfWaveLook;

extern void vf_wave_look_again(const VfSource *source, char *const *keys,
							   int n, VfWaveLook *look);
/* May the key go?  If not, its outcome says so or stays as it is. */
extern bool vf_wave_still_goes(const VfWaveLook *look, const char *key,
							   VfKeyOutcome *o);

/* drain_send.c */

/* A store that is busy asks for patience, not for the key's life. */
extern bool vf_wave_is_slow_down(const char *code);
/* Does a failure say something about its batch, not about the bucket? */
extern bool vf_wave_is_about_batch(const VfWave *wave,
								   const VfS3Answer *answer);

/* drain_judge.c */

/* Counted against s3_max_attempts: again later, or dead. */
extern void vf_wave_count_attempt(const VfOutboxEntry *entry,
								  VfKeyOutcome *o, const char *code,
								  const char *message);
extern void vf_wave_judge(VfWave *wave);

#endif							/* VF_DRAIN_WAVE_INTERNAL_H */
