-- data.sql: :n sessions for the benchmarks, in the tables of
-- ../demo/voiceframe.sql; run it with psql.
--
-- All sessions expired long ago.  Of each hundred, :due have never been paid
-- and are due; they lie between the others as they do in a shop, so that every
-- page has both.  The others carry a completed order.  One in twenty of the
-- due ones carries an order too: a card that was refused.
--
-- photo_shape is 'round' in the due ones and nowhere else: that is how a bare
-- DELETE gets the same rows without looking at an order.
--
-- Tokens and ids are random to look at, like the application's, so every
-- index but those on the times takes its rows in no order.

CREATE FUNCTION pg_temp.token(i bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
	SELECT rtrim(translate(encode(sha256(('bench ' || i)::bytea), 'base64'),
						   '+/', '-_'), '=')
$$;

INSERT INTO sessions (id, session_token, photo_s3_key, audio_s3_key,
	waveform_s3_key, photo_filename, audio_filename, photo_size, audio_size,
	custom_text, photo_shape, pdf_size, template_id, audio_duration,
	created_at, expires_at, email, unsubscribed, data_consent,
	data_consent_at)
SELECT md5('bench ' || i)::uuid, t, 'temp_photos/' || t || '.jpg',
	'temp_audio/' || t || '.mp3', 'waveforms/' || t || '.png', 'photo.jpg',
	'voice.mp3', 200000 + i % 1000, 400000 + i % 1000, 'For ' || i,
	CASE WHEN i * 37 % 100 < :due THEN 'round' ELSE 'square' END, 'A4',
	'classic', 12.5, born, born + interval '24 hours',
	'customer' || i || '@example.test', false, true, born
FROM generate_series(1, :n) i, pg_temp.token(i) t,
	LATERAL (SELECT now() AT TIME ZONE 'UTC' - interval '20 days'
			 - (:n - i) * interval '1 second') b (born);

INSERT INTO orders (id, email, amount_cents, stripe_payment_intent_id,
	status, download_token, permanent_photo_s3_key, permanent_audio_s3_key,
	permanent_waveform_s3_key, permanent_pdf_s3_key, migration_status,
	session_token, created_at, updated_at)
SELECT o, 'customer' || i || '@example.test', 2900, 'pi_' || md5('pi' || i),
	CASE WHEN paid THEN 'completed' ELSE 'failed' END, md5('download ' || i),
	CASE WHEN paid THEN 'permanent/photos/' || o || '.jpg' END,
	CASE WHEN paid THEN 'permanent/audio/' || o || '.mp3' END,
	CASE WHEN paid THEN 'permanent/waveforms/' || o || '.png' END,
	CASE WHEN paid THEN 'permanent/pdfs/' || o || '.pdf' END,
	CASE WHEN paid THEN 'completed' END, pg_temp.token(i), born, born
FROM generate_series(1, :n) i,
	LATERAL (SELECT i * 37 % 100 >= :due) p (paid),
	LATERAL (SELECT md5('order ' || i)::uuid) k (o),
	LATERAL (SELECT now() AT TIME ZONE 'UTC' - interval '20 days'
			 - (:n - i) * interval '1 second') b (born)
WHERE paid OR i % 20 = 0;

DROP FUNCTION pg_temp.token(bigint);
VACUUM (ANALYZE) sessions, orders;
