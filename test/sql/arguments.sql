-- Every function and procedure with every wrong argument, as superuser, as
-- the owner of the tables and as nobody: each refusal has its code, none is an
-- internal error, none loses a thing.  A new function fails this test until
-- it has calls here.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
CREATE ROLE regress_vf_owner;
CREATE ROLE regress_vf_plain;
ALTER TABLE sessions OWNER TO regress_vf_owner;
ALTER TABLE orders OWNER TO regress_vf_owner;
GRANT USAGE ON SCHEMA shop, vf, t TO PUBLIC;
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT count(*) > 0 AS configured
FROM vf_configure_bucket('voices', NULL, 'http://127.0.0.1:9', probe => false);
SELECT t.session('due 1'), t.session('due 2'), t.session('paid'),
	t.order('paid', 'completed') \gset _
INSERT INTO vf_outbox (run_id, endpoint, bucket, keys, nkeys)
VALUES (0, 'http://127.0.0.1:9', 'voices', '{temp_photos/x.jpg}', 1);
INSERT INTO vf_outbox (run_id, keys, nkeys, state, last_error_code)
VALUES (0, '{temp_photos/y.jpg}', 1, 'dead', 'AccessDenied');
CREATE VIEW shop.a_view AS SELECT 1;
CREATE SEQUENCE shop.a_sequence;

-- Arguments that fit the type of an argument and are wrong all the same, and
-- some that do not fit.  Of max_sessions, ids and the like.
CREATE TABLE t.numbers (arg text);
INSERT INTO t.numbers VALUES ('NULL'), ('0'), ('-1'), ('2147483647'),
	('-2147483648'), ('9223372036854775807'), ('-9223372036854775808'),
	('99999999999999999999'), ('1.5'), (''''''), ('''x'''), ('''NaN'''),
	('true'), ('''{1}''::int[]'), ('now()');
CREATE TABLE t.texts (arg text);
INSERT INTO t.texts VALUES ('NULL'), (''''''), (''' '''), ('repeat(''x'', 100000)'),
	('E''a\nb\x01''''"\\'''), ('''%s%n$1'''), ('1'), ('ARRAY[''x'']'),
	('''x''::bytea');
CREATE TABLE t.tables (arg text);
INSERT INTO t.tables VALUES ('0'), ('4294967295'), ('-1'), (''''''),
	('''no_such_table'''), ('''pg_class'''), ('''pg_class_oid_index'''),
	('''shop.a_view'''), ('''shop.a_sequence'''), ('''vf.vf_outbox'''),
	('''shop.sessions'''), ('''shop.orders'''), ('1.5'), ('''"x'''),
	('''a.b.c.d''');
CREATE TABLE t.lists (arg text);
INSERT INTO t.lists VALUES ('NULL'), ('ARRAY[NULL]'), ('''{}'''), ('''{{a},{b}}'''),
	('''[0:1]={a,b}'''), ('''x'''), ('''{a'''), ('ARRAY[1]'),
	('array_fill(''x''::text, ARRAY[10000])');
CREATE TABLE t.documents (arg text);
INSERT INTO t.documents VALUES ('NULL'), ('''null'''), ('''[]'''), ('''1'''),
	('''"x"'''), ('''{"x": 1}'''), ('''{"sessions.id": 1}'''),
	('''{"sessions.id": null}'''), ('''{"sessions.id": ""}'''),
	('''{"sessions.id": {"a": [1]}}'''), ('''{"sessions.id": "no_such"}'''),
	('''{"sessions.": "id"}'''), ('''{"": ""}'''), ('''{'''),
	('''{"orders.status": "sessions.id"}'''), ('''[[[[[[[[[[1]]]]]]]]]]'''),
	('(''{"sessions.id": "'' || repeat(''x'', 100000) || ''"}'')::jsonb');
CREATE TABLE t.flags (arg text);
INSERT INTO t.flags VALUES ('NULL'), ('''maybe'''), (''''''), ('2'), ('''{}''');

CREATE TABLE t.calls (n serial, name text, args text);
-- The argument at one place wrong, the others as given.
CREATE FUNCTION t.add(name text, pattern text, kind text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('INSERT INTO t.calls (name, args)
		SELECT %L, format(%L, arg) FROM t.%I', name, pattern, kind);
END $$;
SELECT count(t.add(name, pattern, kind)) FROM (VALUES
	('vf_configure', 'sessions => %s', 'tables'),
	('vf_configure', 'orders => %s', 'tables'),
	('vf_configure', '''shop.sessions'', %s', 'tables'),
	('vf_configure', '%s, ''shop.orders''', 'tables'),
	('vf_configure', 'payment_guard => %s', 'flags'),
	('vf_configure', 'queue_deletes => %s', 'flags'),
	('vf_configure', 'accept_foreign_keys => %s', 'lists'),
	('vf_configure', 'columns => %s', 'documents'),
	('vf_configure', 'no_such => %s', 'flags'),
	('vf_unconfigure', '%s', 'flags'),
	('vf_unconfigure', '%s', 'texts'),
	('vf_adopt', '%s', 'numbers'),
	('vf_configure_bucket', '%s', 'texts'),
	('vf_configure_bucket', '''abc'', region => %s', 'texts'),
	('vf_configure_bucket', '''abc'', endpoint => %s', 'texts'),
	('vf_configure_bucket', '''abc'', ''r'', path_style => %s', 'texts'),
	('vf_configure_bucket', '''abc'', ''r'', profile => %s', 'texts'),
	('vf_configure_bucket', '''abc'', ''r'', probe => %s', 'flags'),
	('vf_configure_bucket', '''abc'', ''r'', expected_owner => %s', 'texts'),
	('vf_configure_bucket', '''abc'', ''r'', request_payer => %s', 'flags'),
	('vf_purge_now', 'max_sessions => %s', 'numbers'),
	('vf_purge_now', 'confirm => %s', 'numbers'),
	('vf_purge_now', '1, 1, %s', 'flags'),
	('vf_purge', 'max_sessions => %s', 'numbers'),
	('vf_purge', 'confirm => %s', 'numbers'),
	('vf_purge', 'full_sweep => %s', 'flags'),
	('vf_purge_preview', '%s', 'numbers'),
	('vf_drain', '%s', 'numbers'),
	('vf_s3_scan', '%s', 'numbers'),
	('vf_find_missing', '%s', 'numbers'),
	('vf_find_orphans', '%s', 'numbers'),
	('vf_find_shared', '%s', 'numbers'),
	('vf_find_at_risk', '%s', 'numbers'),
	('vf_find_references', '%s', 'flags'),
	('vf_add_reference', '%s, ''email''', 'tables'),
	('vf_add_reference', '''shop.orders'', %s', 'texts'),
	('vf_waive_reference', '%s, ''status'', ''why''', 'tables'),
	('vf_waive_reference', '''shop.orders'', %s, ''why''', 'texts'),
	('vf_waive_reference', '''shop.orders'', ''email'', %s', 'texts'),
	('vf_drop_reference', '%s, ''email''', 'texts'),
	('vf_drop_reference', '''shop.orders'', %s', 'texts'),
	('vf_s3_delete_orphans', '%s', 'flags'),
	('vf_s3_delete_orphans', 'false, %s', 'numbers'),
	('vf_s3_delete_orphans', 'false, 10, %s', 'numbers'),
	('vf_count_at_risk', '%s', 'numbers'),
	('vf_s3_lifecycle_status', '%s', 'flags'),
	('vf_s3_lifecycle_document', '%s', 'texts'),
	('vf_s3_lifecycle_document', '''json'', %s', 'texts'),
	('vf_s3_lifecycle_document', '''xml'', NULL, %s', 'flags'),
	('vf_s3_lifecycle_apply', '%s', 'texts'),
	('vf_s3_lifecycle_apply', 'dry_run => %s', 'flags'),
	('vf_s3_lifecycle_apply', 'accept_loss => %s', 'numbers'),
	('vf_s3_lifecycle_apply', 'infrequent_class => %s', 'texts'),
	('vf_s3_lifecycle_apply', 'waveforms => %s', 'flags'),
	('vf_s3_lifecycle_remove', '%s', 'flags'),
	('vf_s3_lifecycle_restore', '%s', 'numbers'),
	('vf_s3_lifecycle_restore', 'accept_loss => %s', 'numbers'),
	('vf_s3_lifecycle_restore', 'overwrite => %s', 'flags'),
	('vf_find_lifecycle_losses', '%s', 'numbers'),
	('vf_promote', '%s', 'texts'),
	('vf_promote', 'max_files => %s', 'numbers'),
	('vf_promote', 'keep_session => %s', 'flags'),
	('vf_outbox_retry', '%s', 'numbers'),
	('vf_outbox_cancel', '%s, ''reason''', 'numbers'),
	('vf_outbox_cancel', '1, %s', 'texts'),
	('vf_outbox_cancel', '%s', 'numbers'),
	('vf_error_cure', '%s', 'texts'),
	('vf_error_cure', '''SlowDown'', %s', 'flags'),
	('vf_s3_check', '%s', 'flags'),
	('vf_pause', '%s', 'texts'),
	('vf_undo_purge', '%s', 'numbers'),
	('vf_undo_purge', '%s', 'texts'),
	('vf_undo_discard', '%s', 'numbers'),
	('vf_undo_discard', '%s', 'texts'),
	('vf_undo_for_payment', '%s', 'texts'),
	('vf_hold', '%s, NULL, ''why''', 'texts'),
	('vf_hold', '''nobody'', NULL, %s', 'texts'),
	('vf_release', '%s', 'texts'),
	('vf_erase_session', '%s', 'texts'),
	('vf_resume', '%s', 'texts'),
	('vf_worker_start', '%s', 'numbers'),
	('vf_worker_stop', '%s', 'numbers'),
	('vf_source_state', '%s', 'flags'),
	('vf_count_sessions', '%s', 'flags'),
	('vf_count_storage', '%s', 'flags'),
	('vf_count_alerts', '%s', 'flags'),
	('vf_worker_slots', '%s', 'flags'),
	('vf_queue_deleted', '%s', 'flags'),
	('vf_refuse_drop', '%s', 'flags'),
	('vf_payment_guard', '%s', 'flags')) c (name, pattern, kind);
-- Called as no trigger.
INSERT INTO t.calls (name, args) VALUES ('vf_queue_deleted', ''),
	('vf_refuse_drop', ''), ('vf_payment_guard', '');

-- Each of the extension's functions has calls, and no other has.
CREATE VIEW t.ours AS
SELECT p.oid, p.proname::text AS name, p.prokind
FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid
	AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid
WHERE e.extname = 'voiceframe_retention';
SELECT name AS without_calls FROM t.ours EXCEPT SELECT name FROM t.calls;
SELECT name AS unknown FROM t.calls WHERE name <> 'vf_payment_guard'
EXCEPT SELECT name FROM t.ours;

-- What is there to lose, and what must not change by a refusal.
CREATE FUNCTION t.state() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ',
		(SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM shop.sessions x),
		(SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM shop.orders x),
		(SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM vf.vf_outbox x),
		(SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM vf.vf_source x),
		(SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM vf.vf_bucket x),
		(SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM vf.vf_reference x),
		(SELECT string_agg(tgname, ',' ORDER BY tgrelid, tgname)
			FROM pg_trigger WHERE tgname LIKE 'vf%'),
		current_setting('search_path'), current_user)
$$;
-- Its SQLSTATE, + where a detail or a hint says more; undone if it succeeds.
CREATE FUNCTION t.try(call text) RETURNS text
LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
	told text;
	detail text;
	hint text;
BEGIN
	BEGIN
		EXECUTE call;
		RAISE EXCEPTION USING ERRCODE = 'P0005';
	EXCEPTION
		WHEN SQLSTATE 'P0005' THEN RETURN 'done';
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS told = RETURNED_SQLSTATE,
				detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
			RETURN told || CASE WHEN detail <> '' OR hint <> '' THEN '+' ELSE '' END;
	END;
END $$;
CREATE VIEW t.statements AS
SELECT n, c.name, format('%s(%s)', c.name, CASE WHEN length(args) > 60
		THEN left(args, 57) || '...' ELSE args END) AS shown,
	format(CASE p.prokind WHEN 'p' THEN 'CALL vf.%I(%s)'
		ELSE 'SELECT * FROM vf.%I(%s)' END, c.name, args) AS call
FROM t.calls c LEFT JOIN t.ours p USING (name);
CREATE TABLE t.answers (role text, n int, answer text);
GRANT ALL ON ALL TABLES IN SCHEMA t TO PUBLIC;

SELECT t.state() AS before \gset
INSERT INTO t.answers SELECT 'super', n, t.try(call) FROM t.statements
WHERE name <> 'vf_worker_start' OR shown NOT LIKE '%()';
SET ROLE regress_vf_owner;
INSERT INTO t.answers SELECT 'owner', n, t.try(call) FROM t.statements;
SET ROLE regress_vf_plain;
INSERT INTO t.answers SELECT 'plain', n, t.try(call) FROM t.statements;
RESET ROLE;
SELECT t.state() = :'before' AS nothing_changed;
-- Internal errors are faults, whoever gets one.
SELECT role, answer, shown FROM t.answers JOIN t.statements USING (n)
WHERE answer ~ '^(XX|P0|58)'
ORDER BY n, role;
-- Our own refusals say what was seen or what to do.
SELECT answer, shown FROM t.answers JOIN t.statements USING (n)
WHERE role = 'super' AND answer NOT IN
	('done', '22P02', '42601', '42602', '42804', '42P01')
	AND answer NOT LIKE '%+' ORDER BY n;
-- All but what the parser refuses before anybody is called: no such function,
-- no value of that type.
SELECT super, owner, plain, shown FROM (
	SELECT n, shown, max(answer) FILTER (WHERE role = 'super') AS super,
		max(answer) FILTER (WHERE role = 'owner') AS owner,
		max(answer) FILTER (WHERE role = 'plain') AS plain
	FROM t.answers JOIN t.statements USING (n) GROUP BY n, shown) a
WHERE plain NOT IN ('42883+', '22P02', '22P02+') ORDER BY n;

-- The procedures once more, on their own, as they commit: none but the owner
-- of the tables, and then what is due goes, its keys are on record, and those
-- of a bucket that does not answer wait.
\set VERBOSITY sqlstate
CREATE VIEW t.procedures AS
SELECT n, call FROM t.statements JOIN t.ours USING (name)
JOIN t.answers USING (n)
WHERE prokind = 'p' AND role = 'owner' AND answer !~ '^(42883|22P02)';
GRANT SELECT ON t.procedures TO PUBLIC;
SET ROLE regress_vf_plain;
SELECT call FROM t.procedures ORDER BY n \gexec
RESET ROLE;
SELECT t.state() = :'before' AS nothing_changed;
-- Else the second drain's warning hung on the first one's pause.
UPDATE vf_bucket SET next_attempt_at = 'infinity';
SET ROLE regress_vf_owner;
SELECT call FROM t.procedures ORDER BY n \gexec
RESET ROLE;
SELECT call FROM t.procedures ORDER BY n \gexec
\set VERBOSITY default
SELECT session_token FROM sessions;
SELECT key, state, attempts, last_error_code FROM vf_outbox_keys ORDER BY key;

-- The trigger function on tables and events that are not its own.
CREATE TABLE shop.twin (photo_s3_key int, session_token int);
INSERT INTO shop.twin VALUES (1, 1), (2, 2);
CREATE TRIGGER wrong AFTER DELETE ON shop.twin REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION vf_queue_deleted();
DELETE FROM shop.twin;
DROP TRIGGER wrong ON shop.twin;
CREATE TRIGGER wrong BEFORE INSERT OR UPDATE OR DELETE ON shop.twin
	FOR EACH ROW EXECUTE FUNCTION vf_queue_deleted();
DELETE FROM shop.twin;
INSERT INTO shop.twin VALUES (3, 3);
DROP TRIGGER wrong ON shop.twin;
SELECT count(*) AS rows FROM shop.twin;
SELECT count(*) AS keys FROM vf_outbox_keys;

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
DROP ROLE regress_vf_owner, regress_vf_plain;
