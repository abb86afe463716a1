-- data.sql: :n sessions (1,000 unless -v n=...) with their orders, for
-- voiceframe.sql; the same at every run but for the ages, which are counted
-- back from now.  Every session has three keys.
--
-- Session i is of kind i % 20, and each kind is one answer that retention
-- must give.  Under the default rules 8 kinds of 20 are due: 1, 8 to 11 and
-- 19 because they expired, 17 as unpaid, 18 as both (expired counts).
--
-- -v traps=1 adds a handful of odd rows, see the end.

\if :{?n}
\else
	\set n 1000
\endif

CREATE TEMP TABLE kind (kind int, age interval, life interval, status text,
	ordered bool, order_age interval, permanent bool, migration text,
	story text);
INSERT INTO kind VALUES
(0, '1 hour', '24 hours', NULL, false, NULL, false, NULL, 'uploading'),
(1, '2 days', '24 hours', NULL, false, NULL, false, NULL, 'left, expired'),
(2, '40 days', '24 hours', 'completed', true, '40 days', true, 'completed',
	'paid'),
(3, '50 days', '24 hours', 'paid', true, '50 days', true, 'completed',
	'paid, as some installations write it'),
(4, '90 days', '24 hours', 'expired', true, '90 days', true, 'completed',
	'paid, the download link has run out'),
(5, '60 days', '24 hours', 'refunded', true, '60 days', true, 'completed',
	'paid and refunded'),
(6, '20 days', '24 hours', 'on_hold', true, '20 days', false, NULL,
	'a status nobody told us'),
(7, '20 days', '24 hours', NULL, true, '20 days', false, NULL,
	'an order without status'),
(8, '30 days', '24 hours', 'pending', true, '30 days', false, 'pending',
	'never paid'),
(9, '10 days', '24 hours', 'failed', true, '10 days', false, NULL,
	'card refused'),
(10, '10 days', '24 hours', 'canceled', true, '10 days', false, NULL,
	'canceled'),
(11, '10 days', '24 hours', 'cancelled', true, '10 days', false, NULL,
	'cancelled'),
(12, '2 days', '24 hours', 'pending', true, '1 hour', false, 'pending',
	'expired, but in checkout'),
(13, '30 days', '24 hours', 'pending', true, '30 days', true, NULL,
	'pending, but its files were made permanent'),
(14, '30 days', '24 hours', 'pending', true, '30 days', false, 'failed',
	'pending, but its files were being copied'),
(15, '30 days', '24 hours', 'completed', true, '30 days', false, 'failed',
	'paid, and its only files are the temporary ones'),
(16, '30 days', '24 hours', 'failed', true, '30 days', false, NULL,
	'a first try failed, the second was paid'),
(17, '8 days', '30 days', NULL, false, NULL, false, NULL, 'old, unpaid'),
(18, '9 days', '24 hours', NULL, false, NULL, false, NULL,
	'expired and old'),
(19, '3 days', '24 hours', NULL, false, NULL, false, NULL,
	'expired, recorded in a browser');

-- 32 bytes in URL-safe base64 are the application's 43 characters.
CREATE FUNCTION pg_temp.token(i bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
	SELECT rtrim(translate(encode(sha256(('session ' || i)::bytea), 'base64'),
						   '+/', '-_'), '=')
$$;

CREATE FUNCTION pg_temp.utc() RETURNS timestamp
LANGUAGE sql STABLE AS $$ SELECT now() AT TIME ZONE 'UTC' $$;

INSERT INTO sessions (id, session_token, photo_s3_key, audio_s3_key,
	waveform_s3_key, photo_filename, audio_filename, photo_size, audio_size,
	custom_text, photo_shape, pdf_size, template_id, audio_duration,
	created_at, expires_at, email, unsubscribed, data_consent,
	data_consent_at)
SELECT md5('session ' || i)::uuid, t,
	'temp_photos/' || t || (CASE WHEN i % 7 = 0 THEN '.png' ELSE '.jpg' END),
	'temp_audio/' || t || '.' ||
		CASE WHEN kind = 19 THEN 'webm'
			 ELSE (ARRAY['mp3', 'm4a', 'wav', 'ogg'])[1 + i % 4] END,
	'waveforms/' || t || '.png',
	'photo.jpg', 'voice.mp3', 200000 + i % 1000, 400000 + i % 1000,
	'For ' || i, 'square', 'A4', 'classic', 12.5,
	born, born + life, 'customer' || i || '@example.test', false, true, born
FROM generate_series(1, :n) i
	JOIN kind ON kind = i % 20,
	pg_temp.token(i) t,
	LATERAL (SELECT pg_temp.utc() - age
			 - (i / 20 % 60) * interval '17 seconds') b (born);

INSERT INTO orders (id, email, amount_cents, stripe_payment_intent_id,
	status, download_token, download_expires_at, pdf_s3_key,
	permanent_photo_s3_key, permanent_audio_s3_key,
	permanent_waveform_s3_key, permanent_pdf_s3_key, migration_status,
	migration_completed_at, migration_error, session_token, created_at,
	updated_at)
SELECT o, 'customer' || i || '@example.test', 2900, 'pi_' || md5('pi' || i),
	status, md5('download ' || i), born + interval '7 days',
	CASE WHEN permanent THEN 'pdfs/' || o || '.pdf' END,
	CASE WHEN permanent THEN 'permanent/photos/' || o || '.jpg' END,
	CASE WHEN NOT permanent THEN NULL
		 WHEN i % 3 = 0 THEN 'permanent-audio/' || o || '/' || s || '.mp3'
		 ELSE 'permanent/audio/' || o || '.mp3' END,
	CASE WHEN permanent THEN 'permanent/waveforms/' || o || '.png' END,
	CASE WHEN permanent THEN 'permanent/pdfs/' || o || '.pdf' END,
	migration,
	CASE WHEN migration = 'completed' THEN born END,
	CASE WHEN migration = 'failed' THEN 'timeout while copying' END,
	pg_temp.token(i), born, born
FROM generate_series(1, :n) i
	JOIN kind ON kind = i % 20 AND ordered,
	LATERAL (SELECT md5('order ' || i)::uuid, md5('session ' || i)::uuid)
		k (o, s),
	LATERAL (SELECT pg_temp.utc() - order_age) b (born);

-- Kind 16: the payment that counts is the second order.
INSERT INTO orders (id, email, amount_cents, status, session_token,
	created_at, updated_at)
SELECT md5('second order ' || i)::uuid, 'customer' || i || '@example.test',
	2900, 'completed', pg_temp.token(i), pg_temp.utc() - interval '29 days',
	pg_temp.utc() - interval '29 days'
FROM generate_series(16, :n, 20) i;

-- An order by telephone, without any session.
INSERT INTO orders (id, email, amount_cents, status, created_at, updated_at)
VALUES (md5('no session')::uuid, 'phone@example.test', 2900, 'completed',
	pg_temp.utc(), pg_temp.utc());

INSERT INTO email_subscribers (id, email, source, is_active, subscribed_at)
SELECT md5('subscriber ' || i)::uuid, 'customer' || i || '@example.test',
	'checkout', true, pg_temp.utc()
FROM generate_series(1, :n, 10) i;

INSERT INTO file_audit_logs (id, operation, source_path, destination_path,
	order_id, session_token, success, created_at)
SELECT md5('audit ' || o.id)::uuid, 'migrate_photo', s.photo_s3_key,
	o.permanent_photo_s3_key, o.id, s.session_token, true, o.created_at
FROM orders o JOIN sessions s USING (session_token)
WHERE o.permanent_photo_s3_key IS NOT NULL;

\if :{?traps}
-- Due: no file yet; empty keys; one key twice in a row; a key that a live
-- session has too; a key outside the prefixes that may be deleted; keys that
-- an URL, XML or a query would change.  Kept: no timestamps at all; an order
-- whose second try is young; an order with no timestamps.
INSERT INTO sessions (id, session_token, photo_s3_key, audio_s3_key,
	waveform_s3_key, created_at, expires_at)
SELECT md5('trap ' || token)::uuid, 'trap_' || token, photo, audio, waveform,
	pg_temp.utc() - age, pg_temp.utc() - age + interval '24 hours'
FROM (VALUES
	('nothing', NULL, NULL, NULL, interval '5 days'),
	('empty', '', '', '', '5 days'),
	('twice', 'temp_photos/twice.jpg', NULL, 'temp_photos/twice.jpg',
		'5 days'),
	('shared', 'temp_photos/shared.jpg', NULL, NULL, '5 days'),
	('sharing', 'temp_photos/shared.jpg', NULL, NULL, '1 hour'),
	('outside', 'permanent/photos/outside.jpg', 'backgrounds/a.png',
		'temp_photos', '5 days'),
	('odd', 'temp_photos/a b+c%20d&<e>"''.jpg', 'temp_audio/a/../b.mp3',
		'waveforms/x//y;?#.png', '5 days'),
	('timeless', 'temp_photos/timeless.jpg', NULL, NULL, NULL),
	('retried', 'temp_photos/retried.jpg', NULL, NULL, '5 days'),
	('dateless', 'temp_photos/dateless.jpg', NULL, NULL, '5 days')
) t (token, photo, audio, waveform, age);

INSERT INTO orders (id, email, amount_cents, status, session_token,
	created_at, updated_at)
VALUES (md5('retried')::uuid, 'r@example.test', 1, 'pending', 'trap_retried',
	pg_temp.utc() - interval '5 days', pg_temp.utc()),
	(md5('dateless')::uuid, 'd@example.test', 1, 'pending', 'trap_dateless',
	NULL, NULL);
\endif

DROP FUNCTION pg_temp.token(bigint), pg_temp.utc();
DROP TABLE kind;
ANALYZE sessions, orders;
