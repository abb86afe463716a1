/*-------------------------------------------------------------------------
 *
 * errors.h
 *	  The SQLSTATEs of class VR, which only this extension raises.
 *
 * Standard codes come first; one of these exists only where a caller has a
 * reason to branch on it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_ERRORS_H
#define VF_ERRORS_H

#include "utils/elog.h"

/* A blast-radius brake: nothing was deleted, confirm => n allows it. */
#define VF_ERRCODE_BRAKE			MAKE_SQLSTATE('V', 'R', '0', '0', '1')
/* The registered tables are not what they were: vf_configure() again. */
#define VF_ERRCODE_REGISTRATION		MAKE_SQLSTATE('V', 'R', '0', '0', '2')
/* This database is a copy: vf_adopt() first. */
#define VF_ERRCODE_NOT_ADOPTED		MAKE_SQLSTATE('V', 'R', '0', '0', '3')
/* vf_pause() is in force. */
#define VF_ERRCODE_PAUSED			MAKE_SQLSTATE('V', 'R', '0', '0', '4')
/* A voiceframe.* line of a configuration file is unknown or not applied. */
#define VF_ERRCODE_SETTINGS			MAKE_SQLSTATE('V', 'R', '0', '0', '5')
/* Keys still wait in the outbox. */
#define VF_ERRCODE_KEYS_WAIT		MAKE_SQLSTATE('V', 'R', '0', '0', '6')

#endif							/* VF_ERRORS_H */
