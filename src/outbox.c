/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  The outbox, table vf_outbox: how its entries change.
 *
 * Entries are packed, up to 1,000 keys each, so that claiming and settling
 * cost one row change per request, not per key.  A claimed entry's
 * next_attempt_at is the end of its lease: one index and one comparison find
 * both what waits and what a dead drainer left behind.  When only part of an
 * entry is done, the entry goes and the keys left over come back as new ones.
 *
 * Everything here runs as the extension's owner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "db.h"
#include "outbox.h"
#include "server.h"
#include "wake.h"

/* Run a statement of ours that returns one number. */
static int64
run_for_number(const char *template, const VfDbArgs *args)
{
	return vf_db_run_self(template, args) > 0 ? vf_db_int(0, 0) : 0;
}

/* ---- taking keys out ---- */

VfOutboxEntry *
vf_outbox_claim(const VfOutboxClaim *claim, int *n)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfOutboxEntry *entries;
	int64		token = vf_server_token();

	vf_db_arg_text(&args, claim->endpoint);
	vf_db_arg_text(&args, claim->bucket);
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(claim->now));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(claim->lease_until));
	vf_db_arg(&args, INT4OID, Int32GetDatum(claim->max));
	vf_db_arg(&args, INT8OID, Int64GetDatum(token));
	vf_db_arg(&args, INT4OID, Int32GetDatum(MyProcPid));
	vf_db_arg_text(&args, claim->kind);
	vf_db_arg(&args, BOOLOID, BoolGetDatum(claim->orphans));

	vf_db_enter_self(&section);
	*n = (int) vf_db_runf("WITH pick AS MATERIALIZED ("
						  "SELECT id FROM {vf}.vf_outbox"
						  " WHERE state IN ('waiting', 'claimed')"
						  " AND kind = $8 AND next_attempt_at <= $3"
						  " AND coalesce(not_before <= $3, true)"
						  " AND endpoint = $1 AND bucket = $2"
						  " AND (orphan_scan IS NOT NULL) = $9"
						  " ORDER BY next_attempt_at, id LIMIT $5"
						  " FOR UPDATE SKIP LOCKED)"
						  " UPDATE {vf}.vf_outbox o SET state = 'claimed',"
						  " next_attempt_at = $4, lease_token = $6,"
						  " lease_pid = $7,"
						  " claimed_at = coalesce(o.claimed_at, $3)"
						  " FROM pick WHERE o.id = pick.id"
						  " RETURNING o.id, o.attempts::int8, o.keys,"
						  " o.claimed_at = $3, o.orphan_scan", &args);
	vf_db_leave(&section);

	entries = palloc0(sizeof(VfOutboxEntry) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		entries[i].id = vf_db_int(i, 0);
		entries[i].token = token;
		entries[i].attempts = (int) vf_db_int(i, 1);
		entries[i].keys = vf_db_texts(i, 2, &entries[i].nkeys);
		entries[i].first_claim = vf_db_bool(i, 3);
		entries[i].orphan_scan = vf_db_int(i, 4);
		entries[i].copy = strcmp(claim->kind, VF_OUTBOX_COPY) == 0;
	}
	return entries;
}

/* Do two outcomes share a row in the outbox? */
static bool
same_row(const VfKeyOutcome *a, const VfKeyOutcome *b)
{
	return a->fate == b->fate && a->part == b->part &&
		strcmp(a->code, b->code) == 0;
}

/*
 * Insert the keys that share outcome i's row, as what becomes of them.  The
 * new entry keeps what the settled one had, which comes in args ($1 run,
 * $2 endpoint, $3 bucket, $4 queued_at, $5 claimed_at, $6 undo_batch, $7
 * orphan_scan).
 */
static void
insert_rest(const VfOutboxEntry *entry, const VfKeyOutcome *outcomes, int i,
			bool *done, VfDbArgs args, VfOutboxCounts *counts)
{
	const VfKeyOutcome *o = &outcomes[i];
	bool		again = o->fate == VF_FATE_AGAIN ||
		o->fate == VF_FATE_AGAIN_FREE;
	char	   *keys[VF_OUTBOX_MAX_KEYS];
	int			n = 0;

	for (int j = i; j < entry->nkeys; j++)
	{
		if (done[j] || outcomes[j].fate == VF_FATE_CONFIRMED ||
			!same_row(o, &outcomes[j]))
			continue;
		done[j] = true;
		keys[n++] = entry->keys[j];
	}
	if (again)
		counts->again += n;
	else if (o->fate == VF_FATE_DEAD)
		counts->dead += n;
	else
		counts->cancelled += n;

	vf_db_arg_texts(&args, keys, n);
	vf_db_arg_text(&args, again ? "waiting" :
				   o->fate == VF_FATE_DEAD ? "dead" : "cancelled");
	vf_db_arg(&args, INT4OID,
			  Int32GetDatum(entry->attempts +
							(o->fate != VF_FATE_AGAIN_FREE)));
	vf_db_arg(&args, TIMESTAMPTZOID,
			  TimestampTzGetDatum(again ? o->next_attempt :
								  GetCurrentTimestamp()));
	vf_db_arg_text(&args, o->code);
	vf_db_arg_text(&args, o->message);
	vf_db_runf("INSERT INTO {vf}.vf_outbox (run_id, endpoint, bucket,"
			   " queued_at, claimed_at, undo_batch, orphan_scan, keys, nkeys,"
			   " state, attempts, next_attempt_at, last_error_code,"
			   " last_error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8,"
			   " pg_catalog.cardinality($8), $9, $10, $11, $12, $13)", &args);
}

/* Take the entry out if the lease still holds; its values go to args. */
static bool
remove_claimed(const VfOutboxEntry *entry, VfDbArgs *rest)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->id));
	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->token));
	if (vf_db_runf("DELETE FROM {vf}.vf_outbox"
				   " WHERE id = $1 AND lease_token = $2 AND state = 'claimed'"
				   " RETURNING run_id, endpoint, bucket, queued_at,"
				   " claimed_at, undo_batch, orphan_scan", &args) == 0)
		return false;
	vf_db_arg(rest, INT8OID, Int64GetDatum(vf_db_int(0, 0)));
	vf_db_arg_text(rest, vf_db_text(0, 1));
	vf_db_arg_text(rest, vf_db_text(0, 2));
	vf_db_arg(rest, TIMESTAMPTZOID, TimestampTzGetDatum(vf_db_time(0, 3)));
	vf_db_arg(rest, TIMESTAMPTZOID, TimestampTzGetDatum(vf_db_time(0, 4)));
	vf_db_arg_id(rest, vf_db_int(0, 5));
	vf_db_arg_id(rest, vf_db_int(0, 6));
	return true;
}

static const char *
state_of(VfKeyFate fate)
{
	return fate == VF_FATE_DEAD ? "dead" :
		fate == VF_FATE_CANCELLED ? "cancelled" : "waiting";
}

/* All keys share one fate: the row stays, only its state changes. */
static bool
put_back(const VfOutboxEntry *entry, const VfKeyOutcome *o)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->id));
	vf_db_arg(&args, INT8OID, Int64GetDatum(entry->token));
	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(o->next_attempt));
	vf_db_arg(&args, INT4OID, Int32GetDatum(o->fate != VF_FATE_AGAIN_FREE));
	vf_db_arg_text(&args, o->code);
	vf_db_arg_text(&args, o->message);
	vf_db_arg_text(&args, state_of(o->fate));
	return vf_db_runf("UPDATE {vf}.vf_outbox SET state = $7,"
					  " lease_token = NULL, lease_pid = NULL,"
					  " next_attempt_at = $3, attempts = attempts + $4,"
					  " last_error_code = $5, last_error = $6"
					  " WHERE id = $1 AND lease_token = $2"
					  " AND state = 'claimed' RETURNING 1", &args) > 0;
}

/*
 * Is the whole entry to stay, in one piece?  That of a copy has one key, and
 * more in its row than goes with it elsewhere.
 */
static bool
stays_whole(const VfOutboxEntry *entry, const VfKeyOutcome *outcomes)
{
	if (entry->copy)
		return outcomes[0].fate != VF_FATE_CONFIRMED;
	if (outcomes[0].fate != VF_FATE_AGAIN &&
		outcomes[0].fate != VF_FATE_AGAIN_FREE)
		return false;
	for (int i = 1; i < entry->nkeys; i++)
	{
		if (outcomes[i].fate == VF_FATE_CONFIRMED ||
			!same_row(&outcomes[0], &outcomes[i]))
			return false;
	}
	return true;
}

static void
count_whole(const VfOutboxEntry *entry, VfKeyFate fate,
			VfOutboxCounts *counts)
{
	if (fate == VF_FATE_DEAD)
		counts->dead += entry->nkeys;
	else if (fate == VF_FATE_CANCELLED)
		counts->cancelled += entry->nkeys;
	else
		counts->again += entry->nkeys;
}

bool
vf_outbox_settle(const VfOutboxEntry *entry, const VfKeyOutcome *outcomes,
				 VfOutboxCounts *counts)
{
	VfDbSection section;
	VfDbArgs	rest = {0};
	bool	   *done = palloc0(sizeof(bool) * entry->nkeys);
	bool		held;

	vf_db_enter_self(&section);
	if (stays_whole(entry, outcomes))
	{
		held = put_back(entry, &outcomes[0]);
		if (held)
			count_whole(entry, outcomes[0].fate, counts);
		vf_db_leave(&section);
		return held;
	}
	held = remove_claimed(entry, &rest);
	for (int i = 0; held && i < entry->nkeys; i++)
	{
		if (outcomes[i].fate == VF_FATE_CONFIRMED)
			counts->confirmed++;
		else if (!done[i])
			insert_rest(entry, outcomes, i, done, rest, counts);
	}
	vf_db_leave(&section);
	return held;
}

/*
 * Move keys of a row to a row of their own, in another state; the first one
 * keeps the rest.  A null next_attempt_at says that they need not wait.
 * Returns the id of the new row.
 */
static int64
split_row(int64 id, char *const *moved, int n_moved, char *const *rest,
		  int n_rest, VfDbArgs *state)
{
	VfDbArgs	args = *state;
	int64		new_id;

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	vf_db_arg_texts(&args, moved, n_moved);
	vf_db_runf("INSERT INTO {vf}.vf_outbox (state, last_error_code,"
			   " last_error, next_attempt_at, run_id, endpoint, bucket,"
			   " queued_at, attempts, claimed_at, undo_batch, orphan_scan,"
			   " not_before, keys, nkeys)"
			   " SELECT $1, $2, $3, coalesce($4, pg_catalog.clock_timestamp()),"
			   " run_id, endpoint, bucket, queued_at, attempts, claimed_at,"
			   " undo_batch, orphan_scan,"
			   " CASE WHEN $1 = 'cancelled' OR $4 IS NOT NULL"
			   " THEN not_before END, $6, pg_catalog.cardinality($6)"
			   " FROM {vf}.vf_outbox WHERE id = $5 RETURNING id", &args);
	new_id = vf_db_int(0, 0);
	args.n = 0;
	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	vf_db_arg_texts(&args, rest, n_rest);
	vf_db_runf("UPDATE {vf}.vf_outbox SET keys = $2,"
			   " nkeys = pg_catalog.cardinality($2) WHERE id = $1", &args);
	return new_id;
}

/* No request has been made for its keys, now that its claim is given back. */
static void
forget_claim(int64 id)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	vf_db_run_self("UPDATE {vf}.vf_outbox SET claimed_at = NULL WHERE id = $1",
				   &args);
}

/* Whoever let the row's lease end can settle it no more. */
static void
end_lease(int64 id)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	vf_db_runf("UPDATE {vf}.vf_outbox SET state = 'waiting',"
			   " lease_token = NULL, lease_pid = NULL"
			   " WHERE id = $1 AND state = 'claimed'", &args);
}

/* The state of a row as the first four arguments of split_row(). */
static void
arg_state(VfDbArgs *args, const char *state, const char *code,
		  const char *message, TimestampTz next_attempt)
{
	args->n = 0;
	vf_db_arg_text(args, state);
	vf_db_arg_text(args, code);
	vf_db_arg_text(args, message);
	if (TIMESTAMP_IS_NOBEGIN(next_attempt))
		vf_db_arg_null(args, TIMESTAMPTZOID);
	else
		vf_db_arg(args, TIMESTAMPTZOID, TimestampTzGetDatum(next_attempt));
}

/* Part a list of keys by its marks; returns how many are marked. */
static int
part_keys(char *const *keys, int n, const bool *marked, char **yes, char **no)
{
	int			n_yes = 0;
	int			n_no = 0;

	for (int i = 0; i < n; i++)
	{
		if (marked[i])
			yes[n_yes++] = keys[i];
		else
			no[n_no++] = keys[i];
	}
	return n_yes;
}

/* Take the marked keys out of an entry that this transaction has claimed. */
static void
part_company(VfOutboxEntry *entry, const bool *marked, VfKeyFate fate,
			 const char *code, const char *message, TimestampTz next_attempt)
{
	VfKeyOutcome *outcomes;
	VfOutboxCounts ignored = {0};
	VfDbSection section;
	VfDbArgs	state = {0};
	char	  **moved = palloc(sizeof(char *) * entry->nkeys);
	char	  **kept = palloc(sizeof(char *) * entry->nkeys);
	int			n = part_keys(entry->keys, entry->nkeys, marked, moved, kept);
	bool		unasked = entry->first_claim && fate != VF_FATE_CANCELLED;
	int64		id = entry->id;

	if (n == entry->nkeys)
	{
		outcomes = palloc0(sizeof(VfKeyOutcome) * entry->nkeys);
		for (int i = 0; i < entry->nkeys; i++)
		{
			outcomes[i].fate = fate;
			outcomes[i].code = code;
			outcomes[i].message = message;
			outcomes[i].next_attempt = next_attempt;
		}
		(void) vf_outbox_settle(entry, outcomes, &ignored);
		entry->nkeys = 0;
		if (unasked)
			forget_claim(id);
		return;
	}
	arg_state(&state, fate == VF_FATE_CANCELLED ? "cancelled" : "waiting",
			  code, message, next_attempt);
	vf_db_enter_self(&section);
	id = split_row(entry->id, moved, n, kept, entry->nkeys - n, &state);
	vf_db_leave(&section);
	if (unasked)
		forget_claim(id);
	entry->keys = kept;
	entry->nkeys -= n;
}

void
vf_outbox_drop_keys(VfOutboxEntry *entry, const bool *drop, const char *code,
					const char *message)
{
	part_company(entry, drop, VF_FATE_CANCELLED, code, message, DT_NOBEGIN);
}

void
vf_outbox_defer_keys(VfOutboxEntry *entry, const bool *defer,
					 TimestampTz until, const char *code,
					 const char *message)
{
	part_company(entry, defer, VF_FATE_AGAIN_FREE, code, message, until);
}

/* ---- undo ---- */

/* Columns of the statement that reads held entries. */
enum
{
	HELD_ID, HELD_ENDPOINT, HELD_BUCKET, HELD_STATE, HELD_CLAIMED,
	HELD_IN_FLIGHT, HELD_KEYS
};

static void
read_held(VfOutboxHeld *held, uint64 row)
{
	char	   *state = vf_db_text(row, HELD_STATE);

	held->id = vf_db_int(row, HELD_ID);
	held->endpoint = vf_db_text(row, HELD_ENDPOINT);
	held->bucket = vf_db_text(row, HELD_BUCKET);
	held->cancelled = strcmp(state, "cancelled") == 0;
	held->state = vf_db_bool(row, HELD_IN_FLIGHT) ? VF_HELD_IN_FLIGHT :
		vf_db_bool(row, HELD_CLAIMED) && !held->cancelled &&
		strcmp(state, "dead") != 0 ? VF_HELD_UNCERTAIN : VF_HELD_SAFE;
	held->keys = vf_db_texts(row, HELD_KEYS, &held->nkeys);
	held->taken = palloc0(sizeof(bool) * held->nkeys);
}

/*
 * Lock the rows of a batch.  A drain that we had to wait for may have left its
 * keys in new rows, which our statement could not see: asked until there are no
 * more than before.
 */
static void
lock_batch(const VfDbArgs *args)
{
	uint64		before;
	uint64		n = 0;

	do
	{
		before = n;
		n = vf_db_runf("SELECT FROM {vf}.vf_outbox WHERE undo_batch = $1"
					   " FOR UPDATE", args);
	} while (n != before);
}

VfOutboxHeld *
vf_outbox_hold_batch(int64 undo_batch, int *n)
{
	VfDbArgs	args = {0};
	VfDbSection section;
	VfOutboxHeld *held;

	vf_db_arg(&args, INT8OID, Int64GetDatum(undo_batch));
	vf_db_enter_self(&section);
	lock_batch(&args);
	*n = (int) vf_db_runf("SELECT id, endpoint, bucket, state,"
						  " claimed_at IS NOT NULL, state = 'claimed'"
						  " AND next_attempt_at > pg_catalog.clock_timestamp(),"
						  " keys FROM {vf}.vf_outbox WHERE undo_batch = $1"
						  " ORDER BY id", &args);
	held = palloc(sizeof(VfOutboxHeld) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		read_held(&held[i], i);
	vf_db_leave(&section);
	return held;
}

int64
vf_outbox_take_keys(const VfOutboxHeld *held, const char *code,
					const char *message)
{
	VfDbSection section;
	VfDbArgs	state = {0};
	char	  **moved = palloc(sizeof(char *) * held->nkeys);
	char	  **rest = palloc(sizeof(char *) * held->nkeys);
	int			n = part_keys(held->keys, held->nkeys, held->taken, moved,
							  rest);

	if (n == 0 || held->cancelled)
		return 0;
	arg_state(&state, code != NULL ? "cancelled" : "waiting", code, message,
			  DT_NOBEGIN);
	vf_db_enter_self(&section);
	end_lease(held->id);
	if (n < held->nkeys)
		(void) split_row(held->id, moved, n, rest, held->nkeys - n,
						 &state);
	else
	{
		vf_db_arg(&state, INT8OID, Int64GetDatum(held->id));
		vf_db_runf("UPDATE {vf}.vf_outbox SET state = $1,"
				   " last_error_code = $2, last_error = $3, not_before = NULL,"
				   " next_attempt_at = coalesce($4,"
				   " pg_catalog.clock_timestamp()) WHERE id = $5", &state);
	}
	vf_db_leave(&section);
	if (code == NULL)
		vf_wake_at_commit();
	return n;
}

void
vf_outbox_release_batch(int64 undo_batch)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(undo_batch));
	vf_db_run_self("UPDATE {vf}.vf_outbox SET not_before = NULL,"
				   " next_attempt_at = pg_catalog.clock_timestamp()"
				   " WHERE (undo_batch = $1 OR $1 = 0) AND state = 'waiting'"
				   " AND not_before > pg_catalog.clock_timestamp()", &args);
	vf_wake_at_commit();
}

/* ---- what people do ---- */

int64
vf_outbox_retry(int64 id)
{
	VfDbArgs	args = {0};
	int64		keys;

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	keys = run_for_number("WITH u AS (UPDATE {vf}.vf_outbox"
						  " SET state = 'waiting', attempts = 0,"
						  " next_attempt_at = pg_catalog.now()"
						  " WHERE state = 'dead' AND (id = $1 OR $1 = 0)"
						  " RETURNING nkeys)"
						  " SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM u", &args);
	if (keys > 0)
		vf_wake_at_commit();
	return keys;
}

int64
vf_outbox_cancel(int64 id, const char *reason)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, INT8OID, Int64GetDatum(id));
	vf_db_arg_text(&args, reason);
	return run_for_number("WITH u AS (UPDATE {vf}.vf_outbox"
						  " SET state = 'cancelled',"
						  " next_attempt_at = pg_catalog.now(),"
						  " last_error_code = 'Cancelled', last_error = $2"
						  " WHERE state IN ('waiting', 'dead') AND id = $1"
						  " RETURNING nkeys)"
						  " SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM u", &args);
}

int64
vf_outbox_pending(void)
{
	return run_for_number("SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM {vf}.vf_outbox WHERE state <> 'cancelled'",
						  NULL);
}

int64
vf_outbox_waiting(void)
{
	return run_for_number("SELECT coalesce(pg_catalog.sum(nkeys), 0)::int8"
						  " FROM {vf}.vf_outbox"
						  " WHERE state IN ('waiting', 'claimed')", NULL);
}

void
vf_outbox_discard(void)
{
	vf_db_run_self("DELETE FROM {vf}.vf_outbox", NULL);
}

void
vf_outbox_prune(TimestampTz before)
{
	VfDbArgs	args = {0};

	vf_db_arg(&args, TIMESTAMPTZOID, TimestampTzGetDatum(before));
	vf_db_run_self("DELETE FROM {vf}.vf_outbox WHERE id IN"
				   " (SELECT id FROM {vf}.vf_outbox"
				   " WHERE state = 'cancelled' AND next_attempt_at < $1"
				   /* else undo would take the object for gone */
				   " AND coalesce(not_before < $1, true)"
				   " FOR UPDATE SKIP LOCKED)", &args);
}
