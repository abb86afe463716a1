# 023_replicas.pl: beside others.  A logical subscriber gets the deletes of a
# purge and the payments, and deletes nothing a second time; a hot standby
# shows every view, refuses all that changes anything and says why; a
# pg_upgrade keeps all that is there and deletes nothing until it is adopted
# (P1, P3, P8, P10).

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $conf = "wal_level = logical\nvoiceframe.naptime = 3600\n"
  . "voiceframe.databases = 'none'\n";
my $primary = new_cluster(
	'primary',
	store => $peer,
	allows_streaming => 1,
	conf => $conf);
make_sample($primary, n => 40);
put_live_keys($primary, $peer);
configure($primary, $peer);
purge($primary);
drain($primary);

sub pay
{
	my ($token) = @_;
	return qq{INSERT INTO orders (id, email, amount_cents, status,
		session_token, created_at, updated_at) VALUES (gen_random_uuid(),
		'x\@example.test', 1, 'completed', '$token', now(), now())};
}

sub name_tokens
{
	my ($node) = @_;
	return sql($node, q{UPDATE sessions
		SET session_token = substr(photo_s3_key, 13)
		WHERE photo_s3_key ~ '^temp_photos/[a-z]+$'});
}

# ---- a logical subscriber

my $subscriber = new_cluster('subscriber', store => $peer, conf => $conf);
make_sample($subscriber, n => 1);
sql($subscriber, 'DELETE FROM orders; DELETE FROM sessions');
$peer->mkbucket('subscriber');
configure($subscriber, $peer, bucket => 'subscriber');
sql($subscriber, 'SELECT vf_configure(queue_deletes => true)');
sql($primary, 'CREATE PUBLICATION p FOR TABLE sessions, orders');
my $publisher = $primary->connstr('voiceframe');
sql($subscriber,
	"CREATE SUBSCRIPTION s CONNECTION \$c\$$publisher\$c\$ PUBLICATION p");
$subscriber->wait_for_subscription_sync($primary, 's', 'voiceframe');

sub check_equal
{
	my ($what) = @_;
	$primary->wait_for_catchup('s');
	my $rows = q{SELECT (SELECT string_agg(id::text, ',' ORDER BY id)
			FROM sessions), (SELECT string_agg(id::text || status, ','
			ORDER BY id) FROM orders)};
	is(sql($subscriber, $rows), sql($primary, $rows),
		"the subscriber has what the publisher has ($what)");
	is( sql($subscriber, q{SELECT (SELECT count(*) FROM vf_outbox),
			(SELECT apply_error_count + sync_error_count
			FROM pg_stat_subscription_stats)}),
		'0|0', "P3: it queues no key and fails at nothing ($what)");
	return;
}

check_equal('the first copy');
my @keys = map { "temp_photos/$_" } qw(gone paid late back);
$peer->put('voiceframe', @keys);
add_due($primary, @keys);
name_tokens($primary);
check_equal('sessions made');
is( sql($subscriber, q{SELECT tgenabled FROM pg_trigger
		WHERE tgname = 'vf_payment_guard'}),
	'A', 'P1: the guard fires for what is applied');
sql($primary, pay('paid'));
check_equal('a payment');
sql($primary, q{SET voiceframe.undo_window = '1h'; CALL vf_purge()});
check_equal('a purge');
is( sql($subscriber, q{SELECT string_agg(session_token, ' '
		ORDER BY session_token) FROM sessions WHERE session_token ~
		'^(gone|paid|late|back)$'}),
	'paid', 'P1: what was paid is there, what was purged is gone');
sql($primary, pay('late'));
sql($primary, q{SELECT vf_undo_purge('back')});
check_equal('sessions put back, by a payment and by hand');
drain($primary);
sql($primary, q{UPDATE vf_outbox SET not_before = now(), next_attempt_at = now()
	WHERE not_before IS NOT NULL;
	UPDATE vf_undo_batch SET until = now()});
drain($primary);
my %times;
$times{$_}++ foreach map { @$_ } $peer->sent;
is(scalar(grep { $_ > 1 } values %times), 0,
	'P3: no object was deleted twice');
is($times{'temp_photos/gone'}, 1, 'P4: the purged one was deleted once');

# Applying waits for a purge of the same session there, and then goes on.
my $purging = session($subscriber);
$purging->ask('BEGIN');
$purging->ask(q{SELECT FROM sessions WHERE session_token = 'paid' FOR UPDATE});
sql($primary, pay('paid'));
wait_for(
	sub {
		sql($subscriber, q{SELECT count(*) FROM pg_stat_activity
			WHERE backend_type = 'logical replication worker'
			AND wait_event_type = 'Lock'}) > 0;
	},
	'the payment that is applied to wait');
pass('P1: a payment that is applied waits for whoever has the session');
$purging->ask('COMMIT');
check_equal('a payment that had to wait');

# What the subscriber's own application deletes there is its own affair.
sql($subscriber, q{DELETE FROM sessions WHERE session_token = 'back'});
is( sql($subscriber, 'SELECT count(*) FROM vf_outbox_keys'),
	'1', 'P2: a delete made there is queued there');
sql($subscriber, 'SELECT vf_unconfigure(true)');
sql($subscriber, 'DROP SUBSCRIPTION s');
$subscriber->stop;

# ---- a hot standby

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'max_standby_streaming_delay = 100ms');
$standby->start;
add_due($primary, map { "temp_photos/$_" } qw(undoable));
name_tokens($primary);
sql($primary, q{SELECT vf_hold('paid', NULL, 'a complaint')});
sql($primary, q{SET voiceframe.undo_window = '1h'; CALL vf_purge()});
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

my @views = split(/\n/, sql($primary, q{SELECT c.relname FROM pg_class c
	JOIN pg_depend d ON d.objid = c.oid AND d.classid = 'pg_class'::regclass
	WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension
		WHERE extname = 'voiceframe_retention') AND c.relkind IN ('v', 'r', 'p')
	ORDER BY 1}));
cmp_ok(scalar(@views), '>', 20, 'there are many views and tables');
foreach my $view (@views)
{
	my ($ret, $said) =
	  VfTest::call($standby, 'voiceframe', "SELECT * FROM $view");
	is($ret, 0, "P10: $view can be read on a standby") or diag($said);
}
is( sql($standby, 'SELECT sessions, restored FROM vf_undo_runs LIMIT 1'),
	'1|0', 'P10: vf_undo_runs tells what the primary can take back');
is(sql($standby, 'SELECT reason FROM vf_hold WHERE session_token = $$paid$$'),
	'a complaint', 'P10: holds are seen');
is(sql($standby, q{SELECT firing FROM vf_alerts WHERE alert = 'registration'}),
	'f', 'P8: the standby is no copy');
foreach my $call (
	q{vf_hold('paid', NULL, 'x')}, q{vf_release('paid')},
	q{vf_erase_session('undoable')}, q{vf_undo_purge('undoable')},
	q{vf_undo_purge(1)}, q{vf_undo_discard()}, q{vf_undo_discard('undoable')},
	q{vf_pause('x')}, q{vf_resume()},
	q{vf_outbox_retry()}, q{vf_outbox_cancel(1, 'x')}, q{vf_configure()},
	q{vf_unconfigure(true)}, q{vf_adopt()}, q{vf_purge_now()},
	q{vf_configure_bucket('voiceframe', 'x')}, q{vf_worker_start()},
	q{vf_purge_preview()})
{
	my ($ret, $said) = VfTest::call($standby, 'voiceframe',
		"\\set VERBOSITY verbose\nSELECT $call");
	like($said, qr/ERROR:  25006: .*on a standby server.*on the primary/s,
		"P8: $call is refused on a standby");
}

# What a replayed purge takes away from under a reader is the reader's error.
my $said = '';
my $reader = IPC::Run::start(
	[ 'psql', '-XAtq', '-d', $standby->connstr('voiceframe'), '-c',
		'SELECT pg_sleep(120), s.* FROM vf_outbox_stats s' ],
	'<', \undef, '>&', \$said, IPC::Run::timeout(180));
wait_for(
	sub {
		sql($standby, q{SELECT count(*) FROM pg_stat_activity
			WHERE wait_event = 'PgSleep'}) eq '1';
	},
	'a reader');
add_due($primary, map { "temp_photos/conflict$_" } 1 .. 50);
purge($primary);
drain($primary);
sql($primary, "VACUUM $_") foreach qw(sessions vf_outbox vf_run vf_bucket);
$reader->finish;
like($said, qr/conflict with recovery/,
	'a reader of a view may be cancelled by it');
is(sql($standby, 'SELECT count(*) > 0 FROM vf_outbox_stats'),
	't', 'and the view can be read again');
$standby->stop;

# ---- pg_upgrade, here from 15 to 15

$peer->put('voiceframe', 'temp_photos/waits');
queue($primary, 'temp_photos/waits');
sql($primary, q{SELECT vf_pause('an upgrade')});
my $counts = q{SELECT (SELECT count(*) FROM sessions),
	(SELECT count(*) FROM orders), (SELECT count(*) FROM vf_outbox_keys),
	(SELECT count(*) FROM vf_undo), (SELECT count(*) FROM vf_hold),
	(SELECT string_agg(until::text, ',' ORDER BY id) FROM vf_undo_batch)};
my $before = sql($primary, $counts);
like($before, qr/^\d+\|\d+\|[1-9]\d*\|[1-9]\d*\|[1-9]/,
	'keys wait, undo windows are open, sessions are held');
my $generation = sql($primary, 'SELECT generation FROM vf_bucket');
$primary->stop;
my $new = PostgreSQL::Test::Cluster->new('new');
$new->init(extra => [ '--encoding', 'UTF8', '--no-locale' ]);
$new->append_conf('postgresql.conf',
	"shared_preload_libraries = 'voiceframe_retention'\n$conf"
	  . "voiceframe.s3_credentials_file = '$primary->{vf_credentials}'\n");
my $bin = $primary->config_data('--bindir');
my @upgrade = (
	'pg_upgrade', '--no-sync', '-d', $primary->data_dir, '-D', $new->data_dir,
	'-b', $bin, '-B', $bin, '-s', $new->host, '-p', $primary->port, '-P',
	$new->port);
chdir(PostgreSQL::Test::Utils::tempdir()) or die "chdir: $!";
command_ok([ @upgrade, '--check' ], 'pg_upgrade --check has nothing to say');
command_ok(\@upgrade, 'pg_upgrade goes through');
$new->start;
is(sql($new, $counts), $before, 'P8: all is there, undo data and holds too');
foreach my $call ('CALL vf_purge()', 'SELECT vf_purge_now()',
	'CALL vf_drain()', q{SELECT vf_erase_session('paid')})
{
	my ($ret, $answer) = VfTest::call($new, 'voiceframe',
		"\\set VERBOSITY verbose\n$call");
	like($answer, qr/VR003: .*vf_adopt\(\)/s,
		"P8: $call stops in the upgraded server");
}
my $sent = $peer->sent;
is( sql($new, q{SELECT firing FROM vf_alerts WHERE alert = 'registration'}),
	't', 'P10: an alert says so');
sql($new, pay('paid'));
pass('P1: payments go on');
sql($new, 'SELECT vf_adopt(); SELECT vf_resume()');
is( sql($new, q{SELECT outcome FROM vf_undo_purge('undoable')}),
	'restored', 'adopted, an undo window of before is still open');
sql($new, q{UPDATE vf_outbox SET not_before = NULL, next_attempt_at = now()});
$peer->grow_old(1000);
$peer->put('voiceframe', 'temp_photos/fresh');
queue($new, 'temp_photos/fresh');
drain($new);
is(scalar($peer->sent) > $sent, 1, 'adopted, it drains');
is( sql($new, q{SELECT count(*) FROM vf_outbox
		WHERE state IN ('waiting', 'claimed')}),
	'0', 'P4: and what waited before the upgrade is gone');
is(sql($new, "SELECT max(generation) > $generation FROM vf_bucket"),
	't', 'P8: the lease goes on from where it was');
$new->stop;
done_testing();
