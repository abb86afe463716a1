-- P2 and the outbox: what a purge puts in it, in the same commit as the rows
-- it takes; packed, each key once, none that must stay; and what people may
-- do with it.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
SELECT count(*) > 0 AS configured FROM vf_configure();
CREATE VIEW t.gone AS SELECT state, last_error_code, key FROM vf_outbox_keys
ORDER BY key COLLATE "C";

-- Keys: duplicates once, empty and null none, outside the prefixes none.
INSERT INTO sessions (id, session_token, photo_s3_key, audio_s3_key,
	waveform_s3_key, created_at, expires_at)
SELECT md5(t)::uuid, t, p, a, w, '2020-01-01', '2020-01-02'
FROM (VALUES
	('nothing', NULL, NULL, NULL), ('empty', '', '', ''),
	('twice', 'temp_photos/2', NULL, 'temp_photos/2'),
	('once', 'temp_photos/2', 'temp_audio/1', NULL),
	('outside', 'permanent/photos/1.jpg', 'backgrounds/a.png', 'temp_photos'),
	('almost', 'Temp_photos/1', ' temp_photos/1', 'temp_photos_old/1'),
	('slash', '/temp_photos/1', 'x/temp_photos/1', 'temp_photos/'),
	('odd', 'temp_photos/a b+c%20d&<e>"''\.jpg', 'temp_audio/a/../b',
		E'waveforms/\t\r\n\u00e9\U0001F3B5')
) s (t, p, a, w);
BEGIN;
\set VERBOSITY sqlstate
SELECT expired, unpaid, keys_queued, keys_cancelled, note FROM vf_purge_now();
SELECT * FROM t.gone;
-- P2: both come back, or none.
ROLLBACK;
SELECT (SELECT count(*) FROM sessions) AS sessions,
	(SELECT count(*) FROM vf_outbox) AS rows,
	(SELECT count(*) FROM vf_run) AS runs;
BEGIN;
SAVEPOINT before;
SELECT expired, keys_queued FROM vf_purge_now();
ROLLBACK TO before;
SELECT (SELECT count(*) FROM sessions) AS sessions,
	(SELECT count(*) FROM vf_outbox) AS rows;
-- Other prefixes, other keys.
SET LOCAL voiceframe.deletable_prefixes = 'Temp_photos/, "x/"';
SELECT keys_queued, keys_cancelled FROM vf_purge_now();
SELECT key FROM t.gone WHERE state = 'waiting';
ROLLBACK;
BEGIN;
SET LOCAL voiceframe.deletable_prefixes = '';
SELECT keys_queued, keys_cancelled FROM vf_purge_now();
ROLLBACK;
-- A key that a live row has too is queued: who claims it will judge.
BEGIN;
SELECT t.session('live', '2020-01-01', 'infinity', 'temp_photos/2') \gset _
UPDATE sessions SET created_at = 'infinity' WHERE session_token = 'live';
SELECT keys_queued FROM vf_purge_now();
SELECT key FROM t.gone WHERE key = 'temp_photos/2';
ROLLBACK;
DELETE FROM sessions;

-- Packed: 2,500 keys of a batch in rows of up to 1,000, every key once.
INSERT INTO sessions (id, session_token, photo_s3_key, audio_s3_key,
	created_at, expires_at)
SELECT md5(i::text)::uuid, i, 'temp_photos/' || i, 'temp_audio/' || i,
	'2020-01-01', '2020-01-02'
FROM generate_series(1, 1250) i;
SELECT expired, keys_queued, note FROM vf_purge_now();
SELECT nkeys, cardinality(keys), state, attempts, bucket, endpoint,
	run_id = (SELECT max(id) FROM vf_run) AS of_the_run
FROM vf_outbox ORDER BY id;
SELECT count(*), count(DISTINCT key) FROM vf_outbox_keys;
SELECT alert, value FROM vf_alerts WHERE firing ORDER BY 1;
SELECT bucket, state, waiting, cancelled FROM vf_outbox_stats;

-- Keys no store would take are keys all the same; an entry of them ends early,
-- so that it stays a value that can be stored.
BEGIN;
DELETE FROM vf_outbox;
ALTER TABLE sessions ALTER photo_s3_key TYPE text;
INSERT INTO sessions (id, session_token, photo_s3_key, created_at, expires_at)
SELECT md5('huge' || i)::uuid, 'huge' || i,
	'temp_photos/' || i || repeat('x', 9000000), '2020-01-01', '2020-01-02'
FROM generate_series(1, 3) i;
SELECT expired, keys_queued FROM vf_purge_now();
SELECT nkeys, (SELECT sum(octet_length(k)) FROM unnest(keys) k) AS bytes
FROM vf_outbox ORDER BY id;
ROLLBACK;

-- They wait for a bucket; registering one takes them in, a later one not.
SELECT item, value FROM vf_configure_bucket('voices', 'us-east-2')
WHERE item LIKE '%taken in';
SELECT DISTINCT endpoint, bucket FROM vf_outbox;
SELECT item, value FROM vf_configure_bucket('others', NULL,
	'http://127.0.0.1:9') WHERE item LIKE '%taken in';
SELECT DISTINCT endpoint, bucket FROM vf_outbox;
SELECT t.session('new') \gset _
SELECT keys_queued, note FROM vf_purge_now();
SELECT bucket, waiting, state FROM vf_outbox_stats ORDER BY 1;
SELECT alert FROM vf_alerts WHERE alert = 'no_bucket' AND firing;
-- Back to the first: keys stay where their objects are.
SELECT item, value FROM vf_configure_bucket('voices', 'us-east-2')
WHERE item LIKE '%taken in';
SELECT bucket, waiting FROM vf_outbox_stats ORDER BY 1;

-- Cancelling and trying again, by row.
SELECT min(id) AS first, max(id) AS last FROM vf_outbox \gset
\set VERBOSITY default
SELECT vf_outbox_cancel(:last, 'kept by hand');
SELECT * FROM t.gone WHERE state = 'cancelled';
SELECT DISTINCT last_error FROM vf_outbox WHERE state = 'cancelled';
DO $$ BEGIN
	PERFORM vf_outbox_cancel((SELECT max(id) FROM vf_outbox), 'again');
EXCEPTION WHEN undefined_object THEN RAISE NOTICE 'refused'; END $$;
DO $$ BEGIN
	PERFORM vf_outbox_retry((SELECT max(id) FROM vf_outbox));
EXCEPTION WHEN undefined_object THEN RAISE NOTICE 'refused'; END $$;
SELECT vf_outbox_cancel(NULL, 'null'), vf_outbox_cancel(:first, NULL);
-- What is in flight stays with its drainer.
UPDATE vf_outbox SET state = 'claimed' WHERE id = :first;
DO $$ BEGIN
	PERFORM vf_outbox_cancel((SELECT min(id) FROM vf_outbox), 'in flight');
EXCEPTION WHEN undefined_object THEN RAISE NOTICE 'refused'; END $$;
UPDATE vf_outbox SET state = 'dead', attempts = 10,
	last_error_code = 'AccessDenied', last_error = 'no'
WHERE state IN ('claimed', 'waiting');
SELECT count(*), error, attempts, message, cure <> '' AS has_cure
FROM vf_dead_letters GROUP BY 2, 3, 4, 5;
SELECT alert, value FROM vf_alerts WHERE firing AND alert = 'dead_letters';
SELECT bucket, dead, waiting, cancelled FROM vf_outbox_stats ORDER BY 1;
SELECT vf_outbox_retry(:first);
SELECT vf_outbox_retry();
SELECT vf_outbox_retry();
SELECT state, sum(nkeys), max(attempts) FROM vf_outbox GROUP BY 1 ORDER BY 1;
SELECT vf_outbox_cancel(id, 'all') FROM vf_outbox WHERE state = 'waiting'
ORDER BY id;
-- Nothing waits any more: what is cancelled holds nobody up.
SELECT vf_unconfigure();

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
