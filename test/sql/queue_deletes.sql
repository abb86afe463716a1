-- P2 for others: with queue_deletes the keys of sessions that the application
-- deletes itself are queued in its own commit, once, and never those of a
-- customer.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
CREATE ROLE regress_vf_app;
GRANT USAGE ON SCHEMA shop, t TO regress_vf_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON sessions, orders TO regress_vf_app;
CREATE VIEW t.queued AS SELECT run_id > 0 AS by_purge, state,
	last_error_code AS why, key
FROM vf_outbox_keys ORDER BY key COLLATE "C", state;
CREATE PROCEDURE t.anew() LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM vf.vf_outbox;
	TRUNCATE shop.sessions, shop.orders;
	PERFORM t.session(x) FROM unnest(ARRAY['a', 'b', 'paid', 'young']) x;
	UPDATE shop.sessions SET created_at = now() AT TIME ZONE 'UTC',
		expires_at = 'infinity' WHERE session_token = 'young';
	PERFORM t.order('paid', 'completed');
END $$;

-- Not unless asked for.
SELECT count(*) > 0 AS configured FROM vf_configure();
CALL t.anew();
DELETE FROM sessions;
SELECT * FROM t.queued;

-- The application may not even see the outbox.
SELECT count(*) > 0 AS configured FROM vf_configure(queue_deletes => true);
CALL t.anew();
SET ROLE regress_vf_app;
SELECT count(*) FROM vf.vf_outbox;
BEGIN;
DELETE FROM sessions WHERE session_token = 'a';
ROLLBACK;
DELETE FROM sessions WHERE session_token = 'none such';
DELETE FROM sessions WHERE session_token IN ('a', 'young');
RESET ROLE;
SELECT * FROM t.queued;

-- The purge does not queue its own twice, and the trigger wakes up again
-- after a purge that was cut off.
CALL t.anew();
\set VERBOSITY sqlstate
SELECT expired, keys_queued, kept_paid FROM vf_purge_now();
SELECT * FROM t.queued;
CALL t.anew();
CREATE FUNCTION t.slow() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM pg_catalog.pg_sleep(5); RETURN OLD; END $$;
CREATE TRIGGER slow BEFORE DELETE ON sessions FOR EACH ROW
	EXECUTE FUNCTION t.slow();
SET statement_timeout = '200ms';
SELECT expired FROM vf_purge_now();
RESET statement_timeout;
DROP TRIGGER slow ON sessions;
DELETE FROM sessions WHERE session_token = 'young';
SELECT * FROM t.queued;

-- What an order keeps is not deleted with its session.
CALL t.anew();
DELETE FROM sessions WHERE session_token = 'paid';
SELECT * FROM t.queued;

-- A purge takes along what a trigger of the owner deletes besides.
CALL t.anew();
CREATE FUNCTION t.twin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM shop.sessions WHERE session_token = 'young';
	RETURN OLD;
END $$;
CREATE TRIGGER twin BEFORE DELETE ON sessions FOR EACH ROW
	WHEN (OLD.session_token = 'a') EXECUTE FUNCTION t.twin();
SELECT expired, unpaid FROM vf_purge_now();
SELECT session_token FROM sessions;
SELECT * FROM t.queued;
DROP TRIGGER twin ON sessions;

-- Partitioned, in many rows, with a column dropped before the keys.
\set VERBOSITY default
DROP TABLE sessions;
CREATE TABLE sessions (junk int, id uuid, session_token varchar(255),
	created_at timestamp, expires_at timestamp, photo_s3_key text,
	audio_s3_key text, waveform_s3_key text)
	PARTITION BY HASH (session_token);
ALTER TABLE sessions DROP junk;
CREATE TABLE sessions_0 (waveform_s3_key text, audio_s3_key text,
	photo_s3_key text, id uuid, more int, session_token varchar(255),
	created_at timestamp, expires_at timestamp);
ALTER TABLE sessions_0 DROP more;
ALTER TABLE sessions ATTACH PARTITION sessions_0
	FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE sessions_1 PARTITION OF sessions
	FOR VALUES WITH (MODULUS 2, REMAINDER 1);
GRANT SELECT, DELETE ON sessions TO regress_vf_app;
SELECT count(*) > 0 AS configured FROM vf_configure(queue_deletes => true);
CALL t.anew();
SET ROLE regress_vf_app;
DELETE FROM sessions;
RESET ROLE;
SELECT * FROM t.queued;
-- 2,500 rows in one statement are packed.
CALL t.anew();
DELETE FROM sessions;
DELETE FROM vf_outbox;
SELECT count(t.session(i::text)) FROM generate_series(1, 2500) i;
DELETE FROM sessions;
SELECT nkeys FROM vf_outbox ORDER BY id;
SELECT count(DISTINCT key) FROM vf_outbox_keys;
-- The way out takes the trigger along.
SELECT vf_unconfigure(discard => true);
SELECT tgname FROM pg_trigger WHERE tgname LIKE 'vf\_%';

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
DROP ROLE regress_vf_app;
