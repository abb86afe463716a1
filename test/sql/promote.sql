-- vf_promote: which files are queued, where to, how often, and who may.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
CREATE ROLE regress_vf_owner;
CREATE ROLE regress_vf_plain;
ALTER TABLE sessions OWNER TO regress_vf_owner;
ALTER TABLE orders OWNER TO regress_vf_owner;
GRANT USAGE ON SCHEMA shop, vf, t TO PUBLIC;
SELECT * FROM vf_promote();
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT * FROM vf_promote();
SELECT count(*) > 0 AS configured FROM vf_configure_bucket('voices', NULL,
	'http://127.0.0.1:9', probe => false);
SELECT * FROM vf_promote();

-- An order's id that can be foretold; keys as customers have them.
CREATE FUNCTION t.buy(token text, status text, n int) RETURNS void
LANGUAGE sql SET search_path = shop AS $$
	INSERT INTO orders (id, email, amount_cents, status, session_token,
		created_at, updated_at)
	VALUES (format('00000000-0000-0000-0000-%s', lpad(n::text, 12, '0'))::uuid,
		'x@example.test', 1, status, token, '2020-01-01', '2020-01-01')
$$;
SELECT t.session('paid'), t.session('half'), t.session('unpaid'),
	t.session('twice', created => '2020-02-01'),
	t.buy('paid', 'completed', 1), t.buy('half', 'expired', 2),
	t.buy('unpaid', 'pending', 3), t.buy('twice', 'refunded', 4),
	t.buy('twice', 'paid', 5), t.buy('nobody', 'paid', 6) \gset _
UPDATE orders SET permanent_photo_s3_key = 'permanent/photos/half.jpg',
	permanent_audio_s3_key = '' WHERE session_token = 'half';
UPDATE sessions SET photo_s3_key = NULL, waveform_s3_key = 'waveforms/odd.e/nd?'
WHERE session_token = 'twice';
UPDATE sessions SET audio_s3_key = 'temp_audio/x.m4a', waveform_s3_key = ''
WHERE session_token = 'half';
CREATE VIEW t.copies AS
SELECT o.copy_order AS order_id, o.copy_column AS column_name, o.keys[1] AS key,
	o.copy_to, o.copy_keep, o.state, o.kind, s.session_token
FROM vf.vf_outbox o LEFT JOIN shop.sessions s ON s.id::text = o.copy_session
ORDER BY 1, 2;
-- One session, one at a time, all.
SELECT s.session_token, p.column_name, p.key, p.target, p.result
FROM vf_promote('paid') p JOIN sessions s ON s.id::text = p.session_id ORDER BY 2;
SELECT key, target, result FROM vf_promote(max_files => 1);
SELECT key, target, result FROM vf_promote(max_files => 2, keep_session => true);
SELECT p.key, p.target, p.result FROM vf_promote() p ORDER BY p.target COLLATE "C";
SELECT * FROM t.copies;
SELECT * FROM vf_promote('no such');
SELECT caller, outcome, keys_queued FROM vf_run WHERE kind = 'promote' ORDER BY id;
SELECT kind, caller, outcome, result FROM vf_runs WHERE kind = 'promote'
ORDER BY id LIMIT 1;

-- What is queued is not queued again while it waits or is dead; what was
-- cancelled is, by a person.
UPDATE vf_outbox SET state = 'dead', last_error_code = 'TargetDiffers'
WHERE copy_order LIKE '%5' AND copy_column = 'audio_s3_key';
SELECT count(vf_outbox_cancel(id, 'by hand')) FROM vf_outbox
WHERE copy_order LIKE '%4';
SELECT p.target, p.result FROM vf_promote() p
WHERE p.target ~ '[45]\.|[45]$' ORDER BY p.target COLLATE "C";
SELECT key, error, kind, target, cure FROM vf_dead_letters;
SELECT state, waiting, dead, cancelled, copies FROM vf_outbox_stats;
SELECT vf_unconfigure();
-- Nothing of the rows has changed.
SELECT count(permanent_photo_s3_key), count(migration_status) FROM orders;

-- Rolled back, nothing was queued.
DELETE FROM vf_outbox;
BEGIN;
SELECT count(*) FROM vf_promote();
ROLLBACK;
SELECT count(*) FROM vf_outbox;

-- A column without one for its copy, an id that makes no key, no id at all.
ALTER TABLE orders RENAME permanent_audio_s3_key TO permanent_sound_s3_key;
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT column_name, count(*) FROM vf_promote() GROUP BY 1 ORDER BY 1;
DELETE FROM vf_outbox;
ALTER TABLE orders RENAME permanent_sound_s3_key TO permanent_audio_s3_key;
ALTER TABLE orders ALTER id TYPE text;
SELECT count(*) > 0 AS configured FROM vf_configure();
UPDATE orders SET id = '../../' || session_token WHERE session_token = 'paid';
SELECT key, target, result FROM vf_promote('paid') ORDER BY 1;
ALTER TABLE orders DROP CONSTRAINT orders_pkey;
SELECT count(*) FROM vf_promote();
ALTER TABLE orders ADD PRIMARY KEY (id, email);
SELECT count(*) FROM vf_promote();
ALTER TABLE orders DROP CONSTRAINT orders_pkey;
ALTER TABLE orders ADD PRIMARY KEY (id);

-- Wrong arguments, and who may.
SELECT * FROM vf_promote(max_files => 0);
SELECT * FROM vf_promote(max_files => -1);
SELECT * FROM vf_promote(keep_session => NULL);
SET ROLE regress_vf_plain;
SELECT * FROM vf_promote();
SET ROLE regress_vf_owner;
SELECT count(*) FROM vf_promote();
RESET ROLE;

-- The bucket's owner and who pays.
SELECT * FROM vf_configure_bucket('voices', NULL, 'http://127.0.0.1:9',
	probe => false, expected_owner => '12345');
SELECT * FROM vf_configure_bucket('voices', NULL, 'http://127.0.0.1:9',
	probe => false, expected_owner => '123456789012', request_payer => true);
SELECT item, value FROM vf_config WHERE part = 'bucket';
SELECT item, value FROM vf_configure_bucket('voices', NULL, 'http://127.0.0.1:9',
	probe => false);
SELECT item, value FROM vf_config WHERE part = 'bucket';
DELETE FROM vf_outbox;
ALTER TABLE sessions OWNER TO CURRENT_USER;
ALTER TABLE orders OWNER TO CURRENT_USER;
\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
DROP ROLE regress_vf_owner, regress_vf_plain;
