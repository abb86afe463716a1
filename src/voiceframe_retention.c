/*-------------------------------------------------------------------------
 *
 * voiceframe_retention.c
 *	  The door: module magic and _PG_init.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "settings.h"
#include "stats.h"
#include "wake.h"
#include "worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	vf_settings_define();
	vf_stats_init();
	vf_wake_init();
	vf_worker_register_launcher();
}
