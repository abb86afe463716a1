-- The views: counts by session, storage type and run, and each alert firing
-- for its cause and clearing when the cause is gone (P10).
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
\set VERBOSITY sqlstate
CREATE FUNCTION t.utc() RETURNS timestamp LANGUAGE sql
AS $$ SELECT now() AT TIME ZONE 'UTC' $$;
-- at_risk has a test of its own.
CREATE VIEW t.firing AS SELECT alert, value, threshold
FROM vf.vf_alerts WHERE firing AND alert <> 'at_risk' ORDER BY alert;

-- Every check is there whatever is registered, and says what to do.
SELECT alert, firing, what_to_do <> '' AS advice FROM vf_alerts ORDER BY 1;
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT * FROM t.firing;

-- Counts.
SELECT t.session('due'), t.session('due too'), t.session('paid'),
	t.session('live', t.utc(), 'infinity'),
	t.session('old and paid', '2020-01-01', 'infinity'),
	t.session('expired only', t.utc(), '2020-01-01'),
	t.session('checkout'),
	t.order('paid', 'completed'), t.order('old and paid', 'refunded'),
	t.order('checkout', 'pending', t.utc()) \gset _
UPDATE orders SET pdf_s3_key = 'pdfs/1.pdf',
	permanent_photo_s3_key = 'permanent/photos/1.jpg',
	permanent_audio_s3_key = 'permanent-audio/1/2.mp3',
	permanent_waveform_s3_key = 'permanent/waveforms/1.png',
	permanent_pdf_s3_key = 'permanent/pdfs/1.pdf'
WHERE status = 'completed';
UPDATE orders SET permanent_audio_s3_key = 'permanent/audio/2.mp3',
	permanent_photo_s3_key = ''
WHERE status = 'refunded';
UPDATE sessions SET photo_s3_key = 'backgrounds/a.png', audio_s3_key = '',
	waveform_s3_key = NULL WHERE session_token = 'live';
SELECT database_size ~ '^\d+ (kB|MB)$' AS size, sessions, expired,
	older_than_unpaid_after, due, paying FROM vf_session_counts;
SELECT * FROM vf_storage_by_type;
SELECT item, value FROM vf_stats
WHERE item NOT IN ('database size', 'worker') ORDER BY item;

-- Runs, newest first, in words.
SELECT expired, unpaid, keys_queued FROM vf_purge_now(1);
CALL vf_purge();
CALL vf_purge(full_sweep => false);
CALL vf_purge(full_sweep => false);
SELECT kind, caller, outcome, took IS NOT NULL AS timed,
	regexp_replace(result, 'until .*', 'until ...') AS result
FROM vf_runs;
SELECT item, regexp_replace(value, ' idle, .*', ' idle, ...') AS value
FROM vf_stats
WHERE item NOT IN ('database size', 'worker') ORDER BY item;
SELECT count(*) FROM vf_workers;

-- Nothing is wrong but that no bucket is registered.
SELECT * FROM t.firing;
SELECT count(*) > 0 AS configured
FROM vf_configure_bucket('voices', 'us-east-2');
SELECT * FROM t.firing;

-- Paused.
SELECT vf_pause('moving house');
SELECT * FROM t.firing;
SELECT vf_resume();
SELECT * FROM t.firing;

-- A purge that failed, and one that was cut off.
ALTER TABLE orders RENAME TO bills;
CREATE VIEW orders AS SELECT * FROM bills;
CALL vf_purge();
SELECT * FROM t.firing;
-- One failure is no day without a purge, however long ago the first was.
UPDATE vf_source SET active_since = now() - interval '3 days';
SELECT alert FROM t.firing;
DROP VIEW orders;
ALTER TABLE bills RENAME TO orders;
SELECT alert FROM t.firing;
CALL vf_purge();
SELECT * FROM t.firing;
INSERT INTO vf_run (kind, caller, full_sweep, outcome, pid, backend_start)
VALUES ('purge', 'story', true, 'running', 1, now() - interval '1 hour');
SELECT * FROM t.firing;
INSERT INTO vf_run (kind, caller, full_sweep, outcome, pid, backend_start)
VALUES ('purge', 'story', true, 'interrupted', 1, now());
SELECT * FROM t.firing;
CALL vf_purge();
SELECT * FROM t.firing;
SELECT outcome, ended_at IS NOT NULL AS ended, count(*) FROM vf_run
WHERE caller = 'story' GROUP BY 1, 2;

-- None for more than a day.
UPDATE vf_run SET started_at = started_at - interval '2 days',
	ended_at = ended_at - interval '26 hours';
SELECT alert, value ~ '1 day (2 hours|02:00)' AS ago, threshold FROM t.firing;
CALL vf_purge();
SELECT * FROM t.firing;
-- Nor for more than a day after the first, where it never ran.
DELETE FROM vf_run;
UPDATE vf_source SET active_since = now() - interval '26 hours';
SELECT * FROM t.firing;
UPDATE vf_source SET active_since = now() - interval '24 hours';
SELECT * FROM t.firing;
UPDATE vf_source SET active_since = NULL;
SELECT * FROM t.firing;
CALL vf_purge();

-- The brake.
SELECT t.session('due') \gset _
SET voiceframe.purge_brake_rows = 0;
SET voiceframe.purge_brake_percent = 0;
CALL vf_purge();
SELECT * FROM t.firing;
RESET voiceframe.purge_brake_rows;
RESET voiceframe.purge_brake_percent;
CALL vf_purge();
SELECT * FROM t.firing;

-- The guard.
ALTER TABLE orders DISABLE TRIGGER vf_payment_guard;
SELECT * FROM t.firing;
DROP TRIGGER vf_payment_guard ON orders;
SELECT * FROM t.firing;
SELECT count(*) > 0 AS configured FROM vf_configure(payment_guard => false);
SELECT * FROM t.firing;
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT * FROM t.firing;

-- Statuses nobody told us, and sessions without any time.
SELECT t.session('hold'), t.order('hold', 'on_hold'),
	t.order('hold', 'on_hold'), t.order('hold', NULL),
	t.order('hold', 'Refunded'), t.session('timeless', NULL, NULL) \gset _
SELECT * FROM t.firing;
UPDATE sessions SET created_at = now() WHERE session_token = 'timeless';
SET voiceframe.unpaid_statuses = 'pending, on_hold';
SELECT * FROM t.firing;
RESET voiceframe.unpaid_statuses;
UPDATE orders SET status = 'failed' WHERE session_token = 'hold';
SELECT * FROM t.firing;
CALL vf_purge();

-- A payment for a session that is gone, whatever the server's TimeZone.
SELECT t.order('gone', 'completed', t.utc() - interval '6 days 23 hours')
\gset _
SELECT * FROM t.firing;
SET TimeZone = 'America/Los_Angeles';
SELECT * FROM t.firing;
SET TimeZone = 'Asia/Tokyo';
SELECT * FROM t.firing;
UPDATE orders SET created_at = t.utc() - interval '7 days 1 hour',
	updated_at = NULL WHERE session_token = 'gone';
SELECT * FROM t.firing;
SET TimeZone = 'America/Los_Angeles';
SELECT * FROM t.firing;
SET TimeZone = 'UTC';
UPDATE orders SET created_at = NULL, updated_at = t.utc()
WHERE session_token = 'gone';
SELECT * FROM t.firing;
SELECT t.session('gone', t.utc(), 'infinity') \gset _
SELECT * FROM t.firing;

-- The bucket, dead letters, old keys.
UPDATE vf_bucket SET failures = 3, last_error_code = 'SignatureDoesNotMatch',
	last_error = 'no', last_error_at = now();
SELECT a.*, what_to_do = vf_error_cure('SignatureDoesNotMatch') AS cure
FROM t.firing a JOIN vf_alerts USING (alert);
SELECT bucket, state, error, message, failures, cure <> '' AS cure
FROM vf_outbox_stats;
UPDATE vf_bucket SET failures = 1, last_error_code = 'WrongBucket';
SELECT bucket, state FROM vf_outbox_stats;
SELECT vf_resume();
SELECT bucket, state, error FROM vf_outbox_stats;
UPDATE vf_bucket SET failures = 0, last_error_code = NULL;
SELECT * FROM t.firing;
UPDATE vf_outbox SET queued_at = now() - interval '25 hours';
SELECT alert, value ~ '1 day (1 hour|01:00)' AS old, threshold FROM t.firing;
UPDATE vf_outbox SET state = 'dead', last_error_code = 'AccessDenied';
SELECT * FROM t.firing;
UPDATE vf_outbox SET state = 'cancelled';
SELECT * FROM t.firing;

-- Records of old are forgotten with the next purge.
INSERT INTO vf_run (kind, caller, full_sweep, started_at, ended_at, outcome,
	pid, backend_start)
SELECT 'purge', 'old', true, now() - a, now() - a, 'ok', 0, now()
FROM unnest(ARRAY['89 days', '91 days']::interval[]) a;
UPDATE vf_outbox SET next_attempt_at = now() - interval '91 days'
WHERE id = (SELECT min(id) FROM vf_outbox);
SELECT count(*) AS cancelled FROM vf_outbox \gset
CALL vf_purge();
SELECT count(*) FROM vf_run WHERE caller = 'old';
SELECT :cancelled - count(*) AS forgotten FROM vf_outbox;

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
