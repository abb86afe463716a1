/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  Objects that a request may have reached although their rows are back:
 *	  table vf_lookup.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_LOOKUP_H
#define VF_LOOKUP_H

#include "datatype/timestamp.h"

/* Have an object looked for, then; without a bucket nothing is to be found. */
extern void vf_lookup_add(const char *endpoint, const char *bucket,
						  const char *key, const char *session_id,
						  int64 run_id, TimestampTz look_at);

/* Keys of a bucket whose time has come, up to max, palloc'd. */
extern char **vf_lookup_due(const char *endpoint, const char *bucket,
							TimestampTz now, int max, int *n);

/* Which of the keys, whatever their bucket, have not been found since? */
extern char **vf_lookup_missing(char *const *keys, int n, int *found);

/* What was found. */
extern void vf_lookup_set(const char *endpoint, const char *bucket,
						  const char *key, bool found);

/* Nothing could be found out: look again then. */
extern void vf_lookup_put_off(const char *endpoint, const char *bucket,
							  const char *key, TimestampTz look_at);

/* Forget what was looked at before then. */
extern void vf_lookup_prune(TimestampTz before);

#endif							/* VF_LOOKUP_H */
