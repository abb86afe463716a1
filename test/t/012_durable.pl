# 012_durable.pl: what is gone from the bucket is gone from the table (P3), also
# where commits do not wait for the disk.  The server loses all that it has not
# flushed while a request is under way whose object the peer has deleted.

use strict;
use warnings;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'durable',
	store => $peer,
	preload => 0,
	conf => "synchronous_commit = off\nwal_writer_delay = 10s\n"
	  . "autovacuum = off\nbgwriter_lru_maxpages = 0\n"
	  . "voiceframe.purge_batch_size = 2\n");
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
configure($node, $peer);
purge($node);

my @keys = map { "temp_photos/$_" } 'a' .. 'e';
my $state = q{SELECT (SELECT count(*) FROM sessions),
	(SELECT count(*) FROM vf_outbox_keys)};
$peer->put('voiceframe', @keys);
add_due($node, @keys);
sql($node, 'CHECKPOINT');

# Without its writer nothing flushes the log but a commit that waits for it.
sub stop_writer
{
	my ($pid) = sql($node, q{SELECT pid FROM pg_stat_activity
		WHERE backend_type = 'walwriter'});
	kill 'STOP', $pid or die "walwriter $pid: $!";
	return;
}

# A purge alone may be lost: rows and keys come back together.
stop_writer();
is(purge($node) =~ /purged 5 sessions/, 1, 'five sessions are purged');
is(sql($node, $state), '0|5', 'their keys wait');
$node->stop('immediate');
$node->start;
is(sql($node, $state), '5|0', 'P2: both come back after a crash, or none');

# With a request under way it may not.
stop_writer();
purge($node);
$peer->faults({ late => JSON::PP::true, match => { query => 'delete' } });
my $drain = held_drain($node);
$peer->ctl('wait-held', 1);
is_deeply([ $peer->contents ], [], 'the peer has deleted the objects');
$node->stop('immediate');
$peer->ctl('release');
$drain->finish;
$node->start;
is(sql($node, $state), '0|5', 'P3: no row comes back without its object');
age($node);
$peer->grow_old(1000);    # the lease of the server that crashed
drain($node);
is(sql($node, $state), '0|0', 'P4: the batch is sent again and settled');

# Nor may the marker be ahead of the database: a crash would look like lost
# history.
stop_writer();
$peer->grow_old(1000);
$peer->put('voiceframe', 'temp_photos/f');
queue($node, 'temp_photos/f');
$peer->faults({
		late => JSON::PP::true,
		match => { verb => 'PUT', key => '.voiceframe_retention/' } });
$drain = held_drain($node);
$peer->ctl('wait-held', 1);
$node->stop('immediate');
$peer->ctl('release');
$drain->finish;
$node->start;
is( sql($node, 'SELECT generation FROM vf_bucket'),
	$peer->marker->{generation},
	'P8: the generation is on disk before the marker is written');
$peer->grow_old(1000);
$peer->put('voiceframe', 'temp_photos/g');
queue($node, 'temp_photos/g');
age($node);
drain($node);
is(join(' ', grep { /g$/ } $peer->contents), '', 'P8: and it goes on');

done_testing();
