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

/* The same as an answer: NULL, or the line that is wrong. Palloc'd. */
extern char *vf_preflight_settings_fault(void);

#endif							/* VF_PREFLIGHT_H */
