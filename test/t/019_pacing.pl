# 019_pacing.pl: poison and pace (P6).  A key that makes its batch fail stands
# alone after one wave, and the others are gone by then; what a store takes is
# found out: keys a second, keys and bytes of a request.

use strict;
use warnings;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('pacing', store => $peer, preload => 0);
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
configure($node, $peer);
purge($node);

# How many ?delete requests there were since.
my $seen = 0;

sub requests
{
	my @sent = $peer->sent;
	my $n = @sent - $seen;
	$seen = @sent;
	return $n;
}

sub batch
{
	my ($prefix, $n) = @_;
	my @keys = map { sprintf('%s%04d', $prefix, $_) } 1 .. $n;
	$peer->put('voiceframe', @keys);
	queue($node, @keys);
	requests();
	return @keys;
}

sub outbox
{
	return sql($node, q{SELECT coalesce(string_agg(format('%s %s keys, %s attempts, %s',
		state, nkeys, attempts, last_error_code), '; ' ORDER BY nkeys), 'empty')
		FROM vf_outbox});
}

sub clear
{
	$peer->ctl('clear');
	sql($node, 'DELETE FROM vf_outbox; DELETE FROM vf_pace;
		UPDATE vf_bucket SET (batch_keys, batch_bytes, failures, next_attempt_at,
			last_error_code) = (1000, 1000000, 0, NULL, NULL)');
	return;
}

# ---- poison

my %poison = (
	'a body it cannot read' => [ 400, 'MalformedXML' ],
	'a refusal without a code' => [ 400, '' ]);
foreach my $what (sort CORE::keys %poison)
{
	my ($status, $code) = @{ $poison{$what} };
	my @keys = batch('temp_photos/', 1000);
	$peer->faults({ status => $status, code => $code, times => 0,
		match => { query => 'delete', key => 'temp_photos/0500' } });
	drain($node);
	is_deeply([ $peer->contents ], ['temp_photos/0500'],
		"P6: $what: 999 keys are gone after one round");
	like(outbox(), qr/^waiting 1 keys, 1 attempts/,
		"$what: the one waits alone");
	cmp_ok(requests(), '<=', 22, "$what: found in ten halvings");
	clear();
	$peer->ctl('set', '{"rate": 0}');
}

# 500 for the whole request looks like the bucket.  While others pass it is
# the batch.
my @others = batch('temp_audio/', 10);
my @keys = batch('temp_photos/', 1000);
$peer->faults({ status => 500, code => 'InternalError', times => 0,
	match => { query => 'delete', key => 'temp_photos/0001' } });
drain($node);
is_deeply([ $peer->contents ], ['temp_photos/0001'],
	'P6: a key that makes the store fail: the others are gone in one round');
clear();

# Alone it is the bucket, at first.
$peer->put('voiceframe', 'temp_photos/0001');
@keys = batch('temp_photos/', 100);
$peer->faults({ status => 500, code => 'InternalError', times => 0,
	match => { query => 'delete', key => 'temp_photos/0042' } });
foreach my $try (1 .. 3)
{
	drain($node);
	age($node);
}
is(outbox(), 'waiting 100 keys, 0 attempts, InternalError',
	'alone it is the bucket, and no attempt is counted');
drain($node);
is_deeply([ $peer->contents ], ['temp_photos/0042'],
	'P6: and after three failures one halving tells');
like(outbox(), qr/^waiting 1 keys, 1 attempts/, 'the one waits alone');
clear();

# A dead bucket is not asked more for it.
@keys = batch('temp_photos/', 100);
$peer->faults({ status => 500, code => 'InternalError', times => 0,
	match => { query => 'delete' } });
foreach my $try (1 .. 5)
{
	drain($node);
	age($node);
}
is(outbox(), 'waiting 100 keys, 0 attempts, InternalError',
	'a dead bucket counts no attempt and breaks no entry up');
cmp_ok(requests(), '<=', 3 + 2 * 3, 'and is asked three times at most');
clear();

# ---- bytes

$peer->ctl('set', '{"max_body": 20000, "too_large": 416}');
@keys = batch('temp_photos/', 2000);
drain($node);
is_deeply([ $peer->contents ], [], 'a store that takes 20 kB is served');
my $bytes = sql($node, 'SELECT batch_bytes FROM vf_outbox_stats');
cmp_ok($bytes, '<=', 20000, "requests have shrunk to $bytes bytes");
requests();
@keys = batch('temp_photos/', 1000);
drain($node);
is(outbox(), 'empty', 'and all that follows is');
$peer->ctl('set', '{"max_body": 1048576}');
sql($node, 'UPDATE vf_bucket SET batch_bytes = 5000');
batch('temp_photos/', 2000);
drain($node);
cmp_ok(sql($node, 'SELECT batch_bytes FROM vf_outbox_stats'), '>', 5000,
	'they grow again when it takes more');
clear();

# ---- keys a second

$peer->ctl('set', '{"rate": 400}');
@keys = batch('temp_photos/', 1200);
$peer->put('voiceframe', @others);
queue($node, @others);
for my $try (1 .. 20)
{
	last if outbox() eq 'empty';
	sql($node, 'UPDATE vf_bucket SET next_attempt_at = NULL');
	drain($node);
}
is(outbox(), 'empty', 'a store that takes 400 keys a second is served');
is_deeply([ $peer->contents ], [], 'with everything');
my $slowed = sql($node, 'SELECT slowed_to FROM vf_outbox_stats');
like($slowed, qr{^temp_photos/ \d+ keys/s$},
	"the prefix is slowed down, the other is not: $slowed");
my ($rate) = $slowed =~ / (\d+) /;
cmp_ok($rate, '<=', 800, 'to what it takes, about');
is(sql($node, q{SELECT count(*) FROM vf_dead_letters}), 0,
	'and no key paid for it');
clear();
$peer->ctl('set', '{"rate": 0}');

# One answer may tell it of single keys.
@keys = batch('temp_photos/', 100);
$peer->faults({ key_errors => { 'temp_photos/000' => 'SlowDown' },
	match => { query => 'delete' } });
drain($node);
is(outbox(), 'waiting 9 keys, 0 attempts, SlowDown',
	'keys that were put off wait, their attempt not counted');
like(sql($node, 'SELECT slowed_to FROM vf_outbox_stats'),
	qr{^temp_photos/ \d+ keys/s$}, 'and their prefix is slowed down');
age($node);
drain($node);
is(outbox(), 'empty', 'then they go');
clear();

# ---- time: large requests that take too long

sql($node, q{UPDATE vf_bucket SET batch_keys = 500});
batch('temp_photos/', 1000);
drain($node);
is_deeply([ sort { $a <=> $b } map { scalar @$_ } ($peer->sent)[-2, -1] ],
	[ 500, 500 ], 'requests have as many keys as the bucket is known to take');

done_testing();
