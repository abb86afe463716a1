-- P1 and the rules: one row for each case with the fate it must have; the
-- preview and the purge are both held against it, row by row, under three
-- TimeZones, with and without zones in the columns, and with other settings.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file

-- Ages count back from now; a negative one lies ahead.
CREATE TABLE t.cases (n serial, token text PRIMARY KEY, created interval,
	expires interval, fate text, story text);
CREATE TABLE t.orders (token text, status text, created interval,
	updated interval, permanent text, migration text);

-- Time alone.
INSERT INTO t.cases (token, created, expires, fate, story) VALUES
('young', '1 hour', '-23 hours', 'not yet due', 'uploading'),
('expired', '2 days', '1 day', 'expired', 'left'),
('just expired', '1 day', '1 minute', 'expired', 'no grace by default'),
('almost', '6 days 23 hours', '-1 hour', 'not yet due', 'almost a week'),
('old', '7 days 1 hour', '-23 days', 'unpaid', 'a week without payment'),
('both, expired first', '9 days', '8 days', 'expired', ''),
('both, unpaid first', '9 days', '1 hour', 'unpaid', ''),
('both at once', '9 days', '2 days', 'expired', 'due at the same time'),
('no created', NULL, '1 day', 'expired', ''),
('no created, live', NULL, '-1 day', 'not yet due', ''),
('no expires', '9 days', NULL, 'unpaid', ''),
('no expires, young', '1 day', NULL, 'not yet due', ''),
('timeless', NULL, NULL, 'never due: no timestamps', ''),
('from the future', '-1 day', '1 day', 'expired', 'a clock was wrong'),
-- What orders make of a session that is due.
('completed', '9 days', '8 days', 'kept: paid', ''),
('paid', '9 days', '8 days', 'kept: paid', 'as some installations write it'),
('status expired', '9 days', '8 days', 'kept: paid', 'link has run out'),
('refunded', '9 days', '8 days', 'kept: paid', ''),
('on_hold', '9 days', '8 days', 'kept: paid', 'a status nobody told us'),
('status null', '9 days', '8 days', 'kept: paid', ''),
('status empty', '9 days', '8 days', 'kept: paid', ''),
('Pending', '9 days', '8 days', 'kept: paid', 'not our spelling'),
('pending, blank', '9 days', '8 days', 'kept: paid', 'not our spelling'),
('completed, old', '9 days', '-9 days', 'kept: paid', 'due as unpaid'),
('pending', '9 days', '8 days', 'expired', ''),
('failed', '9 days', '8 days', 'expired', ''),
('canceled', '9 days', '8 days', 'expired', ''),
('cancelled', '9 days', '8 days', 'expired', ''),
('pending, old', '9 days', '-9 days', 'unpaid', ''),
('preview pdf', '9 days', '8 days', 'expired', 'pdf_s3_key says nothing'),
('permanent empty', '9 days', '8 days', 'expired', ''),
('permanent photo', '9 days', '8 days', 'kept: paid', ''),
('permanent audio', '9 days', '8 days', 'kept: paid', ''),
('permanent waveform', '9 days', '8 days', 'kept: paid', ''),
('permanent pdf', '9 days', '8 days', 'kept: paid', ''),
('migration pending', '9 days', '8 days', 'expired', ''),
('migration completed', '9 days', '8 days', 'kept: paid', ''),
('migration failed', '9 days', '8 days', 'kept: paid', ''),
('migration empty', '9 days', '8 days', 'kept: paid', ''),
('second try paid', '9 days', '8 days', 'kept: paid', ''),
('two failures', '9 days', '8 days', 'expired', ''),
('failed, then in checkout', '9 days', '8 days', 'kept: in checkout', ''),
('paid and in checkout', '9 days', '8 days', 'kept: paid', ''),
('young and paid', '1 hour', '-1 day', 'not yet due', ''),
('timeless and paid', NULL, NULL, 'never due: no timestamps', ''),
-- Checkout: the later of the two times counts, three days.
('checkout new', '9 days', '8 days', 'kept: in checkout', ''),
('checkout created', '9 days', '8 days', 'kept: in checkout', ''),
('checkout updated', '9 days', '8 days', 'kept: in checkout', ''),
('checkout no times', '9 days', '8 days', 'kept: in checkout', ''),
('checkout created alone', '9 days', '8 days', 'kept: in checkout', ''),
('checkout updated alone', '9 days', '8 days', 'kept: in checkout', ''),
('checkout ahead', '9 days', '8 days', 'kept: in checkout', ''),
('checkout over', '9 days', '8 days', 'expired', ''),
('checkout over, no updated', '9 days', '8 days', 'expired', ''),
('checkout over, no created', '9 days', '8 days', 'expired', '');

INSERT INTO t.orders VALUES
('completed', 'completed', '9 days', '9 days', NULL, NULL),
('paid', 'paid', '9 days', '9 days', NULL, NULL),
('status expired', 'expired', '9 days', '9 days', NULL, NULL),
('refunded', 'refunded', '9 days', '9 days', NULL, NULL),
('on_hold', 'on_hold', '9 days', '9 days', NULL, NULL),
('status null', NULL, '9 days', '9 days', NULL, NULL),
('status empty', '', '9 days', '9 days', NULL, NULL),
('Pending', 'Pending', '9 days', '9 days', NULL, NULL),
('pending, blank', 'pending ', '9 days', '9 days', NULL, NULL),
('completed, old', 'completed', '9 days', '9 days', NULL, NULL),
('pending', 'pending', '9 days', '9 days', NULL, NULL),
('failed', 'failed', '9 days', '9 days', NULL, NULL),
('canceled', 'canceled', '9 days', '9 days', NULL, NULL),
('cancelled', 'cancelled', '9 days', '9 days', NULL, NULL),
('pending, old', 'pending', '9 days', '9 days', NULL, NULL),
('preview pdf', 'pending', '9 days', '9 days', 'pdf', NULL),
('permanent empty', 'pending', '9 days', '9 days', 'empty', NULL),
('permanent photo', 'pending', '9 days', '9 days', 'permanent_photo', NULL),
('permanent audio', 'pending', '9 days', '9 days', 'permanent_audio', NULL),
('permanent waveform', 'pending', '9 days', '9 days', 'permanent_waveform', NULL),
('permanent pdf', 'pending', '9 days', '9 days', 'permanent_pdf', NULL),
('migration pending', 'failed', '9 days', '9 days', NULL, 'pending'),
('migration completed', 'failed', '9 days', '9 days', NULL, 'completed'),
('migration failed', 'failed', '9 days', '9 days', NULL, 'failed'),
('migration empty', 'failed', '9 days', '9 days', NULL, ''),
('second try paid', 'failed', '9 days', '9 days', NULL, NULL),
('second try paid', 'completed', '8 days', '8 days', NULL, NULL),
('two failures', 'failed', '9 days', '9 days', NULL, NULL),
('two failures', 'canceled', '8 days', '8 days', NULL, NULL),
('failed, then in checkout', 'failed', '9 days', '9 days', NULL, NULL),
('failed, then in checkout', 'pending', '1 hour', '1 hour', NULL, NULL),
('paid and in checkout', 'completed', '9 days', '9 days', NULL, NULL),
('paid and in checkout', 'pending', '1 hour', '1 hour', NULL, NULL),
('young and paid', 'completed', '1 hour', '1 hour', NULL, NULL),
('timeless and paid', 'completed', '9 days', '9 days', NULL, NULL),
('checkout new', 'pending', '1 hour', '1 hour', NULL, NULL),
('checkout created', 'pending', '2 days 23 hours', '9 days', NULL, NULL),
('checkout updated', 'failed', '9 days', '2 days 23 hours', NULL, NULL),
('checkout no times', 'pending', NULL, NULL, NULL, NULL),
('checkout created alone', 'pending', '1 hour', NULL, NULL, NULL),
('checkout updated alone', 'pending', NULL, '1 hour', NULL, NULL),
('checkout ahead', 'pending', '-1 hour', '9 days', NULL, NULL),
('checkout over', 'pending', '3 days 1 hour', '3 days 1 hour', NULL, NULL),
('checkout over, no updated', 'pending', '3 days 1 hour', NULL, NULL, NULL),
('checkout over, no created', 'pending', NULL, '3 days 1 hour', NULL, NULL),
(NULL, 'completed', '9 days', '9 days', NULL, NULL),
('of no session', 'completed', '9 days', '9 days', NULL, NULL);

CREATE FUNCTION t.utc() RETURNS timestamp LANGUAGE sql STABLE
AS $$ SELECT now() AT TIME ZONE 'UTC' $$;

SELECT count(t.session(token, t.utc() - created, t.utc() - expires)) > 0 AS ok
FROM t.cases;
INSERT INTO orders (id, email, amount_cents, status, session_token,
	created_at, updated_at, migration_status, pdf_s3_key,
	permanent_photo_s3_key, permanent_audio_s3_key,
	permanent_waveform_s3_key, permanent_pdf_s3_key)
SELECT gen_random_uuid(), 'x@example.test', 1, status, token,
	t.utc() - created, t.utc() - updated, migration,
	CASE permanent WHEN 'pdf' THEN 'pdfs/1.pdf' END,
	CASE permanent WHEN 'permanent_photo' THEN 'permanent/photos/1.jpg'
		WHEN 'empty' THEN '' END,
	CASE permanent WHEN 'permanent_audio' THEN 'permanent/audio/1.mp3' END,
	CASE permanent WHEN 'permanent_waveform' THEN 'permanent/waveforms/1' END,
	CASE permanent WHEN 'permanent_pdf' THEN 'permanent/pdfs/1.pdf'
		WHEN 'empty' THEN '' END
FROM t.orders;

-- What the preview says of each session.
CREATE VIEW t.preview AS
SELECT c.n, c.token, c.fate, p.rule
FROM t.cases c
	JOIN shop.sessions s ON s.session_token = c.token
	LEFT JOIN (SELECT p.rule, unnest(p.examples) AS id
			   FROM vf.vf_purge_preview(1000) p) p ON p.id = s.id::text;
-- What a purge did to it.
CREATE VIEW t.fates AS
SELECT c.n, c.token, c.fate,
	CASE WHEN s.id IS NULL THEN 'gone' ELSE 'stays' END AS purged
FROM t.cases c LEFT JOIN shop.sessions s ON s.session_token = c.token;
CREATE VIEW t.wrong AS
SELECT token, fate, purged FROM t.fates
WHERE (purged = 'gone') <> (fate IN ('expired', 'unpaid')) ORDER BY n;
-- Any change of any order, even one that changes nothing.
CREATE VIEW t.orders_print AS
SELECT md5(string_agg(o::text || o.xmin || o.ctid, ' ' ORDER BY o.id)) AS print
FROM shop.orders o;

SELECT value FROM vf_configure() WHERE item = 'due now';
SELECT rule, sessions FROM vf_purge_preview();
SELECT token, fate, rule FROM t.preview WHERE rule IS DISTINCT FROM fate
ORDER BY n;
SELECT print AS before FROM t.orders_print \gset

BEGIN;
\set VERBOSITY sqlstate
SELECT expired, unpaid, kept_paid, put_off FROM vf_purge_now();
SELECT token, fate, purged FROM t.fates ORDER BY n;
SELECT * FROM t.wrong;
SELECT print = :'before' AS orders_untouched FROM t.orders_print;
ROLLBACK;

-- The server's TimeZone changes nothing, east or west of UTC.
SET TimeZone = 'Asia/Tokyo';
SELECT token, fate, rule FROM t.preview WHERE rule IS DISTINCT FROM fate;
BEGIN;
SELECT expired, unpaid, kept_paid, put_off FROM vf_purge_now();
SELECT * FROM t.wrong;
ROLLBACK;
SET TimeZone = 'America/Los_Angeles';
SELECT token, fate, rule FROM t.preview WHERE rule IS DISTINCT FROM fate;
BEGIN;
SELECT expired, unpaid, kept_paid, put_off FROM vf_purge_now();
SELECT * FROM t.wrong;
ROLLBACK;

-- Nor does a column that knows its zone, registered as it is.
BEGIN;
ALTER TABLE sessions
	ALTER created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC';
ALTER TABLE orders
	ALTER updated_at TYPE timestamptz USING updated_at AT TIME ZONE 'UTC';
SELECT value FROM vf_configure() WHERE item = 'due now';
SELECT token, fate, rule FROM t.preview WHERE rule IS DISTINCT FROM fate;
ALTER TABLE sessions
	ALTER expires_at TYPE timestamptz USING expires_at AT TIME ZONE 'UTC';
ALTER TABLE orders
	ALTER created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC';
SELECT value FROM vf_configure() WHERE item = 'due now';
SELECT token, fate, rule FROM t.preview WHERE rule IS DISTINCT FROM fate;
SELECT expired, unpaid, kept_paid, put_off FROM vf_purge_now();
SELECT * FROM t.wrong;
ROLLBACK;
RESET TimeZone;

-- An application that writes Tokyo's time: 9 hours ago is now there.
CREATE VIEW t.moved AS SELECT n, token, fate AS was, rule AS now
FROM t.preview WHERE rule IS DISTINCT FROM fate;
SET voiceframe.timestamp_zone = 'Asia/Tokyo';
SELECT token, was, now FROM t.moved ORDER BY n;
SET voiceframe.timestamp_zone = 'America/Los_Angeles';
SELECT token, was, now FROM t.moved ORDER BY n;
RESET voiceframe.timestamp_zone;

-- Each setting moves its own cases and no others.
SET voiceframe.expired_grace = '25h';
SELECT token, was, now FROM t.moved ORDER BY n;
RESET voiceframe.expired_grace;
SET voiceframe.unpaid_after = '30d';
SELECT token, was, now FROM t.moved ORDER BY n;
RESET voiceframe.unpaid_after;
SET voiceframe.unpaid_after = '5d';
SELECT token, was, now FROM t.moved ORDER BY n;
RESET voiceframe.unpaid_after;
SET voiceframe.checkout_grace = 0;
SELECT token, was, now FROM t.moved ORDER BY n;
SET voiceframe.checkout_grace = '10d';
SELECT token, was, now FROM t.moved ORDER BY n;
RESET voiceframe.checkout_grace;
SET voiceframe.unpaid_statuses = 'pending';
SELECT token, was, now FROM t.moved ORDER BY n;
SET voiceframe.unpaid_statuses = '';
SELECT token, was, now FROM t.moved ORDER BY n;
SET voiceframe.unpaid_statuses =
	'pending, failed, canceled, cancelled, on_hold, "pending "';
SELECT token, was, now FROM t.moved ORDER BY n;
BEGIN;
SELECT expired, unpaid, kept_paid, put_off FROM vf_purge_now();
SELECT * FROM t.wrong;
ROLLBACK;
RESET voiceframe.unpaid_statuses;

-- The ends of time: nothing overflows, and each has its fate.
DELETE FROM orders;
DELETE FROM sessions;
DELETE FROM t.cases;
INSERT INTO t.cases (token, fate) VALUES
('never expires', 'unpaid'), ('always expired', 'expired'),
('ever old', 'unpaid'), ('never old', 'not yet due'),
('all of time', 'unpaid'), ('before time', 'expired'),
('the first day', 'expired'), ('the last day', 'not yet due'),
('first to last', 'unpaid'), ('last to first', 'expired');
SELECT t.session('never expires', '2020-01-01', 'infinity'),
	t.session('always expired', '2020-01-01', '-infinity'),
	t.session('ever old', '-infinity', '2020-01-01'),
	t.session('never old', 'infinity', 'infinity'),
	t.session('all of time', '-infinity', 'infinity'),
	t.session('before time', '-infinity', '-infinity'),
	t.session('the first day', '4714-11-24 BC', '4714-11-24 BC'),
	t.session('the last day', '294276-12-31', '294276-12-31'),
	t.session('first to last', '4714-11-24 BC', '294276-12-31'),
	t.session('last to first', '294276-12-31', '4714-11-24 BC') \gset _
SELECT token, fate, rule FROM t.preview ORDER BY n;
BEGIN;
SELECT expired, unpaid, kept_paid, put_off FROM vf_purge_now();
SELECT * FROM t.wrong;
ROLLBACK;
-- An order at the ends of time keeps, or does not.
SELECT t.order('never expires', 'pending', 'infinity'),
	t.order('always expired', 'pending', '-infinity') \gset _
SELECT token, was, now FROM t.moved ORDER BY n;
-- Where the zone pushes the first day over the edge, the rest goes on (P6).
SET voiceframe.timestamp_zone = 'Asia/Tokyo';
BEGIN;
SELECT expired, unpaid, kept_paid, put_off FROM vf_purge_now();
SELECT token, fate, purged FROM t.fates ORDER BY n;
ROLLBACK;
RESET voiceframe.timestamp_zone;

\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
