/*-------------------------------------------------------------------------
 *
 * purge_deleted.c
 *	  Keys of sessions that the application deletes itself.
 *
 * The rows come in the statement's transition table and are read from there
 * directly: no statement of ours runs with the application's rights.  They are
 * taken in chunks, so that memory is bounded however many went.
 *
 * The application may delete what a customer paid for (its own clean-up
 * script does).  The row is its affair, the files are ours: where an order
 * keeps the session, its keys are cancelled, not queued.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "bucket.h"
#include "db.h"
#include "outbox.h"
#include "purge_batch.h"
#include "purge_deleted.h"
#include "source.h"

/* Rows that are looked at together. */
#define CHUNK 5000

/* A chunk of deleted rows: their tokens and keys. */
typedef struct Chunk
{
	VfSource   *source;
	int			n;
	char	  **tokens;			/* may hold NULLs */
	char	 ***keys;
	bool	   *kept;			/* an order keeps it */
} Chunk;

static char *
column_text(TupleTableSlot *slot, const char *name)
{
	TupleDesc	desc = slot->tts_tupleDescriptor;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		bool		isnull;
		Datum		value;

		if (att->attisdropped || strcmp(NameStr(att->attname), name) != 0)
			continue;
		value = slot_getattr(slot, i + 1, &isnull);
		return isnull ? NULL : TextDatumGetCString(value);
	}
	return NULL;
}

static void
add_row(Chunk *c, TupleTableSlot *slot)
{
	const VfTable *sessions = &c->source->sessions;
	char	  **keys = palloc(sizeof(char *) * sessions->nkeys);

	for (int i = 0; i < sessions->nkeys; i++)
		keys[i] = column_text(slot, sessions->keys[i].name);
	c->tokens[c->n] = column_text(slot, c->source->column[VF_S_TOKEN]);
	c->keys[c->n] = keys;
	c->kept[c->n++] = false;
}

/* Which of the sessions does an order keep? */
static void
look_at_orders(Chunk *c)
{
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	char	  **tokens = palloc(sizeof(char *) * Max(c->n, 1));
	char	  **kept;
	int			n_tokens = 0;
	uint64		n;

	for (int i = 0; i < c->n; i++)
		if (c->tokens[i] != NULL)
			tokens[n_tokens++] = c->tokens[i];
	vf_rules_at(c->source, GetCurrentTimestamp(), &rules);
	vf_rules_args(c->source, &rules, &args);
	vf_db_arg_texts(&args, tokens, n_tokens);
	vf_db_enter_owner(&section, c->source->sessions.owner);
	n = vf_db_run(vf_db_fill("SELECT DISTINCT o.{order_token}"
							 "::pg_catalog.text FROM {orders} o"
							 " WHERE o.{order_token} = ANY ($7) AND {keeps}",
							 vf_rules_names(c->source, NULL)), &args);
	vf_db_leave(&section);
	kept = palloc(sizeof(char *) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
		kept[i] = vf_db_text(i, 0);
	qsort(kept, n, sizeof(char *), pg_qsort_strcmp);
	for (int i = 0; i < c->n; i++)
		c->kept[i] = c->tokens[i] != NULL &&
			bsearch(&c->tokens[i], kept, n, sizeof(char *),
					pg_qsort_strcmp) != NULL;
}

static void
queue_chunk(Chunk *c, const VfBucket *bucket)
{
	VfOutboxPack *pack = vf_outbox_pack(0,
										bucket ? bucket->endpoint : NULL,
										bucket ? bucket->bucket : NULL);
	int64		queued,
				cancelled;

	look_at_orders(c);
	for (int i = 0; i < c->n; i++)
	{
		for (int k = 0; k < c->source->sessions.nkeys; k++)
		{
			const char *key = c->keys[i][k];
			int			len = key == NULL ? 0 : (int) strlen(key);

			if (c->kept[i])
				vf_outbox_pack_keep(pack, key, len);
			else
				vf_outbox_pack_add(pack, key, len);
		}
	}
	vf_outbox_pack_write(pack, &queued, &cancelled);
	c->n = 0;
}

/* Columns of another table may have the names of ours, and other types. */
static void
check_table(const Chunk *c, const TriggerData *trigger)
{
	if (RelationGetRelid(trigger->tg_relation) == c->source->sessions.relid)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\" is not on the registered sessions table",
					trigger->tg_trigger->tgname),
			 errdetail("It is on \"%s\".",
					   RelationGetRelationName(trigger->tg_relation)),
			 errhint("Drop it: vf_configure(queue_deletes => true) makes the one that is needed.")));
}

void
vf_purge_queue_deleted(TriggerData *trigger)
{
	TupleTableSlot *slot;
	VfBucket   *bucket;
	Chunk		chunk;
	MemoryContext context;
	MemoryContext old;

	if (vf_purge_is_deleting() || trigger->tg_oldtable == NULL)
		return;
	vf_db_open(false);
	memset(&chunk, 0, sizeof(chunk));
	chunk.source = vf_source_load(VF_SOURCE_LOOK);
	check_table(&chunk, trigger);
	chunk.tokens = palloc(sizeof(char *) * CHUNK);
	chunk.keys = palloc(sizeof(char **) * CHUNK);
	chunk.kept = palloc(sizeof(bool) * CHUNK);
	bucket = vf_bucket_current();
	slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation),
									&TTSOpsMinimalTuple);
	context = AllocSetContextCreate(CurrentMemoryContext,
									"voiceframe deleted sessions",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	while (tuplestore_gettupleslot(trigger->tg_oldtable, true, false, slot))
	{
		add_row(&chunk, slot);
		if (chunk.n < CHUNK)
			continue;
		queue_chunk(&chunk, bucket);
		MemoryContextReset(context);
	}
	if (chunk.n > 0)
		queue_chunk(&chunk, bucket);
	MemoryContextSwitchTo(old);
	ExecDropSingleTupleTableSlot(slot);
	vf_db_close();
}
