-- Names with quotes, %, braces, upper case and 63 bytes, other types, absent
-- columns and partitions pass through every statement that is generated: the
-- registration, guard, purge, incremental run, queue of deletes, preview,
-- brake, views, adoption and the way out.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
DROP TABLE sessions, orders;
CREATE ROLE "regress_vf ""%s"" {vf} 'Owner'";
CREATE ROLE "regress_vf ""%n"" {x} 'Other'";
CREATE SCHEMA "Shop ""%d"" {vf} 'x'"
	AUTHORIZATION "regress_vf ""%s"" {vf} 'Owner'";
SET search_path = "Shop ""%d"" {vf} 'x'", vf;

-- Each of these names is 63 bytes long, as PostgreSQL allows.
SELECT rpad('S "%s" {sessions} ''$1'' \x ', 63, 'Ab') AS sessions,
	rpad('O "%s" {orders} ''$1'' $vf$ ', 63, 'Ab') AS orders,
	rpad('P "%s" {leaf} ''$1'' ', 63, 'Ab') AS part,
	rpad('I "%s" {id} ''$1'' ', 63, 'Ab') AS id,
	rpad('T "%s" {token} ''$2'' ', 63, 'Ab') AS token,
	rpad('C "%s" {created} ''$2'' ', 63, 'Ab') AS created,
	rpad('E "%n" {expires} ''$2'' ', 63, 'Ab') AS expires,
	rpad('K "%s" {keys} ''$2'' ', 56, 'Ab') || '_s3_key' AS key,
	rpad('permanent_"%s" {keys} ''$2'' ', 56, 'Ab') || '_s3_key' AS permanent,
	rpad('U "%s" {order_token} ''$2'' ', 63, 'Ab') AS order_token,
	rpad('N "%s" {order_status} ''$2'' ', 63, 'Ab') AS status,
	rpad('M "%s" {order_created} ''$2'' ', 63, 'Ab') AS made,
	rpad('F "%s" foreign key ', 63, 'Ab') AS fkey,
	'"Shop ""%d"" {vf} ''x''"' AS schema \gset
SELECT length(:'sessions'), length(:'key'), length(:'permanent');

-- Columns named as our own aliases are no trap either.
CREATE TABLE :"sessions" (
	:"id" bigint, :"token" text, :"created" timestamptz, :"expires" timestamp,
	:"key" text, "select_s3_key" varchar, k text, s text, o text, r text,
	x text, l text, u text, id text, token text, rule text, since text,
	keys text, ctid_s3_key text, gone text,
	PRIMARY KEY (:"id", :"created")
) PARTITION BY RANGE (:"created");
CREATE TABLE :"part" PARTITION OF :"sessions"
	FOR VALUES FROM (MINVALUE) TO ('2021-01-01')
	PARTITION BY RANGE (:"created");
CREATE TABLE sub PARTITION OF :"part" DEFAULT;
CREATE TABLE late PARTITION OF :"sessions" DEFAULT;
CREATE TABLE :"orders" (
	:"order_token" varchar, :"status" text, :"made" timestamptz,
	:"permanent" text, k text, s text, o text, token text, pays text,
	keeps text, status text, changed text
) PARTITION BY LIST (:"status");
CREATE TABLE open_orders PARTITION OF :"orders" FOR VALUES IN ('pending');
CREATE TABLE other_orders PARTITION OF :"orders" DEFAULT;
CREATE TABLE visits (session bigint, at timestamptz,
	CONSTRAINT :"fkey" FOREIGN KEY (session, at) REFERENCES :"sessions"
	ON DELETE CASCADE);
ALTER TABLE :"sessions" OWNER TO "regress_vf ""%s"" {vf} 'Owner'";
ALTER TABLE :"part" OWNER TO "regress_vf ""%s"" {vf} 'Owner'";
ALTER TABLE sub OWNER TO "regress_vf ""%s"" {vf} 'Owner'";
ALTER TABLE late OWNER TO "regress_vf ""%s"" {vf} 'Owner'";
ALTER TABLE visits OWNER TO "regress_vf ""%s"" {vf} 'Owner'";
ALTER TABLE :"orders" OWNER TO "regress_vf ""%n"" {x} 'Other'";
-- Sessions 1 to 6 in both partitions; 3 and 6 paid.
CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('INSERT INTO %s SELECT i, ''%%s ''''{t}'''' '' || i,
		timestamptz ''2020-01-01'' + i %% 2 * interval ''2 years'',
		timestamp ''2022-01-02'', ''temp_photos/%%s{k}"'''''' || i || ''.jpg'',
		'''', ''k'' FROM generate_series(1, 6) i',
		(SELECT c.oid::regclass FROM pg_class c WHERE relname ~ '^S "%s' AND relkind = 'p'));
	EXECUTE format('INSERT INTO %s SELECT ''%%s ''''{t}'''' '' || i,
		CASE WHEN i %% 3 = 0 THEN ''completed'' ELSE ''pending'' END,
		''2020-01-01'' FROM generate_series(1, 6) i',
		(SELECT c.oid::regclass FROM pg_class c WHERE relname ~ '^O "%s' AND relkind = 'p'));
END $$;
CALL fill();

SELECT jsonb_build_object('sessions.id', :'id', 'sessions.session_token',
	:'token', 'sessions.created_at', :'created', 'sessions.expires_at',
	:'expires', 'orders.session_token', :'order_token', 'orders.status',
	:'status', 'orders.created_at', :'made', 'orders.updated_at', NULL,
	'orders.migration_status', NULL) AS columns,
	format('%I', :'sessions') AS s, format('%I', :'orders') AS o \gset
-- The purge reads orders as the owner of sessions: who may not, is told.
SELECT * FROM vf_configure(:'s', :'o', columns => :'columns',
	accept_foreign_keys => ARRAY[:'fkey']);
GRANT SELECT ON :"orders" TO "regress_vf ""%s"" {vf} 'Owner'";
\pset format unaligned
SELECT * FROM vf_configure(:'s', :'o', columns => :'columns');
SELECT * FROM vf_configure(:'s', :'o', queue_deletes => true,
	columns => :'columns', accept_foreign_keys => ARRAY[:'fkey']);
SELECT value FROM vf_config WHERE part = 'tables' AND item NOT IN ('paused', 'registered');
\pset format aligned

SELECT rule, sessions, keys, examples FROM vf_purge_preview(9);
SELECT sessions, expired, older_than_unpaid_after, due, paying
FROM vf_session_counts;
SELECT * FROM vf_storage_by_type WHERE keys > 0;
SELECT alert, value FROM vf_alerts WHERE firing ORDER BY 1;
SET voiceframe.purge_brake_rows = 0;
SET voiceframe.purge_brake_percent = 0;
SELECT * FROM vf_purge_now();
RESET voiceframe.purge_brake_rows;
RESET voiceframe.purge_brake_percent;

-- The guard fires on every partition of orders, and the purge queues keys.
SELECT c.relname ~ '_orders$' AS partition, tgname, tgenabled
FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
WHERE tgname = 'vf_payment_guard' ORDER BY 1;
BEGIN;
UPDATE :"orders" SET :"status" = 'paid' WHERE :"order_token" LIKE '% 2';
UPDATE :"orders" SET :"permanent" = 'x' WHERE :"order_token" LIKE '% 1';
SELECT count(*) AS locked FROM pg_locks l
	JOIN pg_class c ON c.oid = l.relation
WHERE c.relname = :'sessions' AND mode = 'RowShareLock';
ROLLBACK;
BEGIN;
\set VERBOSITY sqlstate
SELECT expired, unpaid, keys_queued, keys_cancelled, kept_paid
FROM vf_purge_now();
SELECT :"id", tableoid::regclass = 'late'::regclass AS late FROM :"sessions"
ORDER BY 1;
SELECT key, state FROM vf_outbox_keys ORDER BY 1;
ROLLBACK;
CALL vf_purge();
SELECT :"id" FROM :"sessions" ORDER BY 1;
SELECT run_id > 0 AS by_run, key FROM vf_outbox_keys ORDER BY key;
-- Only what fell due since.
TRUNCATE :"orders";
INSERT INTO :"orders" VALUES ('%s ''{t}'' 3', 'paid');
DELETE FROM :"sessions";
CALL fill();
UPDATE :"sessions" SET :"created" = now() - interval '8 days';
UPDATE vf_sweep SET full_at = now(), orders_seen = false,
	created_mark = now() - interval '9 days';
CALL vf_purge(full_sweep => false);
SELECT :"id", tableoid::regclass = 'late'::regclass AS late FROM :"sessions"
ORDER BY 1;
-- A row the application deletes itself; the cascade went with it.
INSERT INTO visits SELECT :"id", :"created" FROM :"sessions" WHERE :"id" = 3;
TRUNCATE :"orders";
DELETE FROM :"sessions" WHERE :"id" = 3;
SELECT count(*) AS visits FROM visits;
SELECT run_id, key, state FROM vf_outbox_keys WHERE run_id = 0 ORDER BY 2;

-- Adopted, renamed and unconfigured all the same.
\set VERBOSITY default
UPDATE vf_source SET system_identifier = 1;
SELECT * FROM vf_purge_now();
SELECT vf_adopt();
ALTER TABLE :"sessions" RENAME TO "Sessions %s";
\set VERBOSITY sqlstate
SELECT expired, kept_paid FROM vf_purge_now();
\set VERBOSITY default
SELECT value FROM vf_config WHERE item = 'sessions';
SELECT vf_unconfigure(discard => true);
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'vf\_%';

-- ids as uuid and text, in one story each.
RESET search_path;
SET search_path = shop, vf;
CREATE TABLE sessions (id text, session_token varchar, created_at timestamptz,
	expires_at timestamptz, photo_s3_key text);
CREATE TABLE orders (session_token text, status varchar, created_at timestamp,
	updated_at timestamptz, migration_status text,
	permanent_photo_s3_key text);
INSERT INTO sessions SELECT x || '''"%', x, '2020-01-01', '2020-01-02',
	'waveforms/' || x FROM unnest(ARRAY['a', 'b', 'c']) x;
INSERT INTO orders VALUES ('b', 'paid');
SELECT count(*) > 0 AS configured FROM vf_configure();
\set VERBOSITY sqlstate
CALL vf_purge();
SELECT * FROM sessions;
UPDATE sessions SET created_at = now() - interval '7 days 1 minute';
DELETE FROM orders;
UPDATE vf_sweep SET orders_seen = false,
	created_mark = now() - interval '9 days';
CALL vf_purge(full_sweep => false);
SELECT id FROM sessions;
\set VERBOSITY default

SET client_min_messages = error;
DROP SCHEMA :schema CASCADE;
RESET client_min_messages;
\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
DROP ROLE "regress_vf ""%s"" {vf} 'Owner'", "regress_vf ""%n"" {x} 'Other'";
