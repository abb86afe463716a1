/*-------------------------------------------------------------------------
 *
 * preflight.h
 *	  What must be true before anything is deleted, rows or objects.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_PREFLIGHT_H
#define VF_PREFLIGHT_H

/*
 * Raise an error on a standby (25006), or while a voiceframe.* line of the
 * configuration files is unknown or not applied (VF_ERRCODE_SETTINGS): the
 * server has fallen back to a default there, with only a warning.
 */
extern void vf_preflight(void);

/*
 * Only its first part: raises on a standby.  Called before a run begins, for
 * there not even a refusal can be put on record.
 */
extern void vf_preflight_primary(void);

/* The same as an answer: NULL, or the line that is wrong. Palloc'd. */
extern char *vf_preflight_settings_fault(void);

#endif							/* VF_PREFLIGHT_H */
