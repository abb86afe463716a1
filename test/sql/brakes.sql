-- The brakes: too much at once, and what kept sessions lost.  Each refuses
-- before the first row goes, says exactly what is due, and is not evaded.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
SELECT count(*) > 0 AS configured FROM vf_configure();
CREATE VIEW t.left AS SELECT (SELECT count(*) FROM shop.sessions) AS sessions,
	(SELECT count(*) FROM vf.vf_outbox_keys) AS keys;

-- (a) Too much: 12 of 20, where 5 rows or 50 % are allowed.
SET voiceframe.purge_brake_rows = 5;
SELECT count(t.session('due ' || i)) FROM generate_series(1, 8) i;
SELECT count(t.session('old ' || i, '2020-01-03', 'infinity'))
FROM generate_series(1, 4) i;
SELECT count(t.session('paid ' || i)), count(t.order('paid ' || i, 'paid'))
FROM generate_series(1, 8) i;
SELECT * FROM vf_purge_now();
SELECT * FROM vf_purge_now(max_sessions => 1);
CALL vf_purge(1);
CALL vf_purge(full_sweep => false);
SELECT * FROM t.left;
SELECT outcome, repeats, error FROM vf_run;
SELECT value, what_to_do FROM vf_alerts WHERE alert = 'brake' AND firing;
-- The share of all sessions decides, or the number, whichever is larger.
BEGIN;
\set VERBOSITY sqlstate
SET LOCAL voiceframe.purge_brake_percent = 60;
SELECT expired, unpaid, kept_paid FROM vf_purge_now();
SAVEPOINT a;
-- What was purged in the last day counts.
SELECT count(t.session('more ' || i)) FROM generate_series(1, 2) i;
\set VERBOSITY default
SELECT * FROM vf_purge_now();
ROLLBACK TO a;
UPDATE vf_run SET started_at = started_at - interval '1 day 1 minute';
SELECT count(t.session('more ' || i)) FROM generate_series(1, 2) i;
\set VERBOSITY sqlstate
SELECT expired FROM vf_purge_now();
ROLLBACK;
BEGIN;
SET LOCAL voiceframe.purge_brake_rows = 12;
SELECT expired, unpaid FROM vf_purge_now();
ROLLBACK;
BEGIN;
SET LOCAL voiceframe.purge_brake_percent = 59;
SET LOCAL voiceframe.purge_brake_rows = 11;
SELECT expired, unpaid FROM vf_purge_now();
ROLLBACK;
-- Confirmed: too few, just right, up to 1 % more.
\set VERBOSITY default
SELECT * FROM vf_purge_now(confirm => 11);
\set VERBOSITY sqlstate
BEGIN;
SELECT expired, unpaid FROM vf_purge_now(confirm => 12);
ROLLBACK;
BEGIN;
SELECT expired, unpaid FROM vf_purge_now(confirm => 13);
ROLLBACK;
BEGIN;
SELECT expired, unpaid FROM vf_purge_now(confirm => 9223372036854775807);
ROLLBACK;
BEGIN;
SELECT expired, unpaid FROM vf_purge_now(2, 12);
SELECT * FROM t.left;
ROLLBACK;
SELECT count(t.session('many ' || i)) FROM generate_series(1, 190) i;
BEGIN;
SELECT expired, unpaid FROM vf_purge_now(confirm => 200);
ROLLBACK;
SELECT t.session('one more') \gset _
\set VERBOSITY default
SELECT * FROM vf_purge_now(confirm => 200);
-- A shop that purges 200 a day stays in peace, once a week is known.
INSERT INTO vf_run (kind, caller, full_sweep, started_at, ended_at, outcome,
	expired, pid, backend_start)
SELECT 'purge', 'story', true, now() - i * interval '1 day 1 minute', now(),
	'ok', CASE WHEN i = 4 THEN 10000 ELSE 100 END, 0, now()
FROM generate_series(1, 7) i;
SELECT * FROM vf_purge_now();
INSERT INTO vf_run (kind, caller, full_sweep, started_at, ended_at, outcome,
	expired, pid, backend_start)
VALUES ('purge', 'story', true, now() - interval '8 days 1 hour', now(), 'ok',
	100, 0, now());
SELECT * FROM vf_purge_now();
UPDATE vf_run SET expired = 102 WHERE expired = 100;
\set VERBOSITY sqlstate
CALL vf_purge();
SELECT * FROM t.left;
SELECT firing FROM vf_alerts WHERE alert = 'brake';

-- (b) Something is lost, whatever the number: orders emptied.
\set VERBOSITY default
RESET voiceframe.purge_brake_rows;
BEGIN;
DELETE FROM orders;
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
TRUNCATE orders;
SELECT * FROM vf_purge_now(1);
ROLLBACK;
-- Nothing due, nothing lost.
BEGIN;
TRUNCATE orders, sessions;
\set VERBOSITY sqlstate
SELECT expired FROM vf_purge_now();
ROLLBACK;
-- Never seen any, none missed; and a person may confirm.
BEGIN;
TRUNCATE orders;
SAVEPOINT a;
UPDATE vf_sweep SET orders_seen = false;
SELECT expired FROM vf_purge_now();
ROLLBACK TO a;
SELECT expired FROM vf_purge_now(confirm => 8);
ROLLBACK;

-- Some of what kept them lost: nine may be, ten may not.
\set VERBOSITY default
SELECT count(t.session('kept ' || i)), count(t.order('kept ' || i, 'paid'))
FROM generate_series(1, 22) i;
\set VERBOSITY sqlstate
CALL vf_purge();
SELECT cardinality(paid_sample), kept_paid, orders_seen FROM vf_sweep;
BEGIN;
DELETE FROM orders WHERE session_token ~ '^kept \d$';
SELECT expired, kept_paid FROM vf_purge_now();
ROLLBACK;
\set VERBOSITY default
BEGIN;
DELETE FROM orders WHERE session_token ~ '^kept (\d|10)$';
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
UPDATE orders SET status = 'pending' WHERE session_token ~ '^kept (\d|10)$';
SELECT * FROM vf_purge_now(1);
ROLLBACK;
BEGIN;
UPDATE orders SET session_token = 'lost ' || session_token;
SELECT * FROM vf_purge_now();
ROLLBACK;
-- Of many, 1 % may: a sample of 1,000 that is the same in every sweep.
SELECT count(t.session('much ' || i)), count(t.order('much ' || i, 'paid'))
FROM generate_series(1, 1200) i;
\set VERBOSITY sqlstate
CALL vf_purge();
CREATE TABLE t.sample AS SELECT u.id, u.n
FROM vf_sweep, unnest(paid_sample) WITH ORDINALITY u (id, n);
CALL vf_purge();
SELECT count(*) FROM vf_sweep, unnest(paid_sample) s JOIN t.sample ON id = s;
BEGIN;
DELETE FROM orders USING sessions s, t.sample m WHERE m.n <= 10
	AND s.id::text = m.id AND s.session_token = orders.session_token;
SELECT expired, kept_paid FROM vf_purge_now();
ROLLBACK;
\set VERBOSITY default
BEGIN;
DELETE FROM orders USING sessions s, t.sample m WHERE m.n <= 11
	AND s.id::text = m.id AND s.session_token = orders.session_token;
SELECT * FROM vf_purge_now();
ROLLBACK;
-- Sessions that went together with their orders are no loss.
BEGIN;
DELETE FROM orders WHERE session_token LIKE 'much %';
DELETE FROM sessions WHERE session_token LIKE 'much %';
\set VERBOSITY sqlstate
SELECT expired, kept_paid FROM vf_purge_now();
ROLLBACK;

-- (c) The clock: a store that answered in the last day says otherwise.
SELECT count(t.session('early ' || i)) FROM generate_series(1, 3) i;
SELECT count(*) > 0 AS registered
FROM vf_configure_bucket('voiceframe', endpoint => 'http://127.0.0.1:9', path_style => 'path');
UPDATE vf_bucket SET clock_offset = -901, clock_offset_at = now() - interval '23 hours';
\set VERBOSITY default
SELECT * FROM vf_purge_now();
UPDATE vf_bucket SET clock_offset = 86400;
SELECT * FROM vf_purge_now(1);
\set VERBOSITY sqlstate
BEGIN;
SELECT expired FROM vf_purge_now(confirm => 3);
ROLLBACK;
BEGIN;
UPDATE vf_bucket SET clock_offset = 899;
SELECT expired FROM vf_purge_now();
ROLLBACK;
UPDATE vf_bucket SET clock_offset_at = now() - interval '25 hours';
BEGIN;
SELECT expired FROM vf_purge_now();
ROLLBACK;
-- ... or sessions that are from the future: nine may be, or one of a hundred.
CREATE FUNCTION t.at(span interval) RETURNS timestamp
LANGUAGE sql AS $$ SELECT (now() + span) AT TIME ZONE 'UTC' $$;
SELECT count(t.session('now ' || i, t.at('-30 min'), 'infinity'))
FROM generate_series(1, 989) i;
SELECT count(t.session('future ' || i, t.at('16 min'), 'infinity'))
FROM generate_series(1, 10) i;
BEGIN;
DELETE FROM sessions WHERE session_token = 'future 1';
DELETE FROM sessions WHERE session_token LIKE 'now %';
SELECT expired FROM vf_purge_now();
ROLLBACK;
BEGIN;
SELECT t.session('now', t.at('-30 min'), 'infinity');
SELECT expired FROM vf_purge_now();
ROLLBACK;
\set VERBOSITY default
SELECT * FROM vf_purge_now();
CALL vf_purge(full_sweep => false);
-- Where nothing is due nothing is stopped.
\set VERBOSITY sqlstate
BEGIN;
DELETE FROM sessions WHERE session_token LIKE 'early %';
SELECT expired FROM vf_purge_now();
ROLLBACK;
DELETE FROM sessions WHERE session_token LIKE 'future %';

-- Under attack.  The first run of all finds 96 % due: 50 % of all or
-- purge_brake_rows, whichever is more, is what it may take.
SELECT vf_unconfigure(discard => true);
DELETE FROM vf_run;
TRUNCATE sessions, orders;
SELECT count(*) > 0 AS configured FROM vf_configure();
SET voiceframe.purge_brake_rows = 10;
SELECT count(t.session('first ' || i)) FROM generate_series(1, 96) i;
SELECT count(t.session('stays ' || i)), count(t.order('stays ' || i, 'paid'))
FROM generate_series(1, 4) i;
\set VERBOSITY default
SELECT * FROM vf_purge_now();
-- However small the pieces, and however often.
\set VERBOSITY sqlstate
CREATE PROCEDURE t.loop(INOUT purged bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..30 LOOP
		BEGIN
			purged := purged + (SELECT expired FROM vf_purge_now(1));
		EXCEPTION WHEN SQLSTATE 'VR001' THEN
		END;
	END LOOP;
END $$;
CALL t.loop(0);
-- A confirmed run cut into pieces leaves the rest where it was.
SELECT expired FROM vf_purge_now(5, 96);
CALL t.loop(0);
SELECT count(*) AS sessions FROM sessions;
-- A young shop that purges 60 % of its rows every day is left in peace, once
-- seven days are known.
TRUNCATE sessions, orders;
DELETE FROM vf_run;
SELECT count(t.session('young ' || i)) FROM generate_series(1, 60) i;
SELECT count(t.session('open ' || i, t.at('-1 day'), 'infinity'))
FROM generate_series(1, 40) i;
SELECT expired FROM vf_purge_now();
INSERT INTO vf_run (kind, caller, full_sweep, started_at, ended_at, outcome,
	expired, pid, backend_start)
SELECT 'purge', 'story', true, now() - i * interval '1 day 1 minute', now(),
	'ok', 60, 0, now()
FROM generate_series(1, 8) i;
SELECT expired FROM vf_purge_now();
-- Half of the orders restored, the others yet to come.
TRUNCATE sessions, orders;
SELECT count(t.session('paid ' || i)), count(t.order('paid ' || i, 'paid'))
FROM generate_series(1, 100) i;
SELECT expired, kept_paid FROM vf_purge_now();
BEGIN;
DELETE FROM orders WHERE session_token ~ '[02468]$';
SELECT * FROM vf_purge_now();
ROLLBACK;
SELECT count(*) AS sessions FROM sessions;

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
