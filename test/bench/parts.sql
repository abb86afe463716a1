-- parts.sql: the statements of one CALL vf_purge(), added up by kind, from
-- pg_stat_statements with track = 'all'.  Each kind is known by words of its
-- own, the first that fits counts; what fits none is told apart as "other".

WITH statement AS (
	SELECT CASE
		WHEN query LIKE 'CALL vf_purge%' THEN NULL
		WHEN query LIKE 'SELECT s.ctid, CASE%' THEN '1 pick what is due'
		WHEN query LIKE 'DELETE FROM ONLY%age(s.xmin)%' THEN '2 delete quickly'
		WHEN query LIKE 'DELETE FROM ONLY%'
			OR query LIKE '%FOR UPDATE OF s SKIP LOCKED%'
			THEN '3 lock, check again and delete'
		WHEN query LIKE '%age(o.xmin)%' THEN '4 look for new orders'
		WHEN query LIKE 'INSERT INTO%vf_outbox%' THEN '5 queue the keys'
		WHEN query LIKE '%pg_trigger%' OR query LIKE '%pg_constraint%'
			OR query LIKE '%pg_rewrite%' THEN '6 guard, keys, triggers, rules'
		WHEN query LIKE '%vf_run%' OR query LIKE '%vf_sweep%'
			THEN '7 record of the run'
		ELSE '8 other statements' END AS part,
		calls, total_exec_time + total_plan_time AS ms, wal_bytes,
		total_plan_time AS plan_ms,
		shared_blks_hit + shared_blks_read AS buffers
	FROM pg_stat_statements
	WHERE dbid = (SELECT oid FROM pg_database
				  WHERE datname = current_database())
		AND query NOT LIKE 'SET %' AND query NOT LIKE '%pg_stat_statements%'
), whole AS (SELECT * FROM statement WHERE part IS NULL)
SELECT part, sum(calls) AS calls, round(sum(ms)::numeric / 1000, 2) AS seconds,
	round((100 * sum(ms) / (SELECT ms FROM whole))::numeric, 1) AS "%",
	round(sum(plan_ms)::numeric / 1000, 2) AS "of it planning",
	round(sum(wal_bytes) / 1e6, 1) AS wal_mb,
	sum(buffers) AS buffers
FROM statement WHERE part IS NOT NULL GROUP BY part
UNION ALL
SELECT '9 C, parsing, commits', NULL,
	round(((SELECT ms FROM whole) - sum(ms))::numeric / 1000, 2),
	round((100 - 100 * sum(ms) / (SELECT ms FROM whole))::numeric, 1), NULL,
	round(((SELECT wal_bytes FROM whole) - sum(wal_bytes)) / 1e6, 1), NULL
FROM statement WHERE part IS NOT NULL
UNION ALL
SELECT 'the whole', calls, round(ms::numeric / 1000, 2), 100, NULL,
	round(wal_bytes / 1e6, 1), buffers
FROM whole
ORDER BY part;
