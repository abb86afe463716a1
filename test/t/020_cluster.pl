# 020_cluster.pl: living in a cluster.  A database that is wanted for DROP,
# RENAME or TEMPLATE is left at once, whatever the worker is doing; a server
# without a process to spare says so, and works all the same; what is cut off
# by a timeout or a cancel is cut off whole (P2, P4, P10); and tables may be
# rewritten under a purge and a drain (P1, P6).

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'cluster',
	store => $peer,
	conf => "voiceframe.naptime = 3600\nvoiceframe.databases = 'none'\n"
	  . "voiceframe.purge_batch_size = 10\n"
	  . "voiceframe.purge_brake_rows = 100000\n");
my $hold = { hold => JSON::PP::true, match => { query => 'delete' } };
my $round = 0;

sub fresh_keys
{
	my ($n) = @_;
	$round++;
	return map { "temp_photos/$round/$_" } 1 .. $n;
}

sub set
{
	my ($name, $value) = @_;
	sql($node, "ALTER SYSTEM SET voiceframe.$name = $value", 'postgres');
	sql($node, 'SELECT pg_reload_conf()', 'postgres');
	wait_for(sub { sql($node, "SELECT setting FROM pg_settings
			WHERE name = 'voiceframe.$name'", 'postgres') eq $value },
		'the setting');
	return;
}

# ---- the database is wanted

sub new_database
{
	my ($db) = @_;
	sql($node, "CREATE DATABASE $db", 'postgres');
	make_sample($node, n => 20, db => $db);
	put_live_keys($node, $peer, db => $db, bucket => "of-$db");
	configure($node, $peer, db => $db, bucket => "of-$db");
	purge($node, $db);
	drain($node, $db);
	return;
}

# The worker waits for the bucket, or it is in the middle of a long purge.
my %busy = (
	'a request hangs' => sub {
		my ($db) = @_;
		my @keys = fresh_keys(1);
		$peer->faults($hold);
		$peer->put("of-$db", @keys);
		add_due($node, { db => $db }, @keys);
		purge($node, $db);
		sql($node, 'SELECT vf_worker_start()', $db);
		$peer->ctl('wait-held', 1);
		return;
	},
	'a purge runs' => sub {
		my ($db) = @_;
		set('purge_rate', 10);
		add_due($node, { db => $db }, fresh_keys(400));
		sql($node, q{UPDATE vf_sweep SET full_at = NULL}, $db);
		sql($node, 'SELECT vf_worker_start()', $db);
		wait_for(
			sub {
				sql($node, q{SELECT EXISTS (SELECT FROM vf_run WHERE expired > 0
					AND outcome = 'running' AND caller = 'worker')}, $db) eq 't';
			},
			'the worker to purge');
		return;
	});

# The server itself gives up after five seconds, which is little on a machine
# with much to do.
sub try_thrice
{
	my ($statement) = @_;
	my ($ret, $said);
	foreach (1 .. 3)
	{
		($ret, $said) = VfTest::call($node, 'postgres', $statement);
		last if $ret == 0 || $said !~ /is being accessed by other users/;
	}
	return ($ret, $said);
}

sub check_wanted
{
	my ($db, $when, $statement) = @_;
	$busy{$when}->($db);
	my $begin = Time::HiRes::time();
	my ($ret, $said) = try_thrice($statement);
	cmp_ok(Time::HiRes::time() - $begin, '<', 12,
		"$statement does not wait long while $when");
	is($ret, 0, "P6: $statement works while $when") or diag($said);
	$peer->ctl('release');
	$peer->ctl('clear');
	set('purge_rate', 0);
	return;
}

my @dropped;
foreach my $when (sort(CORE::keys %busy))
{
	my $db = $when =~ /purge/ ? 'purging' : 'asking';
	new_database($db);
	check_wanted($db, $when, "CREATE DATABASE copy_of_$db TEMPLATE $db");
	check_wanted($db, $when, "ALTER DATABASE $db RENAME TO renamed");
	try_thrice("ALTER DATABASE renamed RENAME TO $db");
	age($node, $db);
	push @dropped,
	  sql($node, "SELECT oid FROM pg_database WHERE datname = '$db'");
	check_wanted($db, $when, "DROP DATABASE $db");
	try_thrice("DROP DATABASE copy_of_$db");
}

# ---- no process to spare

my $few = new_cluster(
	'few',
	store => $peer,
	conf => "max_worker_processes = 3\nvoiceframe.naptime = 3600\n"
	  . "voiceframe.databases = 'voiceframe, second'\n");
sql($few, 'CREATE DATABASE second', 'postgres');
$peer->mkbucket('of-second');
foreach my $db ('voiceframe', 'second')
{
	my $bucket = $db eq 'second' ? 'of-second' : 'voiceframe';
	make_sample($few, n => 20, db => $db);
	put_live_keys($few, $peer, db => $db, bucket => $bucket);
	configure($few, $peer, db => $db, bucket => $bucket);
}
# One for logical replication, one for the launcher: one is left.
my $log = -s $few->logfile;
$few->restart;
wait_for(
	sub { $few->log_contains('no process to spare for a worker', $log) },
	'the launcher to say that there is no process to spare');
pass('P10: the launcher says that there is no process to spare');
my ($has, $lacks) = ('voiceframe', 'second');
wait_for(sub { sql($few, 'SELECT count(*) FROM vf_workers') eq '1' },
	'one worker');
($has, $lacks) = ($lacks, $has)
  if sql($few, 'SELECT database FROM vf_workers') eq $lacks;
my ($ret, $said) = VfTest::call($few, $lacks, 'SELECT vf_worker_start()');
like($said, qr/no process to spare.*max_worker_processes.*CALL vf_drain/s,
	'P10: vf_worker_start() says so too');
my $bucket = $lacks eq 'second' ? 'of-second' : 'voiceframe';
purge($few, $lacks);
drain($few, $lacks);
is_deeply([ $peer->contents($bucket) ], [ live_keys($few, $lacks) ],
	'P4: work goes on by CALL');
sql($few, 'SELECT vf_worker_stop()', $has);
wait_for(
	sub { sql($few, 'SELECT database FROM vf_workers') eq $lacks },
	'the launcher to start the other worker', 30);
pass('the worker comes as soon as there is room');
$few->stop;

# ---- cut off

make_sample($node, n => 20);
put_live_keys($node, $peer);
configure($node, $peer);
purge($node);
drain($node);
sql($node, 'CREATE ROLE hasty SUPERUSER LOGIN');
my $paid = sql($node, 'SELECT count(*) FROM sessions');

# P2, P4: an object without a row is queued; a row has its object.
sub check_accounted
{
	my ($what) = @_;
	my %object = map { $_ => 1 } $peer->contents;
	my %row = map { $_ => 1 } live_keys($node);
	my %queued = map { $_ => 1 } split(/\n/,
		sql($node, q{SELECT key FROM vf_outbox_keys
			WHERE state IN ('waiting', 'claimed')}));
	is_deeply(
		{
			lost => [ grep { !$object{$_} } sort(CORE::keys %row) ],
			forgotten => [
				grep { !$row{$_} && !$queued{$_} } sort(CORE::keys %object)
			]
		},
		{ lost => [], forgotten => [] },
		"P2: rows and keys went together ($what)");
	return;
}

sub check_ended
{
	my ($what) = @_;
	purge($node);
	age($node);
	drain($node);
	check_accounted("$what, the end");
	is( sql($node, q{SELECT count(*) FROM vf_outbox
			WHERE state IN ('waiting', 'claimed')}),
		'0', "P4: no key waits for ever ($what)");
	is(sql($node, 'SELECT count(*) FROM sessions'),
		$paid, "P1: what was paid is there ($what)");
	is( sql($node, q{SELECT count(*) FROM vf_run WHERE outcome = 'running'}),
		'0', "P10: no run stays open ($what)");
	return;
}

# Rows that take their time.
sql($node, q{
	CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $f$
	BEGIN
		PERFORM pg_catalog.pg_sleep(0.01);
		RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
	END $f$});
my $slow = q{CREATE TRIGGER slow BEFORE INSERT OR DELETE ON sessions
	FOR EACH ROW EXECUTE FUNCTION slow()};

sub prepare_purge
{
	my @keys = fresh_keys(100);
	$peer->put('voiceframe', @keys);
	add_due($node, @keys);
	sql($node, $slow);
	return;
}

my %cut = (
	'CALL vf_purge()' => [ \&prepare_purge, 'CALL vf_purge(confirm => 1000)' ],
	'vf_purge_now()' =>
	  [ \&prepare_purge, 'SELECT vf_purge_now(confirm => 1000)' ],
	'vf_undo_purge()' => [
		sub {
			my @keys = fresh_keys(100);
			$peer->put('voiceframe', @keys);
			add_due($node, @keys);
			sql($node, q{SET voiceframe.undo_window = '1h';
				CALL vf_purge(confirm => 1000)});
			sql($node, $slow);
		},
		'SELECT vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs))'
	],
	'CALL vf_drain()' => [
		sub {
			my @keys = fresh_keys(3);
			$peer->put('voiceframe', @keys);
			queue($node, @keys);
			$peer->faults($hold);
		},
		'CALL vf_drain()'
	]);

sub as_role
{
	my ($statement) = @_;
	my ($ret, $out, $err) = $node->psql('voiceframe', $statement,
		extra_params => [ '-U', 'hasty' ]);
	return $out . $err;
}

my $late = qr/canceling statement due to statement timeout/;
my $asked = qr/canceling statement due to user request/;
my %ways = (
	'statement_timeout of the session' => [ $late, sub {
		my ($ret, $said) = VfTest::call($node, 'voiceframe',
			"SET statement_timeout = '400ms'; $_[0]");
		return $said;
	} ],
	'statement_timeout of the role' => [ $late, sub {
		sql($node, q{ALTER ROLE hasty SET statement_timeout = '400ms'});
		my $said = as_role($_[0]);
		sql($node, q{ALTER ROLE hasty RESET statement_timeout});
		return $said;
	} ],
	'statement_timeout of the database' => [ $late, sub {
		sql($node, q{ALTER DATABASE voiceframe
			SET statement_timeout = '400ms'}, 'postgres');
		my $said = as_role($_[0]);
		sql($node, 'ALTER DATABASE voiceframe RESET statement_timeout',
			'postgres');
		return $said;
	} ],
	# The session stays, and its run is closed all the same.
	'pg_cancel_backend()' => [ $asked, sub {
		our $open = session($node);
		my $pid = $open->ask('SELECT pg_backend_pid()') + 0;
		$open->tell($_[0]);
		$_[0] =~ /drain/ ? $peer->ctl('wait-held', 1) : wait_for(
			sub {
				sql($node, "SELECT backend_xid IS NOT NULL
					FROM pg_stat_activity WHERE pid = $pid") eq 't';
			},
			'it to be at work');
		sql($node, "SELECT pg_cancel_backend($pid)");
		return $open->ask('SELECT 1');
	} ]);

foreach my $call (sort(CORE::keys %cut))
{
	my ($prepare, $statement) = @{ $cut{$call} };
	foreach my $way (sort(CORE::keys %ways))
	{
		$prepare->();
		my ($expected, $run) = @{ $ways{$way} };
		like($run->($statement), $expected, "$call is cut off by $way");
		$peer->ctl('release');
		$peer->ctl('clear');
		sql($node, 'DROP TRIGGER IF EXISTS slow ON sessions');
		check_accounted("$call, $way");
		if ($call =~ /now|undo/)
		{
			my $rows = sql($node, "SELECT count(*) FROM sessions");
			is($rows - $paid, $call =~ /undo/ ? 0 : 100,
				"nothing is half done ($call, $way)");
		}
		sql($node, 'SELECT vf_undo_discard()');
		check_ended("$call, $way");
	}
}
is( sql($node, q{SELECT string_agg(DISTINCT kind || ' ' || outcome, ', ')
		FROM vf_run WHERE outcome NOT IN ('ok', 'idle')}),
	'drain interrupted, purge interrupted',
	'P10: what was cut off is on record');

# What was started by hand comes back, but not for ever into what is gone.
foreach my $oid (@dropped)
{
	wait_for(
		sub { $node->log_contains("worker gives up: database $oid") },
		'the worker of a dropped database to give up', 90);
	pass('P7: the worker of a dropped database gives up');
}

# ---- lock_timeout

my $locker = session($node);
foreach my $table (qw(sessions vf_outbox))
{
	foreach my $call (sort(CORE::keys %cut))
	{
		my ($prepare, $statement) = @{ $cut{$call} };
		$prepare->();
		$peer->ctl('clear');
		sql($node, 'DROP TRIGGER IF EXISTS slow ON sessions');
		$locker->ask("BEGIN; LOCK TABLE $table IN ACCESS EXCLUSIVE MODE");
		# Whether it is refused or put off, it comes to an end.
		($ret, $said) = VfTest::call($node, 'voiceframe',
			"SET lock_timeout = '300ms'; SET statement_timeout = '60s';
			$statement");
		unlike($said, qr/statement timeout/,
			"$call comes to an end while $table is locked");
		$locker->ask('ROLLBACK');
		check_accounted("$call, $table locked");
		sql($node, 'SELECT vf_undo_discard()');
		check_ended("$call, $table locked");
	}
}

# ---- a worker is told to cancel

sql($node, 'SELECT vf_worker_start()');
my $pid = wait_for(
	sub { sql($node, q{SELECT pid FROM vf_workers WHERE state = 'idle'}) },
	'the worker');
sql($node, "SELECT pg_cancel_backend($pid)");
my @keys = fresh_keys(1);
$peer->put('voiceframe', @keys);
queue($node, @keys);
wait_for(sub { !grep { $_ eq $keys[0] } $peer->contents }, 'it to drain');
is(sql($node, 'SELECT pid FROM vf_workers'),
	$pid, 'P6: an idle worker has nothing to cancel, and goes on');
sql($node, 'SELECT vf_worker_stop()');

# ---- tables are rewritten meanwhile

my @rewrites = map { ("VACUUM FULL $_", "REINDEX TABLE $_", "ANALYZE $_") }
  qw(sessions orders vf_outbox vf_run vf_bucket vf_source vf_sweep vf_put_off
  vf_undo_batch vf_undo vf_hold vf_pace vf_lookup);
push @rewrites, 'CLUSTER sessions USING sessions_pkey',
  'CLUSTER vf_outbox USING vf_outbox_pkey';
my $rewriting = '';
my $rewriter = IPC::Run::start(
	[ 'bash', '-c',
		'while :; do for s; do psql -XAtq -d "$CONNECT" -c "$s"; done; done',
		'rewrite', @rewrites ],
	'<', \undef, '>&', \$rewriting,
	init => sub { $ENV{CONNECT} = $node->connstr('voiceframe') });
foreach my $n (1 .. 6)
{
	my $undo = $n % 2 ? '1h' : '0';
	my @due = fresh_keys(200);
	$peer->put('voiceframe', @due);
	add_due($node, @due);
	($ret, $said) = VfTest::call($node, 'voiceframe',
		"SET voiceframe.undo_window = '$undo';
		CALL vf_purge(confirm => 1000)");
	is($ret, 0, "P6: a purge goes on while tables are rewritten ($n)")
	  or diag($said);
	($ret, $said) = VfTest::call($node, 'voiceframe', 'CALL vf_drain()');
	is($ret, 0, "P6: a drain goes on while tables are rewritten ($n)")
	  or diag($said);
}
$rewriter->kill_kill;
is(join(' ', $rewriting =~ /ERROR:  (.*)/g),
	'', 'and nothing fails the other way round');
check_accounted('tables rewritten');
sql($node, 'SELECT vf_undo_discard()');
check_ended('tables rewritten');

$node->stop;
done_testing();
