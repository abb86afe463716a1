# 021_upgrade.pl: from every earlier version to this one.  The new library over the objects of 1.0
# deletes nothing, says what to do and lets payments go on (P1, P10); ALTER
# EXTENSION UPDATE keeps what 1.0 left (P4) and renews guard and rights; what
# it makes is what CREATE EXTENSION makes, object by object.  And a dump with
# open undo windows: personal data stays behind, holds do not (P8).

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'upgrade',
	store => $peer,
	conf => "voiceframe.naptime = 1\nvoiceframe.databases = voiceframe\n");
sql($node, 'CREATE ROLE app LOGIN', 'postgres');

# What 1.0 had installed in the sample's database.
my $guard_of_10 = q{
CREATE FUNCTION public.vf_payment_guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $function$
BEGIN
	IF TG_OP = 'UPDATE' AND
		ROW(OLD.session_token, OLD.status, OLD.created_at, OLD.updated_at, OLD.migration_status, OLD.permanent_photo_s3_key, OLD.permanent_audio_s3_key, OLD.permanent_waveform_s3_key, OLD.permanent_pdf_s3_key)
		IS NOT DISTINCT FROM
		ROW(NEW.session_token, NEW.status, NEW.created_at, NEW.updated_at, NEW.migration_status, NEW.permanent_photo_s3_key, NEW.permanent_audio_s3_key, NEW.permanent_waveform_s3_key, NEW.permanent_pdf_s3_key) THEN
		RETURN NULL;
	END IF;
	PERFORM 1 FROM public.sessions s WHERE s.session_token = NEW.session_token
		FOR KEY SHARE;
	IF NOT FOUND AND NEW.session_token IS NOT NULL THEN
		PERFORM pg_catalog.pg_advisory_xact_lock_shared(8602374650911);
		PERFORM 1 FROM public.sessions s WHERE s.session_token = NEW.session_token
			FOR KEY SHARE;
	END IF;
	RETURN NULL;
EXCEPTION
	WHEN syntax_error_or_access_rule_violation OR invalid_schema_name THEN
		PERFORM pg_catalog.pg_advisory_xact_lock_shared(8602374650911);
		RETURN NULL;
END
$function$;
COMMENT ON FUNCTION vf_payment_guard() IS 'makes a payment and a purge of the same session wait for each other; made by vf_configure()';
REVOKE ALL ON FUNCTION vf_payment_guard() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION vf_payment_guard() TO app;
ALTER FUNCTION vf_payment_guard() OWNER TO app;
ALTER FUNCTION vf_payment_guard() DEPENDS ON EXTENSION voiceframe_retention;
CREATE TRIGGER vf_payment_guard AFTER INSERT OR UPDATE ON orders
	FOR EACH ROW EXECUTE FUNCTION vf_payment_guard();
ALTER TABLE orders ENABLE ALWAYS TRIGGER vf_payment_guard;
ALTER TRIGGER vf_payment_guard ON orders
	DEPENDS ON EXTENSION voiceframe_retention;
CREATE TRIGGER vf_queue_deleted AFTER DELETE ON sessions
	REFERENCING OLD TABLE AS gone FOR EACH STATEMENT
	EXECUTE FUNCTION vf_queue_deleted();
ALTER TRIGGER vf_queue_deleted ON sessions
	DEPENDS ON EXTENSION voiceframe_retention;
GRANT SELECT ON vf_config, vf_outbox, vf_outbox_keys, vf_dead_letters,
	vf_outbox_stats, vf_runs, vf_alerts TO app;
GRANT EXECUTE ON FUNCTION vf_purge_now(integer, bigint) TO app;
GRANT EXECUTE ON PROCEDURE vf_purge(integer, bigint, boolean) TO app;};

# And what it had written: a row of each kind.
my $data_of_10 = qq{
INSERT INTO vf_source (system_identifier, database_oid, sessions_oid,
	sessions_schema, sessions_name, orders_oid, orders_schema, orders_name,
	column_names, session_key_columns, order_key_columns, payment_guard,
	queue_deletes, accepted_foreign_keys, configured_by, active_since)
SELECT system_identifier, d.oid, 'sessions'::regclass, 'public', 'sessions',
	'orders'::regclass, 'public', 'orders',
	'{id,session_token,created_at,expires_at,session_token,status,created_at,updated_at,migration_status}',
	'{photo_s3_key,audio_s3_key,waveform_s3_key}',
	'{pdf_s3_key,permanent_photo_s3_key,permanent_audio_s3_key,permanent_waveform_s3_key,permanent_pdf_s3_key}',
	true, true, '{}', 'postgres', now()
FROM pg_control_system(), pg_database d WHERE datname = current_database();
INSERT INTO vf_bucket (endpoint, bucket, region, path_style, is_current, probe,
	probed_at, failures, last_error_code, last_error, last_error_at)
VALUES ('$peer->{endpoint}', 'voiceframe', 'us-east-1', 'path', true, false,
	now(), 0, NULL, NULL, NULL),
	('http://127.0.0.1:9', 'former', 'us-east-1', 'path', false, true, NULL, 3,
	'Connect', 'refused', now());
INSERT INTO vf_run (kind, caller, full_sweep, outcome, ended_at, repeats,
	expired, keys_queued, keys_confirmed, error, pid, backend_start)
VALUES ('purge', 'vf_purge', true, 'ok', now(), 0, 2, 4, 0, NULL, 1, now()),
	('drain', 'worker', false, 'failed', now(), 2, 0, 0, 7, 'why', 1, now()),
	('purge', 'worker', false, 'running', NULL, 0, 0, 0, 0, NULL, 1,
	now() - interval '1 day');
INSERT INTO vf_outbox (run_id, endpoint, bucket, keys, nkeys, state, attempts,
	lease_token, lease_pid, last_error_code, last_error, next_attempt_at)
SELECT 1, CASE WHEN s <> 'homeless' THEN '$peer->{endpoint}' END,
	CASE WHEN s <> 'homeless' THEN 'voiceframe' END,
	ARRAY['temp_photos/' || s], 1, replace(s, 'homeless', 'waiting'), a,
	CASE WHEN s = 'claimed' THEN 77 END, CASE WHEN s = 'claimed' THEN 1 END,
	c, c, now() - interval '1 minute'
FROM (VALUES ('waiting', 0, NULL), ('homeless', 0, NULL),
	('claimed', 1, NULL), ('dead', 9, 'AccessDenied'),
	('cancelled', 0, 'Referenced')) v (s, a, c);
UPDATE vf_sweep SET rules = 'of 1.0', full_at = now(), kept_paid = 9,
	paid_sample = '{a,b}';
INSERT INTO vf_put_off (session_id, look_at) VALUES ('x', now());};

my @tables = qw(vf_source vf_bucket vf_outbox vf_run vf_sweep vf_put_off);
my @new_columns = qw(lost_history marker_id generation adopted not_before
	claimed_at undo_batch restored objects batch_keys batch_bytes
	expected_owner request_payer);
my @of_copies = map { "copy_$_" } qw(to session order column keep);
push @new_columns, @of_copies;

sub contents_of_10
{
	my ($db) = @_;
	my $less = join(' - ', map { "'$_'" } @new_columns);
	return join("\n", map {
			my $id = $_ eq 'vf_bucket' ? " - 'id'" :
			  $_ eq 'vf_outbox' ? " - 'kind'" : '';
			sql($node, "SELECT string_agg('$_ ' || (to_jsonb(t) - $less$id)::text,
				E'\\n' ORDER BY to_jsonb(t)::text) FROM $_ t", $db)
		} @tables);
}

sub make_10
{
	my ($db) = @_;
	make_sample($node, n => 20, db => $db);
	sql($node, q{ALTER TABLE sessions OWNER TO app; ALTER TABLE orders OWNER
		TO app; CREATE EXTENSION voiceframe_retention VERSION '1.0'}, $db);
	sql($node, $guard_of_10, $db);
	sql($node, $data_of_10, $db);
	return;
}

sub pay
{
	my ($token, $status) = @_;
	$status //= 'completed';
	return qq{INSERT INTO orders (id, email, amount_cents, status,
		session_token, created_at, updated_at) VALUES (gen_random_uuid(),
		'x\@example.test', 1, '$status', $token, now(), now())};
}

my $any_token = '(SELECT session_token FROM sessions LIMIT 1)';

# Every object of the extension and what hangs on it, a line each.
my $describe = <<'S';
SET search_path = pg_catalog;
WITH ext AS (SELECT * FROM pg_extension WHERE extname = 'voiceframe_retention'),
dep AS (SELECT d.classid, d.objid, d.deptype FROM pg_depend d, ext
	WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = ext.oid
	AND d.deptype IN ('e', 'x') AND d.objsubid = 0),
m AS (SELECT DISTINCT classid, objid FROM dep),
acls AS (SELECT 'pg_class'::regclass AS classid, oid, relacl AS acl FROM pg_class
	UNION ALL SELECT 'pg_proc'::regclass, oid, proacl FROM pg_proc),
rel AS (SELECT c.* FROM pg_class c JOIN m ON m.classid = 'pg_class'::regclass
	AND m.objid = c.oid)
SELECT line COLLATE "C" FROM (
	SELECT 'extension ' || extversion || ' config ' || (SELECT string_agg(
		c::regclass::text || extcondition[i], ',' ORDER BY c::regclass::text)
		FROM unnest(extconfig) WITH ORDINALITY u (c, i)) AS line FROM ext
	UNION ALL SELECT concat_ws(' ', 'member', deptype,
		pg_describe_object(classid, objid, 0)) FROM dep
	UNION ALL SELECT 'comment ' || pg_describe_object(d.classoid, d.objoid,
		d.objsubid) || ': ' || d.description FROM pg_description d JOIN m
		ON m.classid = d.classoid AND m.objid = d.objoid
	UNION ALL SELECT 'right ' || pg_describe_object(a.classid, a.oid, 0) || ' '
		|| e.grantee::regrole || ' ' || e.privilege_type || ' '
		|| e.is_grantable FROM acls a JOIN m ON m.classid = a.classid
		AND m.objid = a.oid, aclexplode(a.acl) e
	UNION ALL SELECT 'function ' || pg_get_functiondef(p.oid) || ' owner '
		|| p.proowner::regrole FROM pg_proc p JOIN m ON m.objid = p.oid
		AND m.classid = 'pg_proc'::regclass
	UNION ALL SELECT concat_ws(' ', 'relation', oid::regclass, relkind,
		relpersistence, relowner::regrole, relispartition,
		reloptions, pg_get_partkeydef(oid),
		pg_get_expr(relpartbound, oid)) FROM rel
	UNION ALL SELECT concat_ws(' ', 'column', r.oid::regclass, a.attnum,
		a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
		a.attcompression, a.attstorage, a.attisdropped, a.attacl,
		pg_get_expr(d.adbin, d.adrelid)) FROM rel r JOIN pg_attribute a
		ON a.attrelid = r.oid AND a.attnum > 0 LEFT JOIN pg_attrdef d
		ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	UNION ALL SELECT concat_ws(' ', 'constraint', c.conrelid::regclass,
		c.conname, pg_get_constraintdef(c.oid)) FROM pg_constraint c
		JOIN rel r ON r.oid = c.conrelid
	UNION ALL SELECT 'index ' || pg_get_indexdef(i.indexrelid)
		FROM pg_index i JOIN rel r ON r.oid = i.indrelid
	UNION ALL SELECT 'view ' || oid::regclass || pg_get_viewdef(oid) FROM rel
		WHERE relkind = 'v'
	UNION ALL SELECT concat_ws(' ', 'sequence', r.oid::regclass,
		to_jsonb(s) - 'seqrelid') FROM rel r
		JOIN pg_sequence s ON s.seqrelid = r.oid
	UNION ALL SELECT concat_ws(' ', 'event trigger', evtname, evtevent,
		evttags, evtfoid::regproc, evtenabled) FROM pg_event_trigger
	UNION ALL SELECT concat_ws(' ', 'trigger', t.tgenabled,
		pg_get_triggerdef(t.oid)) FROM pg_trigger t WHERE t.tgname ~ '^vf_'
) x ORDER BY 1;
S

sub check_same
{
	my ($upgraded, $fresh, $what) = @_;
	my @got = split(/\n/, sql($node, $describe, $upgraded));
	my @expected = split(/\n/, sql($node, $describe, $fresh));
	cmp_ok(scalar(@expected), '>', 500, "many lines tell of it ($what)");
	my %got = map { $_ => 1 } @got;
	my %expected = map { $_ => 1 } @expected;
	is_deeply(
		{
			more => [ grep { !$expected{$_} } @got ],
			less => [ grep { !$got{$_} } @expected ]
		},
		{ more => [], less => [] },
		"upgraded is fresh, object by object ($what)")
	  or diag(explain([ grep { !$expected{$_} } @got ],
			[ grep { !$got{$_} } @expected ]));
	return;
}

# ---- the new library, the objects of 1.0

make_10('voiceframe');
$peer->put('voiceframe', live_keys($node),
	map { "temp_photos/$_" } qw(waiting homeless claimed dead cancelled));
my @objects = $peer->contents;
my $before = contents_of_10('voiceframe');
my $sessions = sql($node, 'SELECT count(*) FROM sessions');
my $version = sql($node, q{SELECT default_version FROM pg_available_extensions
	WHERE name = 'voiceframe_retention'});
my $refusal = qr/ERROR:\ .*objects\ of\ extension\ voiceframe_retention\ are
	\ of\ version\ 1\.0,\ its\ library\ is\ of\ version\ \Q$version\E
	.*ALTER\ EXTENSION\ voiceframe_retention\ UPDATE/sx;

my %calls = (
	vf_configure => 'SELECT vf_configure()',
	vf_unconfigure => 'SELECT vf_unconfigure(true)',
	vf_adopt => 'SELECT vf_adopt()',
	vf_configure_bucket => q{SELECT vf_configure_bucket('voiceframe', 'x')},
	vf_purge_now => 'SELECT vf_purge_now()',
	vf_purge => 'CALL vf_purge(confirm => 1000)',
	vf_purge_preview => 'SELECT vf_purge_preview()',
	vf_drain => 'CALL vf_drain()',
	vf_outbox_retry => 'SELECT vf_outbox_retry()',
	vf_outbox_cancel => q{SELECT vf_outbox_cancel(1, 'x')},
	vf_s3_check => 'SELECT vf_s3_check()',
	vf_pause => q{SELECT vf_pause('x')},
	vf_resume => 'SELECT vf_resume()',
	vf_count_sessions => 'SELECT * FROM vf_session_counts',
	vf_count_storage => 'SELECT * FROM vf_storage_by_type',
	vf_count_alerts => 'SELECT vf_count_alerts()',
	vf_queue_deleted => 'DELETE FROM sessions');
my @works = qw(vf_error_cure vf_source_state vf_worker_slots vf_refuse_drop
	vf_worker_start vf_worker_stop);
is( join(' ', sort(CORE::keys(%calls), @works)),
	sql($node, q{SELECT string_agg(p.proname, ' ' ORDER BY p.proname
			COLLATE "C") FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid
		WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
		AND d.refobjid = (SELECT oid FROM pg_extension
			WHERE extname = 'voiceframe_retention')}),
	'each function of 1.0 is tried');
foreach my $name (sort(CORE::keys %calls))
{
	my ($ret, $said) = VfTest::call($node, 'voiceframe', $calls{$name});
	like($said, $refusal, "P10: $name refuses, and says what to do");
}
my ($ret, $said) =
  VfTest::call($node, 'voiceframe', 'SET ROLE app; SELECT vf_purge_now()');
like($said, $refusal, 'P10: to the owner too');
foreach my $view (qw(vf_config vf_outbox_keys vf_dead_letters vf_outbox_stats
	vf_runs vf_workers vf_alerts vf_stats))
{
	($ret, $said) = VfTest::call($node, 'voiceframe', "SELECT * FROM $view");
	is($ret, 0, "P10: $view can be read") or diag($said);
}
is( sql($node, q{SELECT firing, value FROM vf_alerts
		WHERE alert = 'registration'}),
	't|the objects of extension voiceframe_retention are of version 1.0, its'
	  . " library is of version $version: run ALTER EXTENSION voiceframe_retention"
	  . ' UPDATE',
	'P10: an alert says it');
sql($node, 'SELECT vf_worker_start()');
wait_for(sub { sql($node, 'SELECT state FROM vf_workers') eq 'waiting' },
	'the worker to wait');
ok($node->log_contains('the worker waits: the objects of extension'),
	'P10: so does the worker in the log');
($ret, $said) = VfTest::call($node, 'voiceframe', pay($any_token));
is($ret, 0, 'P1: payments go on through the old guard') or diag($said);
sql($node, q{DELETE FROM orders WHERE email = 'x@example.test'});
is(contents_of_10('voiceframe'), $before, 'P4: nothing of 1.0 is changed');
is(sql($node, 'SELECT count(*) FROM sessions'),
	$sessions, 'P1: no session is gone');
is_deeply([ $peer->contents ], \@objects, 'P3: no object is gone');
is(scalar($peer->sent), 0, 'nothing was sent');

# ---- the update

my $update = 'ALTER EXTENSION voiceframe_retention UPDATE';
my $upgrader = session($node);
$upgrader->ask('BEGIN');
unlike($upgrader->ask($update), qr/ERROR|WARNING/, 'the update works');
my $payment = session($node);
$payment->tell(pay($any_token));
wait_for(
	sub {
		sql($node, q{SELECT count(*) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND query ~ 'INSERT INTO orders'})
		  == 1;
	},
	'a payment to wait for the guard');
$upgrader->ask('ROLLBACK');
unlike($payment->ask('SELECT 1'), qr/ERROR/,
	'P1: a payment that waited for an update taken back goes through');
is(contents_of_10('voiceframe'), $before, 'P4: taken back, all is as it was');
sql($node, q{DELETE FROM orders WHERE email = 'x@example.test'});
# The worker is to find what is checked first.
sql($node, 'SELECT vf_worker_stop()');

$upgrader->ask('BEGIN');
$upgrader->ask($update);
$payment->tell(pay($any_token));
wait_for(
	sub {
		sql($node, q{SELECT count(*) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND query ~ 'INSERT INTO orders'})
		  == 1;
	},
	'a payment to wait for the guard');
$upgrader->ask('COMMIT');
unlike($payment->ask('SELECT 1'), qr/ERROR/,
	'P1: a payment that waited for the update goes through');
is(contents_of_10('voiceframe'), $before, 'P4: the data of 1.0 is kept');
is( sql($node, q{SELECT string_agg(alert, ' ') FROM vf_alerts WHERE firing
		AND alert IN ('registration', 'guard')}),
	'', 'P1: the guard stands, as this version writes it');
($ret, $said) = VfTest::call($node, 'voiceframe', pay($any_token));
is($ret, 0, 'payments go on') or diag($said);
sql($node, q{DELETE FROM orders WHERE email = 'x@example.test'});

# ---- equal to fresh ones: registered, and bare

sql($node, 'CREATE DATABASE fresh', 'postgres');
make_sample($node, n => 20, db => 'fresh');
sql($node, q{ALTER TABLE sessions OWNER TO app; ALTER TABLE orders OWNER TO app;
	CREATE EXTENSION voiceframe_retention;
	SELECT vf_configure(queue_deletes => true)}, 'fresh');
check_same('voiceframe', 'fresh', 'registered');
sql($node, 'CREATE DATABASE bare', 'postgres');
sql($node, 'CREATE EXTENSION voiceframe_retention', 'bare');
foreach my $from ('1.0', '1.1')
{
	sql($node, qq{CREATE DATABASE "from $from"}, 'postgres');
	sql($node, "CREATE EXTENSION voiceframe_retention VERSION '$from'; $update",
		"from $from");
	check_same("from $from", 'bare', "from $from, not registered");
}

# ---- 1.1 with data in what it had more

sql($node, 'CREATE DATABASE of_11', 'postgres');
make_10('of_11');
sql($node, "$update TO '1.1'", 'of_11');
sql($node, q{
	INSERT INTO vf_undo_batch (run_id, slot, purged_at, until, column_names)
		VALUES (1, 0, now(), now() + interval '1 day', '{id}');
	INSERT INTO vf_undo (slot, batch_id, session_id, keys, row_values)
		VALUES (0, 1, 'x', '{temp_photos/x}', '{x}');
	INSERT INTO vf_hold (session_id, session_token, until, reason, held_by)
		VALUES ('x', 'x', now() + interval '1 day', 'asked for', 'app');
	INSERT INTO vf_lookup (endpoint, bucket, key, session_id, run_id, look_at)
		VALUES ('http://x', 'b', 'k', 'x', 1, now());
	INSERT INTO vf_pace SELECT endpoint, bucket, 'temp_photos/', 10 FROM vf_bucket
		LIMIT 1}, 'of_11');
my @of_11 = qw(vf_undo_batch vf_undo vf_hold vf_lookup vf_pace vf_outbox);
my $of_11 = sub {
	my $less = join('', map { " - '$_'" } @of_copies);
	return join("\n", map { $less .= " - 'kind'" if $_ eq 'vf_outbox';
		sql($node, "SELECT to_jsonb(x)$less FROM $_ x ORDER BY 1", 'of_11') } @of_11);
};
my $had = $of_11->();
($ret, $said) = VfTest::call($node, 'of_11', $update);
is($ret, 0, 'from 1.1, with data in every table') or diag($said);
is($of_11->(), $had, 'P4: all of it is kept');
is( sql($node, 'SELECT count(DISTINCT id) = count(*) FROM vf_bucket', 'of_11'),
	't', 'each bucket has a number of its own');
check_same('of_11', 'fresh', 'from 1.1, registered');

# ---- a payment that does not end holds up the guard, not the update

sql($node, 'CREATE DATABASE busy', 'postgres');
make_10('busy');
my $open = session($node, 'busy');
$open->ask('BEGIN');
$open->ask(pay($any_token));
($ret, $said) = VfTest::call($node, 'busy', $update);
is($ret, 0, 'the update does not fail for an open payment') or diag($said);
like($said, qr/WARNING: .*could not be renewed.*vf_configure\(\)/s,
	'P10: it says that the guard was not renewed');
unlike($open->ask('COMMIT'), qr/ERROR/, 'P1: the payment goes through');
is( sql($node, q{SELECT firing FROM vf_alerts WHERE alert = 'guard'}, 'busy'),
	't', 'P10: and so does an alert');
sql($node, 'SELECT vf_configure(queue_deletes => true)', 'busy');
check_same('busy', 'fresh', 'renewed by hand');

# ---- what 1.0 left goes its way, and what is new works

sql($node, 'SELECT vf_worker_start()');
age($node);
wait_for(
	sub { !grep { m{/(waiting|claimed)$} } $peer->contents },
	'the worker to drain what 1.0 had queued');
purge($node);
is( sql($node, q{SELECT string_agg(state || ' ' || keys[1], ', '
			ORDER BY state, keys[1])
		FROM vf_outbox WHERE run_id = 1}),
	'cancelled temp_photos/cancelled, dead temp_photos/dead, '
	  . 'waiting temp_photos/homeless',
	'P4: each key of 1.0 has come where it belongs');
is( sql($node, q{SELECT outcome FROM vf_run
		WHERE kind = 'purge' AND backend_start < now() - interval '1 hour'}),
	'interrupted', 'P10: a run that 1.0 left open is closed');
sql($node, "SELECT * FROM vf_configure_bucket('voiceframe',
	endpoint => '$peer->{endpoint}', path_style => 'path', probe => false)");
sql($node, 'SELECT vf_worker_stop()');
drain($node);
is(scalar(grep { m{/homeless$} } $peer->contents),
	0, 'P4: a key that 1.0 queued without a bucket goes too');

# ---- a dump while undo windows are open

sql($node, q{ALTER SYSTEM SET voiceframe.undo_window = '1h'}, 'postgres');
sql($node, 'SELECT pg_reload_conf()', 'postgres');
wait_for(sub { sql($node, 'SHOW voiceframe.undo_window') eq '1h' },
	'the setting');
add_due($node, map { "temp_photos/$_" } qw(undone held));
sql($node, q{UPDATE sessions SET custom_text = 'private words',
		session_token = right(photo_s3_key, 4)
	WHERE photo_s3_key IN ('temp_photos/undone', 'temp_photos/held')});
sql($node, q{SET ROLE app; SELECT vf_hold('held', NULL, 'a complaint')});
purge($node);
is(sql($node, 'SELECT count(*) FROM vf_undo'),
	'1', 'one session waits for the end of its window');
my $dir = PostgreSQL::Test::Utils::tempdir();
$node->command_ok([ 'pg_dump', '-f', "$dir/dump", 'voiceframe' ],
	'the database is dumped');
my @copies = slurp_file("$dir/dump") =~ /private words/g;
is(scalar(@copies), 1,
	'P9: the row of the held session is in the dump, that of undo is not');
sql($node, 'CREATE DATABASE restored', 'postgres');
$node->command_ok(
	[ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', 'restored', '-f',
		"$dir/dump" ],
	'and restored');
is( sql($node, q{SELECT (SELECT count(*) FROM vf_undo),
		(SELECT count(*) FROM vf_undo_batch), (SELECT count(*) FROM vf_lookup),
		(SELECT count(*) FROM vf_source), (SELECT reason FROM vf_hold),
		(SELECT count(*) FROM vf_outbox WHERE not_before > now())},
		'restored'),
	'0|0|0|1|a complaint|1',
	'P8: registration, holds and waiting keys are there, undo data is not');
($ret, $said) = VfTest::call($node, 'restored', 'CALL vf_purge()');
like($said, qr/is a copy.*vf_adopt\(\)/s, 'P8: it is a copy');
sql($node, 'SELECT vf_adopt()', 'restored');
purge($node, 'restored');
is( sql($node, q{SELECT session_token FROM sessions
		WHERE session_token = 'held'}, 'restored'),
	'held', 'P1: what was held is held in the copy too');
($ret, $said) =
  VfTest::call($node, 'restored', q{SELECT vf_undo_purge('done')});
like($said, qr/no purged session of that token can be put back/,
	'P10: what is not there is not promised');

# Undo of a later purge there must not take what the first server had queued.
add_due($node, { db => 'restored' }, 'temp_photos/later');
purge($node, 'restored');
sql($node, 'SELECT vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs))',
	'restored');
is( sql($node, q{SELECT string_agg(keys[1] || ' ' || state, ', '
		ORDER BY keys[1]) FROM vf_outbox
		WHERE keys[1] IN ('temp_photos/undone', 'temp_photos/later')},
		'restored'),
	'temp_photos/later cancelled, temp_photos/undone waiting',
	'P4: undo in a restored copy cancels its own keys alone');
check_same('restored', 'fresh', 'restored from a dump');

$node->stop;

# ---- a server that was not restarted: its workers are still of 1.0

my $src = PostgreSQL::Test::Utils::tempdir_short();
append_to_file("$src/old.c", <<'C');
#include "postgres.h"
#include "fmgr.h"
#if PG_VERSION_NUM >= 170000
#include "storage/dsm_registry.h"
#endif
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
PG_MODULE_MAGIC;
void _PG_init(void);
#if PG_VERSION_NUM >= 170000
static void init(void *at) { memset(at, 0, 4096); }
#endif
void
_PG_init(void)
{
	bool found;
#if PG_VERSION_NUM >= 170000
	GetNamedDSMSegment("voiceframe_retention", 4096, init, &found);
#else
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	memset(ShmemInitStruct("voiceframe_retention", 4096, &found), 0, 4096);
	LWLockRelease(AddinShmemInitLock);
#endif
}
C
system('gcc', '-shared', '-fPIC', '-o', "$src/old.so", "$src/old.c",
	'-I' . $node->config_data('--includedir-server')) == 0
  or die 'could not build old.so';
my $running = new_cluster('running', store => $peer, preload => 0);
sql($running, "LOAD '$src/old.so'");
($ret, $said) = VfTest::call($running, 'voiceframe',
	"CREATE EXTENSION voiceframe_retention VERSION '1.0'; $update");
like($said, qr/ERROR: .*still runs with another version.*Restart the server/s,
	'P3: the update waits for the workers of 1.0 to be gone');
$running->restart;
($ret, $said) = VfTest::call($running, 'voiceframe', $update);
is($ret, 0, 'after a restart it works') or diag($said);
$running->stop;
done_testing();
