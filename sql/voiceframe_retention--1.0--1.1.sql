/* voiceframe_retention--1.0--1.1.sql */

\echo Use "ALTER EXTENSION voiceframe_retention UPDATE TO '1.1'" to load this file. \quit

/* ---- identity and lease ------------------------------------------------------- */

ALTER TABLE vf_source
	ADD COLUMN lost_history text;
ALTER TABLE vf_bucket
	ADD COLUMN marker_id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	ADD COLUMN generation bigint NOT NULL DEFAULT 0,
	ADD COLUMN adopted boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN vf_source.lost_history IS
	'what the bucket knows that this database does not; nothing is deleted until vf_adopt()';
COMMENT ON COLUMN vf_bucket.marker_id IS
	'the marker is .voiceframe_retention/<marker_id>: copies of a database have the same and contend for it';
COMMENT ON COLUMN vf_bucket.generation IS
	'raised with each heartbeat, here first and on disk; a marker that is ahead tells of lost history';
COMMENT ON COLUMN vf_bucket.adopted IS
	'vf_adopt() was called since the lease was last taken: take it whatever its generation';

CREATE OR REPLACE VIEW vf_outbox_stats AS
SELECT coalesce(q.bucket, b.bucket, '(none registered)') AS bucket,
	CASE WHEN b.bucket IS NULL THEN 'no bucket'
		WHEN b.last_error_code IN ('WrongBucket', 'LeaseHeldElsewhere',
			'LeaseUnreadable', 'LostHistory') THEN 'held'
		WHEN b.failures > 0 THEN 'failing'
		ELSE 'ok' END AS state,
	coalesce(q.waiting, 0) AS waiting, coalesce(q.in_flight, 0) AS in_flight,
	coalesce(q.dead, 0) AS dead, coalesce(q.cancelled, 0) AS cancelled,
	pg_catalog.date_trunc('second', pg_catalog.now() - q.oldest) AS oldest,
	b.last_error_code AS error,
	b.last_error AS message, vf_error_cure(b.last_error_code) AS cure,
	b.failures, b.next_attempt_at, b.last_ok_at, b.last_error_at,
	b.clock_offset, coalesce(q.endpoint, b.endpoint) AS endpoint
FROM (
	SELECT endpoint, bucket,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'waiting') AS waiting,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'claimed') AS in_flight,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'dead') AS dead,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'cancelled') AS cancelled,
		pg_catalog.min(queued_at) FILTER (WHERE state IN ('waiting', 'claimed')) AS oldest
	FROM vf_outbox GROUP BY endpoint, bucket
) q
FULL JOIN vf_bucket b ON b.endpoint = q.endpoint AND b.bucket = q.bucket;

CREATE OR REPLACE VIEW vf_alerts AS
WITH st AS MATERIALIZED (SELECT * FROM vf_source_state()),
c AS MATERIALIZED (SELECT a.* FROM st, LATERAL vf_count_alerts() a
	WHERE st.registered AND st.problem IS NULL),
last AS (SELECT DISTINCT ON (kind) kind, outcome, error, started_at, ended_at
	FROM vf_run ORDER BY kind, id DESC),
good AS (SELECT ended_at FROM vf_run WHERE kind = 'purge'
	AND outcome IN ('ok', 'idle', 'stopped') ORDER BY id DESC LIMIT 1),
q AS (SELECT
		coalesce(pg_catalog.sum(nkeys) FILTER (WHERE state = 'dead'), 0) AS dead,
		coalesce(pg_catalog.sum(nkeys) FILTER (WHERE bucket IS NULL
			AND state = 'waiting'), 0) AS homeless,
		pg_catalog.now() - pg_catalog.min(queued_at) FILTER
			(WHERE state IN ('waiting', 'claimed')) AS oldest
	FROM vf_outbox),
src AS (SELECT paused_at, pause_reason, active_since FROM vf_source),
failing AS (SELECT b.bucket, b.last_error_code, b.last_error,
		b.last_error_at, b.last_error_code IN ('LeaseHeldElsewhere',
			'LeaseUnreadable', 'LostHistory') AS of_lease
	FROM vf_bucket b WHERE b.failures > 0 AND (b.is_current OR EXISTS (
		SELECT FROM vf_outbox o WHERE o.endpoint = b.endpoint
		AND o.bucket = b.bucket AND o.state IN ('waiting', 'claimed'))))
SELECT a.alert, coalesce(a.firing, false) AS firing, a.value, a.threshold,
	a.what_to_do
FROM (VALUES
	('not_registered', (SELECT NOT registered FROM st), '', '',
	 'Call vf_configure().'),
	('registration', (SELECT problem IS NOT NULL FROM st),
	 (SELECT problem FROM st), '',
	 'Nothing is purged. Check the tables, then call vf_configure() or, in a copy, vf_adopt().'),
	('settings', (SELECT settings_fault IS NOT NULL FROM st),
	 (SELECT settings_fault FROM st), '',
	 'Nothing is purged. Correct the line and reload the configuration.'),
	('paused', (SELECT paused_at IS NOT NULL FROM src),
	 (SELECT pause_reason FROM src), '', 'Call vf_resume() to go on.'),
	('purge_failed', (SELECT outcome IN ('failed', 'interrupted') FROM last
		WHERE kind = 'purge'),
	 (SELECT coalesce(error, outcome) FROM last WHERE kind = 'purge'
		AND outcome IN ('failed', 'interrupted')), '',
	 'See vf_runs; the next run tries again.'),
	('purge_missed', (SELECT active_since IS NOT NULL AND paused_at IS NULL
			AND coalesce((SELECT ended_at FROM good), active_since)
				< pg_catalog.now() - interval '25 hours' FROM src),
	 (SELECT pg_catalog.date_trunc('second', pg_catalog.now() - ended_at)::text
		FROM good), '25 hours',
	 'Look at vf_workers; start one with vf_worker_start(), or schedule CALL vf_purge().'),
	('brake', (SELECT outcome = 'brake' FROM last WHERE kind = 'purge'),
	 (SELECT error FROM last WHERE kind = 'purge' AND outcome = 'brake'), '',
	 'Look at vf_purge_preview(); if it is right, confirm the number as the error says.'),
	('guard', (SELECT guard NOT IN ('stands', 'refused') FROM st),
	 (SELECT guard FROM st), 'stands',
	 'Call vf_configure() again. Until then each purge locks orders against writers.'),
	('unknown_statuses', (SELECT unknown_statuses IS NOT NULL FROM c),
	 (SELECT unknown_statuses FROM c), '',
	 'Such orders keep their sessions. If one means unpaid, add it to voiceframe.unpaid_statuses.'),
	('null_timestamps', (SELECT null_timestamps > 0 FROM c),
	 (SELECT null_timestamps::text FROM c), '0',
	 'Sessions with neither created_at nor expires_at never fall due; set one.'),
	('late_payments', (SELECT late_payments > 0 FROM c),
	 (SELECT late_payments::text FROM c), '0',
	 'Orders paid in the last week whose session is gone; look at them by hand.'),
	('no_bucket', (SELECT homeless > 0 FROM q),
	 (SELECT homeless::text FROM q) || ' keys', '0',
	 'Call vf_configure_bucket(); the keys wait until then.'),
	('bucket', EXISTS (SELECT FROM failing WHERE NOT of_lease),
	 (SELECT pg_catalog.string_agg(pg_catalog.format('%s: %s', f.bucket, f.last_error_code), ', ')
		FROM failing f WHERE NOT f.of_lease), '',
	 coalesce((SELECT vf_error_cure(f.last_error_code) FROM failing f
		WHERE NOT f.of_lease ORDER BY f.last_error_at DESC LIMIT 1), 'See vf_outbox_stats.')),
	('lease', EXISTS (SELECT FROM failing WHERE of_lease),
	 (SELECT pg_catalog.string_agg(pg_catalog.format('%s: %s', f.bucket, f.last_error), ', ')
		FROM failing f WHERE f.of_lease), '',
	 coalesce((SELECT vf_error_cure(f.last_error_code) FROM failing f
		WHERE f.of_lease ORDER BY f.last_error_at DESC LIMIT 1),
		'See vf_s3_check().')),
	('dead_letters', (SELECT dead > 0 FROM q),
	 (SELECT dead::text FROM q) || ' keys', '0',
	 'See vf_dead_letters for the cure of each, then vf_outbox_retry() or vf_outbox_cancel().'),
	('oldest_key', (SELECT oldest > interval '1 day' FROM q),
	 (SELECT pg_catalog.date_trunc('second', oldest)::text FROM q), '1 day',
	 'See vf_outbox_stats and vf_workers; CALL vf_drain() drains where no worker runs.')
) a (alert, firing, value, threshold, what_to_do);
