/*-------------------------------------------------------------------------
 *
 * fake_server.h
 *	  Where errors raised in a unit test of backend code go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_FAKE_SERVER_H
#define VF_FAKE_SERVER_H

#include <setjmp.h>

#include "datatype/timestamp.h"

extern jmp_buf fake_error_jump;

/* Messages below ERROR so far; what GetCurrentTimestamp() says. */
extern int	fake_logged;
extern TimestampTz fake_now;

/* Does the statement raise an error? */
#define RAISES(statement) \
	(setjmp(fake_error_jump) == 0 ? ((statement), false) : true)

#endif							/* VF_FAKE_SERVER_H */
