-- Registration is suspicious: it finds the two tables or refuses, says what
-- does not fit, refuses what a purge could not account for, and goes only
-- when no key is forgotten by it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
SELECT t.session('a'), t.session('b'), t.session('paid') \gset _
SELECT t.order('b', 'pending'), t.order('paid', 'completed'),
	t.order('paid', NULL), t.order('paid', 'on_hold') \gset _

-- Found on the search path, and what was found.
SELECT * FROM vf_configure();
SELECT item, value FROM vf_config
WHERE part = 'tables' AND item NOT IN ('registered');
-- A first purge needs no registration by hand: the strict rule, no guard.
SELECT vf_unconfigure();
BEGIN;
\set VERBOSITY sqlstate
SELECT expired, unpaid, note FROM vf_purge_now();
SELECT value FROM vf_config WHERE item = 'payment guard';
ROLLBACK;
\set VERBOSITY default

-- Doubt is refused: nothing, half, or two of them.
SET search_path = vf;
SELECT * FROM vf_configure();
SELECT * FROM vf_purge_now();
CREATE SCHEMA old_shop;
CREATE TABLE old_shop.sessions (LIKE shop.sessions);
SET search_path = shop, old_shop, vf;
SELECT * FROM vf_configure();
-- Another table of that name that does not fit is no doubt.
ALTER TABLE old_shop.sessions DROP session_token;
SELECT count(*) FROM vf_configure();
SELECT vf_unconfigure();
SET search_path = old_shop, vf;
SELECT * FROM vf_configure();
SELECT * FROM vf_configure('old_shop.sessions', 'shop.orders');
SET search_path = shop, vf;
SELECT * FROM vf_configure(sessions => 'shop.sessions');
SELECT * FROM vf_configure(orders => 'shop.orders');
SELECT * FROM vf_configure('shop.orders', 'shop.sessions');

-- All that is missing or of a wrong type comes at once.
CREATE TABLE old_shop.bad (id integer, session_token char(43),
	created_at date, photo_s3_key integer);
SELECT * FROM vf_configure('old_shop.bad', 'shop.orders');
CREATE TABLE old_shop.bad_orders (session_token text, status integer,
	created_at timestamp, permanent_s3_keys text[]);
SELECT * FROM vf_configure('shop.sessions', 'old_shop.bad_orders');
SELECT * FROM vf_configure(columns => '{"sessions.id": "missing"}');
SELECT * FROM vf_configure(columns => '{"sessions.ident": "id"}');
SELECT * FROM vf_configure(columns => '{"orders.status": null}');
SELECT * FROM vf_configure(columns => '["orders.status"]');
SELECT * FROM vf_configure(accept_foreign_keys => ARRAY['a', NULL]);

-- Only plain, permanent tables that stand for themselves.
CREATE TABLE old_shop.parted (LIKE shop.sessions)
	PARTITION BY RANGE (created_at);
CREATE TABLE old_shop.part PARTITION OF old_shop.parted DEFAULT;
SELECT * FROM vf_configure('old_shop.part', 'shop.orders');
CREATE VIEW old_shop.view AS SELECT * FROM shop.sessions;
SELECT * FROM vf_configure('old_shop.view', 'shop.orders');
CREATE MATERIALIZED VIEW old_shop.matview AS SELECT * FROM shop.sessions;
SELECT * FROM vf_configure('old_shop.matview', 'shop.orders');
CREATE UNLOGGED TABLE old_shop.unlogged (LIKE shop.orders);
SELECT * FROM vf_configure('shop.sessions', 'old_shop.unlogged');
CREATE TEMP TABLE temporary (LIKE shop.sessions);
SELECT * FROM vf_configure('temporary', 'shop.orders');
CREATE FOREIGN DATA WRAPPER regress_vf_wrapper;
CREATE SERVER regress_vf_server FOREIGN DATA WRAPPER regress_vf_wrapper;
CREATE FOREIGN TABLE old_shop.foreigner (id uuid, session_token text,
	created_at timestamp, expires_at timestamp, photo_s3_key text)
	SERVER regress_vf_server;
SELECT * FROM vf_configure('old_shop.foreigner', 'shop.orders');
SELECT * FROM vf_configure('shop.sessions_pkey', 'shop.orders');
-- So must their parts be; those of orders also be here.
CREATE TABLE old_shop.orders (LIKE shop.orders) PARTITION BY LIST (status);
CREATE UNLOGGED TABLE old_shop.others PARTITION OF old_shop.orders DEFAULT;
SELECT * FROM vf_configure('shop.sessions', 'old_shop.orders');
DROP TABLE old_shop.others;
CREATE FOREIGN TABLE old_shop.elsewhere PARTITION OF old_shop.orders DEFAULT
	SERVER regress_vf_server;
SELECT * FROM vf_configure('shop.sessions', 'old_shop.orders');
CREATE UNLOGGED TABLE old_shop.lost PARTITION OF old_shop.parted
	FOR VALUES FROM ('2020-01-01') TO ('2020-02-01');
SELECT * FROM vf_configure('old_shop.parted', 'shop.orders');
SET client_min_messages = error;
DROP FOREIGN DATA WRAPPER regress_vf_wrapper CASCADE;
DROP TABLE temporary;
DROP SCHEMA old_shop CASCADE;
RESET client_min_messages;

-- A foreign key that would carry a purge on is refused, unless by name.
CREATE TABLE notes (session uuid CONSTRAINT notes_to_sessions
	REFERENCES sessions ON DELETE CASCADE);
SELECT * FROM vf_configure();
SELECT * FROM vf_configure(accept_foreign_keys => ARRAY['another']);
SELECT count(*) FROM vf_configure(
	accept_foreign_keys => ARRAY['notes_to_sessions']);
-- It is looked at again in every run.
CREATE TABLE more_notes (session uuid CONSTRAINT more_to_sessions
	REFERENCES sessions ON DELETE SET NULL);
SELECT * FROM vf_purge_now();
SELECT value FROM vf_alerts WHERE alert = 'registration' AND firing;
ALTER TABLE more_notes DROP CONSTRAINT more_to_sessions, ADD CONSTRAINT
	default_to_sessions FOREIGN KEY (session) REFERENCES sessions
	ON DELETE SET DEFAULT;
SELECT * FROM vf_purge_now();
DROP TABLE notes, more_notes;
-- What waits for the commit, and what rewrites a DELETE, are named.
CREATE FUNCTION t.nothing() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER "Later" AFTER DELETE ON sessions
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION t.nothing();
SELECT * FROM vf_purge_now();
SELECT * FROM vf_configure();
DROP TRIGGER "Later" ON sessions;
CREATE RULE "Instead" AS ON DELETE TO sessions DO INSTEAD NOTHING;
SELECT * FROM vf_purge_now();
SELECT * FROM vf_configure();
DROP RULE "Instead" ON sessions;
CREATE TABLE visits (session uuid CONSTRAINT "Visits" REFERENCES sessions
	DEFERRABLE INITIALLY DEFERRED);
SELECT * FROM vf_purge_now();
DROP TABLE visits;
-- The same on a table that inherits from sessions.
CREATE TABLE heirs (PRIMARY KEY (id)) INHERITS (sessions);
CREATE TABLE notes (session uuid CONSTRAINT notes_to_heirs
	REFERENCES heirs ON DELETE CASCADE);
SELECT * FROM vf_purge_now();
DROP TABLE notes;
CREATE RULE "Instead" AS ON DELETE TO heirs DO INSTEAD NOTHING;
SELECT * FROM vf_purge_now();
DROP TABLE heirs;
-- Tokens must compare alike on both sides.
ALTER TABLE sessions ALTER session_token TYPE varchar(255) COLLATE "C";
SELECT * FROM vf_configure();
ALTER TABLE sessions ALTER session_token TYPE varchar(255)
	COLLATE "default";
SELECT count(*) > 0 AS configured FROM vf_configure();

-- Buckets: what cannot be one is refused, with the reason.
SELECT * FROM vf_configure_bucket('voices', 'us-east-2');
SELECT * FROM vf_configure_bucket(bucket => NULL);
SELECT * FROM vf_configure_bucket('voices');
SELECT * FROM vf_configure_bucket('s3://voices', 'us-east-2');
SELECT * FROM vf_configure_bucket('voices/temp', 'us-east-2');
SELECT * FROM vf_configure_bucket('voices', 'US East');
SELECT * FROM vf_configure_bucket('voices', endpoint => 'store:9000');
DO $$ BEGIN
	PERFORM vf.vf_configure_bucket('voices',
		endpoint => 'http://user:secret@store:9000');
EXCEPTION WHEN invalid_parameter_value THEN
	RAISE NOTICE 'P9: refused, the secret told again: %', sqlerrm ~ 'secret';
END $$;
SELECT * FROM vf_configure_bucket('voices',
	endpoint => 'http://store:9000/voices');
SELECT * FROM vf_configure_bucket('voices', 'us-east-2',
	path_style => 'best');
SELECT item, value FROM vf_config WHERE part = 'bucket';
SELECT count(*) > 0 AS configured FROM vf_configure_bucket('voices', NULL,
	'http://127.0.0.1:9', 'path', 'other', false);
SELECT item, value FROM vf_config WHERE part = 'bucket' ORDER BY item, value;

-- Calls that make no sense.
SELECT * FROM vf_purge_now(0);
SELECT * FROM vf_purge_now(-1);
SELECT * FROM vf_purge_now(confirm => 0);
CALL vf_purge(max_sessions => 0);
CALL vf_drain(0);
SELECT * FROM vf_purge_preview(-1);
SELECT vf_outbox_retry(123456789);
SELECT vf_outbox_cancel(123456789, 'none such');
SELECT vf_outbox_cancel(1, '');
SELECT vf_queue_deleted();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT * FROM vf_purge_now();
ROLLBACK;
BEGIN;
CALL vf_purge();
ROLLBACK;
BEGIN;
CALL vf_drain();
ROLLBACK;
DO $$ BEGIN PERFORM 1; CALL vf.vf_purge(); EXCEPTION WHEN sqlstate '2D000'
	THEN RAISE NOTICE 'refused: %', sqlerrm; END $$;

-- While keys wait, neither the registration nor the extension goes.
\set VERBOSITY sqlstate
SELECT expired, unpaid, keys_queued FROM vf_purge_now();
\set VERBOSITY default
SELECT vf_unconfigure();
DROP EXTENSION voiceframe_retention;
DROP EXTENSION IF EXISTS plpgsql_check, voiceframe_retention CASCADE;
SELECT count(*) AS keys FROM vf_outbox_keys;
-- Configuring anew keeps them, and pausing stops all but looking.
SELECT count(*) > 0 AS configured FROM vf_configure(payment_guard => false);
SELECT tgname FROM pg_trigger WHERE tgrelid = 'orders'::regclass;
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'orders'::regclass;
SELECT count(*) AS keys FROM vf_outbox_keys;
SELECT vf_pause('moving house');
SELECT * FROM vf_purge_now();
CALL vf_purge();
CALL vf_drain();
SELECT rule, sessions FROM vf_purge_preview() WHERE sessions > 0;
SELECT vf_resume();
-- Told to, it forgets them; guard and rows of ours go, theirs stay.
SELECT vf_unconfigure(discard => true);
SELECT (SELECT count(*) FROM vf_outbox) AS outbox,
	(SELECT count(*) FROM vf_source) AS sources,
	(SELECT count(*) FROM vf_bucket) AS buckets,
	(SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass)
		AS triggers,
	to_regproc('vf.vf_payment_guard') AS guard,
	(SELECT count(*) FROM sessions) AS sessions,
	(SELECT count(*) FROM orders) AS orders;
-- DROP EXTENSION needs no CASCADE, though triggers of ours depend on it.
SELECT count(*) > 0 AS configured FROM vf_configure(queue_deletes => true);
DROP EXTENSION voiceframe_retention;
SELECT tgname FROM pg_trigger
WHERE tgrelid IN ('orders'::regclass, 'sessions'::regclass);
SELECT t.order('b', 'completed') \gset _
DELETE FROM sessions WHERE session_token = 'b';

SET client_min_messages = error;
CREATE EXTENSION voiceframe_retention SCHEMA vf;
RESET client_min_messages;
\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
