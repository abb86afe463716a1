/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  The settings voiceframe.*, their checks, and lists read from them.
 *
 * What decides about deleting can be changed by a superuser only (PGC_SUSET),
 * which still allows ALTER DATABASE ... SET.  Nothing needs a restart.  Every
 * check hook refuses rather than repairs: a list with an empty element or a
 * status that pays would silently widen what is deleted.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "pgtime.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "settings.h"

int			vf_expired_grace;
int			vf_unpaid_after;
int			vf_checkout_grace;
char	   *vf_unpaid_statuses;
char	   *vf_timestamp_zone;
char	   *vf_deletable_prefixes;
int			vf_undo_window;
int			vf_purge_batch_size;
int			vf_purge_rate;
int			vf_purge_brake_percent;
int			vf_purge_brake_rows;
int			vf_naptime;
char	   *vf_s3_credentials_file;
char	   *vf_s3_ca_file;
char	   *vf_s3_proxy;
int			vf_s3_concurrency;
bool		vf_s3_delete_versions;
int			vf_s3_max_attempts;
bool		vf_promote_by_itself;
int			vf_scan_interval;
char	   *vf_orphan_prefixes;
int			vf_orphan_grace;
int			vf_orphan_brake_percent;
int			vf_run_history;
char	   *vf_databases;

/* An order in one of these has been paid: they can never count as unpaid. */
static const char *const paying_statuses[] = {
	"paid", "completed", "expired", "refunded", NULL
};

/*
 * Split a copy of value at commas.  NULL, with the reason as the hook's
 * detail, if it is no list or has an empty element.
 */
static bool
split_list(const char *value, List **list)
{
	char	   *copy = pstrdup(value);
	ListCell   *lc;

	if (!SplitGUCList(copy, ',', list))
	{
		GUC_check_errdetail("List syntax is invalid: elements are separated by commas, and none may be empty.");
		return false;
	}
	foreach(lc, *list)
	{
		if (((char *) lfirst(lc))[0] == '\0')
		{
			GUC_check_errdetail("The list has an empty element.");
			return false;
		}
	}
	return true;
}

static bool
check_unpaid_statuses(char **newval, void **extra, GucSource source)
{
	List	   *list;
	ListCell   *lc;

	(void) extra;
	(void) source;
	if (!split_list(*newval, &list))
		return false;
	foreach(lc, list)
	{
		const char *status = lfirst(lc);

		for (int i = 0; paying_statuses[i] != NULL; i++)
		{
			if (pg_strcasecmp(status, paying_statuses[i]) != 0)
				continue;
			GUC_check_errdetail("Orders of status \"%s\" belong to customers who have paid.",
								status);
			return false;
		}
	}
	return true;
}

/* Prefixes end in a slash, but for one where that is allowed. */
static bool
check_slashes(const char *value, const char *but_for)
{
	List	   *list;
	ListCell   *lc;

	if (!split_list(value, &list))
		return false;
	foreach(lc, list)
	{
		const char *prefix = lfirst(lc);

		if (prefix[strlen(prefix) - 1] == '/' ||
			(but_for != NULL && strcmp(prefix, but_for) == 0))
			continue;
		GUC_check_errdetail("The prefix \"%s\" does not end in \"/\".",
							prefix);
		return false;
	}
	return true;
}

static bool
check_prefixes(char **newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	return check_slashes(*newval, NULL);
}

/* The application's previews are in no table, and beside files that are. */
#define PREVIEWS "pdfs/preview_"

static bool
check_orphan_prefixes(char **newval, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	return check_slashes(*newval, PREVIEWS);
}

static bool
check_names(char **newval, void **extra, GucSource source)
{
	List	   *list;

	(void) extra;
	(void) source;
	return split_list(*newval, &list);
}

static bool
check_zone(char **newval, void **extra, GucSource source)
{
	pg_tz	   *zone = pg_tzset(*newval);

	(void) extra;
	(void) source;
	if (zone == NULL || !pg_tz_acceptable(zone))
	{
		GUC_check_errdetail("The time zone \"%s\" is not known to this server.",
							*newval);
		return false;
	}
	return true;
}

List *
vf_settings_list(const char *value)
{
	List	   *list;

	if (!SplitGUCList(pstrdup(value), ',', &list))
		elog(ERROR, "list setting \"%s\" passed its check and does not parse",
			 value);
	return list;
}

static void
define_int(const char *name, const char *what, int *var, int boot, int min,
		   int max, GucContext context, int flags)
{
	DefineCustomIntVariable(name, what, NULL, var, boot, min, max, context,
							flags, NULL, NULL, NULL);
}

static void
define_string(const char *name, const char *what, char **var,
			  const char *boot, GucContext context, int flags,
			  GucStringCheckHook check)
{
	DefineCustomStringVariable(name, what, NULL, var, boot, context, flags,
							   check, NULL, NULL);
}

static void
define_rules(void)
{
	define_int("voiceframe.expired_grace",
			   "Sets how long after expires_at an unpaid session is kept.",
			   &vf_expired_grace, 0, 0, INT_MAX, PGC_SUSET, GUC_UNIT_S);
	define_int("voiceframe.unpaid_after",
			   "Sets the age at which an unpaid session is due.",
			   &vf_unpaid_after, 7 * 86400, 3600, INT_MAX, PGC_SUSET,
			   GUC_UNIT_S);
	define_int("voiceframe.checkout_grace",
			   "Sets how long an unpaid order keeps its session after its last change.",
			   &vf_checkout_grace, 3 * 86400, 0, INT_MAX, PGC_SUSET,
			   GUC_UNIT_S);
	define_string("voiceframe.unpaid_statuses",
				  "Sets the order statuses that do not keep a session.",
				  &vf_unpaid_statuses, "pending, failed, canceled, cancelled",
				  PGC_SUSET, GUC_LIST_INPUT, check_unpaid_statuses);
	define_string("voiceframe.timestamp_zone",
				  "Sets the zone in which timestamps without time zone are read.",
				  &vf_timestamp_zone, "UTC", PGC_SUSET, 0, check_zone);
	define_string("voiceframe.deletable_prefixes",
				  "Sets the prefixes under which S3 keys may be deleted.",
				  &vf_deletable_prefixes,
				  "temp_photos/, temp_audio/, waveforms/",
				  PGC_SUSET, GUC_LIST_INPUT, check_prefixes);
	define_int("voiceframe.undo_window",
			   "Sets how long purged rows are kept for undo and their objects spared.",
			   &vf_undo_window, 0, 0, 90 * 86400, PGC_SUSET, GUC_UNIT_S);
}

static void
define_purge(void)
{
	define_int("voiceframe.purge_batch_size",
			   "Sets how many sessions one transaction of a purge deletes at most.",
			   &vf_purge_batch_size, 50000, 1, 100000, PGC_SUSET, 0);
	define_int("voiceframe.purge_rate",
			   "Sets how many sessions a second CALL vf_purge() and the worker delete at most.",
			   &vf_purge_rate, 0, 0, INT_MAX, PGC_SUSET, 0);
	define_int("voiceframe.purge_brake_percent",
			   "Sets the share of all sessions that a day's purges may delete unconfirmed.",
			   &vf_purge_brake_percent, 50, 0, 100, PGC_SUSET, 0);
	define_int("voiceframe.purge_brake_rows",
			   "Sets the number of sessions that a day's purges may always delete unconfirmed.",
			   &vf_purge_brake_rows, 10000, 0, INT_MAX, PGC_SUSET, 0);
	define_int("voiceframe.naptime",
			   "Sets the pause between two purges of the worker.",
			   &vf_naptime, 60, 1, 86400, PGC_SIGHUP, GUC_UNIT_S);
}

static void
define_bucket(void)
{
	define_string("voiceframe.s3_credentials_file",
				  "Sets the credentials file, in AWS's shared format.",
				  &vf_s3_credentials_file, "", PGC_SUSET,
				  GUC_SUPERUSER_ONLY, NULL);
	define_string("voiceframe.s3_ca_file",
				  "Sets the file of CA certificates that S3 servers are checked with.",
				  &vf_s3_ca_file, "", PGC_SUSET, GUC_SUPERUSER_ONLY, NULL);
	define_string("voiceframe.s3_proxy",
				  "Sets the proxy for S3 requests; the environment's are ignored.",
				  &vf_s3_proxy, "", PGC_SUSET, GUC_SUPERUSER_ONLY, NULL);
	define_int("voiceframe.s3_concurrency",
			   "Sets how many S3 requests are in flight at a time.",
			   &vf_s3_concurrency, 4, 1, 32, PGC_SUSET, 0);
	DefineCustomBoolVariable("voiceframe.s3_delete_versions",
							 "Sets whether every version of an object in a versioned bucket is deleted.",
							 NULL, &vf_s3_delete_versions, false, PGC_SUSET,
							 0, NULL, NULL, NULL);
	define_int("voiceframe.s3_max_attempts",
			   "Sets how often a key is tried before it is a dead letter.",
			   &vf_s3_max_attempts, 10, 1, 1000, PGC_SUSET, 0);
	DefineCustomBoolVariable("voiceframe.promote",
							 "Sets whether the worker queues copies of paid files by itself.",
							 NULL, &vf_promote_by_itself, false, PGC_SUSET,
							 0, NULL, NULL, NULL);
	define_int("voiceframe.scan_interval",
			   "Sets how often the worker scans the bucket (0: never).",
			   &vf_scan_interval, 86400, 0, INT_MAX, PGC_SUSET,
			   GUC_UNIT_S);
	define_string("voiceframe.orphan_prefixes",
				  "Sets the prefixes under which objects that nothing references are orphans.",
				  &vf_orphan_prefixes,
				  "temp_photos/, temp_audio/, waveforms/, " PREVIEWS,
				  PGC_SUSET, GUC_LIST_INPUT, check_orphan_prefixes);
	define_int("voiceframe.orphan_grace",
			   "Sets how old an object has to be, by the store's clock, to be an orphan.",
			   &vf_orphan_grace, 7 * 86400, 86400, INT_MAX, PGC_SUSET,
			   GUC_UNIT_S);
	define_int("voiceframe.orphan_brake_percent",
			   "Sets the share of the objects under orphan_prefixes that a day may delete as orphans unconfirmed.",
			   &vf_orphan_brake_percent, 10, 0, 100, PGC_SUSET, 0);
}

void
vf_settings_define(void)
{
	define_rules();
	define_purge();
	define_bucket();
	define_int("voiceframe.run_history",
			   "Sets how long finished runs and cancelled keys are remembered.",
			   &vf_run_history, 90 * 86400, 86400, INT_MAX, PGC_SUSET,
			   GUC_UNIT_S);
	define_string("voiceframe.databases",
				  "Sets the databases that the launcher serves; empty means all with the extension.",
				  &vf_databases, "", PGC_SIGHUP, GUC_LIST_INPUT, check_names);
	MarkGUCPrefixReserved("voiceframe");
}
