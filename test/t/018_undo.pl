# 018_undo.pl: the undo window, with a bucket.  While it is open no object
# goes; what is put back keeps its objects, in whatever order the drain, a
# person and a payment come (P1, P3); what is over is over, file and all.

use strict;
use warnings;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'undo',
	store => $peer,
	preload => 0,
	conf => "voiceframe.undo_window = '1h'\nlog_min_messages = log\n");
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
configure($node, $peer);

my %key = map { $_ => "temp_photos/$_" } 'a' .. 'h';
my @keys = map { $key{$_} } sort CORE::keys %key;
my $states = q{SELECT string_agg(format('%s %s', state, n), ', ' ORDER BY state)
	FROM (SELECT state, sum(nkeys) n FROM vf_outbox GROUP BY state) x};

# Tokens that a test can name.
sub fill
{
	$peer->put('voiceframe', @keys);
	add_due($node, @keys);
	sql($node, q{UPDATE sessions SET session_token = right(photo_s3_key, 1)});
	return;
}

# The end of the window is moved, not awaited.
sub end_window
{
	sql($node, q{UPDATE vf_undo_batch SET until = now() - interval '1 second';
		UPDATE vf_outbox SET not_before = now() - interval '1 second',
			next_attempt_at = now() - interval '1 second'
		WHERE not_before IS NOT NULL});
	return;
}

# Into an empty table nothing is put back: it may be a restore's.
sub keep_one
{
	sql($node, q{UPDATE sessions SET expires_at = now() + interval '1 day',
		created_at = now() WHERE session_token = 'h'});
	return;
}

sub pay
{
	my ($token) = @_;
	return qq{INSERT INTO orders (id, email, amount_cents, status,
		session_token, created_at, updated_at) VALUES (gen_random_uuid(),
		'x\@example.test', 1, 'completed', '$token', now(), now())};
}

sub tokens
{
	return sql($node, q{SELECT string_agg(session_token, '' ORDER BY
		session_token) FROM sessions});
}

# ---- the window is open

fill();
purge($node);
drain($node);
age($node);
drain($node);
is_deeply([ $peer->contents ], \@keys,
	'P3: no object goes while the undo window is open');
is(sql($node, $states), 'waiting 8', 'all keys wait');

is( sql($node, q{SELECT outcome FROM vf_undo_purge('a')}),
	'restored', 'one session comes back');
sql($node, pay('b'));
is(tokens(), 'ab', 'P1: a payment brings its session back');
end_window();
drain($node);
is_deeply([ $peer->contents ], [ $key{a}, $key{b} ],
	'P3: when it is over, all objects go but those of rows that are back');
is( sql($node, q{SELECT string_agg(DISTINCT last_error_code, ', ')
		FROM vf_outbox WHERE state = 'cancelled'}),
	'Referenced, Undone', 'and the keys are accounted for');
sql($node, 'CALL vf_purge()');
is(sql($node, 'SELECT count(*) FROM vf_undo'), 0, 'the rows are gone');
is(tokens(), 'ab', 'what was put back is held, and what was paid stays');

# ---- two rows, one key

sql($node, 'DELETE FROM orders; DELETE FROM sessions; DELETE FROM vf_hold');
fill();
sql($node, q{UPDATE sessions SET photo_s3_key = 'temp_photos/a'
	WHERE session_token = 'b'});
sql($node, q{SET voiceframe.undo_window = 0; DELETE FROM vf_outbox;
	UPDATE sessions SET expires_at = now() + interval '1 day',
		created_at = now() WHERE session_token = 'b';
	CALL vf_purge(confirm => 100);
	UPDATE sessions SET expires_at = now() - interval '1 day';});
purge($node);
drain($node);
is_deeply([ $peer->contents ], [ $key{a}, $key{b} ],
	'P3: a key that an undo row names is spared, whoever queued it');
is( sql($node, q{SELECT last_error_code, claimed_at IS NULL FROM vf_outbox
		WHERE last_error_code IS NOT NULL}),
	'UndoWindow|t', 'it waits for that window, and no request was made');
end_window();
age($node);
drain($node);
is_deeply([ $peer->contents ], [ $key{b} ], 'and goes when it is over');

# ---- the window ends while somebody puts a row back

sql($node, 'DELETE FROM vf_outbox; SELECT vf_undo_discard()');
fill();
keep_one();
purge($node);
my $payment = session($node);
$payment->ask('BEGIN');
$payment->ask(pay('c'));
end_window();
drain($node);
my %left = map { $_ => 1 } $peer->contents;
ok($left{ $key{c} }, 'P1: the object of a payment under way stays');
$payment->ask('COMMIT');
age($node);
drain($node);
is(tokens(), 'ch', 'its session is back');
is_deeply([ $peer->contents ], [ $key{c}, $key{h} ], 'the other objects go');

# ... and the other way round: it comes too late, and takes nothing back.
sql($node, 'DELETE FROM vf_outbox; SELECT vf_undo_discard()');
sql($node, 'DELETE FROM orders; DELETE FROM sessions; DELETE FROM vf_hold');
fill();
keep_one();
purge($node);
end_window();
$peer->faults({ hold => JSON::PP::true, match => { query => 'delete' } });
my $drain = held_drain($node);
$peer->ctl('wait-held', 1);
sql($node, pay('d'));
is(tokens(), 'h', 'a payment after the window brings nothing back');
is( sql($node, q{SELECT DISTINCT outcome FROM vf_undo_purge('e')}),
	'in flight', 'nor does undo what a request is under way for');
$peer->ctl('release');
$drain->finish;
is( sql($node, q{SELECT outcome FROM vf_undo_purge('e')}),
	'objects gone', 'nor what is confirmed gone');

# ---- after the window, two that name one object

sql($node, 'DELETE FROM vf_outbox; SELECT vf_undo_discard()');
sql($node, 'DELETE FROM orders; DELETE FROM sessions; DELETE FROM vf_hold');
fill();
sql($node, q{UPDATE sessions SET audio_s3_key = 'temp_photos/a',
	expires_at = now() + interval '1 day', created_at = now()
	WHERE session_token = 'b'});
purge($node);
sql($node, q{UPDATE sessions SET expires_at = now() - interval '1 day'});
purge($node);
sql($node, q{UPDATE vf_undo_batch SET until = now() - interval '1 second';
	UPDATE vf_outbox SET not_before = now() - interval '1 second',
		next_attempt_at = now() - interval '1 second'
	WHERE keys @> ARRAY['temp_photos/b']});
drain($node);
ok(!(grep { $_ eq $key{a} } $peer->contents), 'one entry takes it');
is( sql($node, q{SELECT outcome FROM vf_undo_purge('a')}),
	'uncertain', 'P3: undo of the other does not vouch for it');

# ---- a request that nobody knows the end of

sql($node, 'DELETE FROM vf_outbox; SELECT vf_undo_discard()');
sql($node, 'DELETE FROM orders; DELETE FROM sessions; DELETE FROM vf_hold');
fill();
purge($node);
end_window();
$peer->faults({ cut => 0, times => 0, match => { query => 'delete' } });
drain($node);
$peer->faults;
is( sql($node, q{SELECT string_agg(DISTINCT outcome, ', ') FROM vf_undo_purge(
	(SELECT max(run_id) FROM vf_undo_runs))}),
	'uncertain', 'what a request may have reached is uncertain');
is(tokens(), 'abcdefgh', 'the rows are back');
$peer->put('voiceframe', $key{f});
sql($node, 'UPDATE vf_lookup SET look_at = now()');
age($node);
drain($node);
my %found = map { $_ => 1 } $peer->contents;
is( sql($node, q{SELECT string_agg(DISTINCT (found = (key = ANY (ARRAY['}
		  . join(q{','}, CORE::keys %found)
		  . q{'])))::text, ', ') FROM vf_lookup}),
	'true', 'the next drain looks for each object and says what it found');
is(sql($node, $states), 'cancelled 8', 'nothing is left to be deleted');

# ---- a store that does not say whether an object is there

# Who may not list a bucket is answered 403 for an object that is not there.
sql($node, 'DELETE FROM vf_outbox; SELECT vf_undo_discard()');
sql($node, 'DELETE FROM sessions; DELETE FROM vf_hold');
sql($node, 'UPDATE vf_lookup SET look_at = now(), looked_at = NULL');
$peer->faults({ status => 403, times => 0, match => { verb => 'HEAD' } });
sql($node, q{ALTER DATABASE voiceframe SET voiceframe.undo_window = 0});
queue($node, 'temp_photos/after');
drain($node);
is(sql($node, q{SELECT count(*) FROM vf_outbox WHERE state = 'waiting'}),
	0, 'P6: keys do not wait for a look that is refused');
is( sql($node, q{SELECT count(*) FROM vf_lookup WHERE looked_at IS NULL
	AND look_at > now() + interval '1 minute'}),
	8, 'the looks are put off');
$peer->ctl('clear');

# ---- what no index of ours takes

sql($node, 'DELETE FROM vf_outbox');
sql($node, q{ALTER DATABASE voiceframe SET voiceframe.undo_window = '1h'});
sql($node, q{ALTER TABLE sessions ALTER session_token TYPE text,
	ALTER photo_s3_key TYPE text});
sql($node, 'DROP INDEX ix_sessions_session_token');
sql($node, q{INSERT INTO sessions (id, session_token, photo_s3_key, expires_at)
	SELECT gen_random_uuid(), 'token-' || CASE WHEN i = 1 THEN x ELSE '' END,
		'temp_photos/' || CASE WHEN i = 2 THEN x ELSE 'short' END,
		now() - interval '1 day'
	FROM generate_series(1, 2) i, (SELECT string_agg(md5(n::text), '') AS x
		FROM generate_series(1, 200) n) l});
purge($node);
is(sql($node, 'SELECT count(*) FROM vf_undo WHERE restored_at IS NULL'),
	2, 'P6: sessions with a very long key or token are purged and kept');
is( sql($node, q{SELECT string_agg(DISTINCT outcome, ', ') FROM vf_undo_purge(
	(SELECT max(run_id) FROM vf_undo_runs))}),
	'restored', 'and put back');

# ---- another table

purge($node);
sql($node, q{SELECT vf_release(session_token) FROM vf_hold});
purge($node);
sql($node, q{CREATE SCHEMA other;
	CREATE TABLE other.sessions (LIKE sessions INCLUDING ALL);
	CREATE TABLE other.orders (LIKE orders INCLUDING ALL)});
my (undef, undef, $refused) = $node->psql('voiceframe',
	q{SELECT * FROM vf_configure('other.sessions', 'other.orders')});
like($refused, qr/can still be put back/,
	'P9: rows of one table are not given to the owner of another');
sql($node, 'SELECT vf_unconfigure(discard => true)');
is(sql($node, 'SELECT count(*) FROM vf_undo'),
	0, 'they are gone with the registration');
sql($node, q{SELECT * FROM vf_configure('other.sessions', 'other.orders')});

done_testing();
