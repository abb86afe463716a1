-- live_keys.sql: every key that a row of sessions or orders references, once,
-- a line each as `bucket.py ls` writes them (psql -At).
SELECT replace(replace(key, '\', '\\'), E'\n', '\n')
FROM (
	SELECT unnest(ARRAY[photo_s3_key, audio_s3_key, waveform_s3_key])
	FROM sessions
	UNION
	SELECT unnest(ARRAY[pdf_s3_key, permanent_photo_s3_key,
						permanent_audio_s3_key, permanent_waveform_s3_key,
						permanent_pdf_s3_key])
	FROM orders
) k (key)
WHERE key <> ''
ORDER BY 1;
