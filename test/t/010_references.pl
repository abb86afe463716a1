# 010_references.pl: live objects stay (P3).  Keys wait in the outbox, and
# before they are sent a row takes them up again: a session, an order, in a
# row of many keys, after a failed attempt, in another transaction that has
# not committed yet when the key is queued.  Such a key is cancelled with the
# reason and never sent; the peer's journal is the witness.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('references', store => $peer, preload => 0);
make_sample($node, n => 20);
put_live_keys($node, $peer);
configure($node, $peer);
purge($node);
drain($node);

sub was_sent
{
	my ($key) = @_;
	return scalar(grep { $_ eq $key } map { @$_ } $peer->sent);
}

sub fate
{
	my ($key) = @_;
	return sql($node, qq{
		SELECT format('%s: %s', last_error_code, last_error)
		FROM vf_outbox_keys WHERE key = '$key' AND state = 'cancelled'});
}

# A live session with that key, or an order that names it as permanent.
my %take_up = (
	'a session' => q{INSERT INTO sessions (id, session_token, audio_s3_key,
			created_at, expires_at)
		SELECT gen_random_uuid(), gen_random_uuid(), '%s', t,
			t + interval '1 day' FROM (SELECT now() AT TIME ZONE 'UTC') u (t)},
	'an order' => q{INSERT INTO orders (id, email, amount_cents, status,
			permanent_waveform_s3_key)
		VALUES (gen_random_uuid(), 'x', 1, 'completed', '%s')});

sub check_kept
{
	my ($key, $what) = @_;
	is(was_sent($key), 0, "P3: never sent ($what)");
	is(fate($key),
		'Referenced: a row of sessions or orders references the object',
		"P4: cancelled with the reason ($what)");
	is(join(' ', grep { $_ eq $key } $peer->contents),
		$key, "P3: the object is there ($what)");
	return;
}

foreach my $what (sort keys %take_up)
{
	my $key = 'temp_photos/' . $what =~ tr/ /_/r . '.jpg';
	my @others = map { "$key.$_" } 1 .. 5;
	$peer->put('voiceframe', $key, @others);
	queue($node, @others[ 0 .. 2 ], $key, @others[ 3, 4 ]);
	sql($node, sprintf($take_up{$what}, $key));
	like(drain($node), qr/5 keys confirmed gone.* 1 cancelled/,
		"P4: the others go ($what)");
	check_kept($key, $what);
	is(join(' ', grep { /^\Q$key\E\./ } $peer->contents),
		'', "P4: and are gone ($what)");

	# Alone in its row of the outbox.
	$key = "$key.alone";
	$peer->put('voiceframe', $key);
	queue($node, $key);
	sql($node, sprintf($take_up{$what}, $key));
	like(drain($node), qr/ 0 keys confirmed gone.* 1 cancelled/,
		"P4: alone it is no request at all ($what)");
	check_kept($key, "$what, alone");
}

# Sent once, failed, taken up, not sent again.
my $key = 'temp_photos/second_thoughts.jpg';
$peer->put('voiceframe', $key);
queue($node, $key);
$peer->faults({
		match => { query => 'delete' },
		key_errors => { $key => 'InternalError' } });
drain($node);
is(was_sent($key), 1, 'sent once, without success');
sql($node, sprintf($take_up{'a session'}, $key));
age($node);
drain($node);
is(was_sent($key), 1, 'P3: a key taken up between two attempts is not sent');
like(fate($key), qr/^Referenced/, 'P4: but cancelled');

# Taken up by a transaction that was open while the key was queued.
$key = 'temp_photos/not_yet.jpg';
$peer->put('voiceframe', $key);
my $other = session($node);
$other->ask('BEGIN;' . sprintf($take_up{'a session'}, $key));
queue($node, $key);
$other->ask('COMMIT');
$other->quit;
drain($node);
check_kept($key, 'by an open transaction');

# Claimed by a drainer that died, taken up, and claimed by the next.
$key = 'temp_photos/left_behind.jpg';
$peer->put('voiceframe', $key);
queue($node, $key);
$peer->faults({ hold => JSON::PP::true, match => { query => 'delete' } });
my $drain = held_drain($node);
$peer->ctl('wait-held', 1);
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE query LIKE 'CALL vf_drain%' AND pid <> pg_backend_pid()});
$drain->finish;
$peer->ctl('release');
wait_for(sub { @{ JSON::PP::decode_json($peer->ctl('held')) } == 0 },
	'the peer to let go');
$peer->put('voiceframe', $key);
sql($node, sprintf($take_up{'an order'}, $key));
age($node);
my $before = was_sent($key);
drain($node);
is(was_sent($key), $before, 'P3: nor is one that a dead drainer left behind');
like(fate($key), qr/^Referenced/, 'P4: it is cancelled');
is(join(' ', grep { $_ eq $key } $peer->contents), $key, 'P3: it stays');

is( sql($node, q{SELECT count(*) FROM vf_outbox
		WHERE state IN ('waiting', 'claimed', 'dead')}),
	0, 'P4: nothing is left');
is_deeply([ $peer->contents ], [ live_keys($node) ],
	'P3: the bucket holds exactly what live rows reference');

done_testing();
