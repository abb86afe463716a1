/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  The settings voiceframe.*, their checks, and lists read from them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef VF_SETTINGS_H
#define VF_SETTINGS_H

#include "nodes/pg_list.h"

/* Rules; times in seconds */
extern int	vf_expired_grace;
extern int	vf_unpaid_after;
extern int	vf_checkout_grace;
extern char *vf_unpaid_statuses;
extern char *vf_timestamp_zone;
extern char *vf_deletable_prefixes;
extern int	vf_undo_window;

/* Purge */
extern int	vf_purge_batch_size;
extern int	vf_purge_rate;
extern int	vf_purge_brake_percent;
extern int	vf_purge_brake_rows;
extern int	vf_naptime;

/* Bucket */
extern char *vf_s3_credentials_file;
extern char *vf_s3_ca_file;
extern char *vf_s3_proxy;
extern int	vf_s3_concurrency;
extern bool vf_s3_delete_versions;
extern int	vf_s3_max_attempts;
extern bool vf_promote_by_itself;
extern int	vf_scan_interval;
extern char *vf_orphan_prefixes;
extern int	vf_orphan_grace;
extern int	vf_orphan_brake_percent;

/* Watch and other */
extern int	vf_run_history;
extern char *vf_databases;

/* Define them all; called once, by _PG_init. */
extern void vf_settings_define(void);

/*
 * Split a list setting whose check hook has accepted it: a List of char *,
 * palloc'd, in its own case.
 */
extern List *vf_settings_list(const char *value);

#endif							/* VF_SETTINGS_H */
