/* voiceframe_retention--1.0.sql */

\echo Use "CREATE EXTENSION voiceframe_retention" to load this file. \quit

/* ---- tables --------------------------------------------------------------- */

CREATE TABLE vf_source (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	system_identifier bigint NOT NULL,
	database_oid oid NOT NULL,
	sessions_oid oid NOT NULL,
	sessions_schema text NOT NULL,
	sessions_name text NOT NULL,
	orders_oid oid NOT NULL,
	orders_schema text NOT NULL,
	orders_name text NOT NULL,
	column_names text[] NOT NULL,
	session_key_columns text[] NOT NULL,
	order_key_columns text[] NOT NULL,
	payment_guard boolean NOT NULL,
	queue_deletes boolean NOT NULL,
	accepted_foreign_keys text[] NOT NULL,
	configured_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
	configured_by text NOT NULL,
	active_since timestamptz,
	paused_at timestamptz,
	pause_reason text
);
COMMENT ON TABLE vf_source IS
	'the registered sessions and orders tables; one row, written by vf_configure()';

CREATE TABLE vf_bucket (
	endpoint text NOT NULL,
	bucket text NOT NULL,
	region text NOT NULL,
	path_style text NOT NULL CHECK (path_style IN ('auto', 'path', 'virtual')),
	profile text,
	is_current boolean NOT NULL,
	probe boolean NOT NULL,
	probed_at timestamptz,
	failures integer NOT NULL DEFAULT 0,
	next_attempt_at timestamptz,
	last_error_code text,
	last_error text,
	last_error_at timestamptz,
	last_ok_at timestamptz,
	clock_offset double precision,
	clock_offset_at timestamptz,
	PRIMARY KEY (endpoint, bucket)
);
CREATE UNIQUE INDEX vf_bucket_current ON vf_bucket (is_current)
	WHERE is_current;
COMMENT ON TABLE vf_bucket IS
	'the registered buckets and the state each is in; written by vf_configure_bucket() and the drain';

CREATE SEQUENCE vf_outbox_id_seq;
CREATE TABLE vf_outbox (
	id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('vf_outbox_id_seq'),
	run_id bigint NOT NULL,
	endpoint text,
	bucket text,
	keys text[] NOT NULL,
	nkeys integer NOT NULL CHECK (nkeys BETWEEN 1 AND 1000),
	state text NOT NULL DEFAULT 'waiting'
		CHECK (state IN ('waiting', 'claimed', 'dead', 'cancelled')),
	attempts integer NOT NULL DEFAULT 0,
	queued_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	next_attempt_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	lease_token bigint,
	lease_pid integer,
	last_error_code text,
	last_error text
) WITH (autovacuum_vacuum_scale_factor = 0,
		autovacuum_vacuum_threshold = 500,
		autovacuum_analyze_scale_factor = 0.5);
ALTER SEQUENCE vf_outbox_id_seq OWNED BY vf_outbox.id;
CREATE INDEX vf_outbox_due ON vf_outbox (next_attempt_at, id)
	WHERE state IN ('waiting', 'claimed');
COMMENT ON TABLE vf_outbox IS
	'S3 keys to be deleted, up to 1,000 of one bucket a row; a confirmed row is gone';
COMMENT ON COLUMN vf_outbox.state IS
	'waiting; claimed: leased to a drainer until next_attempt_at; dead: see vf_dead_letters; cancelled: will not be deleted, last_error says why';
COMMENT ON COLUMN vf_outbox.bucket IS
	'null while no bucket is registered';
COMMENT ON COLUMN vf_outbox.next_attempt_at IS
	'when it may be claimed next; of a claimed row the end of its lease';

/* lz4 costs a fraction of pglz on arrays of keys; not every build has it. */
DO $$
BEGIN
	ALTER TABLE vf_outbox ALTER COLUMN keys SET COMPRESSION lz4;
EXCEPTION
	WHEN feature_not_supported THEN NULL;
END
$$;

CREATE SEQUENCE vf_run_id_seq;
CREATE TABLE vf_run (
	id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('vf_run_id_seq'),
	kind text NOT NULL CHECK (kind IN ('purge', 'drain')),
	caller text NOT NULL,
	full_sweep boolean NOT NULL,
	started_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	ended_at timestamptz,
	outcome text NOT NULL DEFAULT 'running'
		CHECK (outcome IN ('running', 'ok', 'idle', 'stopped', 'brake',
						   'failed', 'interrupted')),
	repeats bigint NOT NULL DEFAULT 0,
	expired bigint NOT NULL DEFAULT 0,
	unpaid bigint NOT NULL DEFAULT 0,
	keys_queued bigint NOT NULL DEFAULT 0,
	keys_cancelled bigint NOT NULL DEFAULT 0,
	kept_paid bigint NOT NULL DEFAULT 0,
	put_off bigint NOT NULL DEFAULT 0,
	keys_confirmed bigint NOT NULL DEFAULT 0,
	keys_again bigint NOT NULL DEFAULT 0,
	keys_dead bigint NOT NULL DEFAULT 0,
	error text,
	pid integer NOT NULL,
	backend_start timestamptz NOT NULL
);
ALTER SEQUENCE vf_run_id_seq OWNED BY vf_run.id;
CREATE INDEX vf_run_kind ON vf_run (kind, id);
CREATE INDEX vf_run_started ON vf_run (started_at);
COMMENT ON TABLE vf_run IS
	'a record of every run, with its counts; idle and refused ones that repeat count on in one row';

CREATE TABLE vf_sweep (
	singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
	rules text,
	full_at timestamptz,
	expires_mark timestamptz,
	created_mark timestamptz,
	kept_paid bigint NOT NULL DEFAULT 0,
	orders_seen boolean NOT NULL DEFAULT false,
	paid_sample text[] NOT NULL DEFAULT '{}'
);
INSERT INTO vf_sweep DEFAULT VALUES;
COMMENT ON TABLE vf_sweep IS
	'how far purges have looked; only a full sweep looks below the marks';

/* No unique key: it would make one purge wait for another's commit. */
CREATE TABLE vf_put_off (
	session_id text NOT NULL,
	look_at timestamptz NOT NULL,
	noted_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
CREATE INDEX vf_put_off_session ON vf_put_off (session_id);
CREATE INDEX vf_put_off_look ON vf_put_off (look_at);
COMMENT ON TABLE vf_put_off IS
	'sessions below the marks of vf_sweep to be looked at again, by id';

/*
 * A restored copy carries the registration, with the identity that tells it
 * from the original, and what waits; how far purges have looked is found anew.
 */
SELECT pg_catalog.pg_extension_config_dump('vf_source', '');
SELECT pg_catalog.pg_extension_config_dump('vf_bucket', '');
SELECT pg_catalog.pg_extension_config_dump('vf_outbox', '');
SELECT pg_catalog.pg_extension_config_dump('vf_outbox_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('vf_run', '');
SELECT pg_catalog.pg_extension_config_dump('vf_run_id_seq', '');

/* ---- register ------------------------------------------------------------- */

CREATE FUNCTION vf_configure(
	sessions regclass DEFAULT NULL,
	orders regclass DEFAULT NULL,
	payment_guard boolean DEFAULT true,
	queue_deletes boolean DEFAULT false,
	accept_foreign_keys text[] DEFAULT '{}',
	columns jsonb DEFAULT '{}',
	OUT item text, OUT value text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'vf_sql_configure';
COMMENT ON FUNCTION vf_configure(regclass, regclass, boolean, boolean, text[], jsonb) IS
	'registers the sessions and orders tables (found on the search path if none is named), installs the payment guard, reports what it found; superuser';

CREATE FUNCTION vf_unconfigure(discard boolean DEFAULT false) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_unconfigure';
COMMENT ON FUNCTION vf_unconfigure(boolean) IS
	'takes guard and registration away; refuses while keys wait unless discard is true; superuser';

CREATE FUNCTION vf_adopt() RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_adopt';
COMMENT ON FUNCTION vf_adopt() IS
	'makes a restored or copied database the one that owns its sessions and bucket; superuser';

CREATE FUNCTION vf_configure_bucket(
	bucket text,
	region text DEFAULT NULL,
	endpoint text DEFAULT NULL,
	path_style text DEFAULT 'auto',
	profile text DEFAULT NULL,
	probe boolean DEFAULT true,
	OUT item text, OUT value text)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_configure_bucket';
COMMENT ON FUNCTION vf_configure_bucket(text, text, text, text, text, boolean) IS
	'registers the bucket that new keys go to and takes in keys that waited for one; endpoint null means AWS; superuser';

/* ---- purge ---------------------------------------------------------------- */

CREATE FUNCTION vf_purge_now(
	max_sessions integer DEFAULT NULL,
	confirm bigint DEFAULT NULL,
	OUT run_id bigint,
	OUT expired bigint,
	OUT unpaid bigint,
	OUT keys_queued bigint,
	OUT keys_cancelled bigint,
	OUT kept_paid bigint,
	OUT put_off bigint,
	OUT seconds numeric,
	OUT note text)
LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'vf_sql_purge_now';
COMMENT ON FUNCTION vf_purge_now(integer, bigint) IS
	'purges due sessions in this transaction and queues their S3 keys; can be rolled back; owner of the sessions table';

CREATE PROCEDURE vf_purge(
	max_sessions integer DEFAULT NULL,
	confirm bigint DEFAULT NULL,
	full_sweep boolean DEFAULT true)
LANGUAGE C AS 'MODULE_PATHNAME', 'vf_sql_purge';
COMMENT ON PROCEDURE vf_purge(integer, bigint, boolean) IS
	'purges due sessions in batches, each committed with its queued keys; with full_sweep false it looks only at what fell due since; owner of the sessions table';

CREATE FUNCTION vf_purge_preview(
	max_examples integer DEFAULT 0,
	OUT rule text,
	OUT sessions bigint,
	OUT keys bigint,
	OUT oldest timestamptz,
	OUT newest timestamptz,
	OUT examples text[])
RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_purge_preview';
COMMENT ON FUNCTION vf_purge_preview(integer) IS
	'what a purge would delete and what it would keep, by rule, with up to max_examples session ids each; deletes nothing; owner of the sessions table';

CREATE FUNCTION vf_queue_deleted() RETURNS trigger
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_queue_deleted';
COMMENT ON FUNCTION vf_queue_deleted() IS
	'queues the keys of sessions that the application deletes itself; the trigger is made by vf_configure(queue_deletes => true)';

/* ---- drain, outbox ---------------------------------------------------------- */

CREATE PROCEDURE vf_drain(max_keys bigint DEFAULT NULL)
LANGUAGE C AS 'MODULE_PATHNAME', 'vf_sql_drain';
COMMENT ON PROCEDURE vf_drain(bigint) IS
	'deletes the queued keys from their buckets, about max_keys at most; commits as it goes; owner of the sessions table';

CREATE FUNCTION vf_outbox_retry(id bigint DEFAULT NULL) RETURNS bigint
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_outbox_retry';
COMMENT ON FUNCTION vf_outbox_retry(bigint) IS
	'lets a dead outbox row, or all of them, be tried again; returns the number of keys; owner of the sessions table';

CREATE FUNCTION vf_outbox_cancel(id bigint, reason text) RETURNS bigint
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_outbox_cancel';
COMMENT ON FUNCTION vf_outbox_cancel(bigint, text) IS
	'cancels a waiting or dead outbox row: its objects stay; returns the number of keys; owner of the sessions table';

CREATE FUNCTION vf_error_cure(code text, of_key boolean DEFAULT false)
RETURNS text
LANGUAGE C STRICT STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'vf_sql_error_cure';
COMMENT ON FUNCTION vf_error_cure(text, boolean) IS
	'what to do about an error code of the bucket, or of a single key';

CREATE FUNCTION vf_s3_check(
	OUT "check" text,
	OUT ok boolean,
	OUT detail text,
	OUT cure text)
RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_s3_check';
COMMENT ON FUNCTION vf_s3_check() IS
	'probes the registered bucket step by step, each failure with its cure; 10 seconds at most; superuser';

/* ---- control ---------------------------------------------------------------- */

CREATE FUNCTION vf_pause(reason text) RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_pause';
COMMENT ON FUNCTION vf_pause(text) IS
	'stops purging and draining in this database until vf_resume(); owner of the sessions table';

CREATE FUNCTION vf_resume() RETURNS void
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_resume';
COMMENT ON FUNCTION vf_resume() IS
	'ends a pause, lets waiting buckets be tried at once, and lets the worker purge; owner of the sessions table';

CREATE FUNCTION vf_worker_start() RETURNS integer
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_worker_start';
COMMENT ON FUNCTION vf_worker_start() IS
	'starts this database''s worker and returns its pid; without shared_preload_libraries it does not come back after a restart; superuser';

CREATE FUNCTION vf_worker_stop() RETURNS boolean
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_worker_stop';
COMMENT ON FUNCTION vf_worker_stop() IS
	'stops this database''s worker until vf_worker_start() or a restart of the server; true if one ran; superuser';

/*
 * DROP EXTENSION while keys wait would forget objects of rows that are gone.
 * Only C sees which extension is meant.
 */
CREATE FUNCTION vf_refuse_drop() RETURNS event_trigger
LANGUAGE C AS 'MODULE_PATHNAME', 'vf_sql_refuse_drop';
COMMENT ON FUNCTION vf_refuse_drop() IS
	'refuses DROP EXTENSION voiceframe_retention while keys wait in the outbox';
CREATE EVENT TRIGGER vf_refuse_drop ON ddl_command_start
	WHEN TAG IN ('DROP EXTENSION') EXECUTE FUNCTION vf_refuse_drop();

/* ---- what the views read ------------------------------------------------------ */

CREATE FUNCTION vf_source_state(
	OUT registered boolean, OUT problem text, OUT guard text,
	OUT settings_fault text)
RETURNS record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_source_state';
COMMENT ON FUNCTION vf_source_state() IS
	'whether the registration holds, and how the payment guard stands';

CREATE FUNCTION vf_count_sessions(
	OUT sessions bigint, OUT expired bigint, OUT older bigint,
	OUT due bigint, OUT paying bigint)
RETURNS record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_count_sessions';
COMMENT ON FUNCTION vf_count_sessions() IS 'reads the whole sessions table';

CREATE FUNCTION vf_count_storage(OUT storage_type text, OUT keys bigint)
RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_count_storage';
COMMENT ON FUNCTION vf_count_storage() IS
	'reads every key column of sessions and orders';

CREATE FUNCTION vf_count_alerts(
	OUT unknown_statuses text, OUT null_timestamps bigint,
	OUT late_payments bigint)
RETURNS record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_count_alerts';
COMMENT ON FUNCTION vf_count_alerts() IS
	'what vf_alerts needs to know of the application''s tables';

CREATE FUNCTION vf_worker_slots(
	OUT database name, OUT pid integer, OUT state text,
	OUT started_at timestamptz, OUT last_purge_at timestamptz,
	OUT last_drain_at timestamptz, OUT keys_in_flight bigint,
	OUT keys_confirmed bigint, OUT errors bigint)
RETURNS SETOF record
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'vf_sql_worker_slots';
COMMENT ON FUNCTION vf_worker_slots() IS 'the workers of all databases';

/* ---- views -------------------------------------------------------------------- */

CREATE VIEW vf_config AS
SELECT v.part, v.item, v.value
FROM (
	SELECT 1 AS o, 'tables' AS part, x.item, x.value
	FROM vf_source s, LATERAL (VALUES
		('sessions', pg_catalog.format('%I.%I', s.sessions_schema, s.sessions_name)),
		('orders', pg_catalog.format('%I.%I', s.orders_schema, s.orders_name)),
		('session keys', pg_catalog.array_to_string(s.session_key_columns, ', ')),
		('order keys', pg_catalog.array_to_string(s.order_key_columns, ', ')),
		('payment guard', (SELECT guard FROM vf_source_state())),
		('queue deletes', s.queue_deletes::text),
		('registered', pg_catalog.format('%s by %s', s.configured_at, s.configured_by)),
		('worker may purge since', coalesce(s.active_since::text, 'not yet: purge once, or vf_resume()')),
		('paused', CASE WHEN s.paused_at IS NULL THEN 'no'
			ELSE pg_catalog.format('%s: %s', s.paused_at, s.pause_reason) END)
	) x (item, value)
	UNION ALL
	SELECT 2, 'bucket', CASE WHEN b.is_current THEN 'current' ELSE 'former' END,
		pg_catalog.format('%s at %s, region %s, path style %s, profile %s', b.bucket,
			b.endpoint, b.region, b.path_style, coalesce(b.profile, 'default'))
	FROM vf_bucket b
	UNION ALL
	SELECT 3, 'setting', p.name, p.setting || coalesce(' ' || p.unit, '')
	FROM pg_catalog.pg_settings p
	WHERE p.name LIKE 'voiceframe.%'
) v
ORDER BY v.o, v.part, v.item;
COMMENT ON VIEW vf_config IS 'everything registered and in force, on one screen';

CREATE VIEW vf_outbox_keys AS
SELECT o.id, o.state, k.key, o.bucket, o.attempts, o.queued_at,
	o.next_attempt_at, o.last_error_code, o.last_error, o.endpoint, o.run_id
FROM vf_outbox o, LATERAL pg_catalog.unnest(o.keys) k (key);
COMMENT ON VIEW vf_outbox_keys IS
	'one row for each key in the outbox; a key under temp_photos/ contains the token that opens a session';

CREATE VIEW vf_dead_letters AS
SELECT o.id, k.key, o.last_error_code AS error, o.attempts, o.queued_at,
	o.last_error AS message, vf_error_cure(o.last_error_code, true) AS cure,
	o.bucket
FROM vf_outbox o, LATERAL pg_catalog.unnest(o.keys) k (key)
WHERE o.state = 'dead';
COMMENT ON VIEW vf_dead_letters IS
	'keys given up, each with its cure; then vf_outbox_retry(id) or vf_outbox_cancel(id, reason)';

CREATE VIEW vf_outbox_stats AS
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
COMMENT ON VIEW vf_outbox_stats IS
	'per bucket: keys by state, age of the oldest, how the bucket answers and what to do about it';

CREATE VIEW vf_runs AS
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
		ELSE pg_catalog.format('%s confirmed, %s again, %s dead, %s cancelled',
			r.keys_confirmed, r.keys_again, r.keys_dead, r.keys_cancelled)
	END AS result
FROM vf_run r ORDER BY r.id DESC;
COMMENT ON VIEW vf_runs IS
	'every run, newest first, in words; table vf_run has the counts one by one';

CREATE VIEW vf_session_counts AS
SELECT pg_catalog.pg_size_pretty(pg_catalog.pg_database_size(pg_catalog.current_database()))
		AS database_size,
	c.sessions, c.expired,
	c.older AS older_than_unpaid_after, c.due, c.paying
FROM vf_count_sessions() c;
COMMENT ON VIEW vf_session_counts IS
	'size of the database; sessions in all, expired, older than unpaid_after, due for purge, kept by a paying order';

CREATE VIEW vf_storage_by_type AS
SELECT c.storage_type, c.keys FROM vf_count_storage() c;
COMMENT ON VIEW vf_storage_by_type IS
	'referenced S3 keys of sessions and orders by storage type';

CREATE VIEW vf_workers AS
SELECT w.database, w.pid, w.state, w.started_at, w.last_purge_at,
	w.last_drain_at, w.keys_in_flight, w.keys_confirmed, w.errors
FROM vf_worker_slots() w;
COMMENT ON VIEW vf_workers IS 'the running workers, one for each database';

CREATE VIEW vf_alerts AS
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
failing AS (SELECT b.bucket, b.last_error_code, b.last_error_at
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
	('bucket', EXISTS (SELECT FROM failing),
	 (SELECT pg_catalog.string_agg(pg_catalog.format('%s: %s', f.bucket, f.last_error_code), ', ')
		FROM failing f), '',
	 coalesce((SELECT vf_error_cure(f.last_error_code) FROM failing f
		ORDER BY f.last_error_at DESC LIMIT 1), 'See vf_outbox_stats.')),
	('dead_letters', (SELECT dead > 0 FROM q),
	 (SELECT dead::text FROM q) || ' keys', '0',
	 'See vf_dead_letters for the cure of each, then vf_outbox_retry() or vf_outbox_cancel().'),
	('oldest_key', (SELECT oldest > interval '1 day' FROM q),
	 (SELECT pg_catalog.date_trunc('second', oldest)::text FROM q), '1 day',
	 'See vf_outbox_stats and vf_workers; CALL vf_drain() drains where no worker runs.')
) a (alert, firing, value, threshold, what_to_do);
COMMENT ON VIEW vf_alerts IS
	'one row for each check: firing or not, what was seen, the threshold, what to do';

CREATE VIEW vf_stats AS
SELECT v.item, v.value FROM (
	SELECT 1 AS o, 'database size' AS item, pg_catalog.pg_size_pretty(
		pg_catalog.pg_database_size(pg_catalog.current_database())) AS value
	UNION ALL SELECT 2, 'sessions purged, last 24 hours',
		coalesce(pg_catalog.sum(expired + unpaid), 0)::text FROM vf_run
		WHERE kind = 'purge' AND started_at > pg_catalog.now() - interval '1 day'
	UNION ALL SELECT 3, 'sessions purged, in all on record',
		coalesce(pg_catalog.sum(expired + unpaid), 0)::text FROM vf_run
		WHERE kind = 'purge'
	UNION ALL SELECT 4, 'objects confirmed gone, in all on record',
		coalesce(pg_catalog.sum(keys_confirmed), 0)::text FROM vf_run
		WHERE kind = 'drain'
	UNION ALL SELECT 5, 'keys ' || s.state,
		coalesce(pg_catalog.sum(o.nkeys), 0)::text
		FROM (VALUES ('waiting'), ('claimed'), ('dead'), ('cancelled')) s (state)
		LEFT JOIN vf_outbox o ON o.state = s.state GROUP BY s.state
	UNION ALL SELECT 6, 'last purge',
		(SELECT pg_catalog.format('%s %s, %s', r.caller, r.outcome,
			pg_catalog.date_trunc('second', coalesce(r.ended_at, r.started_at)))
		 FROM vf_run r WHERE r.kind = 'purge' ORDER BY r.id DESC LIMIT 1)
	UNION ALL SELECT 7, 'last drain',
		(SELECT pg_catalog.format('%s %s, %s', r.caller, r.outcome,
			pg_catalog.date_trunc('second', coalesce(r.ended_at, r.started_at)))
		 FROM vf_run r WHERE r.kind = 'drain' ORDER BY r.id DESC LIMIT 1)
	UNION ALL SELECT 8, 'worker', coalesce((SELECT pg_catalog.format('pid %s, %s', w.pid, w.state)
		FROM vf_workers w WHERE w.database = pg_catalog.current_database()), 'none')
	UNION ALL SELECT 9, 'alerts firing', coalesce((SELECT pg_catalog.string_agg(a.alert, ', ')
		FROM vf_alerts a WHERE a.firing), 'none')
) v ORDER BY v.o, v.item;
COMMENT ON VIEW vf_stats IS 'how retention stands, on one screen';

/* ---- rights ---------------------------------------------------------------------
 *
 * Nothing is granted to PUBLIC.  pg_monitor sees aggregates only: a key under
 * temp_photos/ contains the token that opens a customer's session.  What the
 * owner of the sessions table may use is granted by vf_configure().
 */
REVOKE ALL ON vf_source, vf_bucket, vf_outbox, vf_run, vf_sweep, vf_put_off,
	vf_config, vf_outbox_keys, vf_dead_letters, vf_outbox_stats, vf_runs,
	vf_session_counts, vf_storage_by_type, vf_workers, vf_alerts, vf_stats
	FROM PUBLIC;
REVOKE ALL ON SEQUENCE vf_outbox_id_seq, vf_run_id_seq FROM PUBLIC;
REVOKE ALL ON FUNCTION
	vf_configure(regclass, regclass, boolean, boolean, text[], jsonb),
	vf_unconfigure(boolean), vf_adopt(),
	vf_configure_bucket(text, text, text, text, text, boolean),
	vf_purge_now(integer, bigint), vf_purge_preview(integer),
	vf_queue_deleted(), vf_outbox_retry(bigint),
	vf_outbox_cancel(bigint, text), vf_error_cure(text, boolean), vf_s3_check(),
	vf_pause(text), vf_resume(), vf_worker_start(), vf_worker_stop(),
	vf_refuse_drop(), vf_source_state(), vf_count_sessions(),
	vf_count_storage(), vf_count_alerts(), vf_worker_slots()
	FROM PUBLIC;
REVOKE ALL ON PROCEDURE vf_purge(integer, bigint, boolean), vf_drain(bigint)
	FROM PUBLIC;
GRANT SELECT ON vf_run, vf_outbox_stats, vf_runs, vf_session_counts,
	vf_storage_by_type, vf_workers, vf_alerts, vf_stats TO pg_monitor;
GRANT EXECUTE ON FUNCTION vf_error_cure(text, boolean), vf_source_state(),
	vf_count_sessions(), vf_count_storage(), vf_count_alerts(),
	vf_worker_slots() TO pg_monitor;

DO $$
BEGIN
	RAISE WARNING 'voiceframe_retention is installed and deletes nothing yet'
		USING HINT = 'Call vf_configure() to register the sessions and orders tables.';
END
$$;
