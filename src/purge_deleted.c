/*-------------------------------------------------------------------------
 *
 * purge_deleted.c
 *	  Keys of sessions that the application deletes itself.
 *
 * The rows come in the statement's transition table and are read from there
 * directly: no statement of ours runs with the application's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#include "bucket.h"
#include "db.h"
#include "outbox.h"
#include "purge_batch.h"
#include "purge_deleted.h"

/* Is the attribute a key column, as vf_configure sees it? */
static bool
is_key_column(Form_pg_attribute att)
{
	size_t		n = strlen(NameStr(att->attname));

	return !att->attisdropped && n >= 7 &&
		strcmp(NameStr(att->attname) + n - 7, "_s3_key") == 0 &&
		(att->atttypid == TEXTOID || att->atttypid == VARCHAROID);
}

static void
add_row(VfOutboxPack *pack, TupleTableSlot *slot)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;

	for (int i = 0; i < desc->natts; i++)
	{
		bool		isnull;
		Datum		value;

		if (!is_key_column(TupleDescAttr(desc, i)))
			continue;
		value = slot_getattr(slot, i + 1, &isnull);
		if (!isnull)
			vf_outbox_pack_add(pack, TextDatumGetCString(value));
	}
}

void
vf_purge_queue_deleted(TriggerData *trigger)
{
	TupleTableSlot *slot;
	VfOutboxPack *pack;
	VfBucket   *bucket;
	int64		queued,
				cancelled;

	if (vf_purge_is_deleting() || trigger->tg_oldtable == NULL)
		return;
	vf_db_open(false);
	bucket = vf_bucket_current();
	pack = vf_outbox_pack(0, bucket != NULL ? bucket->endpoint : NULL,
						  bucket != NULL ? bucket->bucket : NULL);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation),
									&TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(trigger->tg_oldtable, true, false, slot))
		add_row(pack, slot);
	ExecDropSingleTupleTableSlot(slot);
	vf_outbox_pack_write(pack, &queued, &cancelled);
	vf_db_close();
}
