-- P7: between full sweeps a run looks only at what fell due since and at what
-- was put off, and misses nothing for longer than an hour.  Time is moved by
-- ageing rows and marks.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
-- Blocks are counted: nobody else is to read any.
ALTER TABLE shop.sessions SET (autovacuum_enabled = off);
ALTER TABLE shop.orders SET (autovacuum_enabled = off);
\set VERBOSITY sqlstate
CREATE INDEX ON sessions (expires_at);
CREATE INDEX ON sessions (created_at);
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT count(t.session('paid ' || i)), count(t.order('paid ' || i, 'paid'))
FROM generate_series(1, 3000) i;
ANALYZE sessions, orders;
CREATE FUNCTION t.utc() RETURNS timestamp LANGUAGE sql
AS $$ SELECT clock_timestamp() AT TIME ZONE 'UTC' $$;
CREATE VIEW t.last AS SELECT full_sweep AS full, outcome, repeats, expired,
	unpaid, keys_queued AS keys, kept_paid, put_off
FROM vf.vf_run ORDER BY id DESC LIMIT 1;
CREATE VIEW t.extra AS SELECT session_token FROM shop.sessions
WHERE session_token NOT LIKE 'paid %' ORDER BY 1;

-- The first run is full whatever is asked for; from then on little is read.
CALL vf_purge(full_sweep => false);
SELECT * FROM t.last;
SELECT kept_paid, orders_seen, full_at IS NOT NULL AS known FROM vf_sweep;
CALL vf_purge(full_sweep => false);
CALL vf_purge(full_sweep => false);
SELECT * FROM t.last;
CREATE FUNCTION t.blocks() RETURNS bigint LANGUAGE sql AS $$
	SELECT sum(pg_stat_get_blocks_fetched(c.oid))::bigint FROM pg_class c
	WHERE c.oid IN ('shop.sessions'::regclass, 'shop.orders'::regclass)
		OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid IN
					 ('shop.sessions'::regclass, 'shop.orders'::regclass))
$$;
SELECT pg_stat_force_next_flush() \gset _
SELECT t.blocks() AS blocks \gset
CALL vf_purge(full_sweep => false);
SELECT pg_stat_force_next_flush() \gset _
SELECT t.blocks() - :blocks < 20 AS idle_run_is_cheap;
SELECT t.blocks() AS blocks \gset
CALL vf_purge();
SELECT pg_stat_force_next_flush() \gset _
SELECT t.blocks() - :blocks > 40 AS full_sweep_is_not;

-- What fell due since, by either rule; a paid one is looked at once.
SELECT t.session('expired now', t.utc() - interval '1 day', t.utc()),
	t.session('a week now', t.utc() - interval '7 days', 'infinity'),
	t.session('later', t.utc(), t.utc() + interval '1 hour'),
	t.session('paid now', t.utc() - interval '1 day', t.utc()),
	t.order('paid now', 'completed') \gset _
SELECT pg_stat_force_next_flush() \gset _
SELECT t.blocks() AS blocks \gset
CALL vf_purge(full_sweep => false);
SELECT pg_stat_force_next_flush() \gset _
SELECT t.blocks() - :blocks < 100 AS cheap;
SELECT * FROM t.last;
SELECT * FROM t.extra;
CALL vf_purge(full_sweep => false);
SELECT * FROM t.last;
DELETE FROM sessions WHERE session_token = 'paid now';

-- An expiry that is changed to now falls due now.
UPDATE sessions SET expires_at = t.utc() WHERE session_token = 'later';
CALL vf_purge(full_sweep => false);
SELECT * FROM t.last;
SELECT * FROM t.extra;

-- Backdated: the marks are past it; the next full sweep finds it, by itself
-- within the hour.
SELECT t.session('backdated') \gset _
CALL vf_purge(full_sweep => false);
SELECT outcome FROM t.last;
SELECT * FROM t.extra;
UPDATE vf_sweep SET full_at = full_at - interval '59 minutes';
CALL vf_purge(full_sweep => false);
SELECT full_sweep, outcome FROM vf_run ORDER BY id DESC LIMIT 1;
UPDATE vf_sweep SET full_at = full_at - interval '2 minutes';
CALL vf_purge(full_sweep => false);
SELECT * FROM t.last;
SELECT * FROM t.extra;
SELECT now() - full_at < interval '1 minute' AS just_now FROM vf_sweep;

-- A payment that turns out to be none; a refund changes nothing.
SELECT t.session('charged back'), t.order('charged back', 'completed'),
	t.session('refunded'), t.order('refunded', 'completed') \gset _
CALL vf_purge();
UPDATE orders SET status = 'failed' WHERE session_token = 'charged back';
UPDATE orders SET status = 'refunded' WHERE session_token = 'refunded';
CALL vf_purge(full_sweep => false);
SELECT * FROM t.extra;
CALL vf_purge();
SELECT * FROM t.last;
SELECT * FROM t.extra;
-- A checkout that is over.
SELECT t.session('checkout'), t.order('checkout', 'pending', t.utc()) \gset _
CALL vf_purge();
SELECT * FROM t.last;
UPDATE orders SET created_at = '2020-01-01', updated_at = '2020-01-01'
WHERE session_token = 'checkout';
CALL vf_purge(full_sweep => false);
SELECT * FROM t.extra;
UPDATE vf_sweep SET full_at = full_at - interval '61 minutes';
CALL vf_purge(full_sweep => false);
SELECT * FROM t.extra;

-- What was put off is looked at again, and then forgotten.
SELECT t.session('put off') \gset _
INSERT INTO vf_put_off (session_id, look_at)
SELECT id::text, now() FROM sessions WHERE session_token = 'put off';
INSERT INTO vf_put_off (session_id, look_at)
VALUES (md5('gone')::uuid, now()), (md5('not yet')::uuid, 'infinity');
CALL vf_purge(full_sweep => false);
SELECT * FROM t.last;
SELECT * FROM t.extra;
SELECT session_id = md5('not yet')::uuid::text AS not_yet FROM vf_put_off;
-- A full sweep forgets all that was put off before.
CALL vf_purge();
SELECT count(*) FROM vf_put_off;

-- Another rule, another full sweep.
SELECT t.session('rule') \gset _
SET voiceframe.checkout_grace = '4d';
CALL vf_purge(full_sweep => false);
SELECT full_sweep, expired FROM vf_run ORDER BY id DESC LIMIT 1;
SELECT t.session('rule') \gset _
SET voiceframe.timestamp_zone = 'Asia/Tokyo';
CALL vf_purge(full_sweep => false);
SELECT full_sweep, expired FROM vf_run ORDER BY id DESC LIMIT 1;
SELECT t.session('rule') \gset _
RESET voiceframe.timestamp_zone;
RESET voiceframe.checkout_grace;
SET voiceframe.unpaid_statuses = 'pending';
CALL vf_purge(full_sweep => false);
SELECT full_sweep, expired FROM vf_run ORDER BY id DESC LIMIT 1;
RESET voiceframe.unpaid_statuses;
CALL vf_purge(full_sweep => false);
SELECT t.session('configured') \gset _
SELECT count(*) > 0 AS configured FROM vf_configure();
CALL vf_purge(full_sweep => false);
SELECT full_sweep, expired FROM vf_run ORDER BY id DESC LIMIT 1;

-- More than a batch of it: a full sweep is the cheaper way.
SET voiceframe.purge_batch_size = 5;
SELECT count(t.session('many ' || i, t.utc(), t.utc()))
FROM generate_series(1, 12) i;
CALL vf_purge(full_sweep => false);
SELECT * FROM t.last;
SELECT * FROM t.extra;
RESET voiceframe.purge_batch_size;
-- Stopped by its number, a run moves no mark: the next finds the rest.
SELECT count(t.session('some ' || i, t.utc(), t.utc()))
FROM generate_series(1, 4) i;
CALL vf_purge(3, full_sweep => false);
SELECT * FROM t.last;
CALL vf_purge(full_sweep => false);
SELECT * FROM t.last;
SELECT * FROM t.extra;
-- A purge that is taken back takes its marks back too.
SELECT t.session('taken back', t.utc(), t.utc()) \gset _
BEGIN;
SELECT expired FROM vf_purge_now();
ROLLBACK;
CALL vf_purge(full_sweep => false);
SELECT full_sweep, expired FROM vf_run ORDER BY id DESC LIMIT 1;

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
