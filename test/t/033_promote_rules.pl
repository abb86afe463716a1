# 033_promote_rules.pl: copying paid files while customers, the application,
# purges and other copies do what they do; and stores with other rules (P1 to
# P4, P9, P10).

use strict;
use warnings;

use Test::More;
use VfPromote;
use VfTest;

my $true = JSON::PP::true;
my $false = JSON::PP::false;
my ($node, $peer) = start_shop('promote_rules');

sub is_gone
{
	my ($key) = @_;
	return !grep { $_ eq $key } $peer->contents;
}

# A copy whose request is held while something happens.
sub meanwhile
{
	my ($f, $statement, %o) = @_;
	my $match = $o{match} // $step{'the copy'};
	$peer->faults({ name => 'x', match => $match, hold => $true });
	age($node);
	my $drain = held_drain($node);
	wait_for(held(), 'the request');
	sql($node, $statement);
	$peer->ctl('release', 'x');
	my $said = $drain->finish;
	$peer->faults();
	return $said;
}

# 1. The session is changed meanwhile.

my $f = new_file();
put_object('temp_photos/other.png', 'another', 'x-amz-acl' => 'public-read');
meanwhile($f, qq{UPDATE sessions SET photo_s3_key = 'temp_photos/other.png'
	WHERE session_token = '$f->{name}'});
is(rows($f), "$f->{target} temp_photos/other.png completed",
	'a session that was changed meanwhile is left as it is');
is( sql($node, q{SELECT concat_ws(' ', key, state, last_error_code, last_error)
		FROM vf_outbox_keys}),
	"$f->{key} waiting SessionChanged the file was copied; the session was changed meanwhile and left as it is",
	'P10: and the result says so');
forget_all();

$f = new_file();
meanwhile($f, qq{UPDATE sessions SET photo_s3_key = NULL
	WHERE session_token = '$f->{name}'});
is(rows($f), "$f->{target} - completed", 'nor is one that names nothing more');
forget_all();

$f = new_file();
meanwhile($f, "DELETE FROM sessions WHERE session_token = '$f->{name}'");
is(rows($f), "$f->{target} - completed",
	'P1: the order has its copy though the application deletes the session');
is($peer->anonymous($f->{target}), "200 $f->{body}", 'which is public');
forget_all();

# The same key is uploaded again and named again: it must not be deleted.
$f = new_file();
drain_now();
check_done($f, 'copied');
sql($node, qq{UPDATE sessions SET photo_s3_key = '$f->{key}'});
drain_now();
is( sql($node, q{SELECT state || ' ' || last_error_code FROM vf_outbox}),
	'cancelled Referenced', 'P3: a key that a session names again stays');
is($peer->anonymous($f->{key}), "200 $f->{body}", 'and its object');
forget_all();

# Kept on purpose.
$f = new_file(unqueued => 1);
is( sql($node, 'SELECT result FROM vf_promote(keep_session => true)'),
	'queued; the session goes on naming the temporary file, which stays',
	'vf_promote says that it stays');
drain_now();
is(rows($f), "$f->{target} $f->{key} completed", 'the session is kept as it is');
is( sql($node, q{SELECT concat_ws(' ', key, kind, state, last_error_code)
		FROM vf_outbox_keys}),
	"$f->{key} delete cancelled SessionKept", 'P4: and so is its file');
drain_now();
is($peer->anonymous($f->{key}), "200 $f->{body}", 'for good');
forget_all();

# 2. The order is.

foreach my $when ('before', 'while')
{
	my %change = (
		"status = 'canceled'" => 'cancelled 1 OrderUnpaid',
		"permanent_photo_s3_key = 'permanent/photos/theirs.jpg'" =>
		  'cancelled 1 CopyNamed',
		"session_token = 'another'" => 'cancelled 1 OrderGone');
	foreach my $set (sort keys %change)
	{
		# At the end nobody asks for the session: the order pays for the file.
		next if $when eq 'while' && $set =~ /token/;
		$f = new_file();
		put_object('permanent/photos/theirs.jpg', $f->{body},
			'x-amz-acl' => 'public-read');
		my $update = "UPDATE orders SET $set WHERE id = '$f->{order}'";
		if ($when eq 'before') { sql($node, $update); drain_now() }
		else { meanwhile($f, $update) }
		is(entry($f), $change{$set}, "$set $when it is copied");
		check_safe($f, "$set $when it is copied");
		like(rows($f), qr{^\S+ $f->{key} }, 'the session names its file');
		is( sql($node, q{SELECT count(*) FROM vf_outbox WHERE kind = 'delete'}),
			0, 'P3: which is not queued');
		forget_all();
	}
	$f = new_file();
	my $delete = "DELETE FROM orders WHERE id = '$f->{order}'";
	if ($when eq 'before') { sql($node, $delete); drain_now() }
	else { meanwhile($f, $delete) }
	is(entry($f), 'cancelled 1 OrderGone', "deleted $when it is copied");
	forget_all();
}

# Cancelled and paid again: the copy that stands is taken.
$f = new_file();
meanwhile($f, "UPDATE orders SET status = 'canceled'");
sql($node, "DELETE FROM vf_outbox; UPDATE orders SET status = 'completed'");
sql($node, 'SELECT vf_promote()');
drain_now();
check_done($f, 'paid again');
forget_all();

# 3. Several orders of one session; one file of several.

$f = new_file(unqueued => 1);
my $second = '11111111-0000-0000-0000-000000000001';
sql($node, qq{INSERT INTO orders (id, email, amount_cents, status,
	session_token, created_at) VALUES ('$second', 'x\@example.test', 1,
	'expired', '$f->{name}', now() AT TIME ZONE 'UTC');
	SELECT vf_promote()});
$peer->faults({ times => 0, status => 500,
		match => { verb => 'PUT', key => "permanent/photos/$second" } });
drain_now();
is(rows($f), "$f->{target} $f->{target} completed", 'one order has its copy');
drain_now();
is( sql($node, q{SELECT string_agg(concat_ws(' ', kind, state,
		last_error_code), ', ' ORDER BY kind) FROM vf_outbox}),
	'copy waiting InternalError, delete waiting CopyWaits',
	'P3: the source waits for the other');
is($peer->anonymous($f->{key}), "200 $f->{body}", 'P3: it is there');
$peer->faults();
drain_now();
is( sql($node, qq{SELECT permanent_photo_s3_key || migration_status
		FROM orders WHERE id = '$second'}),
	"permanent/photos/$second.jpgcompleted", 'then the other has one');
drain_now();
is(sql($node, 'SELECT count(*) FROM vf_outbox'), 0, 'P4: nothing is left');
ok(is_gone($f->{key}), 'and the source is gone');

# A third that comes later: the session names the first one's copy by then.
my $third = '11111111-0000-0000-0000-000000000002';
sql($node, qq{INSERT INTO orders (id, email, amount_cents, status,
	session_token, created_at) VALUES ('$third', 'x\@example.test', 1,
	'completed', '$f->{name}', now() AT TIME ZONE 'UTC')});
is( sql($node, 'SELECT key, target FROM vf_promote()'),
	"$f->{target}|permanent/photos/$third.jpg", 'a third order later');
drain_now();
is( sql($node, 'SELECT count(DISTINCT permanent_photo_s3_key) FROM orders'), 3,
	'each order has a copy of its own');
like(rows($f), qr/^$f->{target} $f->{target} /, 'the session stays');
is(sql($node, 'SELECT count(*) FROM vf_outbox'), 0, 'P3: nothing is to go');
is($peer->anonymous($_), "200 $f->{body}", 'all are there, and public')
  foreach $f->{target}, "permanent/photos/$third.jpg";
forget_all();

# The migration is complete with the last file.
$f = new_file(unqueued => 1);
put_object('temp_audio/x.mp3', 'sound');
sql($node, q{UPDATE sessions SET audio_s3_key = 'temp_audio/x.mp3';
	UPDATE orders SET migration_status = 'failed'; SELECT vf_promote()});
$peer->faults({ times => 0, status => 500,
		match => { verb => 'PUT', key => 'permanent/audio/' } });
drain_now();
is(rows($f), "$f->{target} $f->{target} failed", 'one file of two');
$peer->faults();
drain_now();
is(rows($f), "$f->{target} $f->{target} completed", 'and the other');
forget_all();

# 4. Purge and undo around it.

my $past = q{(now() - interval '30 days') AT TIME ZONE 'UTC'};
sub make_due
{
	my ($f) = @_;
	return sql($node, qq{
		UPDATE orders SET status = 'canceled', created_at = $past,
			updated_at = $past WHERE id = '$f->{order}';
		UPDATE sessions SET created_at = $past, expires_at = $past});
}

$f = new_file();
$peer->faults({ name => 'x', match => $step{'the copy'}, hold => $true });
age($node);
my $held = held_drain($node);
wait_for(held(), 'the copy');
make_due($f);
purge($node);
is(rows($f), '- - -', 'the session is purged');
sql($node, q{UPDATE vf_outbox SET next_attempt_at = now() - interval '1 s'
	WHERE kind = 'delete'});
drain($node);
is( sql($node, q{SELECT state || last_error_code FROM vf_outbox
		WHERE kind = 'delete'}),
	'waitingCopyWaits', 'P3: its key waits for a copy that is under way');
is($peer->anonymous($f->{key}), "200 $f->{body}", 'P3: and is there');
$peer->ctl('release', 'x');
$held->finish;
is(entry($f), 'cancelled 1 OrderUnpaid', 'the copy is named by nobody');
drain_now();
ok(is_gone($f->{key}), 'P4: then the file goes');
forget_all();

$f = new_file();
make_due($f);
sql($node, q{SET voiceframe.undo_window = '1d'; CALL vf_purge(confirm => 1)});
drain_now();
is(entry($f), 'cancelled 1 OrderUnpaid', 'of a purged session nothing is copied');
is( sql($node, 'SELECT outcome FROM vf_undo_purge((SELECT max(run_id) FROM vf_undo_batch))'),
	'restored', 'and it can be put back');
sql($node, "UPDATE orders SET status = 'completed'; SELECT vf_promote()");
drain_now();
is(rows($f), "$f->{target} $f->{target} completed", 'paid then, it is copied');
is($peer->anonymous($f->{target}), "200 $f->{body}", 'and public');
sql($node, 'SELECT vf_undo_discard()');
forget_all();

# 5. Rows that cannot be written.

$f = new_file();
sql($node, q{CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN RAISE EXCEPTION ''not today''; END';
	CREATE TRIGGER refuse BEFORE UPDATE ON sessions FOR EACH ROW
	EXECUTE FUNCTION refuse()});
drain_now();
is(entry($f), 'waiting 1 RowRefused', 'a trigger refuses');
is( sql($node, 'SELECT last_error FROM vf_outbox'), 'not today', 'in its words');
check_safe($f, 'a trigger refuses');
is(rows($f), "- $f->{key} -", 'P2: both rows or none');
sql($node, 'DROP TRIGGER refuse ON sessions');
check_finishes($f, 'a trigger refuses');

$f = new_file();
sql($node, q{CREATE OR REPLACE FUNCTION refuse() RETURNS trigger
	LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER refuse BEFORE UPDATE ON orders FOR EACH ROW
	EXECUTE FUNCTION refuse()});
drain_now();
is(entry($f), 'waiting 1 RowRefused', 'a trigger swallows');
check_safe($f, 'a trigger swallows');
sql($node, 'DROP TRIGGER refuse ON orders');
check_finishes($f, 'a trigger swallows');

# Whose trigger it is, it runs with no more than his rights.
sql($node, q{CREATE ROLE shopkeeper; GRANT ALL ON SCHEMA public TO shopkeeper;
	ALTER TABLE sessions OWNER TO shopkeeper; ALTER TABLE orders OWNER TO shopkeeper;
	SELECT count(*) FROM vf_configure();
	CREATE TABLE heard (who text); GRANT ALL ON heard TO shopkeeper;
	CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO public.heard VALUES (current_user || '' '' ||
		current_setting(''search_path'')); RETURN NEW; END';
	CREATE TRIGGER hear BEFORE UPDATE ON sessions FOR EACH ROW
	EXECUTE FUNCTION refuse();
	CREATE TRIGGER hear BEFORE UPDATE ON orders FOR EACH ROW
	EXECUTE FUNCTION refuse()});
$f = new_file();
drain_now();
check_done($f, 'with triggers');
is( sql($node, q{SELECT string_agg(DISTINCT who, ', ') FROM heard}),
	'shopkeeper pg_catalog, pg_temp', 'P9: triggers run as the owner');
sql($node, 'DROP TRIGGER hear ON sessions; DROP TRIGGER hear ON orders');
forget_all();

# One that waits for the commit fires before, while the rights are his; what it
# refuses is refused of its file alone.
sql($node, 'DELETE FROM heard');
sql($node, qq{CREATE CONSTRAINT TRIGGER hear AFTER UPDATE ON $_
	DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()})
  foreach 'sessions', 'orders';
$f = new_file();
drain_now();
check_done($f, 'with deferred triggers');
is( sql($node, q{SELECT string_agg(DISTINCT who, ', ') FROM heard}),
	'shopkeeper pg_catalog, pg_temp', 'P9: deferred triggers run as the owner');
forget_all();
sql($node, q{CREATE OR REPLACE FUNCTION refuse() RETURNS trigger
	LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not today''; END'});
$f = new_file();
age($node);
(undef, my $refused) = VfTest::call($node, undef, 'CALL vf_drain()');
is(entry($f), 'waiting 1 RowRefused', 'P6: a deferred trigger refuses one file')
  or diag($refused);
sql($node, 'DROP TRIGGER hear ON sessions; DROP TRIGGER hear ON orders');
check_finishes($f, 'a deferred trigger refuses');

my $holder = session($node);
$f = new_file();
$holder->ask("BEGIN; SELECT 1 FROM sessions FOR UPDATE");
drain_now();
is(entry($f), 'waiting 0 RowBusy', 'P6: a row that others hold is waited for 10 seconds');
is(rows($f), "- $f->{key} -", 'P2: and nothing is half done');
$holder->ask('ROLLBACK');
check_finishes($f, 'a row that others hold');
$holder->quit;

# 6. What stops it.

$f = new_file();
sql($node, q{SELECT vf_pause('a test')});
age($node);
my (undef, $said) = VfTest::call($node, undef, 'CALL vf_drain()');
like($said, qr/paused.*a test/s, 'a pause stops it');
is(entry($f), 'waiting 0', 'and nothing was claimed');
is( sql($node, q{SELECT outcome || ' ' || error FROM vf_run
		WHERE kind = 'promote' ORDER BY id DESC LIMIT 1}),
	'failed purging and draining are paused in this database',
	'P10: and that is on record');
sql($node, 'SELECT vf_resume()');
(undef, $said) = VfTest::call($node, undef, 'BEGIN; CALL vf_drain(); COMMIT');
like($said, qr/transaction block/, 'P2: nor in a transaction block');
$peer->faults({ name => 'x', match => $step{'the copy'}, hold => $true });
age($node);
$held = held_drain($node);
wait_for(held(), 'the copy');
is( sql($node, q{SELECT count(*) || ' ' || count(backend_xid)
			+ count(backend_xmin) FROM pg_stat_activity
		WHERE query LIKE 'CALL vf_drain%'}),
	'1 0', 'P5: while it copies nothing of the database is held');
is( sql($node, q{SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.query LIKE 'CALL vf_drain%' AND l.locktype <> 'virtualxid'}),
	0, 'P5: no lock either');
like( sql($node, q{SELECT job || ' ' || done || ' of ' || total || ' ' || unit
		FROM vf_progress}),
	qr/^promote 0 of 1 files$/, 'P10: vf_progress shows it');
is( sql($node, q{SELECT in_flight || ' ' || copies FROM vf_outbox_stats}),
	'1 1', 'P10: so does vf_outbox_stats');
$peer->ctl('release', 'x');
$held->finish;
check_done($f, 'held for a while');
forget_all();

# 7. Stores with other rules.

my $mine = { 'x-amz-expected-bucket-owner' => '111122223333',
	'x-amz-request-payer' => 'requester' };
my $plain = "region => 'us-east-1', endpoint => '$peer->{endpoint}', path_style => 'path'";
$f = new_file(unqueued => 1);
$peer->ctl('set', VfTest::encode_json({ demand => $mine }));
sql($node, 'SELECT vf_promote()');
drain_now();
is(entry($f), 'waiting 1 CopyDenied',
	'a bucket that is not asked as it wants refuses');
sql($node, qq{SELECT count(*) FROM vf_configure_bucket('voiceframe', $plain,
	expected_owner => '111122223333', request_payer => true)});
my $before = $peer->journal('before');
drain_now();
is(rows($f), "$f->{target} $f->{target} completed", 'asked so it copies');
drain_now();
(undef, $said) = VfTest::call($node, undef, 'CALL vf_s3_scan()');
sql($node, 'SELECT count(*) FROM vf_s3_check()');
my @lines = $peer->journal('before');
splice(@lines, 0, $before);
my @without = grep { my $l = $_; grep { ($l->{amz}{$_} // '') ne $mine->{$_} } keys %$mine }
  @lines;
is(scalar(@without), 0, 'every request says who owns the bucket, and who pays')
  or diag(VfTest::encode_json(\@without));
cmp_ok(scalar(@lines), '>', 15, 'of many');
ok(is_gone($f->{key}), 'the deletes, too');
sql($node, qq{SELECT count(*) FROM vf_configure_bucket('voiceframe', $plain,
	expected_owner => '999999999999', request_payer => true)});
forget_all();
$peer->ctl('set', '{"demand": {}}');
$f = new_file(unqueued => 1);
$peer->ctl('set', VfTest::encode_json({ demand => $mine }));
sql($node, 'SELECT vf_promote()');
drain_now();
is(rows($f), "- $f->{key} -", "nothing is done in another owner's bucket");
$peer->ctl('set', '{"demand": {}}');
sql($node, "SELECT count(*) FROM vf_configure_bucket('voiceframe', $plain)");
check_finishes($f, 'the owner is not asked for');

# Without access control of objects none is sent.
foreach my $acls ('off', 'none')
{
	$f = new_file();
	$peer->ctl('set', qq({"acls": "$acls"}));
	$before = $peer->journal('before');
	drain_now();
	is(rows($f), "$f->{target} $f->{target} completed", "copied, ACLs $acls");
	@lines = $peer->journal('before');
	splice(@lines, 0, $before);
	is( scalar(grep { $_->{verb} eq 'PUT' && ($_->{query} =~ /acl/
				|| grep { /acl|grant/ } keys %{ $_->{amz} }) } @lines),
		0, "ACLs $acls: none is sent, in no header and no body");
	$peer->ctl('set', '{"acls": "on"}');
	forget_all();
}

# A store that takes grants and forgets them: the copy is not to be named.
$f = new_file();
$peer->ctl('set', '{"keeps_acls": false}');
drain_now();
is(entry($f), 'dead 1 AclNotKept', 'a store that does not keep grants');
check_safe($f, 'a store that does not keep grants');
$peer->ctl('set', '{"keeps_acls": true}');
sql($node, 'SELECT vf_outbox_retry()');
check_finishes($f, 'a store that does not keep grants');

foreach my $body ('<AccessControlPolicy/>', 'garbage', '')
{
	$f = new_file();
	$peer->faults({ match => $step{'GET acl of the source'}, status => 200,
			times => 0, body => $body });
	drain_now();
	like(entry($f), qr/^waiting 1 (AclUnreadable|MalformedAnswer)$/,
		"access control that is not understood: '$body'");
	check_safe($f, 'access control that is not understood');
	check_finishes($f, 'access control that is not understood');
}

# Heads that tell that nothing can be done.
my %heads = (
	'larger than 5 GB' => [ { status => 200,
			headers => { 'Content-Length' => '6000000000', ETag => '"x"' } },
		'TooLargeToCopy' ],
	'with a key of its own' => [ { status => 200,
			headers => { 'Content-Length' => '6', ETag => '"x"',
				'x-amz-server-side-encryption-customer-algorithm' => 'AES256' } },
		'SourceEncrypted' ],
	'with a key that was not sent' => [ { status => 400 }, 'SourceEncrypted' ]);
foreach my $what (sort keys %heads)
{
	my ($fault, $code) = @{ $heads{$what} };
	$f = new_file();
	$peer->faults({ match => $step{'HEAD of the source'}, times => 0, %$fault });
	drain_now();
	is(entry($f), "dead 1 $code", "a file $what");
	check_safe($f, "a file $what");
	sql($node, 'SELECT vf_outbox_retry()');
	check_finishes($f, "a file $what");
}

# 8. What cannot be copied stops nothing else.

$f = new_file();
my $good = new_file();
sql($node, qq{UPDATE vf_outbox SET copy_order = 'no uuid',
	next_attempt_at = next_attempt_at - interval '1 hour'
	WHERE copy_order = '$f->{order}'});
drain_now();
is(rows($good), "$good->{target} $good->{target} completed",
	'P6: a file at fault stops no other');
is( sql($node, q{SELECT concat_ws(' ', state, attempts, last_error_code)
		FROM vf_outbox WHERE copy_order = 'no uuid'}),
	'waiting 1 RowRefused', 'P6: nor itself');
forget_all();

# A process whose lease has passed to another changes nothing more.
$f = new_file();
$peer->faults({ name => 'x', match => $step{'the copy'}, hold => $true });
age($node);
$held = held_drain($node);
wait_for(held(), 'the copy');
drain_now();
is(rows($f), "$f->{target} $f->{target} completed", 'another process copies');
sql($node, qq{UPDATE orders SET migration_status = 'seen' WHERE id = '$f->{order}'});
$peer->ctl('release', 'x');
like($held->finish, qr/copied paid files: 0 copied, 0 to be tried again, 0 dead, 0 canc/,
	'P4: who comes late has copied nothing');
is(rows($f), "$f->{target} $f->{target} seen", 'P4: and writes no row');
is(sql($node, 'SELECT count(*) FROM vf_outbox'), 1, 'nor an entry');
check_safe($f, 'two at a time');
forget_all();

# 9. The worker makes what is queued, and queues by itself if it may: not what
# the application may be about.

sub worker
{
	my ($on) = @_;
	sql($node, "LOAD 'voiceframe_retention'; ALTER SYSTEM SET voiceframe.promote = $on");
	sql($node, 'SELECT pg_reload_conf()', 'postgres');
	sql($node, 'SELECT vf_resume(); SELECT vf_worker_start()');
	return;
}

$f = new_file();
my $young = new_file(unqueued => 1);
my $old = new_file(unqueued => 1);
sql($node, qq{UPDATE orders SET created_at = $past, updated_at = $past
	WHERE id = '$old->{order}'});
worker('off');
wait_for(sub { rows($f) =~ /completed/ }, 'the worker to copy');
check_done($f, 'by the worker');
is(rows($old), "- $old->{key} -", 'by itself it does nothing');
sql($node, 'SELECT vf_worker_stop()');
worker('on');
wait_for(sub { rows($old) =~ /completed/ }, 'the worker to look');
check_done($old, 'the worker by itself');
is(rows($young), "- $young->{key} -", 'what is young is left alone');
sql($node, 'SELECT vf_worker_stop()');

# What a person has cancelled is not begun again.
sql($node, qq{UPDATE orders SET created_at = $past, updated_at = $past});
sql($node, "SELECT vf_promote('$young->{name}'); SELECT vf_outbox_cancel(id, 'no')
	FROM vf_outbox WHERE copy_order = '$young->{order}'");
sql($node, 'SELECT vf_worker_start()');
my $other = new_file(unqueued => 1);
$before = sql($node, q{SELECT count(*) FROM vf_run WHERE kind = 'drain'});
queue($node, 'temp_photos/due');
wait_for(sub { sql($node, q{SELECT count(*) FROM vf_run WHERE kind = 'drain'})
		> $before }, 'the worker to drain');
is(entry($young), 'cancelled 0 Cancelled', 'what a person cancelled stays so');

# It does not wait long for a person who queues the same and then thinks.
$other = new_file(unqueued => 1);
sql($node, qq{UPDATE orders SET created_at = $past, updated_at = $past});
my $thinker = session($node);
$thinker->ask("BEGIN; SELECT vf_promote('$other->{name}')");
sql($node, 'SELECT vf_worker_stop(); SELECT vf_worker_start()');
queue($node, 'temp_photos/due2');
wait_for(sub { sql($node, q{SELECT count(*) FROM vf_outbox_keys
		WHERE key = 'temp_photos/due2'}) == 0 }, 'the worker to drain');
ok(1, 'P6: a person who thinks holds up no drain');
$thinker->ask('ROLLBACK');
$thinker->quit;
sql($node, 'SELECT vf_worker_stop()');

done_testing();
