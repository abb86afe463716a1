# 017_identity.pl: a copy is harmless, also one that has the same system
# identifier and database (P8).  Copies of a data directory contend for the
# lease in the bucket's marker: one drains, the others wait and say for whom;
# a copy that lacks history which the bucket knows of stops all that deletes,
# until vf_adopt().  Each way to come by a copy, with real servers.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $conf = "voiceframe.naptime = 1\nvoiceframe.databases = voiceframe\n";
my $round = 0;

# A key that waits in this server; its object is in the bucket.
sub queue_one
{
	my ($node, $db) = @_;
	my $key = 'temp_photos/identity' . ++$round;
	$peer->put('voiceframe', $key);
	add_due($node, $db ? { db => $db } : (), $key);
	purge($node, $db);
	return $key;
}

sub is_there
{
	my ($key) = @_;
	return scalar(grep { $_ eq $key } $peer->contents);
}

sub check_goes
{
	my ($node, $what, $db) = @_;
	my $key = queue_one($node, $db);
	age($node, $db);
	drain($node, $db);
	is(is_there($key), 0, "P8: it drains ($what)");
	is( sql($node, q{SELECT firing FROM vf_alerts WHERE alert = 'lease'},
			$db),
		'f', "P10: no alert ($what)");
	return;
}

# Somebody else has the lease: nothing is sent, and all is told.
sub check_held
{
	my ($node, $host, $what, $db) = @_;
	my $key = queue_one($node, $db);
	my $sent = $peer->sent;
	my $before = $peer->marker;
	age($node, $db);
	like(drain($node, $db), qr/ 0 keys confirmed gone/,
		"P8: it does not drain ($what)");
	is(scalar($peer->sent), $sent, "P8: nothing is sent ($what)");
	is_deeply($peer->marker, $before, "P8: the marker stays ($what)");
	is( sql($node, q{SELECT state, error FROM vf_outbox_stats
			WHERE waiting > 0}, $db),
		'held|LeaseHeldElsewhere', "P10: vf_outbox_stats tells ($what)");
	like(
		sql($node, q{SELECT firing, value, what_to_do FROM vf_alerts
			WHERE alert = 'lease'}, $db),
		qr/^t\|voiceframe: host $host \(server start $before->{start}, database \d+\) holds the lease; its last heartbeat is \d+ s old\|Look which/,
		"P10: the alert says who, and what to do ($what)");
	is( sql($node, q{SELECT firing FROM vf_alerts WHERE alert = 'bucket'},
			$db),
		'f', "P10: the bucket itself is well ($what)");
	my $wait = sql($node, q{SELECT extract(epoch FROM next_attempt_at - now())
		FROM vf_bucket WHERE is_current}, $db);
	ok($wait > 20 && $wait <= 60, "P8: it looks again soon ($what)");
	return $key;
}

sub check_lost
{
	my ($node, $what) = @_;
	my $key = queue_one($node);
	my $sent = $peer->sent;
	age($node);
	my ($ret, $said) = VfTest::call($node, 'voiceframe', 'CALL vf_drain()');
	like($said,
		qr/ERROR: .*lost history.*marker has generation \d+, this database only \d+.*vf_adopt/s,
		"P8: the drain stops ($what)");
	foreach my $call ('CALL vf_purge()', 'SELECT vf_purge_now()',
		'CALL vf_drain()')
	{
		age($node);
		(undef, $said) = VfTest::call($node, 'voiceframe',
			"\\set VERBOSITY verbose\n$call");
		like($said, qr/ERROR:  VR003: .*vf_adopt/s,
			"P8: $call refuses ($what)");
	}
	is(scalar($peer->sent), $sent, "P8: nothing is sent ($what)");
	is( sql($node, q{SELECT string_agg(alert, ' ' ORDER BY alert)
			FROM vf_alerts WHERE firing AND alert IN ('lease', 'registration')
				AND value ~ 'history|generation'}),
		'lease registration', "P10: alerts tell ($what)");
	return $key;
}

sub check_adopted
{
	my ($node, $what, @keys) = @_;
	sql($node, 'SELECT vf_adopt()');
	check_goes($node, "adopted, $what");
	is(join(' ', grep { is_there($_) } @keys),
		'', "P8: what waited goes ($what)");
	return;
}

# A heartbeat past the minute, so that the generation rises.
sub beat
{
	my ($node) = @_;
	my $before = $peer->marker->{generation};
	$peer->grow_old(100);
	queue_one($node);
	age($node);
	drain($node);
	cmp_ok($peer->marker->{generation}, '>', $before, 'the generation rises');
	is( $peer->marker->{generation},
		sql($node, 'SELECT generation FROM vf_bucket WHERE is_current'),
		'in the database as well');
	return;
}

sub host
{
	chomp(my $name = `uname -n`);
	return quotemeta $name;
}

# The worker holds it, and gives it back when it stops.
sub hold_by_worker
{
	my ($node) = @_;
	sql($node, 'SELECT vf_worker_start(), vf_resume()');
	wait_for(
		sub {
			my $marker = $peer->marker;
			$marker && $marker->{released} eq 'no'
			  && sql($node, q{SELECT count(*) FROM vf_bucket
					WHERE generation = } . $marker->{generation}) eq '1';
		},
		'the worker to hold the lease');
	return;
}

sub copy_of
{
	my ($name, $from, $backup, %o) = @_;
	my $copy = PostgreSQL::Test::Cluster->new($name);
	$copy->init_from_backup($from, $backup, %o);
	$copy->{vf_credentials} = $from->{vf_credentials};
	return $copy;
}

my $node = new_cluster(
	'original',
	store => $peer,
	preload => 0,
	allows_streaming => 1,
	conf => $conf);
make_sample($node, n => 20);
put_live_keys($node, $peer);
configure($node, $peer);
purge($node);
is($peer->marker, undef, 'no marker before the first drain');
drain($node);
is( $peer->marker->{generation} . $peer->marker->{released},
	'1no', 'the first drain makes one');
is(sql($node, q{SELECT ok, detail FROM vf_s3_check() WHERE "check" = 'lease'}),
	't|this server holds it, generation 1', 'P10: vf_s3_check() tells');
beat($node);

# A container recreated on the same volume, under another host name.

my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/host.c", q{
#include <string.h>
int gethostname(char *name, size_t len);
int
gethostname(char *name, size_t len)
{
	strncpy(name, "recreated", len);
	return 0;
}
});
system('gcc', '-shared', '-fPIC', '-o', "$dir/host.so", "$dir/host.c") == 0
  or die 'gcc';

sub start_elsewhere
{
	my ($copy) = @_;
	local $ENV{LD_PRELOAD} = "$dir/host.so";
	$copy->start;
	return;
}

hold_by_worker($node);
my $start = $peer->marker->{start};
$node->stop('fast');
is($peer->marker->{released}, 'yes', 'P8: a clean stop gives the lease back');
start_elsewhere($node);
check_goes($node, 'recreated after a clean stop');
is($peer->marker->{host}, 'recreated', 'P10: the marker names the new host');
isnt($peer->marker->{start}, $start, 'P8: every start has its own id');

# The same after a crash: once the lease is stale.

$node->stop('immediate');
$node->start;
check_held($node, 'recreated', 'after a crash');
$peer->grow_old(1000);
check_goes($node, 'after a crash, stale');

# A crash of one process is no new start of the server.

sql($node, q{ALTER SYSTEM SET restart_after_crash = on});
sql($node, 'SELECT pg_reload_conf()');
my $victim = session($node);
my $log = -s $node->logfile;
kill 'KILL', $victim->ask('SELECT pg_backend_pid()') =~ s/\s//gr;
wait_for(sub { $node->log_contains('ready to accept connections', $log) },
	'the server to recover');
eval { $victim->quit };
check_goes($node, 'a process was killed');

# Another name is the same database.

$node->safe_psql('postgres', 'ALTER DATABASE voiceframe RENAME TO renamed');
check_goes($node, 'renamed', 'renamed');
$node->safe_psql('postgres', 'ALTER DATABASE renamed RENAME TO voiceframe');

# A clone beside its living original, by pg_basebackup.

$node->backup('base');
my $clone = copy_of('clone', $node, 'base');
start_elsewhere($clone);
my @waiting = check_held($clone, host(), 'a clone beside its original');
check_goes($node, 'the original goes on');
is( sql($clone, q{SELECT ok, cure <> '' FROM vf_s3_check()
		WHERE "check" = 'lease'}),
	'f|t', 'P10: vf_s3_check() in the clone finds it');

# Adopted, it still waits while the other lives.  Both remember that.
sql($clone, 'SELECT vf_adopt()');
push @waiting, check_held($clone, host(), 'adopted too early');
check_goes($node, 'the original goes on beside an adopted clone');
sql($clone, 'UPDATE vf_bucket SET adopted = false');

# The original leaves; it has gone further than the clone.
beat($node);
hold_by_worker($node);
$node->stop('fast');
push @waiting, check_lost($clone, 'a clone that was left behind');
check_adopted($clone, 'a clone that was left behind', @waiting);
hold_by_worker($clone);
sql($clone, 'SELECT vf_worker_stop()');
is($peer->marker->{released}, 'yes', 'P8: vf_worker_stop() gives it back');

# And the original, back again, is now the one that is behind.
$node->start;
check_adopted($node, 'an original that was replaced',
	check_lost($node, 'an original that was replaced'));
hold_by_worker($node);
$clone->stop('fast');

# A file copy with identical settings: a move, if the original has stopped.

$node->stop('fast');
$node->backup_fs_cold('cold');
my $moved = copy_of('moved', $node, 'cold');
start_elsewhere($moved);
check_goes($moved, 'a file copy in place of its original');
$node->start;
check_held($node, 'recreated', 'the original beside its file copy');
hold_by_worker($moved);
$moved->stop('fast');
check_adopted($node, 'back to the original',
	check_lost($node, 'back to the original'));

# A dump restored elsewhere, and a clone in the same server: the local check
# first; adopted while the original lives, the lease.

$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/all", 'voiceframe' ],
	'the database is dumped');
my $other = new_cluster('other', store => $peer, preload => 0, conf => $conf);
$other->command_ok([ 'pg_restore', '-d', 'voiceframe', "$dir/all" ],
	'and restored elsewhere');
$node->safe_psql('postgres', 'CREATE DATABASE twin TEMPLATE voiceframe');
foreach my $copy ([ $other, 'voiceframe', 'a dump' ], [ $node, 'twin', 'a twin' ])
{
	my ($where, $db, $what) = @$copy;
	my ($ret, $said) = VfTest::call($where, $db, 'CALL vf_purge()');
	like($said, qr/ERROR: .*is a copy.*vf_adopt\(\)/s,
		"P8: it refuses ($what)");
	sql($where, 'SELECT vf_adopt()', $db);
	check_held($where, host(), "$what, adopted beside its original", $db);
}
check_goes($node, 'the original goes on beside them');
$other->stop;

$node->stop;
done_testing();
