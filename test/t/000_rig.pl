# 000_rig.pl: the test rig itself works, so that a later failure is the
# extension's: a cluster starts, the strict peer is strict and keeps a journal
# and its objects, the real store stores, the sample data are what they claim.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

# The peer proves itself; its own lines would be counted as ours.
my ($out, $err) = run_command([ 'bash', "$VfTest::root/s3/selftest.sh" ]);
my @bad = grep { /^not ok/ } split(/\n/, $out);
is("@bad", '', 'the strict peer refuses what it has to');
like($out, qr/^0 failed$/m, 'its self-test ran to the end');
diag($err) if $err;

my $peer = start_peer('--region', 'us-east-2', '--bucket', 'b');
$peer->put('b', 'temp_photos/a.jpg', 'temp_photos/b.jpg');
$peer->restart;
is(join(' ', $peer->keys('b')),
	'temp_photos/a.jpg temp_photos/b.jpg',
	'a restarted peer has its objects');
$peer->faults({ status => 503, code => 'SlowDown' });
ok(!eval { $peer->keys('b'); 1 }, 'a fault is met');
like($@, qr/503 SlowDown/, 'and told');
my @after = $peer->journal('after');
is($after[-1]{code}, 'SlowDown', 'the journal has it');

my $node = new_cluster('rig', preload => 0);
make_sample($node, n => 100, traps => 1);
is( $node->safe_psql(
		'voiceframe',
		q{SELECT count(*), count(*) FILTER (WHERE length(session_token) = 43)
		  FROM sessions}),
	'110|100',
	'the sample has its sessions');

my $ceph = start_ceph();
put_live_keys($node, $ceph);
is_deeply(
	[ $ceph->keys('voiceframe') ],
	[ live_keys($node) ],
	'the real store holds every key of a row');
is( wait_for(sub { $ceph->keys('voiceframe') > 300 }, 'objects'),
	1, 'a condition is waited for');

done_testing();
