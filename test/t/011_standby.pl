# 011_standby.pl: a standby deletes nothing and says so; promoted, its worker
# starts and takes over what waits.  And a server without preloading: no
# worker until a person starts one, and none after a restart.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $primary = new_cluster(
	'primary',
	store => $peer,
	allows_streaming => 1,
	conf => "voiceframe.naptime = 1\n");
make_sample($primary, n => 20);
put_live_keys($primary, $peer);
configure($primary, $peer);
sql($primary, 'SELECT vf_resume()');
wait_for(
	sub {
		sql($primary, q{SELECT count(*) FROM vf_run
			WHERE kind = 'drain' AND outcome = 'ok'}) > 0;
	},
	'the primary to purge and drain', 90);
sql($primary, q{SELECT vf_pause('fail-over')});

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
add_due($primary, 'temp_photos/fresh');
$peer->put('voiceframe', 'temp_photos/fresh');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

foreach my $call (
	'CALL vf_purge()', 'SELECT vf_purge_now()', 'CALL vf_drain()')
{
	my ($ret, $said) = VfTest::call($standby, 'voiceframe', $call);
	like($said, qr/ERROR: .*(standby|recovery)/,
		"P8: $call is refused on a standby, and says why");
	unlike($said, qr/TRAP|server closed/, 'and harms nothing');
}
is(sql($standby, 'SELECT count(*) FROM vf_workers'),
	'0', 'P8: no worker runs on a standby');
is( sql($standby, q{SELECT count(*) FROM vf_alerts}) > 10,
	1, 'P10: vf_alerts can be read there');
foreach my $view (qw(vf_stats vf_outbox_stats vf_runs vf_session_counts
	vf_storage_by_type vf_config vf_dead_letters))
{
	my ($ret, $said) =
	  VfTest::call($standby, 'voiceframe', "SELECT * FROM $view");
	is($ret, 0, "P10: $view can be read there") or diag($said);
}

# Fail-over.

$primary->stop('immediate');
# Nobody gave the lease back.
$peer->grow_old(1000);
$standby->promote;
sql($standby, 'SELECT vf_resume()');
$peer->put('voiceframe', 'temp_photos/promoted');
queue($standby, 'temp_photos/promoted');
wait_for(sub { sql($standby, 'SELECT count(*) FROM vf_workers') eq '1' },
	'the worker of the promoted server', 90);
wait_for(sub { !grep { /promoted/ } $peer->contents },
	'the promoted server to drain');
is_deeply([ $peer->contents ], [ live_keys($standby) ],
	'P4: the bucket holds what live rows reference');
$standby->stop;

# Without preloading.

my $plain = new_cluster('plain', store => $peer, preload => 0);
make_sample($plain, n => 20);
configure($plain, $peer);
is(sql($plain, 'SELECT count(*) FROM vf_workers'),
	'0', 'without preloading there is no worker');
my $key = 'temp_photos/plain';
$peer->put('voiceframe', $key, live_keys($plain));
queue($plain, $key);
is( sql($plain, q{SELECT value FROM vf_stats WHERE item = 'worker'}),
	'none', 'P10: vf_stats says so');
like(sql($plain, 'SELECT vf_worker_start()'),
	qr/^\d+$/, 'a person can start it');
wait_for(sub { !grep { $_ eq $key } $peer->contents }, 'it to drain');
is(sql($plain, 'SELECT vf_worker_start() = (SELECT pid FROM vf_workers)'),
	't', 'started again it is the same');
$plain->restart;
is(sql($plain, 'SELECT count(*) FROM vf_workers'),
	'0', 'after a restart there is none');

done_testing();
