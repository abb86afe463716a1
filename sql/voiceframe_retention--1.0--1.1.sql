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

/* ---- undo, hold, erase ---------------------------------------------------------
 *
 * Undo data is personal data: its tables are in no dump, are read by the owner
 * of the sessions table alone, and leave by TRUNCATE.  Eight tables take turns,
 * each for a seventh of the undo window.
 */
CREATE SEQUENCE vf_undo_batch_id_seq;
CREATE TABLE vf_undo_batch (
	id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('vf_undo_batch_id_seq'),
	run_id bigint NOT NULL,
	slot smallint NOT NULL CHECK (slot BETWEEN 0 AND 7),
	purged_at timestamptz NOT NULL,
	until timestamptz NOT NULL,
	column_names text[] NOT NULL
);
ALTER SEQUENCE vf_undo_batch_id_seq OWNED BY vf_undo_batch.id;
COMMENT ON TABLE vf_undo_batch IS
	'batches of purged sessions whose rows are kept for vf_undo_purge()';
COMMENT ON COLUMN vf_undo_batch.until IS
	'end of the undo window: from then on their objects may be deleted, and soon after the rows are gone';

CREATE TABLE vf_undo (
	slot smallint NOT NULL,
	batch_id bigint NOT NULL,
	session_id text NOT NULL,
	session_token text,
	keys text[] NOT NULL,
	row_values text[],
	restored_at timestamptz
) PARTITION BY LIST (slot);
CREATE TABLE vf_undo_0 PARTITION OF vf_undo FOR VALUES IN (0);
CREATE TABLE vf_undo_1 PARTITION OF vf_undo FOR VALUES IN (1);
CREATE TABLE vf_undo_2 PARTITION OF vf_undo FOR VALUES IN (2);
CREATE TABLE vf_undo_3 PARTITION OF vf_undo FOR VALUES IN (3);
CREATE TABLE vf_undo_4 PARTITION OF vf_undo FOR VALUES IN (4);
CREATE TABLE vf_undo_5 PARTITION OF vf_undo FOR VALUES IN (5);
CREATE TABLE vf_undo_6 PARTITION OF vf_undo FOR VALUES IN (6);
CREATE TABLE vf_undo_7 PARTITION OF vf_undo FOR VALUES IN (7);
/* Tokens of any length. */
CREATE INDEX vf_undo_session_token ON vf_undo USING hash (session_token);
CREATE INDEX vf_undo_batch_of ON vf_undo (batch_id);
CREATE INDEX vf_undo_keys ON vf_undo USING gin (keys);
COMMENT ON TABLE vf_undo IS
	'the rows of purged sessions while the undo window is open; personal data';
DO $$
BEGIN
	FOR i IN 0..7 LOOP
		EXECUTE pg_catalog.format('COMMENT ON TABLE vf_undo_%s IS %L', i,
			'a part of vf_undo, emptied when its windows are over');
	END LOOP;
END
$$;
COMMENT ON COLUMN vf_undo.keys IS
	'the S3 keys that were queued for the session; no request deletes them while the window is open';
COMMENT ON COLUMN vf_undo.row_values IS
	'the row as its columns'' output functions wrote it, in the order of vf_undo_batch.column_names';

CREATE TABLE vf_hold (
	session_id text PRIMARY KEY,
	session_token text,
	until timestamptz NOT NULL,
	reason text NOT NULL,
	held_by text NOT NULL,
	held_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
CREATE INDEX vf_hold_session_token ON vf_hold USING hash (session_token);
COMMENT ON TABLE vf_hold IS
	'sessions that are not due whatever the rules say, by id; see vf_hold(), vf_release()';
SELECT pg_catalog.pg_extension_config_dump('vf_hold', '');
/* The outbox, which is in a dump, names batches by number. */
SELECT pg_catalog.pg_extension_config_dump('vf_undo_batch_id_seq', '');

ALTER TABLE vf_outbox ADD COLUMN not_before timestamptz;
ALTER TABLE vf_outbox ADD COLUMN claimed_at timestamptz;
ALTER TABLE vf_outbox ADD COLUMN undo_batch bigint;
COMMENT ON COLUMN vf_outbox.not_before IS
	'end of the undo window; it is not claimed earlier';
COMMENT ON COLUMN vf_outbox.claimed_at IS
	'when it was claimed first: from then on a request may have reached its objects';
COMMENT ON COLUMN vf_outbox.undo_batch IS
	'the batch of vf_undo_batch that queued the keys';

ALTER TABLE vf_run DROP CONSTRAINT vf_run_kind_check;
ALTER TABLE vf_run ADD CONSTRAINT vf_run_kind_check
	CHECK (kind IN ('purge', 'drain', 'undo', 'erase'));
ALTER TABLE vf_run ADD COLUMN restored bigint NOT NULL DEFAULT 0;
/* Each run looks for those that were cut off. */
CREATE INDEX vf_run_open ON vf_run (kind) WHERE outcome = 'running';

CREATE TABLE vf_lookup (
	endpoint text NOT NULL,
	bucket text NOT NULL,
	key text NOT NULL,
	session_id text NOT NULL,
	run_id bigint NOT NULL,
	asked_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	look_at timestamptz NOT NULL,
	looked_at timestamptz,
	found boolean,
	PRIMARY KEY (endpoint, bucket, key)
);
COMMENT ON TABLE vf_lookup IS
	'objects of restored sessions that a request may have reached, and whether they were still there when the drain looked';

CREATE FUNCTION vf_undo_purge(
	run_id bigint,
	OUT session_id text, OUT outcome text, OUT detail text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_run';
COMMENT ON FUNCTION vf_undo_purge(bigint) IS
	'puts back the sessions of a purge and cancels their keys, in this transaction; one row for each session says what became of it; owner of the sessions table';

CREATE FUNCTION vf_undo_purge(
	session_token text,
	OUT session_id text, OUT outcome text, OUT detail text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_token';
COMMENT ON FUNCTION vf_undo_purge(text) IS
	'puts back one purged session and cancels its keys, in this transaction; owner of the sessions table';

CREATE FUNCTION vf_undo_discard() RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_discard_all';
COMMENT ON FUNCTION vf_undo_discard() IS
	'erases all undo data and lets the keys go at once; returns the number of sessions; owner of the sessions table';

CREATE FUNCTION vf_undo_discard(run_id bigint) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_discard_run';
COMMENT ON FUNCTION vf_undo_discard(bigint) IS
	'erases the undo data of a purge and lets its keys go at once; returns the number of sessions; owner of the sessions table';

CREATE FUNCTION vf_undo_discard(session_token text) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_discard_token';
COMMENT ON FUNCTION vf_undo_discard(text) IS
	'erases the undo data of one session and lets its keys go at once; returns the number of rows; owner of the sessions table';

/* Called by the payment guard, which catches its errors. */
CREATE FUNCTION vf_undo_for_payment(session_token text) RETURNS boolean
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_for_payment';
COMMENT ON FUNCTION vf_undo_for_payment(text) IS
	'puts back the session of an order that pays while the undo window is open; called by the payment guard';

CREATE FUNCTION vf_hold(session_token text, until timestamptz, reason text)
RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'vf_sql_hold';
COMMENT ON FUNCTION vf_hold(text, timestamptz, text) IS
	'keeps a session from falling due until then (null: until vf_release()); returns how many rows have the token; owner of the sessions table';

CREATE FUNCTION vf_release(session_token text) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_release';
COMMENT ON FUNCTION vf_release(text) IS
	'ends a hold; returns how many there were; owner of the sessions table';

CREATE FUNCTION vf_erase_session(
	session_token text,
	OUT run_id bigint, OUT sessions bigint, OUT keys_queued bigint,
	OUT undo_rows bigint)
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_erase_session';
COMMENT ON FUNCTION vf_erase_session(text) IS
	'deletes a session and its undo data now and queues its keys, due or not; refuses while an order or a hold keeps it; owner of the sessions table';

CREATE VIEW vf_undo_runs AS
SELECT b.run_id, min(b.purged_at)::timestamptz(0) AS purged,
	max(b.until)::timestamptz(0) AS until,
	coalesce(sum(u.sessions), 0) AS sessions,
	coalesce(sum(u.restored), 0) AS restored
FROM vf_undo_batch b, LATERAL (
	SELECT pg_catalog.count(*) AS sessions,
		pg_catalog.count(v.restored_at) AS restored
	FROM vf_undo v WHERE v.batch_id = b.id) u
GROUP BY b.run_id ORDER BY b.run_id DESC;
COMMENT ON VIEW vf_undo_runs IS
	'purges that vf_undo_purge(run_id) can still take back, with the end of their undo window';

CREATE OR REPLACE VIEW vf_runs AS
SELECT r.id, r.kind, r.caller, r.outcome,
	r.started_at::timestamptz(0) AS started,
	pg_catalog.date_trunc('milliseconds', CASE WHEN r.repeats > 0 THEN NULL
		ELSE coalesce(r.ended_at, pg_catalog.now()) - r.started_at END) AS took,
	CASE WHEN r.error IS NOT NULL THEN r.error
		WHEN r.repeats > 0 THEN pg_catalog.format('nothing to do, %s times until %s',
			r.repeats + 1, r.ended_at::timestamptz(0))
		WHEN r.outcome = 'idle' THEN 'nothing to do'
		WHEN r.kind = 'purge' THEN pg_catalog.format(
			'%s expired, %s unpaid, %s keys; kept %s, put off %s', r.expired,
			r.unpaid, r.keys_queued, r.kept_paid, r.put_off)
		WHEN r.kind = 'undo' THEN pg_catalog.format('%s put back', r.restored)
		WHEN r.kind = 'erase' THEN pg_catalog.format('%s keys queued', r.keys_queued)
		ELSE pg_catalog.format('%s confirmed, %s again, %s dead, %s cancelled',
			r.keys_confirmed, r.keys_again, r.keys_dead, r.keys_cancelled)
	END AS result
FROM vf_run r ORDER BY r.id DESC;

REVOKE ALL ON vf_undo_batch, vf_undo, vf_undo_0, vf_undo_1, vf_undo_2, vf_undo_3,
	vf_undo_4, vf_undo_5, vf_undo_6, vf_undo_7, vf_hold, vf_lookup, vf_undo_runs
	FROM PUBLIC;
REVOKE ALL ON SEQUENCE vf_undo_batch_id_seq FROM PUBLIC;
REVOKE ALL ON FUNCTION vf_undo_purge(bigint), vf_undo_purge(text),
	vf_undo_discard(), vf_undo_discard(bigint), vf_undo_discard(text),
	vf_undo_for_payment(text),
	vf_hold(text, timestamptz, text), vf_release(text), vf_erase_session(text)
	FROM PUBLIC;

/* ---- arguments ------------------------------------------------------------------
 *
 * A null that did nothing looked like success.
 */
ALTER FUNCTION vf_pause(text) CALLED ON NULL INPUT;
ALTER FUNCTION vf_outbox_cancel(bigint, text) CALLED ON NULL INPUT;

/* ---- pace ----------------------------------------------------------------------- */

ALTER TABLE vf_bucket ADD COLUMN batch_keys integer NOT NULL DEFAULT 1000
	CHECK (batch_keys BETWEEN 1 AND 1000);
ALTER TABLE vf_bucket ADD COLUMN batch_bytes integer NOT NULL DEFAULT 1000000
	CHECK (batch_bytes BETWEEN 1000 AND 1000000);
COMMENT ON COLUMN vf_bucket.batch_keys IS
	'keys of a request: less than 1,000 after requests that took too long';
COMMENT ON COLUMN vf_bucket.batch_bytes IS
	'bytes of a request: less than a million after refusals of larger ones';
CREATE TABLE vf_pace (
	endpoint text NOT NULL,
	bucket text NOT NULL,
	prefix text NOT NULL,
	keys_per_second double precision NOT NULL CHECK (keys_per_second > 0),
	PRIMARY KEY (endpoint, bucket, prefix),
	FOREIGN KEY (endpoint, bucket) REFERENCES vf_bucket ON DELETE CASCADE
);
COMMENT ON TABLE vf_pace IS
	'how many keys a second a bucket takes under a prefix, where it has asked for patience';
REVOKE ALL ON vf_pace FROM PUBLIC;

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
	b.clock_offset, coalesce(q.endpoint, b.endpoint) AS endpoint,
	coalesce(q.held, 0) AS held_for_undo, b.batch_keys, b.batch_bytes,
	(SELECT pg_catalog.string_agg(pg_catalog.format('%s %s keys/s', p.prefix,
			pg_catalog.round(p.keys_per_second::numeric)), ', ' ORDER BY p.prefix)
		FROM vf_pace p WHERE p.endpoint = b.endpoint AND p.bucket = b.bucket)
		AS slowed_to
FROM (
	SELECT endpoint, bucket,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'waiting') AS waiting,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'claimed') AS in_flight,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'dead') AS dead,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'cancelled') AS cancelled,
		pg_catalog.sum(nkeys) FILTER (WHERE state = 'waiting'
			AND not_before > pg_catalog.now()) AS held,
		pg_catalog.min(greatest(queued_at, not_before))
			FILTER (WHERE state IN ('waiting', 'claimed')
				AND coalesce(not_before <= pg_catalog.now(), true)) AS oldest
	FROM vf_outbox GROUP BY endpoint, bucket
) q
FULL JOIN vf_bucket b ON b.endpoint = q.endpoint AND b.bucket = q.bucket;

/* ---- alerts ---------------------------------------------------------------------- */

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
		pg_catalog.now() - pg_catalog.min(greatest(queued_at, not_before)) FILTER
			(WHERE state IN ('waiting', 'claimed')
				AND coalesce(not_before <= pg_catalog.now(), true)) AS oldest
	FROM vf_outbox),
back AS (SELECT pg_catalog.sum(restored) AS sessions FROM vf_run
	WHERE kind = 'undo' AND caller = 'payment'
	AND started_at > pg_catalog.now() - interval '7 days'),
lost AS (SELECT pg_catalog.count(*) AS objects FROM vf_lookup WHERE NOT found),
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
	('restored_payments', (SELECT sessions > 0 FROM back),
	 (SELECT sessions::text FROM back), '0',
	 'Orders of the last week paid for sessions that were purged; the undo window brought them back. Look why they paid so late.'),
	('lost_objects', (SELECT objects > 0 FROM lost),
	 (SELECT objects::text FROM lost), '0',
	 'Sessions were put back whose objects a request had reached; vf_lookup names them.'),
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

/* ---- what stands from 1.0 ------------------------------------------------------
 *
 * The guard and the owner's rights as this version makes them.
 */
CREATE FUNCTION vf_renew() RETURNS void
LANGUAGE C AS 'MODULE_PATHNAME', 'vf_sql_renew';
SELECT vf_renew();
DROP FUNCTION vf_renew();
