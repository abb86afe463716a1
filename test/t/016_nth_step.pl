# 016_nth_step.pl: the Nth step fails, for N = 1, 2, ... until nothing is left
# to fail: each request of a drain, each commit of CALL vf_purge() and of CALL
# vf_drain(), by an error and by the end of the process.  After each: no row
# gone without its entry (P2), no object gone for a row that stays (P3), every
# key accounted for (P4), no claim past its lease; what is left then comes to
# its end, no run stays open (P10), and a second run changes nothing.

use strict;
use warnings;

use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'nth',
	store => $peer,
	preload => 0,
	conf => "voiceframe.purge_batch_size = 2\nvoiceframe.s3_concurrency = 2\n"
	  . "voiceframe.purge_brake_rows = 1000000\n");
make_sample($node, n => 20);
sql($node, q{DELETE FROM sessions WHERE created_at IS NOT NULL
	AND session_token NOT IN (SELECT session_token FROM orders
		WHERE status = 'completed')});
put_live_keys($node, $peer);
configure($node, $peer);
sql($node, 'SELECT vf_resume()');
purge($node);
drain($node);

# Some thousand questions: one connection for them, and one for the calls.

my $asked;
my $called;

# Anew from time to time: they are given three minutes each.
sub renew
{
	foreach my $s ($asked, $called)
	{
		$s->quit if $s;
		$s = session($node);
	}
	return;
}

sub ask
{
	my ($statement) = @_;
	my $result = $asked->ask($statement);
	die "$statement: $result" if $result =~ /^ERROR/m;
	chomp $result;
	return $result;
}

sub call
{
	my ($statement) = @_;
	my $said = $called->ask($statement);
	die "$statement: $said" if $said =~ /^(ERROR|FATAL)/m;
	return;
}

sub control
{
	my ($method, $path, $value) = @_;
	my $port = slurp_file("$peer->{dir}/control_port");
	chomp $port;
	my $answer = HTTP::Tiny->new->request(
		$method,
		"http://127.0.0.1:$port$path",
		defined $value ? { content => encode_json($value) } : {});
	die "$path: $answer->{content}" if !$answer->{success};
	return JSON::PP->new->allow_nonref->decode($answer->{content});
}

# Steps: five due sessions, one of which shares its file with a live one.

my $serial = 0;
my @due;

sub load_due
{
	my $n = ++$serial;
	@due = map { "temp_photos/due${n}_$_" } 1 .. 4;
	my $shared = "temp_photos/shared$n";
	control('POST', '/put',
		{ bucket => 'voiceframe', keys => [ @due, $shared ] });
	add_due($node, @due, $shared);
	ask(qq{
		INSERT INTO sessions (id, session_token, photo_s3_key, created_at,
			expires_at)
		VALUES (gen_random_uuid(), gen_random_uuid(), '$shared',
			now() AT TIME ZONE 'UTC',
			now() AT TIME ZONE 'UTC' + interval '1 day')});
	return;
}

sub objects
{
	return grep { !m{^\.voiceframe_retention/} }
	  @{ control('GET', '/store')->{voiceframe} };
}

my $live_keys = slurp_file("$VfTest::root/demo/live_keys.sql");
$live_keys =~ s/;\s*$//;

sub missing
{
	my ($of, $in) = @_;
	my %in = map { $_ => 1 } @$in;
	return grep { !$in{$_} } @$of;
}

sub entries
{
	return split(/\n/,
		ask(q{SELECT key FROM vf_outbox_keys
			WHERE state <> 'cancelled'}));
}

# What is wrong after a step that failed; nothing if all is well.
sub faults_now
{
	my @objects = objects();
	my @live = split(/\n/, ask($live_keys));
	my @wrong;
	my @lost = missing(\@live, \@objects);
	push @wrong, "no object for the live @lost" if @lost;
	my @left = missing([ grep { /^temp_photos/ } @objects ],
		[ @live, entries() ]);
	push @wrong, "neither row nor entry names @left" if @left;
	my $late = ask(q{SELECT count(*) FROM vf_outbox
		WHERE state = 'claimed' AND next_attempt_at < now()});
	push @wrong, "$late claims are past their lease" if $late;
	return @wrong;
}

sub state_now
{
	return join("\n", objects(), ask(q{
		SELECT count(*), min(id::text) FROM sessions;
		SELECT id, xmin FROM vf_outbox ORDER BY id}));
}

# What is wrong once everything was given time.
sub faults_then
{
	my @wrong;
	ask(q{
		UPDATE vf_outbox SET next_attempt_at = now() - interval '1 second'
		WHERE state IN ('waiting', 'claimed');
		UPDATE vf_bucket SET next_attempt_at = NULL});
	call('CALL vf_purge()');
	call('CALL vf_drain()');
	my @entries = entries();
	push @wrong, "still in the outbox: @entries" if @entries;
	push @wrong, faults_now();
	push @wrong, 'a due session is left'
	  if ask(q{SELECT count(*) FROM sessions
		WHERE expires_at < now() AT TIME ZONE 'UTC'
		AND session_token NOT IN (SELECT session_token FROM orders)});
	my $state = state_now();
	call('CALL vf_purge()');
	call('CALL vf_drain()');
	push @wrong, 'a second run changes something' if state_now() ne $state;
	my $open = ask(
		q{SELECT count(*) FROM vf_run WHERE outcome = 'running'});
	push @wrong, "$open runs are left open" if $open;
	return @wrong;
}

# $fail->(N) runs the thing with its Nth step failing; true if it got there.
sub every_step
{
	my ($what, $least, $fail) = @_;
	renew();
	my $n = 0;
	my $reached = 1;
	my @wrong;
	while ($reached)
	{
		load_due();
		$reached = $fail->(++$n);
		push @wrong, map { "step $n: $_" } faults_now(), faults_then();
		die "$what has no end" if $n > 200;
	}
	is(join("\n", @wrong), '', "P2, P3, P4: $what, any of " . ($n - 1));
	cmp_ok($n - 1, '>=', $least, "$what: there were that many");
	return;
}

# Requests: two of the probe, and the deletes, an outbox row of two sessions
# each; the store may have acted or not.

my %faults = (
	'503' => { status => 503, code => 'SlowDown' },
	'500, carried out' =>
	  { status => 500, code => 'InternalError', act => JSON::PP::true },
	'cut after it was carried out' => { cut => 0 },
	'half an answer' => { cut => -30 },
	'reset' => { reset => JSON::PP::true },
	'garbage' => { garbage => JSON::PP::true },
	'garbage, carried out' =>
	  { garbage => JSON::PP::true, act => JSON::PP::true });
foreach my $what (sort keys %faults)
{
	every_step(
		"request: $what", 4,
		sub {
			my ($n) = @_;
			call('CALL vf_purge()');
			ask('UPDATE vf_bucket SET probed_at = NULL');
			control('POST', '/faults',
				{ %{ $faults{$what} }, skip => $n - 1 });
			call('CALL vf_drain()');
			my $left = control('GET', '/faults');
			control('POST', '/faults', []);
			return !@$left;
		});
}

# Commits.  A constraint trigger that is deferred runs when the transaction is
# about to commit; a sequence counts on where the transaction is rolled back.

sql($node, q{
	CREATE TABLE nth (n bigint, die boolean);
	INSERT INTO nth VALUES (0, false);
	CREATE SEQUENCE step;
	CREATE FUNCTION fail_nth() RETURNS trigger LANGUAGE plpgsql
	SECURITY DEFINER SET search_path = public AS $$
	BEGIN
		IF (SELECT n FROM nth) = 0 OR nextval('step') <> (SELECT n FROM nth)
		THEN
			RETURN NULL;
		END IF;
		IF (SELECT die FROM nth) THEN
			PERFORM pg_terminate_backend(pg_backend_pid());
			PERFORM pg_sleep(10);
		END IF;
		RAISE EXCEPTION 'this step fails';
	END $$});
foreach my $table (qw(vf_outbox vf_run vf_bucket))
{
	sql($node, qq{
		CREATE CONSTRAINT TRIGGER fail_nth
		AFTER INSERT OR UPDATE OR DELETE ON $table
		DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION fail_nth()});
}

sub fail_commit
{
	my ($statement, $n, $die) = @_;
	ask("ALTER SEQUENCE step RESTART;
		UPDATE nth SET n = $n, die = $die");
	my ($ret, $said) = (0, '');
	if ($die eq 'true')
	{
		($ret, undef, $said) = $node->psql('voiceframe', $statement);
	}
	else
	{
		$said = $called->ask($statement);
		$ret = $said =~ /^ERROR/m;
	}
	my $reached =
	  ask("SELECT is_called AND last_value >= $n FROM step") eq 't';
	ask('UPDATE nth SET n = 0');
	die "$statement failed by itself: $said" if $ret && !$reached;
	return $reached;
}

foreach my $die ('false', 'true')
{
	my $how = $die eq 'true' ? 'the process ends' : 'an error';
	every_step("commit of vf_purge(), $how", 6,
		sub { return fail_commit('CALL vf_purge()', $_[0], $die) });
	every_step(
		"commit of vf_drain(), $how",
		6,
		sub {
			call('CALL vf_purge()');
			ask('UPDATE vf_bucket SET probed_at = NULL');
			return fail_commit('CALL vf_drain()', $_[0], $die);
		});
}

$asked->quit;
$called->quit;
$node->stop;
done_testing();
