/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The launcher and the workers, one for each database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_WORKER_H
#define VF_WORKER_H

#include "postgres.h"

/* By _PG_init: register the launcher if the library is being preloaded. */
extern void vf_worker_register_launcher(void);

/*
 * Start this database's worker and return its pid, or that of the one that
 * runs.  Raises 53000 when the server has no process to spare.
 */
extern int	vf_worker_start(void);

/* Stop it until it is started again; false if none ran. */
extern bool vf_worker_stop(void);

/* Entry points of the processes. */
extern PGDLLEXPORT void vf_worker_main(Datum arg);
extern PGDLLEXPORT void vf_launcher_main(Datum arg);

#endif							/* VF_WORKER_H */
