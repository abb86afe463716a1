/*-------------------------------------------------------------------------
 *
 * erase.c
 *	  Deleting one session for a customer who asks.
 *
 * The same three things as in a batch of a purge: lock the rows, hold the
 * payments whose guard would not wait for them, and ask under a younger
 * snapshot whether an order keeps one.  Only that it is due is not asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "bucket.h"
#include "db.h"
#include "erase.h"
#include "outbox.h"
#include "preflight.h"
#include "purge_batch.h"
#include "restore.h"
#include "runlog.h"
#include "source.h"

/* How long it waits for locks that others hold on our tables, ms. */
#define LOCK_TIMEOUT 10000

typedef struct Erase
{
	VfSource   *source;
	VfRules		rules;
	const char *token;
	VfOutboxPack *pack;
	int64		sessions;
} Erase;

/* Run a statement about the sessions of the token, $7, as their owner. */
static uint64
run_as_owner(const Erase *e, const char *template)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	uint64		n;

	vf_rules_args(e->source, &e->rules, &args);
	vf_db_arg_text(&args, e->token);
	vf_db_enter_owner(&section, e->source->sessions.owner);
	n = vf_db_run(vf_db_fill(template, vf_rules_names(e->source, NULL)),
				  &args);
	vf_db_leave(&section);
	return n;
}

static void
require_free(const Erase *e)
{
	run_as_owner(e, "SELECT coalesce(pg_catalog.bool_or({blocked}), false),"
				 " coalesce(pg_catalog.bool_or({held}), false)"
				 " FROM {sessions} s WHERE s.{token} = $7");
	if (vf_db_bool(0, 0))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("an order keeps the session"),
				 errdetail("It has been paid, or is in checkout."),
				 errhint("Settle the order first: its status decides. Nothing was erased.")));
	if (vf_db_bool(0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the session is held"),
				 errdetail("vf_hold has who holds it, and why."),
				 errhint("Call vf_release() first, if it may go. Nothing was erased.")));
}

/*
 * Whoever was putting the session back has been waited for at its undo rows,
 * after we had found no session.
 */
static void
require_gone(const Erase *e)
{
	if (run_as_owner(e, "SELECT FROM {sessions} s WHERE s.{token} = $7") > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("the session has come back in the meantime"),
				 errdetail("Its purge was taken back, or an order was paid for."),
				 errhint("Call vf_erase_session() again: it says what keeps the session. Nothing was erased.")));
}

/* A VfDbBody: queue what is deleted. */
static void
delete_rows(void *arg)
{
	Erase	   *e = arg;
	uint64		n = run_as_owner(e, "DELETE FROM {sessions} s"
								 " WHERE s.{token} = $7 RETURNING"
								 " pg_catalog.array_remove({session_keys},"
								 " NULL)");

	for (uint64 i = 0; i < n; i++)
	{
		int			nkeys;
		char	  **keys = vf_db_texts(i, 0, &nkeys);

		for (int k = 0; k < nkeys; k++)
			vf_outbox_pack_add(e->pack, keys[k], (int) strlen(keys[k]));
	}
	e->sessions = (int64) n;
}

void
vf_erase_token(const char *token, VfErased *erased)
{
	Erase		e = {.token = token};
	VfRunCounts counts = {0};
	VfBucket   *bucket;

	memset(erased, 0, sizeof(*erased));
	vf_preflight_primary();
	vf_db_require_read_committed("vf_erase_session()",
								 "Begin the transaction with ISOLATION LEVEL READ COMMITTED.");
	e.source = vf_source_load(VF_SOURCE_DELETE);
	vf_rules_at(e.source, GetCurrentTimestamp(), &e.rules);
	vf_db_lock(e.source->sessions.relid, RowExclusiveLock, LOCK_TIMEOUT);
	vf_outbox_lock(LOCK_TIMEOUT);
	bucket = vf_bucket_current();
	erased->run_id = vf_runlog_start("erase", "vf_erase_session", false);
	e.pack = vf_outbox_pack(erased->run_id,
							bucket ? bucket->endpoint : NULL,
							bucket ? bucket->bucket : NULL);
	if (run_as_owner(&e, "SELECT FROM {sessions} s WHERE s.{token} = $7"
					 " FOR UPDATE") > 0)
	{
		vf_purge_hold_payments(e.source);
		require_free(&e);
		vf_purge_as_ours(delete_rows, &e);
		vf_outbox_pack_write(e.pack, &counts.keys_queued,
							 &counts.keys_cancelled);
	}
	erased->sessions = e.sessions;
	erased->keys_queued = counts.keys_queued;
	erased->undo_rows = vf_restore_discard_token(token);
	require_gone(&e);
	if (erased->sessions + erased->undo_rows == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no session with that token, nor undo data of one"),
				 errhint("A session that was purged without an undo window leaves nothing to erase.")));
	vf_runlog_finish(erased->run_id, "ok", &counts, NULL);
}
