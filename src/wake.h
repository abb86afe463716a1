/*-------------------------------------------------------------------------
 *
 * wake.h
 *	  Waking this database's worker at commit, and waiting.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_WAKE_H
#define VF_WAKE_H

#include "datatype/timestamp.h"

/* Once per process, by _PG_init. */
extern void vf_wake_init(void);

/* The worker looks at the outbox as soon as this transaction has committed. */
extern void vf_wake_at_commit(void);

/* Wake it now. */
extern void vf_wake_worker(Oid database);

/*
 * Wait until then, handling interrupts, as long as keep_going (if given) says
 * so about ten times a second.
 */
extern void vf_wake_wait_until(TimestampTz until, bool (*keep_going) (void));

#endif							/* VF_WAKE_H */
