-- The payment guard: for an application that may only insert orders, under
-- replication and restores, behind triggers and row-level security; and what
-- the purge does about a guard that no longer stands (P1).
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
CREATE ROLE regress_vf_sessions;
CREATE ROLE regress_vf_orders;
CREATE ROLE regress_vf_app;
ALTER TABLE sessions OWNER TO regress_vf_sessions;
ALTER TABLE orders OWNER TO regress_vf_orders;
GRANT USAGE, CREATE ON SCHEMA shop TO regress_vf_orders, regress_vf_sessions;
GRANT USAGE ON SCHEMA shop TO regress_vf_app;
GRANT INSERT ON orders TO regress_vf_app;
GRANT SELECT ON orders TO regress_vf_sessions;
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT count(t.session(x)) FROM unnest(ARRAY['a', 'b', 'c', 'd', 'e']) x;

-- Did this transaction lock the session?  A transaction of another backend
-- would wait; here xmax tells.
CREATE FUNCTION t.locked(token text) RETURNS boolean
LANGUAGE sql SECURITY DEFINER AS $$
	SELECT xmax::text <> '0'
		AND xmax::text::bigint % (2 ^ 32)::bigint >=
			pg_current_xact_id()::text::bigint % (2 ^ 32)::bigint
	FROM shop.sessions WHERE session_token = token $$;
GRANT USAGE ON SCHEMA t TO PUBLIC;
\set pay 'INSERT INTO orders (id, email, amount_cents, status, session_token) VALUES (gen_random_uuid(), \'x@example.test\', 1, \'completed\', '
SELECT t.locked('a');

-- A role that may insert orders and nothing else.
SET ROLE regress_vf_app;
BEGIN;
:pay 'a');
SELECT t.locked('a'), t.locked('b');
COMMIT;
SELECT count(*) FROM sessions;
RESET ROLE;
-- Under replication, and where a restore has switched triggers off.
SET session_replication_role = replica;
BEGIN;
:pay 'b');
SELECT t.locked('b');
ROLLBACK;
RESET session_replication_role;
-- Each change that the rules read, and no other.
CREATE FUNCTION t.change(what text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'UPDATE shop.orders SET ' || what;
	RETURN t.locked('c');
END $$;
SELECT t.order('c', 'pending') \gset _
DELETE FROM orders WHERE session_token <> 'c';
\set change 'BEGIN; SELECT t.change(:what); ROLLBACK;'
\set what '\'status = $$paid$$\''
:change
\set what '\'status = NULL\''
:change
\set what '\'migration_status = $$completed$$\''
:change
\set what '\'permanent_pdf_s3_key = $$permanent/pdfs/1$$\''
:change
\set what '\'created_at = now()\''
:change
\set what '\'updated_at = now()\''
:change
\set what '\'status = status, email = $$y@example.test$$\''
:change
\set what '\'pdf_s3_key = $$pdfs/1$$, amount_cents = 2\''
:change
UPDATE orders SET session_token = 'd';
\set what '\'session_token = $$c$$\''
:change
-- A BEFORE trigger may set the status, whatever the statement names.
CREATE FUNCTION t.approve() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN NEW.status := 'paid'; RETURN NEW; END $$;
CREATE TRIGGER approve BEFORE UPDATE ON orders
	FOR EACH ROW EXECUTE FUNCTION t.approve();
UPDATE orders SET session_token = 'c';
UPDATE orders SET status = 'pending';
ALTER TABLE orders DISABLE TRIGGER approve;
UPDATE orders SET status = 'pending';
ALTER TABLE orders ENABLE TRIGGER approve;
\set what '\'email = $$z@example.test$$\''
:change
DROP TRIGGER approve ON orders;
-- Orders without a session, or of none such, are no matter.
:pay NULL);
:pay 'no such session');

-- Row-level security: the owner is not bound by it, FORCE would hide rows
-- from the purge and is refused.
ALTER TABLE sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
SELECT * FROM vf_purge_now();
CREATE POLICY all_orders ON orders TO regress_vf_sessions USING (true);
SELECT * FROM vf_purge_now();
ALTER TABLE orders DISABLE ROW LEVEL SECURITY;
SET ROLE regress_vf_app;
BEGIN;
:pay 'b');
SELECT t.locked('b');
ROLLBACK;
RESET ROLE;
\set VERBOSITY sqlstate
BEGIN;
DELETE FROM orders;
SELECT expired FROM vf_purge_now();
ROLLBACK;
\set VERBOSITY default
ALTER TABLE sessions FORCE ROW LEVEL SECURITY;
SELECT * FROM vf_purge_now();
CALL vf_purge();
SELECT * FROM vf_purge_preview();
SELECT count(*) FROM sessions;
ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY;
ALTER TABLE sessions DISABLE ROW LEVEL SECURITY;
DROP POLICY all_orders ON orders;

-- A guard that does not stand is told, and the purge takes a table lock
-- instead: it deletes the same, and P1 does not hang on the trigger.
CREATE FUNCTION t.purge() RETURNS TABLE (guard text, firing boolean,
	expired bigint, orders_lock text) LANGUAGE plpgsql AS $$
BEGIN
	SELECT s.guard INTO guard FROM vf.vf_source_state() s;
	SELECT a.firing INTO firing FROM vf.vf_alerts a WHERE alert = 'guard';
	SELECT p.expired INTO expired FROM vf.vf_purge_now() p;
	SELECT string_agg(mode, ', ' ORDER BY mode) INTO orders_lock
	FROM pg_locks WHERE pid = pg_backend_pid()
		AND relation = 'shop.orders'::regclass
		AND mode NOT IN ('AccessShareLock', 'AccessExclusiveLock',
						 'ShareRowExclusiveLock');
	RETURN NEXT;
END $$;
\set VERBOSITY sqlstate
BEGIN;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
ALTER TABLE orders DISABLE TRIGGER vf_payment_guard;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
ALTER TABLE orders ENABLE TRIGGER vf_payment_guard;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
ALTER TABLE orders ENABLE REPLICA TRIGGER vf_payment_guard;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
ALTER TABLE orders DISABLE TRIGGER ALL;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
DROP TRIGGER vf_payment_guard ON orders;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
CREATE OR REPLACE FUNCTION vf.vf_payment_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ BEGIN RETURN NULL; END $$;
SELECT * FROM t.purge();
ROLLBACK;
-- Nor does one whose owner may lock no row.
BEGIN;
REVOKE UPDATE ON sessions FROM regress_vf_sessions;
SELECT guard, (SELECT firing FROM vf_alerts WHERE alert = 'guard')
FROM vf_source_state();
ROLLBACK;
BEGIN;
ALTER FUNCTION vf.vf_payment_guard() SECURITY INVOKER;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
ALTER FUNCTION vf.vf_payment_guard() OWNER TO regress_vf_orders;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
ALTER FUNCTION vf.vf_payment_guard() RESET search_path;
SELECT * FROM t.purge();
ROLLBACK;
-- Made anew by hand, but not as it was.
BEGIN;
DROP TRIGGER vf_payment_guard ON orders;
CREATE TRIGGER vf_payment_guard AFTER INSERT OR UPDATE OF status ON orders
	FOR EACH ROW EXECUTE FUNCTION vf.vf_payment_guard();
ALTER TABLE orders ENABLE ALWAYS TRIGGER vf_payment_guard;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
DROP TRIGGER vf_payment_guard ON orders;
CREATE TRIGGER vf_payment_guard AFTER INSERT OR UPDATE ON orders
	FOR EACH ROW WHEN (NEW.status = 'completed')
	EXECUTE FUNCTION vf.vf_payment_guard();
ALTER TABLE orders ENABLE ALWAYS TRIGGER vf_payment_guard;
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
DROP TRIGGER vf_payment_guard ON orders;
CREATE TRIGGER vf_payment_guard AFTER UPDATE ON orders
	FOR EACH ROW EXECUTE FUNCTION vf.vf_payment_guard();
ALTER TABLE orders ENABLE ALWAYS TRIGGER vf_payment_guard;
SELECT * FROM t.purge();
ROLLBACK;
-- A new child table of orders has none (inheritance, not a partition).
BEGIN;
CREATE TABLE shop.more_orders () INHERITS (orders);
SELECT * FROM t.purge();
ROLLBACK;
-- Refused when configuring: no alert, and the lock every time.
BEGIN;
SELECT count(*) > 0 AS configured FROM vf_configure(payment_guard => false);
SELECT * FROM t.purge();
ROLLBACK;
-- Partitions have it too, those attached later as well.
BEGIN;
ALTER TABLE orders RENAME TO old_orders;
CREATE TABLE orders (LIKE old_orders) PARTITION BY LIST (status);
ALTER TABLE orders OWNER TO regress_vf_orders;
GRANT SELECT ON orders TO regress_vf_sessions;
CREATE TABLE orders_paid PARTITION OF orders FOR VALUES IN ('completed');
SELECT count(*) > 0 AS configured FROM vf_configure();
CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
SELECT tgrelid::regclass, tgenabled FROM pg_trigger
WHERE tgname = 'vf_payment_guard' ORDER BY tgrelid::regclass::text;
:pay 'e');
SELECT t.locked('e');
SELECT * FROM t.purge();
ROLLBACK;
BEGIN;
ALTER TABLE orders RENAME TO old_orders;
CREATE TABLE orders (LIKE old_orders) PARTITION BY LIST (status);
ALTER TABLE orders OWNER TO regress_vf_orders;
GRANT SELECT ON orders TO regress_vf_sessions;
CREATE TABLE orders_rest PARTITION OF orders DEFAULT;
SELECT count(*) > 0 AS configured FROM vf_configure();
ALTER TABLE orders_rest DISABLE TRIGGER vf_payment_guard;
SELECT guard FROM vf_source_state();
ROLLBACK;
\set VERBOSITY default

-- Whatever becomes of sessions, the guard raises no error of its own.
BEGIN;
ALTER TABLE sessions RENAME TO visits;
:pay 'b');
SELECT guard FROM vf_source_state();
ROLLBACK;
BEGIN;
ALTER TABLE sessions RENAME session_token TO token;
:pay 'b');
ROLLBACK;
BEGIN;
DROP TABLE sessions;
:pay 'b');
ROLLBACK;
BEGIN;
ALTER SCHEMA shop RENAME TO store;
SET LOCAL search_path = store, vf;
:pay 'b');
ROLLBACK;
BEGIN;
REVOKE ALL ON SCHEMA shop FROM regress_vf_sessions;
:pay 'b');
ROLLBACK;
BEGIN;
ALTER TABLE sessions OWNER TO regress_vf_app;
REVOKE ALL ON sessions FROM regress_vf_sessions;
:pay 'b');
ROLLBACK;
-- Nor does it trust the caller's search path or its temporary tables.
BEGIN;
CREATE TEMP TABLE sessions (session_token text);
CREATE FUNCTION pg_temp.never(text, text) RETURNS boolean LANGUAGE sql
AS 'SELECT false';
CREATE OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = text,
	FUNCTION = pg_temp.never);
SET LOCAL search_path = pg_temp, pg_catalog, shop, t;
:pay 'b');
SELECT t.locked('b');
ROLLBACK;

-- Gone with the registration.
SELECT vf_unconfigure(discard => true);
SELECT tgname FROM pg_trigger WHERE tgname LIKE 'vf\_%';
SELECT to_regproc('vf.vf_payment_guard');

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
DROP ROLE regress_vf_sessions, regress_vf_orders, regress_vf_app;
