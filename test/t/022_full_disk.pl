# 022_full_disk.pl: no room on the disk, for a purge, an undo and a drain.  The
# batch rolls back, rows and keys alike (P2); no object goes for a row that
# stays (P3); the run is on record (P10); and with room again all goes on as
# if nothing had been (P4).  The disk is full for one server alone: a library
# in front of its C library says so (test/fault/full_disk.c).

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $flag = "$dir/full";
system('gcc', '-O', '-Wall', '-Werror', '-shared', '-fPIC', '-o',
	"$dir/full_disk.so", "$VfTest::root/fault/full_disk.c", '-ldl') == 0
  or die 'could not build full_disk.so';
local $ENV{LD_PRELOAD} = "$dir/full_disk.so";
local $ENV{VF_FULL_DISK} = $flag;
my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'full',
	store => $peer,
	conf => "voiceframe.naptime = 1\nvoiceframe.databases = 'none'\n"
	  . "voiceframe.purge_batch_size = 100\n"
	  . "voiceframe.purge_brake_rows = 100000\nautovacuum = off\n");
delete $ENV{LD_PRELOAD};
make_sample($node, n => 20);
put_live_keys($node, $peer);
configure($node, $peer);
purge($node);
drain($node);
my $paid = sql($node, 'SELECT count(*) FROM sessions');
my $round = 0;

sub fill_disk
{
	append_to_file($flag, '');
	return;
}

sub make_room
{
	unlink $flag or die "$flag: $!";
	return;
}

# Keys that do not compress, so that each batch needs pages of its own.
sub add
{
	my ($n) = @_;
	$round++;
	my @keys = map {
		"temp_photos/$round/$_/" . join('',
			map { sprintf('%08x', int(rand(2**32))) } 1 .. 12)
	} 1 .. $n;
	$peer->put('voiceframe', @keys);
	add_due($node, @keys);
	return @keys;
}

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
			lost => scalar(grep { !$object{$_} } CORE::keys %row),
			forgotten => scalar(
				grep { !$row{$_} && !$queued{$_} } CORE::keys %object)
		},
		{ lost => 0, forgotten => 0 },
		"P2: rows and keys went together ($what)");
	return;
}

sub check_full
{
	my ($statement, $what) = @_;
	my ($ret, $said) = VfTest::call($node, 'voiceframe', $statement);
	like($said, qr/ERROR:  could not extend file.*No space left on device/,
		"the disk is full ($what)");
	return;
}

sub check_goes_on
{
	my ($what) = @_;
	purge($node);
	age($node);
	drain($node);
	check_accounted("$what, with room again");
	is( sql($node, q{SELECT (SELECT count(*) FROM vf_outbox
			WHERE state IN ('waiting', 'claimed')),
			(SELECT count(*) FROM vf_run WHERE outcome = 'running')}),
		'0|0', "P4, P10: nothing waits, no run stays open ($what)");
	is(sql($node, 'SELECT count(*) FROM sessions'),
		$paid, "P1: who paid is there ($what)");
	return;
}

sub outcomes
{
	my ($kind) = @_;
	return sql($node, "SELECT outcome FROM vf_run WHERE kind = '$kind'
		AND outcome NOT IN ('ok', 'idle') ORDER BY id DESC LIMIT 1");
}

# ---- a purge: from its first batch on, and in the middle

add(1000);
fill_disk();
check_full('CALL vf_purge(confirm => 10000)', 'CALL vf_purge()');
check_accounted('CALL vf_purge()');
check_full('SELECT vf_purge_now(confirm => 10000)', 'vf_purge_now()');
check_accounted('vf_purge_now()');
make_room();
check_goes_on('purge');
like(outcomes('purge'), qr/^(interrupted|failed)$/,
	'P10: what was cut off is on record');

add(1000);
my $purge = session($node);
$purge->ask('SET voiceframe.purge_rate = 500');
$purge->tell('CALL vf_purge(confirm => 10000)');
wait_for(
	sub {
		sql($node, q{SELECT EXISTS (SELECT FROM vf_run
			WHERE outcome = 'running' AND expired > 0)}) eq 't';
	},
	'some batches');
fill_disk();
like($purge->ask('SELECT 1'), qr/No space left on device/,
	'the disk is full in the middle of a purge');
my $left = sql($node, 'SELECT count(*) FROM sessions') - $paid;
cmp_ok($left, '<', 1000, 'some batches had room');
cmp_ok($left, '>', 0, 'others had not');
check_accounted('in the middle');
make_room();
check_goes_on('in the middle');

# ---- with an undo window, and an undo

add(1000);
fill_disk();
check_full(q{SET voiceframe.undo_window = '1h';
	CALL vf_purge(confirm => 10000)}, 'keeping rows for undo');
check_accounted('keeping rows for undo');
make_room();
sql($node, q{SET voiceframe.undo_window = '1h';
	CALL vf_purge(confirm => 10000)});
sql($node, 'VACUUM FULL sessions');
fill_disk();
check_full('SELECT vf_undo_purge((SELECT max(run_id) FROM vf_undo_runs))',
	'vf_undo_purge()');
is(sql($node, 'SELECT count(*) FROM sessions'),
	$paid, 'nothing is half undone');
check_accounted('vf_undo_purge()');
make_room();
is( sql($node, q{SELECT count(*) FROM vf_undo_purge(
		(SELECT max(run_id) FROM vf_undo_runs)) WHERE outcome = 'restored'}),
	'1000', 'with room again all are put back');
sql($node, 'DELETE FROM vf_hold');
check_goes_on('undo');

# ---- a drain: when it claims, and when it writes down what the bucket said

# Many entries in full pages, and a reader who needs what they were before.
add(3000);
purge($node);
sql($node, q{INSERT INTO vf_outbox (run_id, endpoint, bucket, keys, nkeys)
	SELECT run_id, endpoint, bucket, ARRAY[key], 1
	FROM vf_outbox o, unnest(o.keys) key WHERE state = 'waiting';
	DELETE FROM vf_outbox WHERE nkeys > 1});
sql($node, 'VACUUM FULL vf_outbox');
my $reader = session($node);
$reader->ask('BEGIN ISOLATION LEVEL REPEATABLE READ');
$reader->ask('SELECT count(*) FROM vf_outbox');
fill_disk();
check_full('CALL vf_drain()', 'a drain that claims');
check_accounted('a drain that claims');
make_room();
$reader->ask('COMMIT');
check_goes_on('a drain that claims');

# Half of the keys fail: they have to be written anew.
add(3000);
purge($node);
$peer->faults({
	hold => JSON::PP::true, times => 0, match => { query => 'delete' },
	key_errors => { map { ("temp_photos/$round/$_" => 'InternalError') } 1 .. 4 }
});
my $drain = held_drain($node);
$peer->ctl('wait-held', 1);
sql($node, 'VACUUM FULL vf_run');
fill_disk();
$peer->ctl('release');
like($drain->finish, qr/No space left on device/,
	'the disk is full when a drain settles');
check_accounted('a drain that settles');
$peer->ctl('clear');
make_room();
check_goes_on('a drain that settles');
like(outcomes('drain'), qr/^(interrupted|failed)$/,
	'P10: what was cut off is on record');

# ---- the worker goes on by itself

add(1000);
sql($node, 'VACUUM FULL vf_outbox');
sql($node, 'UPDATE vf_sweep SET full_at = NULL');
fill_disk();
sql($node, 'SELECT vf_worker_start()');
my $pid = wait_for(sub { sql($node, 'SELECT pid FROM vf_workers') },
	'the worker');
wait_for(sub { sql($node, 'SELECT errors > 0 FROM vf_workers') eq 't' },
	'the worker to meet the full disk');
check_accounted('the worker');
make_room();
wait_for(
	sub { sql($node, 'SELECT count(*) FROM sessions') eq $paid },
	'the worker to go on', 120);
is(sql($node, 'SELECT pid FROM vf_workers'), $pid, 'P6: the worker lives');
sql($node, 'SELECT vf_worker_stop()');
check_goes_on('the worker');

$node->stop;
done_testing();
