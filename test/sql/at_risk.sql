-- Files of paying customers that were not copied: a lifecycle rule on temp_
-- would delete their only copy after 7 days.
\getenv abs_srcdir PG_ABS_SRCDIR
\set file :abs_srcdir '/sql/lib/begin.sql'
\i :file
SET TimeZone = 'Asia/Tokyo';
SELECT count(*) > 0 AS configured FROM vf_configure();
SELECT * FROM vf_at_risk;
SELECT firing FROM vf_alerts WHERE alert = 'at_risk';

-- Who pays, whatever the status says of it; who does not; what was copied.
SELECT t.session('paid'), t.session('half'), t.session('unpaid'),
	t.session('none'), t.session('odd'), t.session('twice'),
	t.order('paid', 'completed'), t.order('half', 'expired'),
	t.order('unpaid', 'pending'), t.order('odd', NULL),
	t.order('twice', 'failed'), t.order('twice', 'refunded'),
	t.order(NULL, 'completed') \gset _
UPDATE orders SET permanent_photo_s3_key = 'permanent/photos/half.jpg',
	permanent_audio_s3_key = '' WHERE session_token = 'half';
UPDATE sessions SET audio_s3_key = NULL, waveform_s3_key = ''
WHERE session_token = 'odd';
SELECT s.session_token, r.status, r.column_name, r.key,
	r.deadline AT TIME ZONE 'UTC' AS deadline, r.found
FROM vf_at_risk r JOIN sessions s ON s.id::text = r.session_id
ORDER BY 1, 2, 3;
SELECT files, deadline AT TIME ZONE 'UTC' AS deadline FROM vf_count_at_risk();
SELECT firing, value, threshold FROM vf_alerts WHERE alert = 'at_risk';

-- What a day's copying may still bring about does not fire.
UPDATE sessions SET created_at = (now() AT TIME ZONE 'UTC') - interval '23 hours';
SELECT firing FROM vf_alerts WHERE alert = 'at_risk';
UPDATE sessions SET created_at = (now() AT TIME ZONE 'UTC') - interval '25 hours';
SELECT firing FROM vf_alerts WHERE alert = 'at_risk';

-- After a scan the object's own date counts, and whether it is there.
SELECT count(*) > 0 AS configured FROM vf_configure_bucket('voices', NULL,
	'http://127.0.0.1:9', probe => false);
INSERT INTO vf_scan (bucket_id, versions, state, store_time, ended_at)
SELECT id, false, 'complete', now(), now() FROM vf_bucket;
INSERT INTO vf_object
SELECT id, 'temp_photos/paid.jpg', 1, 'x', 'STANDARD', '2021-01-01 UTC', 1
FROM vf_bucket;
SELECT r.key, r.found, r.deadline AT TIME ZONE 'UTC' = '2021-01-08' AS by_date
FROM vf_at_risk r JOIN sessions s ON s.id::text = r.session_id
WHERE s.session_token = 'paid' ORDER BY 1;
-- What is gone needs no copying any more.
SELECT files, deadline AT TIME ZONE 'UTC' AS deadline FROM vf_count_at_risk();
\set file :abs_srcdir '/sql/lib/end.sql'
\i :file
