-- P9: who may call and see what; no token leaks to who watches; and what the
-- owner of the tables hangs on them runs with the owner's rights, no more.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
CREATE ROLE regress_vf_sessions;
CREATE ROLE regress_vf_orders;
CREATE ROLE regress_vf_member IN ROLE regress_vf_sessions;
CREATE ROLE regress_vf_watch IN ROLE pg_monitor;
CREATE ROLE regress_vf_nobody;
ALTER TABLE sessions OWNER TO regress_vf_sessions;
ALTER TABLE orders OWNER TO regress_vf_orders;
GRANT SELECT ON orders TO regress_vf_sessions;
GRANT USAGE ON SCHEMA shop, t TO regress_vf_sessions, regress_vf_orders;
GRANT USAGE ON SCHEMA vf TO PUBLIC;

-- The same calls as each role: refused, or not for want of rights.
CREATE FUNCTION t.may(call text) RETURNS text
LANGUAGE plpgsql SET client_min_messages = error AS $$
BEGIN
	BEGIN
		EXECUTE call;
		RAISE EXCEPTION USING ERRCODE = 'P0005';
	EXCEPTION
		WHEN insufficient_privilege THEN RETURN '-';
		WHEN OTHERS THEN RETURN 'may';
	END;
END $$;
GRANT USAGE ON SCHEMA t TO PUBLIC;
CREATE VIEW t.calls (n, call) AS VALUES
	(1, 'SELECT vf.vf_configure(columns => ''[]'')'),
	(2, 'SELECT vf.vf_unconfigure()'),
	(3, 'SELECT vf.vf_adopt()'),
	(4, 'SELECT vf.vf_configure_bucket(NULL)'),
	(5, 'SELECT vf.vf_s3_check()'),
	(6, 'SELECT vf.vf_worker_stop()'),
	(7, 'SELECT vf.vf_purge_now(-1)'),
	(8, 'SELECT vf.vf_purge_now(confirm => 1000000)'),
	(9, 'CALL vf.vf_purge()'),
	(10, 'CALL vf.vf_purge(confirm => 1000000)'),
	(11, 'CALL vf.vf_drain()'),
	(12, 'SELECT * FROM vf.vf_purge_preview()'),
	(13, 'SELECT vf.vf_outbox_retry(0)'),
	(14, 'SELECT vf.vf_outbox_cancel(0, ''x'')'),
	(15, 'SELECT vf.vf_pause(''x'')'),
	(16, 'SELECT vf.vf_resume()'),
	(17, 'SELECT vf.vf_error_cure(''SlowDown'')'),
	(18, 'SELECT * FROM vf.vf_source_state()'),
	(19, 'SELECT * FROM vf.vf_count_sessions()'),
	(20, 'SELECT * FROM vf.vf_outbox'),
	(21, 'SELECT * FROM vf.vf_outbox_keys'),
	(22, 'SELECT * FROM vf.vf_dead_letters'),
	(23, 'SELECT * FROM vf.vf_config'),
	(24, 'SELECT * FROM vf.vf_run'),
	(25, 'SELECT * FROM vf.vf_runs'),
	(26, 'SELECT * FROM vf.vf_stats'),
	(27, 'SELECT * FROM vf.vf_alerts'),
	(28, 'SELECT * FROM vf.vf_outbox_stats'),
	(29, 'SELECT * FROM vf.vf_session_counts'),
	(30, 'SELECT * FROM vf.vf_storage_by_type'),
	(31, 'SELECT * FROM vf.vf_workers'),
	(32, 'SELECT * FROM vf.vf_source'),
	(33, 'SELECT * FROM vf.vf_bucket'),
	(34, 'SELECT * FROM vf.vf_sweep'),
	(35, 'SELECT * FROM vf.vf_put_off'),
	(36, 'INSERT INTO vf.vf_outbox (run_id, keys, nkeys) VALUES (0, ''{temp_photos/x}'', 1)'),
	(37, 'DELETE FROM vf.vf_outbox'),
	(38, 'UPDATE vf.vf_run SET expired = 0'),
	(39, 'SELECT nextval(''vf.vf_outbox_id_seq'')'),
	(40, 'CREATE TEMP TABLE x (a int); CREATE TRIGGER x AFTER DELETE ON x EXECUTE FUNCTION vf.vf_queue_deleted()'),
	(41, 'CREATE TEMP TABLE x (a int); CREATE TRIGGER x AFTER INSERT ON x EXECUTE FUNCTION vf.vf_payment_guard()');
GRANT SELECT ON t.calls TO PUBLIC;
CREATE TABLE t.rights (role text, n int, answer text);
GRANT INSERT ON t.rights TO PUBLIC;
CREATE PROCEDURE t.ask() LANGUAGE sql AS $$
	INSERT INTO t.rights SELECT current_user, n, t.may(call) FROM t.calls
$$;
-- Before anything is registered the future owner may nothing at all.
SET ROLE regress_vf_sessions;
SELECT count(*) AS rights FROM t.calls WHERE n < 41 AND t.may(call) <> '-';
RESET ROLE;
SELECT count(*) > 0 AS configured FROM vf_configure();
\set VERBOSITY sqlstate
CALL t.ask();
\set VERBOSITY default
SET ROLE regress_vf_sessions;
CALL t.ask();
SET ROLE regress_vf_member;
CALL t.ask();
SET ROLE regress_vf_orders;
CALL t.ask();
SET ROLE regress_vf_watch;
CALL t.ask();
SET ROLE regress_vf_nobody;
CALL t.ask();
RESET ROLE;
SELECT min(answer) FILTER (WHERE role = current_user) AS super,
	min(answer) FILTER (WHERE role = 'regress_vf_sessions') AS owner,
	min(answer) FILTER (WHERE role = 'regress_vf_member') AS member,
	min(answer) FILTER (WHERE role = 'regress_vf_orders') AS orders,
	min(answer) FILTER (WHERE role = 'regress_vf_watch') AS monitor,
	min(answer) FILTER (WHERE role = 'regress_vf_nobody') AS nobody,
	left(call, 60) AS call
FROM t.calls JOIN t.rights USING (n) GROUP BY n, call ORDER BY n;

-- The owner needs nobody to purge, but to confirm above the brake.
SELECT t.session('a') \gset _
\set VERBOSITY default
SET ROLE regress_vf_sessions;
SELECT * FROM vf_purge_now(confirm => 1);
CALL vf_purge(confirm => 1);
\set VERBOSITY sqlstate
SELECT expired, keys_queued FROM vf_purge_now();
CALL vf_purge();
RESET ROLE;
-- A grant alone does not make an owner.
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA vf TO regress_vf_nobody;
\set VERBOSITY default
SET ROLE regress_vf_nobody;
SELECT * FROM vf_purge_now();
CALL vf_purge();
CALL vf_drain();
SELECT * FROM vf_purge_preview();
SELECT vf_pause('mischief');
SELECT vf_resume();
SELECT vf_outbox_retry();
SELECT vf_outbox_cancel(1, 'mischief');
SELECT * FROM vf_configure();
SELECT vf_unconfigure(true);
SELECT vf_adopt();
SELECT * FROM vf_configure_bucket('mine', 'us-east-2');
SELECT * FROM vf_s3_check();
SELECT vf_worker_start();
SELECT vf_worker_stop();
RESET ROLE;
REVOKE EXECUTE ON ALL ROUTINES IN SCHEMA vf FROM regress_vf_nobody;
-- The rights go with the registration, even where its table is gone.
SELECT vf_unconfigure(true);
SET ROLE regress_vf_sessions;
SELECT count(*) AS rights FROM t.calls WHERE n < 41 AND t.may(call) <> '-';
RESET ROLE;
BEGIN;
SELECT count(*) > 0 AS configured FROM vf_configure();
ALTER TABLE sessions OWNER TO regress_vf_member;
GRANT SELECT ON orders TO regress_vf_member;
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT r AS role, has_table_privilege(r, 'vf.vf_outbox', 'SELECT') AS may,
	has_function_privilege(r, 'vf.vf_pause(text)', 'EXECUTE') AS may_call
FROM unnest(ARRAY['regress_vf_sessions', 'regress_vf_member']) r;
ROLLBACK;
BEGIN;
SELECT count(*) > 0 AS configured FROM vf_configure();
DROP TABLE sessions;
SELECT vf_unconfigure(true);
SELECT has_table_privilege('regress_vf_sessions', 'vf.vf_outbox', 'SELECT')
	AS still;
ROLLBACK;

-- A token in every text column of both tables, through purge, brake,
-- failure, dead letter and cancelling: who watches sees none of it.
SELECT count(*) > 0 AS configured FROM vf_configure();
CREATE PROCEDURE t.plant() LANGUAGE plpgsql AS $$
DECLARE
	col record;
BEGIN
	PERFORM t.session(x) FROM unnest(ARRAY['s3cr3t 1', 's3cr3t 2',
		's3cr3t 3', 's3cr3t 4']) x;
	PERFORM t.order('s3cr3t 2', 'pending'), t.order('s3cr3t 3', 'paid');
	FOR col IN SELECT c.oid::regclass AS rel, attname FROM pg_class c
		JOIN pg_attribute a ON attrelid = c.oid
		WHERE c.oid IN ('shop.sessions'::regclass, 'shop.orders'::regclass)
		AND attnum > 0 AND atttypid IN ('text'::regtype, 'varchar'::regtype)
		AND attname NOT IN ('session_token', 'status', 'migration_status')
		AND attname NOT LIKE 'permanent%'
	LOOP
		EXECUTE format('UPDATE %s SET %I = left(coalesce(%2$I, '''')
			|| '' s3cr3t '' || substr(id::text, 1, 4), 20)', col.rel, col.attname);
	END LOOP;
	UPDATE shop.sessions SET photo_s3_key = 'temp_photos/' || session_token;
	UPDATE shop.orders SET permanent_pdf_s3_key = 'permanent/s3cr3t'
	WHERE status = 'paid';
END $$;
CALL t.plant();
-- All that pg_monitor can read, in one text each.
CREATE FUNCTION t.watch() RETURNS TABLE (what text, leaks bigint)
LANGUAGE plpgsql AS $$
BEGIN
	FOR what IN SELECT DISTINCT c.oid::regclass::text FROM pg_class c
		WHERE relnamespace = 'vf'::regnamespace AND relkind IN ('r', 'v', 'S')
		AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1
	LOOP
		EXECUTE format('SELECT count(*) FROM %s x WHERE x::text ~ ''s3cr3t''',
			what) INTO leaks;
		RETURN NEXT;
	END LOOP;
	FOR what IN SELECT p.proname::text FROM pg_proc p
		WHERE pronamespace = 'vf'::regnamespace AND prokind = 'f'
		AND pronargs = 0 AND has_function_privilege(p.oid, 'EXECUTE')
		AND prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
		ORDER BY 1
	LOOP
		EXECUTE format('SELECT count(*) FROM vf.%I() x WHERE x::text ~ ''s3cr3t''',
			what) INTO leaks;
		RETURN NEXT;
	END LOOP;
END $$;
SET ROLE regress_vf_watch;
SELECT * FROM t.watch();
RESET ROLE;
CREATE FUNCTION t.shout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'no: %', OLD USING DETAIL = OLD::text;
END $$;
CREATE TRIGGER shout BEFORE DELETE ON sessions FOR EACH ROW
	EXECUTE FUNCTION t.shout();
\set VERBOSITY sqlstate
CALL vf_purge();
SELECT count(t.session('s3cr3t more ' || i)) FROM generate_series(1, 600) i;
CALL vf_purge();
DROP TRIGGER shout ON sessions;
CREATE TRIGGER shout AFTER DELETE ON sessions FOR EACH ROW
	EXECUTE FUNCTION t.shout();
CALL vf_purge();
DROP TRIGGER shout ON sessions;
SET voiceframe.purge_brake_rows = 0;
SET voiceframe.purge_brake_percent = 0;
CALL vf_purge();
RESET voiceframe.purge_brake_rows;
RESET voiceframe.purge_brake_percent;
CALL vf_purge();
SELECT count(*) > 0 AS keys FROM vf_outbox_keys WHERE key ~ 's3cr3t';
UPDATE vf_outbox SET state = 'dead', last_error_code = 'AccessDenied'
WHERE id = (SELECT min(id) FROM vf_outbox);
SET ROLE regress_vf_watch;
SELECT sum(leaks) FROM t.watch();
RESET ROLE;
DELETE FROM sessions;

-- What the owner hangs on the tables: it may not reach our tables, nor
-- become anyone, nor leave its search path behind, nor a temporary table.
CREATE TABLE t.heard (what text);
GRANT INSERT, SELECT ON t.heard TO regress_vf_sessions;
GRANT CREATE ON SCHEMA shop TO regress_vf_sessions;
SET ROLE regress_vf_sessions;
CREATE FUNCTION shop.mischief() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	try text;
	told text;
BEGIN
	INSERT INTO t.heard VALUES (format('user %s, path %s', current_user,
		current_setting('search_path')));
	FOREACH try IN ARRAY ARRAY[
		'INSERT INTO vf.vf_outbox (run_id, keys, nkeys)
			VALUES (0, ''{permanent/photos/1.jpg}'', 1)',
		'UPDATE vf.vf_source SET active_since = now()',
		'SELECT * FROM vf.vf_sweep',
		'RESET ROLE', 'SET ROLE regress_vf_orders',
		'SET SESSION AUTHORIZATION DEFAULT',
		'SELECT set_config(''role'', ''none'', false)',
		'SET voiceframe.unpaid_statuses = ''pending''',
		'ALTER ROLE regress_vf_sessions SUPERUSER',
		'CREATE TEMP TABLE pg_class (a int)',
		'DECLARE later CURSOR WITH HOLD FOR SELECT 1',
		'LISTEN x', 'PREPARE x AS SELECT 1',
		'DELETE FROM shop.orders']
	LOOP
		BEGIN
			EXECUTE try;
			told := 'done';
		EXCEPTION WHEN OTHERS THEN told := sqlstate;
		END;
		INSERT INTO t.heard VALUES (split_part(try, E'\n', 1) || ': ' || told);
	END LOOP;
	SET search_path = shop;
	SET row_security = on;
	RETURN OLD;
END $$;
CREATE TRIGGER mischief BEFORE DELETE ON sessions FOR EACH ROW
	EXECUTE FUNCTION shop.mischief();
-- Names that would catch an unqualified call of ours.
CREATE FUNCTION shop.now() RETURNS timestamptz LANGUAGE sql
AS 'INSERT INTO t.heard VALUES (''now() as '' || current_user); SELECT pg_catalog.now()';
CREATE FUNCTION shop.count(text) RETURNS bigint LANGUAGE sql
AS 'INSERT INTO t.heard VALUES (''count() as '' || current_user); SELECT 0::bigint';
CREATE FUNCTION shop.same(varchar, varchar) RETURNS boolean LANGUAGE sql
AS 'INSERT INTO t.heard VALUES (''= as '' || current_user); SELECT false';
CREATE OPERATOR shop.= (LEFTARG = varchar, RIGHTARG = varchar,
	FUNCTION = shop.same);
RESET ROLE;
SELECT t.session('victim'), t.session('other'), t.order('other', 'paid')
\gset _
SET search_path = shop, vf, pg_catalog;
\set VERBOSITY sqlstate
BEGIN;
SELECT expired, kept_paid FROM vf_purge_now();
SELECT current_user, current_setting('search_path') AS search_path,
	current_setting('row_security') AS row_security;
SELECT what FROM t.heard;
ROLLBACK;
CALL vf_purge();
SELECT current_user, current_setting('search_path') AS search_path,
	current_setting('row_security') AS row_security;
SELECT what FROM t.heard WHERE what ~ 'as regress|as postgres|: done';
SELECT session_token FROM sessions;
SET search_path = shop, vf;
-- The same when the owner calls.
DELETE FROM t.heard;
SELECT t.session('victim') \gset _
SET ROLE regress_vf_sessions;
CALL vf_purge();
RESET ROLE;
SELECT what FROM t.heard WHERE what ~ ': done|user';
SELECT count(*) AS orders FROM orders;
DROP TRIGGER mischief ON sessions;

-- A deferred trigger that the owner makes meanwhile is named, not run.
CREATE CONSTRAINT TRIGGER later AFTER DELETE ON sessions
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.mischief();
SELECT t.session('victim') \gset _
\set VERBOSITY default
SELECT * FROM vf_purge_now();
DROP TRIGGER later ON sessions;
-- One that is only deferrable, deferred by hand, is not run as anyone else.
DELETE FROM t.heard;
CREATE CONSTRAINT TRIGGER later AFTER DELETE ON sessions
	DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW
	EXECUTE FUNCTION shop.mischief();
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
\set VERBOSITY sqlstate
SELECT count(*) FROM vf_purge_now();
COMMIT;
SELECT count(*) FROM t.heard WHERE what LIKE 'user%'
	AND what NOT LIKE 'user regress_vf_sessions,%';

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
DROP ROLE regress_vf_member, regress_vf_sessions, regress_vf_orders,
	regress_vf_watch, regress_vf_nobody;
