-- Installing: in any schema, nothing granted to PUBLIC (P9), everything
-- explained, settings that refuse what would widen deleting, and gone without
-- a trace.
\set SHOW_CONTEXT never
CREATE SCHEMA keeper;
CREATE EXTENSION voiceframe_retention SCHEMA keeper;
SELECT extversion, nspname FROM pg_extension e
	JOIN pg_namespace n ON n.oid = e.extnamespace
WHERE extname = 'voiceframe_retention';

-- What a user finds, and what it says about itself.
SET search_path = keeper;
-- (The title has other words in 18.)
\t on
\dv vf_*
\dt vf_*
\t off
SELECT pg_describe_object(classid, objid, 0) AS member
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
	AND refobjid = (SELECT oid FROM pg_extension
					WHERE extname = 'voiceframe_retention')
	AND classid <> 'pg_type'::regclass
ORDER BY 1;

-- Each function, procedure, view, table and trigger has a comment.
CREATE TEMP VIEW member AS
SELECT d.classid, d.objid
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	AND e.extname = 'voiceframe_retention';
SELECT pg_describe_object(classid, objid, 0) AS without_comment
FROM member m LEFT JOIN pg_class c
	ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
WHERE m.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
	AND c.relkind IS DISTINCT FROM 'S'
	AND obj_description(m.objid, m.classid::regclass::name) IS NULL
ORDER BY 1;

-- P9: PUBLIC has nothing, pg_monitor has aggregates, nobody else is named.
CREATE TEMP VIEW acl AS
SELECT pg_describe_object(m.classid, m.objid, 0) AS object,
	a.grantee, a.privilege_type
FROM member m
	LEFT JOIN pg_class c ON m.classid = 'pg_class'::regclass
		AND c.oid = m.objid
	LEFT JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid,
	LATERAL aclexplode(CASE WHEN m.classid = 'pg_class'::regclass
		THEN coalesce(c.relacl, acldefault('r', c.relowner))
		ELSE coalesce(p.proacl, acldefault('f', p.proowner)) END) a
WHERE m.classid IN ('pg_class'::regclass, 'pg_proc'::regclass);
SELECT count(DISTINCT object) > 40 AS looked_at_all,
	count(*) FILTER (WHERE grantee = 0) AS of_public
FROM acl;
SELECT object, privilege_type FROM acl
WHERE grantee = 'pg_monitor'::regrole ORDER BY 1, 2;
SELECT DISTINCT pg_get_userbyid(grantee) FROM acl
WHERE pg_get_userbyid(grantee) NOT IN (current_user, 'pg_monitor');
-- Nothing runs with its owner's rights for whoever calls it.
SELECT p.proname FROM member m JOIN pg_proc p
	ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
WHERE p.prosecdef;
-- What a dump carries.
SELECT unnest(extconfig)::regclass FROM pg_extension
WHERE extname = 'voiceframe_retention' ORDER BY 1;

-- The settings and their defaults.
SELECT name, setting, unit, context FROM pg_settings
WHERE name LIKE 'voiceframe.%' AND name <> 'voiceframe.databases'
ORDER BY name;
SELECT name FROM pg_settings
WHERE name LIKE 'voiceframe.%' AND short_desc !~ '^Sets .*\.$';

-- No status that pays can be called unpaid, however it is written.
SET voiceframe.unpaid_statuses = 'pending, paid';
SET voiceframe.unpaid_statuses = 'completed';
SET voiceframe.unpaid_statuses = 'pending, Expired';
SET voiceframe.unpaid_statuses = 'REFUNDED, failed';
SET voiceframe.unpaid_statuses = '"paid"';
SET voiceframe.unpaid_statuses = 'pending,,failed';
SET voiceframe.unpaid_statuses = 'pending, ""';
SET voiceframe.unpaid_statuses = 'pending,';
SET voiceframe.unpaid_statuses = 'pending, "On Hold", repaid';
SHOW voiceframe.unpaid_statuses;
-- No prefix that means everything, or part of a name.
SET voiceframe.deletable_prefixes = 'temp_photos/, waveforms';
SET voiceframe.deletable_prefixes = 'temp_';
SET voiceframe.deletable_prefixes = '""';
SET voiceframe.deletable_prefixes = 'temp_photos/,,waveforms/';
SET voiceframe.deletable_prefixes = 'temp_photos/, ';
SET voiceframe.deletable_prefixes = 'pdfs/preview_';
SET voiceframe.deletable_prefixes = 'Temp_Photos/';
SHOW voiceframe.deletable_prefixes;
-- Zones that this server knows, times and numbers within reason.
SET voiceframe.timestamp_zone = 'Mars/Olympus';
SET voiceframe.timestamp_zone = '';
SET voiceframe.timestamp_zone = 'Europe/Berlin';
SET voiceframe.unpaid_after = '7 days';
SET voiceframe.unpaid_after = '7d';
\set VERBOSITY sqlstate
SET voiceframe.unpaid_after = '59min';
SET voiceframe.expired_grace = '-1s';
SET voiceframe.checkout_grace = -1;
SET voiceframe.purge_batch_size = 0;
SET voiceframe.purge_brake_percent = 101;
SET voiceframe.s3_concurrency = 33;
SET voiceframe.run_history = '1h';
\set VERBOSITY default
-- A mistyped name is an error, not a setting of its own.
SET voiceframe.purge_brake = 1;
SET voiceframe.unpaid_status = 'paid';
-- What decides about deleting is a superuser's; credentials are not shown.
CREATE ROLE regress_vf_anyone;
SET ROLE regress_vf_anyone;
SET voiceframe.unpaid_after = '1h';
SET voiceframe.unpaid_statuses = 'pending';
SET voiceframe.deletable_prefixes = 'a/';
SET voiceframe.purge_brake_rows = 0;
\set VERBOSITY sqlstate
SHOW voiceframe.s3_credentials_file;
\set VERBOSITY default
SELECT name FROM pg_settings WHERE name LIKE 'voiceframe.%'
	AND context = 'user';
RESET ROLE;
DROP ROLE regress_vf_anyone;
RESET ALL;

-- Nothing is registered: everything says what to do first.
SET search_path = keeper;
SELECT * FROM vf_purge_preview();
SELECT vf_purge_now();
SELECT vf_pause('why');
CALL vf_purge();
SELECT vf_adopt();
SELECT alert, firing FROM vf_alerts WHERE firing;
SELECT count(*) FROM vf_outbox_stats;
SELECT part, item FROM vf_config WHERE part <> 'setting';
RESET search_path;

-- Gone without a trace, and back in another schema.
DROP VIEW acl, member;
DROP EXTENSION voiceframe_retention;
SELECT count(*) FROM pg_class WHERE relname LIKE 'vf\_%';
SELECT count(*) FROM pg_proc WHERE proname LIKE 'vf\_%';
SELECT count(*) FROM pg_event_trigger WHERE evtname LIKE 'vf\_%';
CREATE SCHEMA "Other ""place""";
SET client_min_messages = error;
CREATE EXTENSION voiceframe_retention SCHEMA "Other ""place""";
RESET client_min_messages;
SELECT count(*) FROM "Other ""place""".vf_runs;
SELECT alert FROM "Other ""place""".vf_alerts WHERE firing;
ALTER EXTENSION voiceframe_retention SET SCHEMA keeper;
DROP EXTENSION voiceframe_retention;
DROP SCHEMA keeper, "Other ""place""";
