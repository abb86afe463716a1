-- P9: what the owners of the tables, and whoever may create in a schema on
-- the search path, plant there: triggers, index expressions and predicates,
-- constraints, defaults, domains, statistics, policies, rules, views, casts,
-- and a twin of every function and operator of pg_catalog.  None of it runs
-- with the rights of the superuser who calls, or of the extension's owner,
-- and no search path is left behind.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
CREATE ROLE regress_vf_sessions;
CREATE ROLE regress_vf_orders;
CREATE ROLE regress_vf_evil;
CREATE ROLE regress_vf_watch IN ROLE pg_monitor;
CREATE SCHEMA evil AUTHORIZATION regress_vf_evil;
GRANT USAGE ON SCHEMA shop, vf, t, evil TO PUBLIC;
GRANT CREATE ON SCHEMA shop TO regress_vf_sessions, regress_vf_orders;
ALTER TABLE sessions OWNER TO regress_vf_sessions;
ALTER TABLE orders OWNER TO regress_vf_orders;
GRANT SELECT ON orders TO regress_vf_sessions;
SELECT count(*) > 0 AS configured FROM vf_configure();

-- Each plant tells whose rights it has.
CREATE TABLE t.heard (what text, who text, path text);
GRANT ALL ON t.heard TO PUBLIC;
CREATE FUNCTION t.note(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t.heard VALUES (what, current_user,
		pg_catalog.current_setting('search_path'));
END $$;
CREATE FUNCTION t.hear(what text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM t.note(what); RETURN true; END $$;
CREATE FUNCTION t.hear(what text, value anyelement) RETURNS anyelement
LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM t.note(what); RETURN value; END $$;
CREATE FUNCTION t.trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM t.note(format('%s %s on %s', TG_WHEN, TG_LEVEL, TG_TABLE_NAME));
	SET search_path = evil;
	RETURN OLD;
END $$;

-- On the tables, by their owners.
SET ROLE regress_vf_sessions;
CREATE TRIGGER a BEFORE DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION t.trigger();
CREATE TRIGGER b AFTER DELETE ON sessions FOR EACH ROW EXECUTE FUNCTION t.trigger();
CREATE TRIGGER c BEFORE DELETE ON sessions EXECUTE FUNCTION t.trigger();
CREATE TRIGGER d AFTER DELETE ON sessions EXECUTE FUNCTION t.trigger();
CREATE INDEX ON sessions (t.hear('expression on sessions', session_token));
CREATE INDEX ON sessions (expires_at) WHERE t.hear('predicate on sessions');
CREATE INDEX ON sessions (id) WHERE t.hear('predicate of a row', photo_s3_key) <> '';
CREATE STATISTICS s ON (t.hear('statistics on sessions', email)), (email || 'x')
	FROM sessions;
ALTER TABLE sessions ADD CHECK (t.hear('check on sessions')),
	ADD d text DEFAULT t.hear('default on sessions', 'x'::text),
	ADD g text GENERATED ALWAYS AS (t.hear('generated on sessions', email::text)) STORED;
CREATE DOMAIN shop.dom AS text CHECK (t.hear('domain on sessions', VALUE) <> '');
ALTER TABLE sessions ADD o shop.dom;
CREATE POLICY p ON sessions USING (t.hear('policy on sessions'));
CREATE RULE r AS ON UPDATE TO sessions DO ALSO SELECT t.hear('rule on sessions');
SET ROLE regress_vf_orders;
CREATE INDEX ON orders (t.hear('expression on orders', session_token));
CREATE INDEX ON orders (status) WHERE t.hear('predicate on orders');
ALTER TABLE orders ADD CHECK (t.hear('check on orders')),
	ADD d text DEFAULT t.hear('default on orders', 'x'::text);
CREATE TRIGGER a AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW
	EXECUTE FUNCTION t.trigger();
CREATE POLICY p ON orders USING (t.hear('policy on orders'));
CREATE TYPE shop.mood AS ENUM ('pending', 'paid');
CREATE FUNCTION shop.mood(shop.mood) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM t.note('cast on orders'); RETURN 'pending'; END $$;
CREATE CAST (shop.mood AS text) WITH FUNCTION shop.mood AS IMPLICIT;
RESET ROLE;

-- On the search path, before pg_catalog: a twin of all that a call could be
-- meant to reach.  Those that take or give pseudo-types nobody can make.
SET ROLE regress_vf_evil;
SET check_function_bodies = off;
DO $do$
DECLARE
	f record;
	o record;
BEGIN
	FOR f IN SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS args,
			p.proretset, p.prorettype::regtype AS result
		FROM pg_proc p WHERE pronamespace = 'pg_catalog'::regnamespace
		AND prokind = 'f' AND provariadic = 0 AND proargmodes IS NULL
		AND (SELECT bool_and(t.typtype <> 'p') FROM pg_type t
			WHERE t.oid = ANY (p.proargtypes::oid[] || p.prorettype))
	LOOP
		EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS
			%L', f.proname, f.args, CASE WHEN f.proretset THEN 'SETOF' ELSE '' END,
			f.result, format('BEGIN PERFORM t.note(%L); RETURN%s; END',
				'function ' || f.proname, CASE WHEN f.proretset THEN '' ELSE ' NULL' END));
	END LOOP;
	FOR o IN SELECT oprname, oprleft::regtype AS l, oprright::regtype AS r,
			p.proname
		FROM pg_operator o JOIN pg_proc p ON p.oid = oprcode
		WHERE oprnamespace = 'pg_catalog'::regnamespace AND oprkind = 'b'
		AND to_regprocedure(format('evil.%I(%s,%s)', p.proname,
			oprleft::regtype, oprright::regtype)) IS NOT NULL
	LOOP
		EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s,
			FUNCTION = evil.%I)', o.oprname, o.l, o.r, o.proname);
	END LOOP;
END $do$;
CREATE AGGREGATE evil.count(*) (SFUNC = evil.int8inc, STYPE = bigint);
CREATE VIEW evil.pg_class AS SELECT t.hear('view pg_class');
CREATE VIEW evil.vf_outbox AS SELECT t.hear('view vf_outbox');
CREATE VIEW evil.vf_source AS SELECT t.hear('view vf_source');
RESET check_function_bodies;
RESET ROLE;
SELECT count(*) > 1000 AS functions FROM pg_proc
WHERE pronamespace = 'evil'::regnamespace;
SELECT count(*) > 400 AS operators FROM pg_operator
WHERE oprnamespace = 'evil'::regnamespace;
-- They are found where somebody is careless.
SET search_path = evil, shop, vf, pg_catalog;
SELECT 'a' || 'b' AS caught;
RESET search_path;
SELECT what, who FROM t.heard WHERE what LIKE 'function%';

-- Three sessions of a round, by the tables' owners, and nothing heard yet.
CREATE FUNCTION t.fresh(round text) RETURNS void LANGUAGE plpgsql
SET search_path = shop, t AS $$
BEGIN
	SET LOCAL ROLE regress_vf_sessions;
	INSERT INTO sessions (id, session_token, photo_s3_key, created_at, expires_at)
	SELECT md5(n || round)::uuid, n || round, 'temp_photos/' || n || round,
		'2020-01-01', '2020-01-02'
	FROM unnest(ARRAY['due ', 'gone ', 'paid ']) n;
	SET LOCAL ROLE regress_vf_orders;
	INSERT INTO orders (id, email, amount_cents, status, session_token,
		created_at, updated_at)
	VALUES (gen_random_uuid(), 'x', 1, 'paid', 'paid ' || round, '2020-01-01',
		'2020-01-01');
	RESET ROLE;
	DELETE FROM t.heard;
END $$;
-- What must not be: the rights of anyone else, a twin, another search path
-- (but the one that the owner's first trigger sets for its next).
CREATE VIEW t.bad AS SELECT DISTINCT what, who, path FROM t.heard
WHERE who <> 'regress_vf_sessions'
	OR what ~ '^(function|view|cast|policy|rule|column|default)'
	OR path <> 'pg_catalog, pg_temp' AND what !~ '^(BEFORE|AFTER)';
CREATE VIEW t.good AS
SELECT count(DISTINCT what) FILTER (WHERE what ~ '^(BEFORE|AFTER)') AS triggers,
	count(*) FILTER (WHERE what = 'predicate on sessions') > 0 AS sessions,
	count(*) FILTER (WHERE what = 'predicate on orders') > 0 AS orders
FROM t.heard;
\getenv abs_builddir PG_ABS_BUILDDIR
\set credentials :abs_builddir '/results/planted.credentials'
\setenv credentials :credentials
\! (umask 077; printf '[default]\naws_access_key_id = a\naws_secret_access_key = b\n' >"$credentials")
SET voiceframe.s3_credentials_file = :'credentials';

-- Whatever is called, and by whom: what the tables carry is run by the planner
-- and the executor, with the rights of the owner of sessions; the twins are
-- not heard at all.
SELECT t.fresh('1') \gset _
SET search_path = evil, shop, vf, pg_catalog;
\set VERBOSITY sqlstate
\o /dev/null
SELECT * FROM vf.vf_configure('shop.sessions', 'shop.orders', queue_deletes => true);
SELECT * FROM vf.vf_configure_bucket('voices', NULL, 'http://127.0.0.1:9',
	probe => false);
SELECT * FROM vf.vf_purge_preview(2);
SELECT * FROM vf.vf_session_counts;
SELECT * FROM vf.vf_storage_by_type;
SELECT * FROM vf.vf_alerts;
SELECT * FROM vf.vf_stats;
SELECT * FROM vf.vf_config;
SELECT * FROM vf.vf_runs;
SELECT vf.vf_pause('a moment');
SELECT vf.vf_resume();
SELECT vf.vf_error_cure('SlowDown');
\o
BEGIN;
SELECT expired, kept_paid FROM vf.vf_purge_now();
SHOW search_path;
SELECT current_user;
COMMIT;
SHOW search_path;
RESET search_path;
SELECT * FROM t.bad;
SELECT * FROM t.good;
SELECT t.fresh('2') \gset _
SET search_path = evil, shop, vf, pg_catalog;
CALL vf.vf_purge();
SHOW search_path;
SELECT current_user;
CALL vf.vf_drain();
SHOW search_path;
SELECT vf.vf_outbox_cancel(1, 'kept');
SELECT vf.vf_outbox_retry();
RESET search_path;
SELECT * FROM t.bad;
SELECT * FROM t.good;
-- It got as far as a request: the references were looked up.
SELECT error FROM vf.vf_outbox_stats;

-- The owner calls, the application deletes, a customer pays, somebody watches.
SELECT t.fresh('3') \gset _
SET search_path = evil, shop, vf, pg_catalog;
SET ROLE regress_vf_sessions;
DELETE FROM shop.sessions WHERE session_token OPERATOR(pg_catalog.=) 'gone 3';
RESET ROLE;
RESET search_path;
-- (The deleting statement itself is the application's, with its own path.)
SELECT * FROM t.bad WHERE what !~ 'on sessions';
SELECT key FROM vf.vf_outbox_keys WHERE key ~ 'gone 3';
DELETE FROM t.heard;
UPDATE vf.vf_bucket SET next_attempt_at = NULL;
SET search_path = evil, shop, vf, pg_catalog;
SET ROLE regress_vf_sessions;
CALL vf.vf_purge();
SHOW search_path;
CALL vf.vf_drain();
SET ROLE regress_vf_watch;
\o /dev/null
SELECT * FROM vf.vf_alerts;
SELECT * FROM vf.vf_stats;
SELECT * FROM vf.vf_session_counts;
\o
RESET ROLE;
RESET search_path;
SELECT * FROM t.bad;
SELECT * FROM t.good;
SELECT t.fresh('4') \gset _
SET search_path = evil, shop, vf, pg_catalog;
SET ROLE regress_vf_orders;
INSERT INTO shop.orders (id, email, amount_cents, status, session_token)
VALUES ('00000000-0000-0000-0000-000000000001', 'x', 1, 'paid', 'due 4');
RESET ROLE;
RESET search_path;
SELECT DISTINCT what, who, path FROM t.heard WHERE what ~ 'on sessions' ORDER BY 1;

-- Undo inserts rows: what is planted on the table runs then, too, and with its
-- owner's rights alone; so does what a payment brings back by itself.
SELECT t.fresh('5'), t.fresh('6') \gset _
DELETE FROM t.heard;
SET search_path = evil, shop, vf, pg_catalog;
SET voiceframe.undo_window = '1h';
SELECT expired FROM vf.vf_purge_now();
\o /dev/null
SELECT * FROM vf.vf_undo_runs;
\o
SELECT outcome, detail FROM vf.vf_undo_purge('due 5');
SELECT * FROM t.bad;
SET ROLE regress_vf_orders;
INSERT INTO shop.orders (id, email, amount_cents, status, session_token)
VALUES ('00000000-0000-0000-0000-000000000002', 'x', 1, 'paid', 'due 6');
RESET ROLE;
-- (The order itself is its owner's, with his own path.)
SELECT * FROM t.bad WHERE what !~ 'on orders';
DELETE FROM t.heard;
SELECT vf.vf_hold('due 5', NULL, 'why');
SELECT vf.vf_release('due 5');
SELECT sessions, undo_rows FROM vf.vf_erase_session('due 5');
SELECT vf.vf_undo_discard() IS NOT NULL AS discarded;
SHOW search_path;
RESET voiceframe.undo_window;
RESET search_path;
SELECT * FROM t.bad;
SELECT session_token FROM shop.sessions WHERE session_token ~ 'due [56]' ORDER BY 1;

-- Row policies would hide rows, and paid orders with them: refused before
-- they are asked, and nothing is lost.
SET ROLE regress_vf_orders;
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
RESET ROLE;
DELETE FROM t.heard;
SELECT count(*) FROM vf.vf_purge_now();
CALL vf.vf_purge();
SET ROLE regress_vf_orders;
ALTER TABLE shop.orders DISABLE ROW LEVEL SECURITY;
SET ROLE regress_vf_sessions;
ALTER TABLE shop.sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE shop.sessions FORCE ROW LEVEL SECURITY;
RESET ROLE;
SELECT count(*) FROM vf.vf_purge_now();
CALL vf.vf_purge();
SET ROLE regress_vf_sessions;
ALTER TABLE shop.sessions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE shop.sessions DISABLE ROW LEVEL SECURITY;
-- A rule on DELETE is refused, one on UPDATE has nothing to say.
CREATE RULE also AS ON DELETE TO shop.sessions
	DO ALSO SELECT t.hear('rule on DELETE');
RESET ROLE;
SELECT count(*) FROM vf.vf_purge_now();
SET ROLE regress_vf_sessions;
DROP RULE also ON shop.sessions;
-- A type with a cast that runs something in place of the status.
SET ROLE regress_vf_orders;
ALTER TABLE shop.orders ALTER status TYPE shop.mood USING 'paid';
RESET ROLE;
SELECT * FROM t.bad WHERE what !~ 'on orders';
DELETE FROM t.heard;
SELECT count(*) FROM vf.vf_purge_now();
CALL vf.vf_purge();
SELECT count(*) > 9 AS alerts FROM vf.vf_alerts;
SELECT * FROM t.bad;
SELECT session_token FROM shop.sessions ORDER BY 1;
SET ROLE regress_vf_orders;
ALTER TABLE shop.orders ALTER status TYPE varchar(50) USING 'paid';
RESET ROLE;
-- Tables of the right form by somebody else, first on the path, are not what
-- was registered.
CREATE TABLE evil.sessions (LIKE shop.sessions);
CREATE TABLE evil.orders (LIKE shop.orders);
ALTER TABLE evil.sessions OWNER TO regress_vf_evil;
ALTER TABLE evil.orders OWNER TO regress_vf_evil;
SET ROLE regress_vf_evil;
INSERT INTO evil.orders (id, email, amount_cents, status, session_token)
VALUES (pg_catalog.gen_random_uuid(), 'x', 1, 'failed', 'paid 1');
RESET ROLE;
SET search_path = evil, shop, vf, pg_catalog;
SELECT expired, kept_paid FROM vf.vf_purge_now();
RESET search_path;
SELECT item, value FROM vf.vf_config WHERE item IN ('sessions', 'orders');
SELECT session_token FROM shop.sessions ORDER BY 1;
SELECT state, sum(nkeys) FROM vf.vf_outbox GROUP BY 1 ORDER BY 1;
\! rm -f "$credentials"
SET client_min_messages = error;
DROP SCHEMA evil CASCADE;
RESET client_min_messages;

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
DROP ROLE regress_vf_sessions, regress_vf_orders, regress_vf_evil,
	regress_vf_watch;
