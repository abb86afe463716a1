-- begin.sql: what most regress tests begin with, silently: the application's
-- tables in schema shop, the extension in schema vf, both on the search path,
-- and two helpers.  end.sql takes all of it away.
--
--   t.session('a')              a session due since 2020, with three keys
--   t.order('a', 'completed')   an order of it, as old
--
-- Expected outputs hold no times: successful purges run with VERBOSITY
-- sqlstate, because their INFO line tells how long they took.
\set ECHO none
\set SHOW_CONTEXT never
SET client_min_messages = error;
SET TimeZone = 'UTC';
CREATE SCHEMA shop;
CREATE SCHEMA vf;
CREATE SCHEMA t;
CREATE EXTENSION voiceframe_retention SCHEMA vf;
SET search_path = shop, vf;
\set file :abs_srcdir '/demo/voiceframe.sql'
\i :file

CREATE FUNCTION t.session(token text,
	created timestamp DEFAULT '2020-01-01',
	expires timestamp DEFAULT '2020-01-02',
	photo text DEFAULT NULL)
RETURNS void LANGUAGE sql SET search_path = shop AS $$
	INSERT INTO sessions (id, session_token, photo_s3_key, audio_s3_key,
		waveform_s3_key, created_at, expires_at)
	VALUES (md5(token)::uuid, token,
		coalesce(photo, 'temp_photos/' || token || '.jpg'),
		'temp_audio/' || token || '.mp3', 'waveforms/' || token || '.png',
		created, expires)
$$;
CREATE FUNCTION t.order(token text, status text,
	at timestamp DEFAULT '2020-01-01')
RETURNS void LANGUAGE sql SET search_path = shop AS $$
	INSERT INTO orders (id, email, amount_cents, status, session_token,
		created_at, updated_at)
	VALUES (gen_random_uuid(), 'x@example.test', 1, status, token, at, at)
$$;
RESET client_min_messages;
\set ECHO all
