-- P6, P8: what is broken stops itself alone.  A row that cannot be deleted is
-- put off and the rest goes; tables that are not what was registered, and a
-- database that is a copy, stop everything with a clear error and lose
-- nothing.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
SELECT count(*) > 0 AS configured FROM vf_configure();
\setenv PGDATABASE :DBNAME
-- Warnings with their words, successes without their seconds.
\set purge '\\! psql -Xqc "CALL vf.vf_purge()" 2>&1 | sed "s/, in [0-9.]* s$//"'
CREATE VIEW t.left AS SELECT session_token FROM shop.sessions ORDER BY 1;

-- A row held by a foreign key, first in the table: the rest of its batch goes.
SELECT count(t.session('s' || i)) FROM generate_series(1, 9) i;
CREATE TABLE posters (session uuid CONSTRAINT "Poster's session"
	REFERENCES sessions ON DELETE RESTRICT);
CREATE TABLE prints (session uuid CONSTRAINT prints_of_session
	REFERENCES sessions);
INSERT INTO posters SELECT id FROM sessions WHERE session_token = 's1';
INSERT INTO prints SELECT id FROM sessions WHERE session_token IN ('s5', 's6');
:purge
SELECT * FROM t.left;
SELECT count(*) AS keys, count(*) FILTER (WHERE key ~ 's[156]') AS of_left
FROM vf_outbox_keys;
SELECT outcome, expired, put_off, keys_queued, error FROM vf_run
ORDER BY id DESC LIMIT 1;
-- Free again, it goes with the next full sweep.
DELETE FROM posters;
:purge
DROP TABLE posters, prints;
:purge
SELECT * FROM t.left;

-- A trigger of the owner that fails for one row; what it says is not told,
-- for it may hold the token that opens a customer's session.
SELECT count(t.session('s3cr3t' || i)) FROM generate_series(1, 5) i;
CREATE FUNCTION t.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.session_token = 's3cr3t3' THEN
		RAISE EXCEPTION 'no: %', OLD.session_token;
	END IF;
	RETURN OLD;
END $$;
CREATE TRIGGER fail BEFORE DELETE ON sessions FOR EACH ROW
	EXECUTE FUNCTION t.fail();
:purge
SELECT * FROM t.left;
-- One that fails with every row, and one that fails with every statement.
CREATE OR REPLACE FUNCTION t.fail() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RETURN 1 / 0; END $$;
SELECT count(t.session('s' || i)) FROM generate_series(1, 3) i;
:purge
DROP TRIGGER fail ON sessions;
CREATE TRIGGER fail AFTER DELETE ON sessions EXECUTE FUNCTION t.fail();
:purge
SELECT * FROM t.left;
-- More of them than a run will look for: the rest of the table still goes.
DROP TRIGGER fail ON sessions;
CREATE OR REPLACE FUNCTION t.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.session_token LIKE 'bad %' THEN RAISE EXCEPTION 'no'; END IF;
	RETURN OLD;
END $$;
CREATE TRIGGER fail BEFORE DELETE ON sessions FOR EACH ROW
	EXECUTE FUNCTION t.fail();
SELECT count(t.session('bad ' || i)) FROM generate_series(1, 700) i;
SELECT count(t.session('good ' || i)) FROM generate_series(1, 700) i;
SET voiceframe.purge_batch_size = 100;
\set VERBOSITY sqlstate
CALL vf_purge();
\set VERBOSITY default
SELECT count(*) FILTER (WHERE session_token LIKE 'bad %') AS bad,
	count(*) FILTER (WHERE session_token LIKE 'good %') < 150 AS most_good_gone
FROM sessions;
RESET voiceframe.purge_batch_size;
DROP TRIGGER fail ON sessions;
\set VERBOSITY sqlstate
CALL vf_purge();
\set VERBOSITY default
SELECT * FROM t.left;
-- A trigger that keeps rows without an error: theirs is the decision.
SELECT count(t.session('s' || i)) FROM generate_series(1, 3) i;
CREATE OR REPLACE FUNCTION t.fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN OLD.session_token <> 's2' THEN OLD END;
END $$;
CREATE TRIGGER fail BEFORE DELETE ON sessions FOR EACH ROW
	EXECUTE FUNCTION t.fail();
:purge
SELECT * FROM t.left;
DROP TRIGGER fail ON sessions;

-- Tables that are not what was registered.  Nothing goes, nothing is queued.
DELETE FROM vf_outbox;
CREATE FUNCTION t.state() RETURNS TABLE (alert text, sessions bigint,
	keys bigint) LANGUAGE plpgsql AS $$
BEGIN
	SELECT a.value INTO alert FROM vf.vf_alerts a
	WHERE a.alert = 'registration' AND firing;
	SELECT count(*) INTO keys FROM vf.vf_outbox_keys;
	IF to_regclass('shop.sessions') IS NOT NULL THEN
		EXECUTE 'SELECT count(*) FROM shop.sessions' INTO sessions;
	END IF;
	RETURN NEXT;
END $$;
SELECT t.session('s1'), t.session('paid'), t.order('paid', 'completed')
\gset _
-- Dropped and renamed columns.
BEGIN;
ALTER TABLE sessions DROP waveform_s3_key;
SELECT * FROM t.state();
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
ALTER TABLE orders RENAME permanent_photo_s3_key TO photo;
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
ALTER TABLE orders DROP status;
SELECT * FROM t.state();
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
ALTER TABLE sessions ALTER expires_at TYPE date;
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
ALTER TABLE sessions RENAME created_at TO made_at;
SELECT * FROM vf_purge_preview();
ROLLBACK;
-- A new reference column counts from the first run on.
BEGIN;
ALTER TABLE sessions ADD extra_s3_key text;
UPDATE sessions SET extra_s3_key = 'temp_photos/extra';
\set VERBOSITY sqlstate
SELECT expired, keys_queued FROM vf_purge_now();
\set VERBOSITY default
ROLLBACK;
-- A table dropped: said clearly, and the way out and back in is open.
BEGIN;
DROP VIEW t.left;
DROP TABLE sessions;
SELECT * FROM t.state();
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
DROP TABLE orders;
SELECT * FROM t.state();
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
DROP TABLE orders;
SELECT vf_unconfigure();
SELECT * FROM vf_config WHERE part = 'tables';
ROLLBACK;
BEGIN;
DROP VIEW t.left;
CREATE TABLE copied (LIKE sessions INCLUDING ALL);
DROP TABLE sessions;
ALTER TABLE copied RENAME TO sessions;
SAVEPOINT a;
SELECT * FROM vf_purge_now();
ROLLBACK TO a;
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT * FROM t.state();
ROLLBACK;
-- Renamed: followed while the old name is free.
BEGIN;
ALTER TABLE sessions RENAME TO visits;
ALTER TABLE orders RENAME TO purchases;
\set VERBOSITY sqlstate
SELECT expired, kept_paid FROM vf_purge_now();
SELECT session_token FROM visits;
\set VERBOSITY default
ROLLBACK;
-- Swapped: refused, whoever has the name now.
BEGIN;
ALTER TABLE orders RENAME TO old_orders;
CREATE TABLE orders (LIKE old_orders INCLUDING ALL);
SELECT * FROM t.state();
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
ALTER TABLE sessions RENAME TO old_sessions;
CREATE VIEW sessions AS SELECT * FROM old_sessions;
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
ALTER TABLE orders RENAME TO old_orders;
CREATE TABLE orders (LIKE old_orders INCLUDING ALL);
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname LIKE 'vf\_%';
SELECT sessions, due, paying FROM vf_session_counts;
ROLLBACK;
-- Made something else.
BEGIN;
ALTER TABLE orders SET UNLOGGED;
SELECT * FROM t.state();
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
CREATE TABLE whole (LIKE sessions) PARTITION BY LIST (id);
ALTER TABLE whole ATTACH PARTITION sessions DEFAULT;
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
CREATE TABLE notes (session uuid CONSTRAINT notes_key REFERENCES sessions
	ON DELETE CASCADE);
SELECT * FROM t.state();
SELECT * FROM vf_purge_now();
ROLLBACK;

-- P8: a copy deletes nothing until a person says so there: no row, and no
-- object of the keys that came with it.
SELECT count(*) > 0 AS configured
FROM vf_configure_bucket('voices', NULL, 'http://127.0.0.1:9');
INSERT INTO vf_outbox (run_id, endpoint, bucket, keys, nkeys)
VALUES (0, 'http://127.0.0.1:9', 'voices', '{temp_photos/x.jpg}', 1);
SELECT system_identifier AS id FROM vf_source \gset
UPDATE vf_source SET system_identifier = system_identifier + 1;
SELECT * FROM t.state();
SELECT * FROM vf_purge_now();
CALL vf_purge();
CALL vf_drain();
SELECT * FROM vf_purge_preview();
SELECT * FROM t.state();
SELECT sessions, due FROM vf_session_counts;
SELECT vf_adopt();
SELECT system_identifier = :id AS ours_again FROM vf_source;
SELECT * FROM t.state();
SELECT guard FROM vf_source_state();
-- The same system, another database: made from a template, say.
UPDATE vf_source SET database_oid = 1;
SELECT * FROM vf_purge_now();
CALL vf_drain();
-- Adopting asks for the tables by name; it registers nothing it cannot see.
BEGIN;
ALTER TABLE sessions RENAME TO visits;
SELECT vf_adopt();
ROLLBACK;
BEGIN;
ALTER TABLE orders DROP permanent_pdf_s3_key;
SELECT vf_adopt();
ROLLBACK;
SELECT vf_adopt();
\set VERBOSITY sqlstate
SELECT expired, kept_paid FROM vf_purge_now();

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
