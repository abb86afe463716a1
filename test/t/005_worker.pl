# 005_worker.pl: the life of a worker.  It starts by itself and waits for a
# person; purges every naptime and drains at commit; can be paused, stopped
# and started; holds nothing while a request travels (P5); keeps neither the
# server from stopping nor a database from being dropped, renamed or copied;
# and outlives what happens to its tables, its extension and its server (P6).

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'worker',
	store => $peer,
	conf => "restart_after_crash = on\nvoiceframe.naptime = 1\n"
	  . "voiceframe.databases = 'voiceframe, second'\n");
make_sample($node, n => 20);
put_live_keys($node, $peer);
my $hold = { hold => JSON::PP::true, match => { query => 'delete' } };

sub worker
{
	my ($db) = @_;
	$db //= 'voiceframe';
	return sql($node,
		"SELECT pid FROM vf_workers WHERE database = '$db' AND pid > 0");
}

sub wait_worker
{
	my ($what) = @_;
	return wait_for(sub { worker() }, "the worker $what", 90);
}

sub due
{
	return sql($node, q{SELECT coalesce(sum(sessions), 0)
		FROM vf_purge_preview() WHERE rule IN ('expired', 'unpaid')});
}

sub wait_gone
{
	my ($key) = @_;
	return wait_for(
		sub { !grep { $_ eq $key } $peer->contents },
		"the object $key to go");
}

sub runs_by_worker
{
	return sql($node, q{SELECT coalesce(sum(1 + repeats), 0) FROM vf_run
		WHERE caller = 'worker' AND kind = 'purge'});
}

sub set_naptime
{
	my ($naptime) = @_;
	sql($node, "ALTER SYSTEM SET voiceframe.naptime = $naptime");
	sql($node, 'SELECT pg_reload_conf()');
	return;
}

sub took
{
	my ($work) = @_;
	my $begin = Time::HiRes::time();
	$work->();
	return Time::HiRes::time() - $begin;
}

# It starts by itself where the extension is, and deletes nothing until a
# person has.

configure($node, $peer);
wait_worker('to start by itself');
pass('it starts by itself');
wait_for(sub { sql($node, 'SELECT state FROM vf_workers') eq 'waiting' },
	'it to look around');
cmp_ok(due(), '>', 0, 'sessions are due');
is(runs_by_worker(), 0, 'P8: it purges nothing before a person has');
is( sql($node, q{SELECT value FROM vf_config
		WHERE item = 'worker may purge since'}),
	'not yet: purge once, or vf_resume()', 'P10: vf_config says so');
sql($node, 'SELECT vf_resume()');
wait_for(sub { due() eq '0' }, 'the worker to purge');
wait_for(sub {
		"@{[ sort $peer->contents ]}" eq "@{[ live_keys($node) ]}" },
	'the worker to drain');
pass('then it purges and drains');

# Every naptime, and at commit: the poll alone would take 10 s.

my $runs = runs_by_worker();
wait_for(sub { runs_by_worker() >= $runs + 3 }, 'three purges');
pass('it purges every naptime');

# However often it comes round: what the brake stops stays, and one record
# counts on.
sql($node, $_) foreach 'SELECT vf_worker_stop()',
  'ALTER SYSTEM SET voiceframe.purge_brake_rows = 0',
  'ALTER SYSTEM SET voiceframe.purge_brake_percent = 0',
  'SELECT pg_reload_conf()';
add_due($node, 'temp_photos/braked1', 'temp_photos/braked2');
sql($node, q{UPDATE sessions SET expires_at = now() AT TIME ZONE 'UTC'
	WHERE photo_s3_key LIKE '%braked%'});
my $braked = q{SELECT coalesce(sum(1 + repeats), 0) FROM vf_run
	WHERE caller = 'worker' AND outcome = 'brake'};
foreach my $time (1 .. 3)
{
	my $before = sql($node, $braked);
	sql($node, 'SELECT vf_worker_start()');
	wait_for(sub { sql($node, $braked) > $before }, 'the brake', 90);
	sql($node, 'SELECT vf_worker_stop()');
}
is(due(), 2, 'P6: a short naptime gets nothing past the brake');
is( sql($node, q{SELECT count(*) FROM vf_run WHERE outcome = 'brake'}),
	1, 'P7: refusals count on in one record');
sql($node, $_) foreach 'ALTER SYSTEM RESET voiceframe.purge_brake_rows',
  'ALTER SYSTEM RESET voiceframe.purge_brake_percent',
  'SELECT pg_reload_conf()', 'SELECT vf_worker_start()';
wait_for(sub { due() == 0 }, 'the two sessions to go');
set_naptime(3600);
wait_for(sub {
		$runs = runs_by_worker();
		sql($node, 'SELECT pg_sleep(1.5)');
		runs_by_worker() == $runs;
	}, 'the naptime to be long');
foreach my $round (1 .. 3)
{
	my $key = "temp_photos/wake$round";
	$peer->put('voiceframe', $key);
	add_due($node, $key);
	cmp_ok(took(sub { purge($node); wait_gone($key) }),
		'<', 4, 'it drains when a commit queued keys');
}

# While a request travels nothing is held (P5).

sub held_by
{
	my ($query) = @_;
	return sql($node, qq{
		SELECT coalesce(string_agg(DISTINCT l.locktype, ' '), 'none'),
			bool_or(a.backend_xmin IS NOT NULL),
			bool_or(a.backend_xid IS NOT NULL)
		FROM pg_stat_activity a LEFT JOIN pg_locks l USING (pid)
		WHERE $query});
}

sub check_holds_nothing
{
	my ($who, $query) = @_;
	$peer->ctl('wait-held', 1);
	like(held_by($query), qr/^(none|virtualxid)\|f\|f$/,
		"P5: no lock, snapshot or transaction during a request ($who)");
	my ($ret, $said) = VfTest::call($node, 'voiceframe', q{
		SET lock_timeout = '2s';
		BEGIN; LOCK sessions, orders, vf_outbox, vf_bucket, vf_run; ROLLBACK});
	is($ret, 0, "P5: every table can be locked meanwhile ($who)");
	return;
}

$peer->faults($hold);
queue($node, 'temp_photos/hold1');
check_holds_nothing('worker', 'a.pid = ' . worker());
is( sql($node, 'SELECT state, keys_in_flight FROM vf_workers'),
	'draining|1', 'P10: vf_workers tells what it does');

# Stopped in mid-request, at once.  The lease stays.
cmp_ok(took(sub { is(sql($node, 'SELECT vf_worker_stop()'),
			't', 'vf_worker_stop() stops it') }),
	'<', 3, 'at once, in mid-request');
is(worker(), '', 'it is gone');
$peer->ctl('release');
is( sql($node, 'SELECT state, nkeys FROM vf_outbox'),
	'claimed|1', 'P4: what was in flight stays leased');
age($node);
$peer->faults($hold);
my $drain = held_drain($node);
check_holds_nothing('CALL vf_drain()', q{a.query LIKE 'CALL vf_drain%'});
$peer->ctl('release');
like($drain->finish, qr/1 keys confirmed/, 'CALL vf_drain() goes on');
like(sql($node, 'SELECT vf_worker_start()'), qr/^\d+$/,
	'vf_worker_start() starts it again');
wait_worker('after vf_worker_start()');

# The wire of a probe by HEAD holds nothing either.
$peer->faults({ hold => JSON::PP::true, match => { verb => 'HEAD' } });
configure($node, $peer);
queue($node, 'temp_photos/hold2');
check_holds_nothing('probe', 'a.pid = ' . worker());
$peer->ctl('release');

# Paused.

set_naptime(1);
$runs = runs_by_worker();
wait_for(sub { runs_by_worker() > $runs }, 'the naptime to be short again');
sql($node, q{SELECT vf_pause('moving the bucket')});
add_due($node, 'temp_photos/paused');
$peer->put('voiceframe', 'temp_photos/paused');
wait_for(sub { sql($node, 'SELECT state FROM vf_workers') eq 'waiting' },
	'it to notice the pause');
is( sql($node, q{SELECT firing, value FROM vf_alerts
		WHERE alert = 'paused'}),
	't|moving the bucket', 'P10: a pause is an alert');
foreach my $call ('CALL vf_purge()', 'SELECT vf_purge_now()')
{
	my ($ret, $said) = VfTest::call($node, 'voiceframe', $call);
	like($said, qr/paused.*moving the bucket.*vf_resume\(\)/s,
		"P10: $call refuses with the reason");
}
is(due(), '1', 'nothing is purged');
sql($node, 'SELECT vf_resume()');
purge($node);
wait_gone('temp_photos/paused');

# The server stops though a peer never answers; and starts again.

$peer->faults({ times => 0, stall => JSON::PP::true });
queue($node, 'temp_photos/stall');
$peer->ctl('wait-held', 1);
cmp_ok(took(sub { $node->stop('fast') }),
	'<', 5, 'P5: a peer that never answers does not hold up a fast stop');
$peer->ctl('clear');
# Its lease could not be given back either.
$peer->grow_old(1000);
$node->start;
is( sql($node, q{SELECT state, nkeys FROM vf_outbox
		WHERE state <> 'cancelled'}),
	'claimed|1', 'P4: what was in flight is still there');
age($node);
wait_worker('after a restart');
sql($node, 'SELECT vf_resume()');
wait_for(sub { sql($node, 'SELECT count(*) FROM vf_outbox
		WHERE state <> $$cancelled$$') eq '0' }, 'the outbox to be empty');
pass('P4: what was in flight goes after the restart');

$peer->faults($hold);
queue($node, 'temp_photos/crash');
$peer->ctl('wait-held', 1);
$node->stop('immediate');
$peer->ctl('release');
$peer->grow_old(1000);
$node->start;
is( sql($node, q{SELECT state, nkeys FROM vf_outbox
		WHERE state <> 'cancelled'}),
	'claimed|1', 'P4: what was in flight is still there');
age($node);
wait_worker('after an immediate stop');
sql($node, 'SELECT vf_resume()');
wait_for(sub { sql($node, 'SELECT count(*) FROM vf_outbox
		WHERE state <> $$cancelled$$') eq '0' }, 'the outbox to be empty');
pass('P4: also after an immediate stop');

# A table goes while it works: it tells, and lives.

my $pid = worker();
sql($node, 'ALTER TABLE orders RENAME TO bestellungen;
	CREATE TABLE orders (LIKE bestellungen)');
wait_for(sub {
		sql($node, q{SELECT firing FROM vf_alerts
			WHERE alert = 'purge_failed'}) eq 't' },
	'the failure to be told');
like(
	sql($node, q{SELECT value FROM vf_alerts WHERE alert = 'registration'}),
	qr/orders/, 'P10: a table that is another one is an alert');
is(worker(), $pid, 'P6: the worker lives');
sql($node, 'DROP TABLE orders; ALTER TABLE bestellungen RENAME TO orders');
$peer->put('voiceframe', 'temp_photos/after');
queue($node, 'temp_photos/after');
wait_gone('temp_photos/after');
is(worker(), $pid, 'P6: and goes on when the table is back');

# The database is wanted: it leaves by itself, in mid-request too.

sub check_database
{
	my ($statement, $what) = @_;
	my ($ret, $said);
	cmp_ok(
		took(sub {
				($ret, $said) = VfTest::call($node, 'postgres', $statement);
			}),
		'<', 8, "$what does not wait long");
	is($ret, 0, "$what works without FORCE") or diag($said);
	return;
}

check_database('CREATE DATABASE copy TEMPLATE voiceframe',
	'CREATE DATABASE TEMPLATE');
sql($node, 'SELECT vf_worker_start()');
$peer->faults($hold);
queue($node, 'temp_photos/rename');
$peer->ctl('wait-held', 1);
check_database('ALTER DATABASE voiceframe RENAME TO second',
	'ALTER DATABASE RENAME, in mid-request,');
$peer->ctl('release');
sql($node, 'SELECT vf_worker_start()', 'second');
check_database('ALTER DATABASE second RENAME TO voiceframe',
	'ALTER DATABASE RENAME');
sql($node, 'SELECT vf_worker_start()');
age($node);
sql($node, 'SELECT vf_resume()');
wait_for(sub { sql($node, 'SELECT count(*) FROM vf_outbox
		WHERE state <> $$cancelled$$') eq '0' }, 'the outbox to be empty');
pass('P8: a database with another name is the same database');

# DROP EXTENSION is refused while keys wait; then the worker leaves for good.

sql($node, q{SELECT vf_pause('to let keys wait')});
sql($node, q{INSERT INTO vf_outbox (run_id, keys, nkeys)
	VALUES (0, '{temp_photos/x}', 1)});
my ($ret, $said) =
  VfTest::call($node, 'voiceframe', 'DROP EXTENSION voiceframe_retention');
like($said, qr/1 keys still wait.*discard => true/s,
	'P4: DROP EXTENSION is refused while keys wait');
sql($node, 'SELECT vf_unconfigure(discard => true)');
$pid = worker();
my $log = -s $node->logfile;
sql($node, q{SET lock_timeout = '10s'; DROP EXTENSION voiceframe_retention});
wait_for(sub { !kill(0, $pid) }, 'the worker to leave');
ok(1, 'DROP EXTENSION works while the worker runs');
ok( !$node->log_contains('worker" \(PID \d+\) exited with exit code 1', $log),
	'it does not come back, and leaves no failure in the log');
check_database('DROP DATABASE copy', 'DROP DATABASE');

$node->stop;
done_testing();
