/* voiceframe_retention--1.0--1.1.sql */

\echo Use "ALTER EXTENSION voiceframe_retention UPDATE TO '1.1'" to load this file. \quit

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
CREATE INDEX vf_undo_session_token ON vf_undo (session_token);
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
CREATE INDEX vf_hold_session_token ON vf_hold (session_token);
COMMENT ON TABLE vf_hold IS
	'sessions that are not due whatever the rules say, by id; see vf_hold(), vf_release()';
SELECT pg_catalog.pg_extension_config_dump('vf_hold', '');

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
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_run';
COMMENT ON FUNCTION vf_undo_purge(bigint) IS
	'puts back the sessions of a purge and cancels their keys, in this transaction; one row for each session says what became of it; owner of the sessions table';

CREATE FUNCTION vf_undo_purge(
	session_token text,
	OUT session_id text, OUT outcome text, OUT detail text)
RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_token';
COMMENT ON FUNCTION vf_undo_purge(text) IS
	'puts back one purged session and cancels its keys, in this transaction; owner of the sessions table';

CREATE FUNCTION vf_undo_discard(run_id bigint DEFAULT NULL) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_undo_discard_run';
COMMENT ON FUNCTION vf_undo_discard(bigint) IS
	'erases the undo data of a purge, or all of it, and lets the keys go at once; returns the number of sessions; owner of the sessions table';

CREATE FUNCTION vf_undo_discard(session_token text) RETURNS bigint
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
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
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_release';
COMMENT ON FUNCTION vf_release(text) IS
	'ends a hold; returns how many there were; owner of the sessions table';

CREATE FUNCTION vf_erase_session(
	session_token text,
	OUT run_id bigint, OUT sessions bigint, OUT keys_queued bigint,
	OUT undo_rows bigint)
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
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
	vf_undo_discard(bigint), vf_undo_discard(text), vf_undo_for_payment(text),
	vf_hold(text, timestamptz, text), vf_release(text), vf_erase_session(text)
	FROM PUBLIC;

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
		WHEN b.last_error_code = 'WrongBucket' THEN 'held'
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

/* ---- what stands from 1.0 ------------------------------------------------------
 *
 * The guard and the owner's rights as this version makes them.
 */
CREATE FUNCTION vf_renew() RETURNS void
LANGUAGE C AS 'MODULE_PATHNAME', 'vf_sql_renew';
SELECT vf_renew();
DROP FUNCTION vf_renew();
