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
