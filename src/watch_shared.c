/*-------------------------------------------------------------------------
 *
 * watch_shared.c
 *	  Which other databases work in the registered bucket.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "bucket.h"
#include "db.h"
#include "settings.h"
#include "shared.h"
#include "watch.h"

void
vf_watch_shared(VfWatchRow row, void *arg)
{
	VfBucket   *bucket = vf_bucket_current();
	List	   *list = list_concat(vf_settings_list(vf_deletable_prefixes),
								   vf_settings_list(vf_orphan_prefixes));
	char	  **prefixes = palloc(sizeof(char *) * Max(list_length(list), 1));
	int			n = 0;
	ListCell   *lc;

	if (bucket == NULL)
		return;
	foreach(lc, list)
		prefixes[n++] = lfirst(lc);
	vf_shared_each(bucket->id, prefixes, n, row, arg);
}
