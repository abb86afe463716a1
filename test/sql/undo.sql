-- Undo: with an undo window a purge keeps the rows and spares their objects
-- until it ends; vf_undo_purge() puts rows back whole and cancels their keys.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
\set VERBOSITY sqlstate
-- Every kind of column that a text could lose something of.
CREATE TYPE shop.pair AS (a int, b text);
CREATE DOMAIN shop.small AS int CHECK (value < 100);
CREATE DOMAIN shop.sure AS int NOT NULL;
ALTER TABLE shop.sessions
	ADD COLUMN at_z timestamptz DEFAULT '2020-01-01 12:00:00.123456+01',
	ADD COLUMN span interval DEFAULT '1 mon -3 days 04:05:06.789',
	ADD COLUMN ratio float8 DEFAULT 0.1::float8 + 0.2::float8,
	ADD COLUMN price numeric(10,4) DEFAULT 12.3400,
	ADD COLUMN raw bytea DEFAULT '\x00ff5c27',
	ADD COLUMN tags text[] DEFAULT ARRAY['a,b', NULL, 'c"d\', ''],
	ADD COLUMN both_of pair DEFAULT ROW(1, 'x "y" (z),\'),
	ADD COLUMN js json DEFAULT '{"b": 1,  "a": [null, "\u00e9"]}',
	ADD COLUMN jsb jsonb DEFAULT '{"b": 1, "a": "\\"}',
	ADD COLUMN small small DEFAULT 7,
	ADD COLUMN empty_text text DEFAULT '',
	ADD COLUMN no_text text,
	ADD COLUMN odd text DEFAULT E'line\nbreak\ttab \\ "quoted" (x,y) ''q''',
	ADD COLUMN numbered int GENERATED ALWAYS AS IDENTITY,
	ADD COLUMN doubled sure GENERATED ALWAYS AS (small * 2) STORED;
SELECT count(*) > 0 AS configured FROM vf_configure();
SET voiceframe.undo_window = '1d';
SELECT count(t.session(x)) FROM unnest(ARRAY['a', 'b', 'c', 'd']) x;
SELECT t.session('paid'), t.order('paid', 'paid');
CREATE TABLE t.before AS SELECT s.*, s.ctid::text AS at FROM shop.sessions s;

-- The rows go, their keys wait for the end of the window.
SELECT expired, unpaid, keys_queued FROM vf_purge_now();
SELECT session_token FROM shop.sessions;
SELECT state, nkeys, not_before - queued_at > interval '23 hours' AS held,
	next_attempt_at = not_before AS not_earlier FROM vf_outbox;
SELECT run_id, abs(extract(epoch FROM until - purged) - 86400) <= 2 AS for_a_day,
	sessions, restored FROM vf_undo_runs;
-- P3: neither a drain nor vf_resume() takes them before.
CALL vf_drain();
SELECT vf_resume();
UPDATE vf_outbox SET next_attempt_at = now();
CALL vf_drain();
SELECT state, nkeys FROM vf_outbox;

-- One comes back, by its token: the same row but for its place, and held.
SELECT b.session_token, u.outcome, u.detail
FROM vf_undo_purge('b') u JOIN t.before b ON b.id::text = u.session_id;
SELECT to_jsonb(b) - 'at' = to_jsonb(s) AS same
FROM t.before b JOIN shop.sessions s USING (id) WHERE b.session_token = 'b';
SELECT s.js::text = b.js::text AS json_as_written, s.ratio = b.ratio AS ratio,
	s.raw = b.raw AS raw, s.both_of = b.both_of AS both_of,
	s.numbered = b.numbered AS numbered, s.doubled, s.odd = b.odd AS odd,
	s.no_text IS NULL AS no_text, s.empty_text = '' AS empty_text
FROM shop.sessions s JOIN t.before b USING (id) WHERE s.session_token = 'b';
SELECT state, last_error_code, array_agg(key ORDER BY key) AS keys
FROM vf_outbox_keys GROUP BY state, last_error_code ORDER BY state;
SELECT session_token, until - now() > interval '6 days' AS a_week, reason
FROM vf_hold;
-- The next run leaves it alone; released, it goes again.
SELECT expired, unpaid, keys_queued FROM vf_purge_now();
SELECT rule, sessions FROM vf_purge_preview() WHERE sessions > 0;
SELECT vf_release('b');
BEGIN;
SELECT expired, unpaid, keys_queued FROM vf_purge_now();
ROLLBACK;
SELECT vf_hold('b', NULL, 'a customer called');
SELECT expired, unpaid FROM vf_purge_now();
SELECT until, reason FROM vf_hold;

-- The rest of the run: one collides with a row made since, one is refused by
-- a constraint that was not there, one goes back; said for each.
SELECT t.session('a');
ALTER TABLE shop.sessions ADD CONSTRAINT no_c CHECK (session_token <> 'c');
\set VERBOSITY default
SELECT b.session_token, u.outcome, u.detail
FROM vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs)) u
	JOIN t.before b ON b.id::text = u.session_id ORDER BY 1;
\set VERBOSITY sqlstate
ALTER TABLE shop.sessions DROP CONSTRAINT no_c;
SELECT state, array_agg(key ORDER BY key) AS keys
FROM vf_outbox_keys GROUP BY state ORDER BY state;
SELECT kind, outcome, result FROM vf_runs WHERE kind = 'undo';

-- A table changed since: a column gone, one come, one of another type.
ALTER TABLE shop.sessions DROP COLUMN both_of, ADD COLUMN came int NOT NULL DEFAULT 5,
	ALTER COLUMN price TYPE text;
SELECT outcome, detail FROM vf_undo_purge('c');
SELECT session_token, came, price FROM shop.sessions WHERE session_token = 'c';
SELECT sessions, restored FROM vf_undo_runs;
-- ... and one that a value no longer fits.
DELETE FROM vf_hold;
SELECT expired, unpaid FROM vf_purge_now(1);
ALTER TABLE shop.sessions ALTER COLUMN odd TYPE varchar(3) USING NULL;
\set VERBOSITY default
SELECT outcome, detail FROM vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs));
\set VERBOSITY sqlstate
ALTER TABLE shop.sessions ALTER COLUMN odd TYPE text;
SELECT outcome FROM vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs));

-- What a request may have reached, is reaching, or has reached.
DELETE FROM vf_hold;
SELECT vf_undo_discard() >= 0 AS discarded;
DELETE FROM shop.sessions WHERE session_token <> 'paid';
SELECT count(t.session(x)) FROM unnest(ARRAY['e', 'f', 'g', 'h']) x;
UPDATE vf_outbox SET state = 'cancelled';
SELECT expired FROM vf_purge_now();
SELECT id AS entry FROM vf_outbox WHERE state = 'waiting' \gset
CREATE FUNCTION t.part(prefix text, sets text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO vf.vf_outbox (run_id, keys, nkeys, not_before, undo_batch)
	SELECT run_id, ARRAY(SELECT k FROM unnest(keys) k WHERE k LIKE prefix), 3,
		not_before, undo_batch FROM vf.vf_outbox WHERE nkeys > 3 AND state = 'waiting';
	UPDATE vf.vf_outbox SET (keys, nkeys) = (SELECT array_agg(k), count(*)
		FROM unnest(keys) k WHERE k NOT LIKE prefix)
	WHERE nkeys > 3 AND state = 'waiting';
	EXECUTE 'UPDATE vf.vf_outbox SET ' || sets ||
		' WHERE id = (SELECT max(id) FROM vf.vf_outbox)';
END $$;
SELECT t.part('%/e.%', $$endpoint = 'http://x', bucket = 'b', claimed_at = now() - interval '1 hour'$$);
SELECT t.part('%/f.%', $$state = 'claimed', claimed_at = now(), lease_token = 1, next_attempt_at = now() + interval '1 minute'$$);
SELECT t.part('%/g.%', $$run_id = run_id$$);
DELETE FROM vf_outbox WHERE id = (SELECT max(id) FROM vf_outbox);
SELECT count(*) AS entries FROM vf_outbox WHERE state <> 'cancelled';
\set VERBOSITY default
CREATE TABLE t.undone AS
SELECT * FROM vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs));
SELECT x.token, u.outcome, u.detail FROM t.undone u
	JOIN unnest(ARRAY['e', 'f', 'g', 'h']) x(token)
	ON md5(x.token)::uuid::text = u.session_id ORDER BY 1;
\set VERBOSITY sqlstate
SELECT session_token FROM shop.sessions ORDER BY 1;
SELECT key, looked_at, found, look_at > now() AS later FROM vf_lookup ORDER BY 1;

-- P8, P2: not in a REPEATABLE READ transaction; rolled back, nothing happened.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM vf_undo_purge('f');
ROLLBACK;
UPDATE vf_outbox SET next_attempt_at = now() WHERE state = 'claimed';
BEGIN;
SELECT outcome FROM vf_undo_purge('f');
ROLLBACK;
SELECT state, nkeys, lease_token FROM vf_outbox WHERE state <> 'cancelled';
-- A drainer that died: its lease is over, and its token settles nothing.
SELECT outcome FROM vf_undo_purge('f');
SELECT state, nkeys, lease_token FROM vf_outbox WHERE lease_token = 1;
\set VERBOSITY default
SELECT * FROM vf_undo_purge('f');
SELECT * FROM vf_undo_purge('nobody');
SELECT * FROM vf_undo_purge(4711);
SELECT * FROM vf_undo_purge(0);
SELECT * FROM vf_undo_purge(-1);
SELECT * FROM vf_undo_purge('');
\set VERBOSITY sqlstate

-- What one undo left in doubt is in doubt for the next, until it is found.
DELETE FROM vf_hold;
SELECT expired FROM vf_purge_now();
SELECT x.token, u.outcome FROM unnest(ARRAY['e', 'f', 'h']) x(token)
	JOIN vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs)) u
	ON md5(x.token)::uuid::text = u.session_id ORDER BY 1;
UPDATE vf_lookup SET looked_at = now(), found = true;
DELETE FROM vf_hold;
SELECT expired FROM vf_purge_now();
SELECT x.token, u.outcome FROM unnest(ARRAY['e', 'f', 'h']) x(token)
	JOIN vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs)) u
	ON md5(x.token)::uuid::text = u.session_id ORDER BY 1;

-- Undo data is erased on request, and its keys wait no longer.
DELETE FROM vf_hold;
SELECT vf_undo_discard() > 0 AS discarded;
DELETE FROM vf_outbox;
SELECT expired FROM vf_purge_now();
SELECT count(*) AS rows, count(row_values) AS whole FROM vf_undo;
SELECT vf_undo_discard('e');
SELECT session_token FROM vf_undo ORDER BY 1;
SELECT not_before IS NOT NULL AS held, array_agg(key ORDER BY key) AS keys
FROM vf_outbox_keys JOIN vf_outbox USING (id) GROUP BY 1;
SELECT vf_undo_discard((SELECT max(run_id) FROM vf_undo_runs)) AS discarded;
SELECT count(*) FROM vf_undo;
SELECT count(*) AS held FROM vf_outbox WHERE not_before IS NOT NULL;
SELECT vf_undo_discard(0);
SELECT vf_undo_discard('');

-- When its window is over, the next run takes the data away, file and all.
SELECT count(t.session(x)) FROM unnest(ARRAY['i', 'j']) x;
SELECT expired FROM vf_purge_now();
SELECT relname, pg_relation_size(oid) > 0 AS filled FROM pg_class
WHERE relname ~ '^vf_undo_[0-7]$' AND pg_relation_size(oid) > 0;
UPDATE vf_undo_batch SET until = now() - interval '1 second';
CALL vf_purge();
SELECT count(*) FROM vf_undo_batch;
SELECT count(*) AS filled FROM pg_class
WHERE relname ~ '^vf_undo_[0-7]$' AND pg_relation_size(oid) > 0;
-- Tables take turns, each for a seventh of the window.
SELECT count(t.session('k' || x)) FROM generate_series(1, 9) x;
CREATE PROCEDURE t.turns() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..9 LOOP
		PERFORM vf_purge_now(1);
		UPDATE vf.vf_undo_batch SET purged_at = purged_at - interval '4 hours';
	END LOOP;
END $$;
SET client_min_messages = error;
CALL t.turns();
RESET client_min_messages;
SELECT array_agg(slot ORDER BY id) AS slots FROM vf_undo_batch;

-- P1: a paying order that comes while the window is open brings its session
-- back by itself, and touches no outbox row.
SELECT vf_undo_discard() > 0 AS discarded;
DELETE FROM vf_outbox;
SELECT count(t.session(x)) FROM unnest(ARRAY['l', 'm', 'n', 'o']) x;
SELECT expired FROM vf_purge_now();
SELECT t.order('l', 'pending', now()::timestamp);
SELECT session_token FROM shop.sessions ORDER BY 1;
UPDATE shop.orders SET status = 'completed' WHERE session_token = 'l';
SELECT t.order('m', 'a status that nobody knows', now()::timestamp);
BEGIN;
SELECT t.order('n', 'paid', now()::timestamp);
ROLLBACK;
SELECT session_token FROM shop.sessions ORDER BY 1;
SELECT session_token, restored_at IS NOT NULL AS restored FROM vf_undo ORDER BY 1;
SELECT state, nkeys FROM vf_outbox;
SELECT caller, result FROM vf_runs WHERE caller = 'payment';
SELECT expired FROM vf_purge_now();
-- Not where the table refuses the row, the window is over, the database is a
-- copy, or sessions is empty; the payment is never refused.
ALTER TABLE shop.sessions ADD CONSTRAINT no_n CHECK (session_token <> 'n');
SELECT t.order('n', 'paid', now()::timestamp);
UPDATE vf_undo_batch SET until = now() - interval '1 second';
SELECT t.order('o', 'paid', now()::timestamp);
UPDATE vf_undo_batch SET until = now() + interval '1 day';
UPDATE vf_source SET database_oid = 1;
UPDATE shop.orders SET status = 'completed' WHERE session_token = 'o';
UPDATE vf_source SET database_oid = d.oid FROM pg_database d
WHERE d.datname = current_database();
BEGIN;
DELETE FROM shop.sessions;
UPDATE shop.orders SET status = 'expired' WHERE session_token = 'o';
SELECT count(*) FROM shop.sessions;
ROLLBACK;
SELECT session_token FROM shop.sessions ORDER BY 1;
UPDATE shop.orders SET status = 'refunded' WHERE session_token = 'o';
SELECT session_token FROM shop.sessions ORDER BY 1;
DELETE FROM shop.sessions WHERE session_token IN ('l', 'm', 'o');

-- Erase: for a customer who asks; not where an order or a hold keeps it.
\set VERBOSITY default
SELECT t.session('asks', now()::timestamp, 'infinity');
SELECT t.session('pays', now()::timestamp, 'infinity'), t.order('pays', 'completed');
SELECT t.session('kept', now()::timestamp, 'infinity');
SELECT vf_hold('kept', now() + interval '1 day', 'a dispute');
SELECT count(t.session('p' || x)) FROM generate_series(4, 6) x;
SELECT count(*) AS purged FROM vf_purge_now();
SELECT sessions, keys_queued, undo_rows FROM vf_erase_session('asks');
SELECT * FROM vf_erase_session('pays');
SELECT * FROM vf_erase_session('kept');
SELECT * FROM vf_erase_session('nobody');
SELECT * FROM vf_erase_session('');
SELECT sessions, keys_queued, undo_rows FROM vf_erase_session('p5');
SELECT count(*) FROM vf_undo WHERE session_token = 'p5';
SELECT key, not_before FROM vf_outbox_keys JOIN vf_outbox USING (id)
WHERE key LIKE '%asks%' OR key LIKE '%p5.%' ORDER BY 1;
SELECT session_token FROM shop.sessions ORDER BY 1;

-- Holds and their arguments.
SELECT vf_hold('nobody', NULL, 'x');
SELECT vf_hold('pays', now() - interval '1 second', 'x');
SELECT vf_hold('pays', NULL, '');
SELECT vf_hold(NULL, NULL, 'x');
SELECT vf_hold('pays', NULL, NULL);
SELECT vf_release('pays');
\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
