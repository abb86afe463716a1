-- kept.sql: the tokens that the default rules keep, told without the
-- extension, to compare with what it left (psql -At).
SELECT session_token
FROM sessions s, LATERAL (SELECT now() AT TIME ZONE 'UTC') t (utc)
WHERE (coalesce(expires_at >= utc, true)
	   AND coalesce(created_at >= utc - interval '7 days', true))
	OR EXISTS (
		SELECT FROM orders o
		WHERE o.session_token = s.session_token
			AND (coalesce(status, '') NOT IN
					('pending', 'failed', 'canceled', 'cancelled')
				 OR coalesce(permanent_photo_s3_key, permanent_audio_s3_key,
							 permanent_waveform_s3_key, permanent_pdf_s3_key)
					IS NOT NULL
				 OR coalesce(migration_status, 'pending') <> 'pending'
				 OR coalesce(greatest(o.created_at, o.updated_at)
							 >= utc - interval '3 days', true)))
ORDER BY 1;
