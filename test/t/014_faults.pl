# 014_faults.pl: whatever a store answers, nothing is lost and nothing is
# believed that was not said (P4, P6).  The scripted store does every fault it
# can: each meets a real drain, then it ends, and a second drain finishes.
# Walked in whole: the documents of peer_xml.py, every status, every row of
# the table of error classes (with its cure in a view), every byte at which an
# answer or a request can be cut, every wrong certificate.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use VfTest;

my $true = JSON::PP::true;
my $peer = start_peer('--bucket', 'voiceframe');
my $elsewhere = start_peer('--bucket', 'voiceframe');
my $mute = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'faults',
	store => $peer,
	preload => 0,
	conf => "voiceframe.s3_concurrency = 8\n");
$node->safe_psql('postgres', 'CREATE DATABASE mute');
foreach my $db (qw(voiceframe mute))
{
	make_sample($node, n => 1, db => $db);
	sql($node, 'DELETE FROM orders; DELETE FROM sessions', $db);
}
configure($node, $peer);
configure($node, $mute, db => 'mute');

my $s = session($node);
$s->ask(q{LOAD 'voiceframe_retention'; SET client_min_messages = warning});
my $pid = $s->ask('SELECT pg_backend_pid()') =~ s/\s//gr;

sub put
{
	my (@keys) = @_;
	$peer->post('/put', { bucket => 'voiceframe', keys => \@keys });
	return @keys;
}

# In the session: what waits is due, and drained.
sub drain_now
{
	return $s->ask(q{
		UPDATE vf_outbox SET next_attempt_at = now() - interval '1 second'
		WHERE state IN ('waiting', 'claimed');
		UPDATE vf_bucket SET next_attempt_at = NULL;
		CALL vf_drain()});
}

# Every key that is not settled, and what the bucket's row tells.
sub outbox
{
	return $s->ask(q{
		SELECT concat_ws(' ', key, state, attempts, last_error_code)
		FROM vf_outbox_keys ORDER BY key COLLATE "C"}) =~ s/\n\z//r;
}

sub bucket
{
	return $s->ask(q{
		SELECT concat_ws(' ', state, error) FROM vf_outbox_stats
		WHERE bucket = 'voiceframe' AND endpoint = (
			SELECT endpoint FROM vf_bucket WHERE is_current)}) =~ s/\n\z//r;
}

sub confirmed
{
	return $s->ask(q{SELECT sum(keys_confirmed) FROM vf_run}) + 0;
}

sub check_finished
{
	my ($what, $before, $n) = @_;
	$peer->faults();
	drain_now();
	is(join("\n", outbox(), confirmed() - $before, bucket(), $peer->contents),
		"\n$n\nok", "P4: then all goes, each key counted once ($what)");
	return;
}

# 1. A store that never answers, in a database of its own and in the
# background, because a request may take 30 seconds.  Each request meets
# another way to be silent.

my @silent = map { "temp_photos/silent$_" } 1 .. 5;
$mute->put('voiceframe', @silent);
foreach my $key (@silent)
{
	add_due($node, { db => 'mute' }, $key);
	purge($node, 'mute');
}
my %silence = (
	1 => { stall => $true },
	2 => { stop_at => 3 },
	3 => { stop_at => 150 },
	4 => { stop_at => -30 },
	5 => { slow => 5 });
$mute->faults(map {
		{ times => 0, match => { key => "temp_photos/silent$_" },
			%{ $silence{$_} } }
} sort keys %silence);
my $begin = Time::HiRes::time();
my $silent_drain = held_drain($node, 'mute');
wait_for(sub { $mute->sent == 5 }, 'five requests that nobody answers');
is( sql($node, q{
		SELECT count(*) || ' ' || count(backend_xid) + count(backend_xmin)
		FROM pg_stat_activity
		WHERE datname = 'mute' AND query LIKE 'CALL vf_drain%'}),
	'1 0', 'P5: a drain that waits holds no snapshot and no transaction id');

# 2. Answers to the whole request that no key may be settled by, and answers
# that settle some.  Of 'keys' each is: fate, attempts and code.

my @three = map { "temp_photos/trial$_" } 1 .. 3;
my ($one, $two, $three) = @three;

sub trial
{
	my ($what, $fault, %want) = @_;
	my $before = confirmed();
	queue($node, put(@three));
	$peer->faults({ times => 0, match => { query => 'delete' }, %$fault });
	drain_now();
	my %fate = %{ $want{keys} // {} };
	my $left = join("\n",
		map { "$_ " . ($fate{$_} // "waiting 0 $want{code}") }
		grep { ($fate{$_} // '') ne 'confirmed' } @three);
	is(outbox(), $left, "P4: each key's state ($what)");
	is(bucket(), $want{code} ? "failing $want{code}" : 'ok',
		"P10: the bucket's state ($what)");
	my $gone = $want{acted} // 0;
	is(scalar($peer->contents), 3 - $gone, "P4: the bucket ($what)");
	check_finished($what, $before, 3);
	return;
}

trial('an error inside a 200', { error_in_200 => 'InternalError' },
	code => 'InternalError');
trial('an error without a code inside a 200',
	{ status => 200, body => '<Error/>' }, code => 'UnexpectedStatus');
trial('garbage', { garbage => $true }, code => 'MalformedAnswer');
trial('keys left out', { omit => [ $two, $three ] },
	acted => 1,
	keys => {
		$one => 'confirmed',
		$two => 'waiting 1 MissingFromAnswer',
		$three => 'waiting 1 MissingFromAnswer'
	});
trial('keys never sent', { extra => [ 'temp_photos/never', '' ] },
	acted => 3,
	keys => { map { $_ => 'confirmed' } @three });
trial('only keys never sent',
	{ omit => \@three, extra => [ map { "$_.bak" } @three ] },
	keys => { map { $_ => 'waiting 1 MissingFromAnswer' } @three });
trial('acted, then reset', { reset => $true },
	acted => 3, code => 'ConnectionCut');
trial('acted, then an error', { status => 500, act => $true },
	acted => 3, code => 'InternalError');
foreach my $status (301, 302, 303, 307, 308)
{
	# One that names another region would be told as WrongRegion.
	my %code = (301 => 'PermanentRedirect', 302 => 'Redirect',
		303 => 'SeeOther', 307 => 'TemporaryRedirect',
		308 => 'PermanentRedirect');
	trial("redirect $status", {
			redirect => $status,
			region => 'us-east-1',
			location => "$elsewhere->{endpoint}/voiceframe?delete="
		},
		code => $code{$status});
}
is(scalar($elsewhere->journal), 0, 'P9: no redirect is followed');

my $documents = VfTest::capture('', '/usr/bin/python3', '-B', '-c', qq{
import sys; sys.path.insert(0, '$VfTest::root/s3'); import peer_xml
print('\\n'.join(sorted(peer_xml.DOCUMENTS)))});
my %no_answer = map { $_ => 'waiting 1 MissingFromAnswer' } @three;
my %missing = map { $_ => 1 } (
	'a blank behind each key', 'a level lower', 'another case',
	'coded as in a URL', 'in CDATA', 'in a comment', 'keys run together');
foreach my $name (split(/\n/, $documents))
{
	my %want = (code => 'MalformedAnswer');
	%want = (keys => \%no_answer) if $missing{$name};
	%want = (keys => { map { $_ => 'waiting 1 InternalError' } @three })
	  if $name eq 'an error beside each';
	trial("XML: $name", { xml => $name }, %want);
}

# 3. Too much of everything: the backend's memory stays small, and it does
# not read to the end.  Eight requests at a time.

sub peak
{
	return slurp_file("/proc/$pid/status") =~ /^VmHWM:\s+(\d+) kB/m
	  ? $1 / 1024 : die 'no VmHWM';
}

my $before = confirmed();
my @many = put(map { "temp_photos/flood$_" } 1 .. 8);
queue($node, $_) foreach @many;
my $small = peak();
my %flood = (
	'10 GB behind a good answer' => { flood => 1e10 },
	'a head of 10 GB' => { flood_head => 1e10 },
	'chunks without end' => { endless => $true });
foreach my $what (sort keys %flood)
{
	$peer->faults({ times => 0, match => { query => 'delete' },
			%{ $flood{$what} } });
	my $lines = $peer->journal('sent');
	drain_now();
	is(outbox(), join("\n", map { "$_ waiting 0 AnswerTooLarge" } @many),
		"P4: no key is lost, none counted ($what)");
	is(bucket(), 'failing AnswerTooLarge', "P10: the bucket tells ($what)");
	is(scalar($peer->contents), 8, "P4: all objects are there ($what)");
	my @sent = wait_for(sub {
			my @new = $peer->journal('sent');
			splice(@new, 0, $lines);
			return @new == 8 ? \@new : undef;
		}, 'the floods to end');
	my $most = (sort { $b <=> $a } map { $_->{bytes} } @{ $sent[0] })[0];
	cmp_ok($most, '<', 64 * 1024 * 1024, "P7: few are read ($what)");
}
my $grown = peak() - $small;
cmp_ok($grown, '<', 256, 'P7: nor held in memory');
note("the backend grew by $grown MB");
check_finished('floods', $before, 8);

# 4. Every status, without a word besides: as the table of classes says.

my $print = PostgreSQL::Test::Utils::tempdir_short() . '/classes';
VfTest::capture('', 'cc', '-std=gnu99', "-I$VfTest::root/../src", '-o', $print,
	"$VfTest::root/unit/classes.c", "$VfTest::root/../src/s3_class.c");
my (@rows, @statuses);
foreach my $line (split(/\n/, VfTest::capture('', $print)))
{
	my ($kind, $status, $class, $code, $cure) = split(/ /, $line, 5);
	push @rows,
	  { status => $status, class => $class, code => $code, cure => $cure }
	  if $kind eq 'row';
	push @statuses, { status => $status, class => $class, code => $code }
	  if $kind eq 'status';
}
cmp_ok(scalar(@rows), '>', 60, 'the table of classes has rows');
is(scalar(@statuses), 400, 'and an answer to every status');

# Drains once for each fault, the row as it was before; what then is on record.
sub drains
{
	my (@faults) = @_;

	my @got;

	# For as long as the drain goes on: it may try again, and halve.
	foreach my $fault (@faults)
	{
		$peer->faults(
			{ match => { query => 'delete' }, %$fault, times => 0 });
		$s->ask(q{UPDATE vf_outbox SET attempts = 0, last_error_code = NULL,
			next_attempt_at = now() - interval '1 second';
			UPDATE vf_bucket SET (next_attempt_at, failures, batch_keys,
				batch_bytes) = (NULL, 0, 1000, 1000000);
			DELETE FROM vf_pace});
		$s->ask('CALL vf_drain()');
		push @got, $s->ask(q{SELECT 'row ' || string_agg(concat_ws(' ', state,
			attempts, last_error_code, array_to_string(keys, ' ')), ';')
			FROM vf_outbox}) =~ /^row (.*)$/m;
	}
	$peer->faults();
	return @got;
}

$before = confirmed();
queue($node, put($one));
my @got = drains(map { { status => $_->{status} + 0, body => '' } } @statuses);
my @want = map {
	$_->{status} < 300
	  ? "waiting 0 MalformedAnswer $one"
	  : 'waiting ' . ($_->{class} eq 'batch' ? 1 : 0) . " $_->{code} $one"
} @statuses;
foreach my $hundred (2 .. 5)
{
	my @at = ($hundred * 100 - 200 .. $hundred * 100 - 101);
	is_deeply([ @got[@at] ], [ @want[@at] ],
		"P4: every status from ${hundred}00: the key waits, and why");
}
is(scalar($peer->contents), 1, 'P4: nothing was done');
check_finished('every status', $before, 1);

# 5. Every row of the table.  A row of class bucket or batch is the answer to
# a whole request, the others are one key's.

$before = confirmed();
queue($node, put($one));
$s->ask('SET voiceframe.s3_max_attempts = 1');
my %general = map { $_->{code} => $_->{cure} } @rows;
my (@bucket_bad, @letter_bad);
foreach my $row (grep { $_->{class} =~ /^(bucket|batch)$/ } @rows)
{
	my $code = $row->{code};

	# A store can send our own codes too; those of a hundred have no code.
	my %rest = (2 => 200, 3 => 304, 4 => 418, 5 => 599);
	my %answer = (status => 400, code => $code);
	%answer = (
		status => $rest{ $row->{status} },
		body => $row->{status} == 2 ? '<Error/>' : '')
	  if $rest{ $row->{status} };
	$peer->faults({ times => 0, match => { query => 'delete' }, %answer });
	drain_now();
	my $seen = outbox();
	if ($row->{class} eq 'bucket')
	{
		my $told = $s->ask(q{
			SELECT concat_ws('|', error, cure) FROM vf_outbox_stats
			WHERE failures > 0});
		push @bucket_bad, "$code: $seen $told"
		  if $seen ne "$one waiting 0 $code" ||
		  $told ne "$code|$row->{cure}\n";
	}
	else
	{
		my $told = $s->ask(q{
			SELECT concat_ws('|', error, cure) FROM vf_dead_letters});
		push @letter_bad, "$code: $seen $told"
		  if $seen ne "$one dead 1 $code" ||
		  $told !~ /^\Q$code\E\|[A-Z].{20,}\.$/ ||
		  $told =~ /\Q$general{UnknownError}\E/;
		$s->ask('SELECT vf_outbox_retry()');
	}
}
is("@bucket_bad", '',
	'P6: each code of the bucket waits uncounted, its cure in vf_outbox_stats');
is("@letter_bad", '',
	'P10: each code of a batch ends as a dead letter with a cure');
is(scalar($peer->contents), 1, 'P4: nothing was done');
check_finished('every code of the bucket', $before, 1);

$before = confirmed();
my @of_keys = grep { $_->{class} =~ /^(passing|final|ok)$/ } @rows;
my %fault = map { ("temp_photos/code/$_->{code}." => $_->{code}) } @of_keys;
my %ok = map { $_->{code} => 1 } grep { $_->{class} eq 'ok' } @of_keys;
put(grep { !$ok{ $fault{$_} } } sort keys %fault);
queue($node, sort keys %fault);
$peer->faults({ match => { query => 'delete' }, key_errors => \%fault });
drain_now();
my %letters = map { (split(/\|/))[ 0, 1 ] } split(/\n/, $s->ask(q{
	SELECT concat_ws('|', error, cure) FROM vf_dead_letters}));
my %waiting = map { $_ => 1 } split(/\n/, $s->ask(q{
	SELECT concat_ws(' ', last_error_code, attempts) FROM vf_outbox_keys
	WHERE state = 'waiting'}));
my @bad = grep {
	my $code = $_->{code};
	$ok{$code} ? exists $letters{$code}
	  : $code eq 'SlowDown' ? !$waiting{'SlowDown 0'}
	  : ($letters{$code} // '') ne $_->{cure};
} @of_keys;
is(join(' ', map { $_->{code} } @bad), '',
	'P10: each code of a key ends as a dead letter with its cure');
is(scalar(keys %waiting), 1, 'P4: but SlowDown, which is never counted');
is(confirmed() - $before, scalar(keys %ok),
	'P4: and what was never there is confirmed');
is(scalar($peer->contents), @of_keys - keys %ok, 'P4: nothing was done');
$s->ask('RESET voiceframe.s3_max_attempts');
is($s->ask('SELECT vf_outbox_retry()') + 0, @of_keys - keys(%ok) - 1,
	'P10: all of them can be tried again');
check_finished('every code of a key', $before, scalar(@of_keys));

# 6. Cut at every byte: of the request, of the answer, of one in chunks, of
# one that tells no length.  Only the whole one counts.

my @pair = ($one, $two);
# Behind the last chunk's size nothing of an answer is left but a line end.
my %forms = (
	'told its length' => {},
	'in chunks' => { chunked => 50 },
	'without a length' => { no_length => $true });
foreach my $form (sort keys %forms)
{
	queue($node, put(@pair));
	$peer->faults($forms{$form});
	drain_now();
	is(outbox(), '', "P4: an answer $form is understood");
	my $bytes = ($peer->journal('sent'))[-1]{bytes};
	$bytes -= 2 if $forms{$form}{chunked};
	cmp_ok($bytes, '>', 300, "and has some bytes ($form)");

	$before = confirmed();
	queue($node, put(@pair));
	@got = drains(map { { %{ $forms{$form} }, cut => $_ } } 0 .. $bytes - 1);
	is(scalar(@got), $bytes, "cut $bytes times ($form)");
	@bad = grep { $got[$_] !~ /^waiting 0 [A-Z]\w+ \Q@pair\E$/ } 0 .. $#got;
	is(join("\n", map { "$_: $got[$_]" } @bad), '',
		"P4: cut at any byte, no key is settled or counted ($form)");
	is(confirmed(), $before, "P4: nor confirmed ($form)");
	check_finished("an answer $form", $before, 2);
}
$before = confirmed();
queue($node, put(@pair));
my $size = (grep { $_->{keys} } $peer->journal('before'))[-1]{size};
my $asked = $peer->journal('after');
cmp_ok($size, '>', 500, 'a request has some bytes');
@got = drains(map { { cut_request => $_ } } 0 .. 300);
is(scalar(@got), 301, 'cut 301 times (the request)');
@bad = grep { $got[$_] !~ /^waiting 0 [A-Z]\w+ \Q@pair\E$/ } 0 .. $#got;
is(join("\n", map { "$_: $got[$_]" } @bad), '',
	'P4: a request cut at any byte settles and counts no key');
is(scalar($peer->contents), 2, 'P4: and does nothing');
is(scalar($peer->journal('after')), $asked, 'no whole request arrived');
check_finished('a request cut', $before, 2);

# 7. Whoever cannot prove to be the store hears nothing.

my $tls = make_certificates();
my @good = ('--tls', "$tls/good.pem", "$tls/good.key");
my $secure = start_peer('--bucket', 'voiceframe', @good);
$s->ask(qq{SET voiceframe.s3_ca_file = '$tls/ca.pem'});
sql($node, qq{SELECT * FROM vf_configure_bucket('voiceframe',
	'$secure->{region}', '$secure->{endpoint}', 'path')});
$before = confirmed();
$secure->post('/put', { bucket => 'voiceframe', keys => \@three });
queue($node, @three);
foreach my $name (qw(other_host expired not_yet other_ca self_signed))
{
	$secure->post('/set', { tls => [ "$tls/$name.pem", "$tls/$name.key" ] });
	drain_now();
	is(outbox(), join("\n", map { "$_ waiting 0" } @three),
		"P4: no key is lost or touched (certificate $name)");
	is(bucket(), 'failing TlsError', "P10: the bucket tells ($name)");
	is(scalar($secure->journal), 0, "P9: nothing was sent ($name)");
}
$secure->post('/set', { tls => [ "$tls/good.pem", "$tls/good.key" ] });
drain_now();
is(join(' ', outbox(), confirmed() - $before, bucket(), $secure->contents),
	' 3 ok', 'P4: then all goes (certificate)');

# 8. The silent store, by now given up.

my $said = $silent_drain->finish;
my $took = Time::HiRes::time() - $begin;
like($said, qr/: 0 keys confirmed gone, 5 to be tried again, 0 dead/,
	'P4: silence settles nothing');
is( sql($node, q{SELECT string_agg(concat_ws(' ', key, state, attempts,
		last_error_code), E'\n' ORDER BY key) FROM vf_outbox_keys}, 'mute'),
	join("\n", map { "$_ waiting 0 Timeout" } @silent),
	'P4: no key is lost, none counted (silence)');
is( sql($node, q{SELECT state || ' ' || error FROM vf_outbox_stats}, 'mute'),
	'failing Timeout', 'P10: the bucket tells (silence)');
$mute->faults();
age($node, 'mute');
VfTest::drain($node, 'mute');
is( sql($node, q{SELECT count(*) FROM vf_outbox}, 'mute') .
	  join(' ', $mute->contents),
	'0', 'P4: then all goes (silence)');
cmp_ok($took, '<', 600, 'P5: and the drain ended by itself');

$s->quit;
$node->stop;
done_testing();
