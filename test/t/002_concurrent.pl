# 002_concurrent.pl: two CALL vf_purge(), the worker, drains and a stream of
# payments at the same time, in small batches, with the payment guard and
# without it.  Each payment witnesses in its own transaction that it came
# before the session went.  Such a session is never lost (P1); and of every
# key of a session that is gone the peer was asked to delete the object, and
# of no key that a live row has (P2, P3, P4), though sessions share keys.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use VfTest;

my $seconds = 8;
my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'concurrent',
	store => $peer,
	conf => "voiceframe.purge_batch_size = 20\nvoiceframe.naptime = 1\n"
	  . "voiceframe.purge_brake_rows = 10000000\nlog_statement = none\nvoiceframe.databases = voiceframe\n");
make_sample($node, n => 2000);
put_live_keys($node, $peer);

# Sessions that fall due all the time, two by two with one key in common, each
# second one with an order that was never paid; and payments for them.  The
# pauses are there to let the others in between.
sql($node, q{
	CREATE TABLE witness (token text, kind text);
	CREATE TABLE every_key (key text);
	CREATE SEQUENCE n;
	INSERT INTO every_key SELECT unnest(ARRAY[photo_s3_key, audio_s3_key,
		waveform_s3_key]) FROM sessions;

	CREATE FUNCTION arrive() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		i bigint := nextval('n');
		due timestamp := now() AT TIME ZONE 'UTC';
	BEGIN
		FOR j IN 1 .. 2 LOOP
			INSERT INTO sessions (id, session_token, photo_s3_key,
				audio_s3_key, created_at, expires_at)
			VALUES (gen_random_uuid(), format('s%s_%s', i, j),
				format('temp_photos/%s_%s.jpg', i, j),
				format('temp_audio/%s.mp3', i), due, due);
			INSERT INTO every_key VALUES
				(format('temp_photos/%s_%s.jpg', i, j)),
				(format('temp_audio/%s.mp3', i));
		END LOOP;
		INSERT INTO orders (id, email, amount_cents, status, session_token,
			created_at)
		VALUES (gen_random_uuid(), 'x', 1, 'pending', format('s%s_1', i),
			due - interval '20 days');
	END $$;

	CREATE FUNCTION bear_witness(t text, kind text) RETURNS void
	LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO witness SELECT t, CASE WHEN EXISTS (
			SELECT FROM sessions WHERE session_token = t)
			THEN kind ELSE 'late' END;
		PERFORM pg_sleep(random() / 200);
	END $$;

	CREATE FUNCTION pay_by_insert() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		t text := (SELECT session_token FROM sessions
			WHERE id >= gen_random_uuid() ORDER BY id LIMIT 1);
	BEGIN
		PERFORM pg_sleep(random() / 200);
		INSERT INTO orders (id, email, amount_cents, status, session_token)
		VALUES (gen_random_uuid(), 'x', 1, 'completed', t);
		PERFORM bear_witness(t, 'insert');
	END $$;

	CREATE FUNCTION pay_by_update() RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		o uuid := (SELECT id FROM orders
			WHERE id >= gen_random_uuid() AND status = 'pending'
			ORDER BY id LIMIT 1);
		t text;
	BEGIN
		PERFORM pg_sleep(random() / 200);
		UPDATE orders SET status = 'paid' WHERE id = o AND status = 'pending'
			RETURNING session_token INTO t;
		PERFORM bear_witness(t, 'update') WHERE t IS NOT NULL;
	END $$});
my $dir = PostgreSQL::Test::Utils::tempdir_short();
foreach my $name (qw(arrive pay_by_insert pay_by_update))
{
	PostgreSQL::Test::Utils::append_to_file("$dir/$name.sql",
		"SELECT $name();\n");
}

configure($node, $peer);
sql($node, 'SELECT vf_worker_start()');

sub start_all
{
	my ($isolation) = @_;
	local $ENV{PGOPTIONS} =
	  "-c default_transaction_isolation=$isolation -c log_statement=none";
	my @jobs;
	my $out = '';
	push @jobs,
	  IPC::Run::start(
		[ 'pgbench', '-n', '-c', 6, '-j', 1, '-T', $seconds, '--max-tries', 20,
			'-R', 800,
			'-f', "$dir/arrive.sql\@6", '-f', "$dir/pay_by_insert.sql\@1",
			'-f', "$dir/pay_by_update.sql\@1", $node->connstr('voiceframe') ],
		'<', \undef, '>&', \$out, IPC::Run::timeout(120));
	return ($jobs[0], \$out);
}

# Purge by hand over and over while the payments last.
sub purge_meanwhile
{
	my ($pgbench) = @_;
	my @people = (session($node), session($node));
	my $rounds = 0;
	while ($pgbench->pumpable)
	{
		$pgbench->pump_nb;
		$_->tell("CALL vf_purge(full_sweep => " .
			  ($rounds % 2 ? 'true' : 'false') . ')')
		  foreach @people;
		$people[1]->tell('CALL vf_drain()') if $rounds % 4 == 0;
		$_->ask('SELECT 1') foreach @people;
		$rounds++;
	}
	return join('', map { $_->quit } @people);
}

sub round
{
	my ($isolation, $what) = @_;
	my ($first_run) = sql($node, 'SELECT coalesce(max(id), 0) FROM vf_run');
	sql($node, 'TRUNCATE witness');
	my ($pgbench, $out) = start_all($isolation);
	my $said = purge_meanwhile($pgbench);
	ok($pgbench->finish, "no payment fails ($what)") or diag($$out);
	unlike($said, qr/ERROR/, "P6: no purge or drain fails ($what)");

	my %n = map { split(/\|/, $_) } split(/\n/,
		sql($node, 'SELECT kind, count(*) FROM witness GROUP BY kind'));
	note("$what: ", join(', ', map { "$n{$_} $_" } sort keys %n));
	cmp_ok($n{insert} * $n{update}, '>', 100, "payments came in time ($what)");
	is( sql($node, qq{
			SELECT string_agg(caller, ' ' ORDER BY caller) FROM (
				SELECT caller FROM vf_run WHERE kind = 'purge' AND id > $first_run
					AND expired + unpaid > 0 GROUP BY caller
				) c}),
		'vf_purge worker', "worker and people both purged ($what)");

	is( sql($node, q{
			SELECT count(*) FROM witness w WHERE kind <> 'late'
				AND NOT EXISTS (SELECT FROM sessions s
					WHERE s.session_token = w.token)}),
		0, "P1: no session is lost that was there when it was paid ($what)");

	# What is due still, then what waits still.
	purge($node);
	wait_for(sub {
			age($node);
			drain($node);
			sql($node, q{SELECT count(*) FROM vf_outbox
				WHERE state IN ('waiting', 'claimed')}) eq '0' },
		'the outbox to be empty');
	is( sql($node, q{SELECT count(*) FROM vf_outbox
			WHERE state IN ('waiting', 'claimed', 'dead')}),
		0, "P4: no key is left over ($what)");
	my %live = map { $_ => 1 } live_keys($node);
	my %sent = map { $_ => 1 } map { @$_ } $peer->sent;
	my @gone = grep { !$live{$_} }
	  split(/\n/, sql($node, 'SELECT DISTINCT key FROM every_key'));
	cmp_ok(scalar(@gone), '>', 1000, "many keys are to go ($what)");
	is(join(' ', grep { !$sent{$_} } @gone),
		'', "P2, P4: no key of a gone session is forgotten ($what)");
	is(join(' ', grep { $sent{$_} } CORE::keys %live),
		'', "P3: no key of a live row was sent ($what)");
	is_deeply([ grep { !$live{$_} } $peer->contents ],
		[], "P4: nothing but live objects is left ($what)");
	return;
}

round('read\ committed', 'guard, read committed');
round('repeatable\ read', 'guard, repeatable read');
sql($node, 'SELECT vf_configure(payment_guard => false)');
round('read\ committed', 'no guard, read committed');
is( sql($node, q{SELECT caller, kind, outcome, error FROM vf_run
		WHERE outcome IN ('failed', 'brake', 'interrupted')}),
	'', 'P10: no run failed');

# A person's purge that is not committed yet holds nobody up.
VfTest::add_due($node, 'temp_photos/locked.jpg', 'temp_photos/free.jpg');
my ($app, $person) = (session($node), session($node));
$app->ask(q{BEGIN; SELECT FROM sessions
	WHERE photo_s3_key = 'temp_photos/locked.jpg' FOR UPDATE});
$person->ask('BEGIN; SELECT vf_purge_now()');
my ($ret, $said) = VfTest::call($node, 'voiceframe',
	"SET statement_timeout = '10s'; CALL vf_purge()");
is($ret, 0, 'P6: an open vf_purge_now() does not hold up the others')
  or diag($said);
$person->ask('ROLLBACK');
$app->ask('ROLLBACK');
$_->quit foreach $app, $person;
purge($node);
is( sql($node, q{SELECT count(*) FROM sessions
		WHERE photo_s3_key ~ 'locked|free'}),
	0, 'P6: rolled back and locked ones go with the next');
wait_for(sub { 2 == grep { /locked|free/ } map { @$_ } $peer->sent },
	'their keys to be sent');

done_testing();
