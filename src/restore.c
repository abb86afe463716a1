/*-------------------------------------------------------------------------
 *
 * restore.c
 *	  Putting purged sessions back while their undo rows stand.
 *
 * Batch by batch, as they were purged, in the caller's transaction:
 *
 *	1. hold the batch against the drain, and lock its outbox entries: from
 *	   here on nothing of it can be claimed;
 *	2. judge each session by what became of its keys: only one whose objects
 *	   are there, or may be, goes back;
 *	3. insert the rows as the owner of sessions, halving where one is refused;
 *	4. cancel the keys of those that are back, forget their undo rows, and
 *	   hold them, so that the next purge leaves them alone.
 *
 * A payment does the third step alone (vf_restore_for_payment).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "db.h"
#include "hold.h"
#include "lookup.h"
#include "outbox.h"
#include "preflight.h"
#include "restore.h"
#include "runlog.h"
#include "source.h"
#include "undo.h"

/* How long a restored session is held. */
#define HOLD_TIME (7 * USECS_PER_DAY)

/* Sessions that are put back by one statement. */
#define CHUNK 500

/* How long emptying the undo tables waits for their readers, ms. */
#define EMPTY_LOCK_TIMEOUT 10000

/* When an object is looked for that a request may have reached, s from now. */
#define LOOKUP_DELAY 300

#define NEEDS_READ_COMMITTED \
	"Begin the transaction with ISOLATION LEVEL READ COMMITTED."

/* A session that is to be put back. */
typedef struct Session
{
	const VfUndoRow *row;
	VfHeldState state;
	bool		gone;			/* an object of it is */
	bool		back;
	char	   *refusal;		/* why the table refuses it */
} Session;

/* A key of a locked entry, by its name. */
typedef struct HeldKey
{
	const char *key;
	VfOutboxHeld *held;
	int			position;
	bool		in_doubt;		/* since an earlier undo */
} HeldKey;

typedef struct Restore
{
	VfSource   *source;
	int64		run_id;			/* of our own record */
	const char *token;			/* NULL: whole batches */
	VfRestoredRow report;
	void	   *arg;
	int64		seen;
	int64		restored;

	/* of the batch */
	const VfUndoBatch *batch;
	bool		late;			/* its window is over */
	HeldKey    *keys;
	int			n_keys;
} Restore;

/* ---- what became of the keys ---- */

static int
compare_held(const void *a, const void *b)
{
	return strcmp(((const HeldKey *) a)->key, ((const HeldKey *) b)->key);
}

static void
index_keys(Restore *r, VfOutboxHeld *held, int n)
{
	r->n_keys = 0;
	for (int i = 0; i < n; i++)
		r->n_keys += held[i].nkeys;
	r->keys = MemoryContextAllocHuge(CurrentMemoryContext,
									 sizeof(HeldKey) * Max(r->n_keys, 1));
	r->n_keys = 0;
	for (int i = 0; i < n; i++)
	{
		for (int k = 0; k < held[i].nkeys; k++)
		{
			HeldKey    *key = &r->keys[r->n_keys++];

			key->key = held[i].keys[k];
			key->held = &held[i];
			key->position = k;
			key->in_doubt = false;
		}
	}
	qsort(r->keys, r->n_keys, sizeof(HeldKey), compare_held);
}

static HeldKey *
find_key(const Restore *r, const char *key)
{
	HeldKey		wanted = {.key = key};

	return bsearch(&wanted, r->keys, r->n_keys, sizeof(HeldKey),
				   compare_held);
}

/* Mark what an earlier undo left in doubt and nobody has found since. */
static void
mark_doubts(const Restore *r)
{
	char	  **keys = palloc(sizeof(char *) * Max(r->n_keys, 1));
	int			n;

	for (int i = 0; i < r->n_keys; i++)
		keys[i] = unconstify(char *, r->keys[i].key);
	keys = vf_lookup_missing(keys, r->n_keys, &n);
	for (int i = 0; i < n; i++)
		find_key(r, keys[i])->in_doubt = true;
}

static bool
is_uncertain(const Restore *r, const HeldKey *key)
{
	return r->late || key->in_doubt || key->held->state == VF_HELD_UNCERTAIN;
}

/* The worst of its keys decides about a session. */
static void
judge(const Restore *r, Session *s)
{
	for (int i = 0; i < s->row->nkeys; i++)
	{
		const HeldKey *key = find_key(r, s->row->keys[i]);

		if (key == NULL)
			s->gone = true;
		else
			s->state = Max(s->state, is_uncertain(r, key) ?
						   Max(key->held->state, VF_HELD_UNCERTAIN) :
						   key->held->state);
	}
}

static bool
can_go_back(const Session *s)
{
	return !s->gone && s->state != VF_HELD_IN_FLIGHT;
}

/* ---- putting rows back ---- */

/* Some of the sessions: what a VfDbBody needs. */
typedef struct Chunk
{
	const Restore *r;
	Session   **sessions;
	int			n;
} Chunk;

static void
save_row(VfSavedRow *saved, const VfUndoBatch *batch, const VfUndoRow *row)
{
	saved->id = row->id;
	saved->names = batch->columns;
	saved->n_names = batch->n_columns;
	saved->texts = row->values;
}

static void
insert_chunk(void *arg)
{
	Chunk	   *c = arg;
	VfSavedRow *rows = palloc(sizeof(VfSavedRow) * c->n);
	bool	   *back = palloc(sizeof(bool) * c->n);

	for (int i = 0; i < c->n; i++)
		save_row(&rows[i], c->r->batch, c->sessions[i]->row);
	vf_source_insert_rows(c->r->source, rows, c->n, back);
	for (int i = 0; i < c->n; i++)
		c->sessions[i]->back = back[i];
}

/*
 * Put sessions back.  Where the table refuses one, half of them at a time,
 * until it stands alone.  A conflict with another transaction is the caller's.
 */
static void
insert_sessions(const Restore *r, Session **sessions, int n)
{
	Chunk		chunk = {r, sessions, n};
	ErrorData  *error;

	if (n == 0)
		return;
	error = vf_db_try(insert_chunk, &chunk);
	if (error == NULL)
		return;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_TRANSACTION_ROLLBACK ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		ReThrowError(error);
	if (n == 1)
	{
		sessions[0]->refusal = error->message;
		return;
	}
	insert_sessions(r, sessions, n / 2);
	insert_sessions(r, sessions + n / 2, n - n / 2);
}

static void
put_back(const Restore *r, Session *sessions, int n)
{
	Session   **chosen = palloc(sizeof(Session *) * Max(n, 1));
	int			n_chosen = 0;

	for (int i = 0; i < n; i++)
		if (can_go_back(&sessions[i]))
			chosen[n_chosen++] = &sessions[i];
	for (int at = 0; at < n_chosen; at += CHUNK)
	{
		CHECK_FOR_INTERRUPTS();
		insert_sessions(r, chosen + at, Min(CHUNK, n_chosen - at));
	}
}

/* ---- what follows from it ---- */

/* Their keys are not to be deleted; objects in doubt are looked for. */
static void
cancel_keys(Restore *r, const Session *sessions, int n, VfOutboxHeld *held,
			int n_held)
{
	for (int i = 0; i < n; i++)
	{
		for (int k = 0; sessions[i].back && k < sessions[i].row->nkeys; k++)
		{
			HeldKey    *key = find_key(r, sessions[i].row->keys[k]);

			key->held->taken[key->position] = true;
			if (is_uncertain(r, key))
				vf_lookup_add(key->held->endpoint, key->held->bucket,
							  key->key, sessions[i].row->id, r->run_id,
							  GetCurrentTimestamp() +
							  LOOKUP_DELAY * USECS_PER_SEC);
		}
	}
	for (int i = 0; i < n_held; i++)
		(void) vf_outbox_take_keys(&held[i], "Undone",
								   "the session was put back");
}

static void
note_restored(Restore *r, const Session *sessions, int n)
{
	char	  **ids = palloc(sizeof(char *) * Max(n, 1));
	VfHeld	   *held = palloc(sizeof(VfHeld) * Max(n, 1));
	int			n_back = 0;

	for (int i = 0; i < n; i++)
	{
		if (!sessions[i].back)
			continue;
		ids[n_back] = sessions[i].row->id;
		held[n_back].id = sessions[i].row->id;
		held[n_back++].token = sessions[i].row->token;
	}
	if (n_back == 0)
		return;
	vf_undo_set_restored(r->batch, ids, n_back);
	vf_hold_set(held, n_back, GetCurrentTimestamp() + HOLD_TIME,
				psprintf("put back by vf_undo_purge(), run %lld",
						 (long long) r->run_id), false);
	r->restored += n_back;
}

static void
report(const Restore *r, const Session *s)
{
	VfRestored	line = {.id = s->row->id};

	if (s->gone)
	{
		line.outcome = "objects gone";
		line.detail = "Not put back: the store has confirmed that objects of it are deleted.";
	}
	else if (s->state == VF_HELD_IN_FLIGHT)
	{
		line.outcome = "in flight";
		line.detail = "Not put back: a request for its objects is under way; call again when its lease has ended.";
	}
	else if (s->refusal != NULL)
	{
		line.outcome = "refused";
		line.detail = s->refusal;
	}
	else if (!s->back)
	{
		line.outcome = "collides";
		line.detail = "Not put back: a row made since has its id or its token, or another value that must be unique.";
	}
	else if (s->state == VF_HELD_UNCERTAIN)
	{
		line.outcome = "uncertain";
		line.detail = "Put back, but a request may have reached its objects; vf_lookup tells when the next drain has looked.";
	}
	else
		line.outcome = "restored";
	r->report(r->arg, &line);
}

static void
restore_batch(Restore *r, const VfUndoBatch *batch)
{
	VfOutboxHeld *held;
	VfUndoRow  *rows;
	Session    *sessions;
	int			n_held;
	int			n;

	r->batch = batch;
	vf_undo_lock(batch->id);

	/*
	 * From the end of the window on, until now, the entry of another session
	 * may have taken an object that both name.  The drain goes by the same
	 * clock, and asks for our lock after that.
	 */
	r->late = batch->until <= GetCurrentTimestamp();
	held = vf_outbox_hold_batch(batch->id, &n_held);
	rows = vf_undo_rows(batch, r->token, &n);
	index_keys(r, held, n_held);
	mark_doubts(r);
	sessions = palloc0(sizeof(Session) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		sessions[i].row = &rows[i];
		sessions[i].state = VF_HELD_SAFE;
		judge(r, &sessions[i]);
	}
	put_back(r, sessions, n);
	cancel_keys(r, sessions, n, held, n_held);
	note_restored(r, sessions, n);
	for (int i = 0; i < n; i++)
		report(r, &sessions[i]);
	r->seen += n;
}

/* ---- what people call ---- */

static void
restore(int64 run_id, const char *token, VfRestoredRow row, void *arg)
{
	Restore		r = {.token = token, .report = row, .arg = arg};
	VfRunCounts counts = {0};
	VfUndoBatch *batches;
	MemoryContext context;
	int			n;

	vf_preflight_primary();
	vf_db_require_read_committed("vf_undo_purge()", NEEDS_READ_COMMITTED);
	r.source = vf_source_load(VF_SOURCE_DELETE);
	batches = vf_undo_batches(run_id, token, &n);
	if (n > 0)
		r.run_id = vf_runlog_start("undo", "vf_undo_purge", false);
	context = AllocSetContextCreate(CurrentMemoryContext, "voiceframe undo",
									ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < n; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		restore_batch(&r, &batches[i]);
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	if (r.seen == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 token != NULL ?
				 errmsg("no purged session of that token can be put back") :
				 errmsg("run %lld has no sessions that can be put back",
						(long long) run_id),
				 errdetail("They were not purged with an undo window, it is over, or they are back already."),
				 errhint("vf_undo_runs lists what can be taken back; voiceframe.undo_window sets for how long.")));
	counts.restored = r.restored;
	vf_runlog_finish(r.run_id, "ok", &counts, NULL);
}

void
vf_restore_run(int64 run_id, VfRestoredRow row, void *arg)
{
	restore(run_id, NULL, row, arg);
}

void
vf_restore_token(const char *token, VfRestoredRow row, void *arg)
{
	restore(0, token, row, arg);
}

/* ---- a payment ---- */

/*
 * Does an order of the token pay, in a table of sessions that is not empty?
 * An empty one is a restore of data whose sessions have yet to come.
 */
static bool
payment_wants(const VfSource *source, const char *token)
{
	VfRules		rules;
	VfDbArgs	args = {0};
	VfDbSection section;
	bool		wants;

	vf_rules_at(source, GetCurrentTimestamp(), &rules);
	vf_rules_args(source, &rules, &args);
	vf_db_arg_text(&args, token);
	vf_db_enter_owner(&section, source->sessions.owner);
	wants = vf_db_run(vf_db_fill("SELECT 1 FROM {orders} o"
								 " WHERE o.{order_token} = $7 AND {pays}"
								 " AND EXISTS (SELECT 1 FROM {sessions} s)"
								 " LIMIT 1", vf_rules_names(source, NULL)),
					  &args) > 0;
	vf_db_leave(&section);
	return wants;
}

/* The sessions of the token in one batch, if its window is open still. */
static int64
restore_for_payment(const VfSource *source, const VfUndoBatch *batch,
					const char *token)
{
	VfUndoRow  *rows;
	VfSavedRow *saved;
	bool	   *back;
	char	  **ids;
	int			n;
	int			n_back = 0;

	vf_undo_lock(batch->id);
	rows = vf_undo_rows(batch, token, &n);

	/* The drain goes by the same clock, and asks for our lock after that. */
	if (n == 0 || batch->until <= GetCurrentTimestamp())
		return 0;
	saved = palloc(sizeof(VfSavedRow) * n);
	back = palloc(sizeof(bool) * n);
	ids = palloc(sizeof(char *) * n);
	for (int i = 0; i < n; i++)
		save_row(&saved[i], batch, &rows[i]);
	vf_source_insert_rows(source, saved, n, back);
	for (int i = 0; i < n; i++)
		if (back[i])
			ids[n_back++] = rows[i].id;
	if (n_back > 0)
		vf_undo_set_restored(batch, ids, n_back);
	return n_back;
}

bool
vf_restore_for_payment(const char *token)
{
	VfSource   *source = vf_source_load(VF_SOURCE_DELETE);
	VfRunCounts counts = {0};
	VfUndoBatch *batches;
	int			n;

	if (!payment_wants(source, token))
		return false;
	batches = vf_undo_batches(0, token, &n);
	for (int i = 0; i < n; i++)
		counts.restored += restore_for_payment(source, &batches[i], token);
	if (counts.restored == 0)
		return false;
	vf_runlog_finish(vf_runlog_start("undo", "payment", false), "ok", &counts,
					 NULL);
	return true;
}

/* ---- erasing ---- */

int64
vf_restore_discard_run(int64 run_id)
{
	VfUndoBatch *batches;
	int64		erased = 0;
	int			n;

	vf_preflight_primary();
	batches = vf_undo_batches(run_id, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		vf_outbox_release_batch(batches[i].id);
		erased += vf_undo_erase(&batches[i], NULL);
	}

	/* A deleted row stays in its file for a while, a truncated one does not. */
	if (run_id == 0)
		vf_undo_empty(EMPTY_LOCK_TIMEOUT);
	return erased;
}

/* Let the keys of the token's rows go at once. */
static void
release_keys(Restore *r, const VfUndoBatch *batch)
{
	VfOutboxHeld *held;
	VfUndoRow  *rows;
	int			n_held;
	int			n;

	held = vf_outbox_hold_batch(batch->id, &n_held);
	rows = vf_undo_rows(batch, r->token, &n);
	index_keys(r, held, n_held);
	for (int i = 0; i < n; i++)
	{
		for (int k = 0; k < rows[i].nkeys; k++)
		{
			HeldKey    *key = find_key(r, rows[i].keys[k]);

			if (key != NULL && key->held->state == VF_HELD_SAFE)
				key->held->taken[key->position] = true;
		}
	}
	for (int i = 0; i < n_held; i++)
		(void) vf_outbox_take_keys(&held[i], NULL, NULL);
}

int64
vf_restore_discard_token(const char *token)
{
	Restore		r = {.token = token};
	VfUndoBatch *batches;
	int64		erased = 0;
	int			n;

	vf_preflight_primary();
	batches = vf_undo_batches(0, token, &n);
	for (int i = 0; i < n; i++)
	{
		release_keys(&r, &batches[i]);
		erased += vf_undo_erase(&batches[i], token);
	}
	return erased;
}
