# 032_promote_faults.pl: copying paid files from a store that fails, lies,
# refuses, or is another than was meant; and killed at every step (P1, P3, P4):
# at each moment the file is named by a row and exists, and whoever could read
# it can.

use strict;
use warnings;

use Test::More;
use VfPromote;
use VfTest;

my $true = JSON::PP::true;
my ($node, $peer) =
  start_shop('promote_faults', "restart_after_crash = on\n");

# 1. Plain.

my $f = new_file();
drain_now();
check_done($f, 'plain');
forget_all();
my $lines = $peer->journal('before');
$f = new_file();
drain_now();
my @journal = $peer->journal('before');
@journal = grep { $_->{key} =~ m{^(temp|perm)} } splice(@journal, $lines);
is( join(', ', map { "$_->{verb}" . ($_->{query} ? ' acl' : '')
			. ($_->{amz}{'x-amz-copy-source'} ? ' copy' : '') }
		splice(@journal, 1)),
	'HEAD, HEAD, GET acl, PUT copy, GET acl, PUT acl, GET acl, HEAD, HEAD',
	'one request for each step');
my $head = $peer->raw('voiceframe', { method => 'HEAD', key => $f->{target} });
is( join('|', map { $head->{headers}{$_} } qw(content-type x-amz-meta-name)),
	"image/jpeg|$f->{name}", 'metadata are kept');
like( $peer->raw('voiceframe',
		{ key => $f->{target}, query => { tagging => '' } })->{body},
	qr{<Value>$f->{name}</Value>}, 'and tags');
check_done($f, 'plain again');
forget_all();

# 2. Every step fails in every way.

my %ways = (
	'500' => [ { status => 500 }, 'waiting 1 InternalError' ],
	'a 403' => [ { status => 403, code => 'AccessDenied' },
		'waiting 1 CopyDenied' ],
	'SlowDown' => [ { status => 503, code => 'SlowDown' },
		'waiting 0 SlowDown' ],
	'an expired token' => [ { status => 403, code => 'InvalidAccessKeyId' },
		qr/^waiting [01] (InvalidAccessKeyId|CopyDenied)$/ ],
	'a cut answer' => [ { cut => 5 }, 'waiting 1 ConnectionCut' ],
	'acted, then reset' => [ { reset => $true }, 'waiting 1 ConnectionCut' ]);
foreach my $step (@steps)
{
	my ($what, $match, $skip) = @$step;
	foreach my $way (sort keys %ways)
	{
		my ($fault, $want) = @{ $ways{$way} };
		my $is_head = $match->{verb} eq 'HEAD';
		$f = new_file();
		$peer->faults({ match => $match, skip => $skip, times => 0,
				%$fault });
		drain_now();
		if (ref $want) { like(entry($f), $want, "$what: $way") }
		elsif ($is_head && $way eq 'a cut answer') {
			like(entry($f), qr/^waiting/, "$what: $way");
		}
		else
		{
			is(entry($f), $want, "$what: $way");
		}
		check_safe($f, "$what: $way");
		is(rows($f), "- $f->{key} -", "nothing is named before ($what: $way)");
		check_finishes($f, "$what: $way");
	}
}

# 3. Killed at every step, before the store has acted and after; then the
# request that was under way is carried out, late.

sub kill_at
{
	my ($f, $what, $waits) = @_;
	my $drain = held_drain($node);
	wait_for($waits, $what);
	my $pid = sql($node, q{SELECT pid FROM pg_stat_activity
		WHERE query LIKE 'CALL vf_drain%' AND state = 'active'});
	kill 'KILL', $pid;
	eval { $drain->finish };
	wait_for(sub { !kill(0, $pid) && $node->psql('postgres', 'SELECT 1') == 0 },
		'the server to come back');
	return;
}

foreach my $step (@steps)
{
	my ($what, $match, $skip) = @$step;
	foreach my $way ('hold', 'late')
	{
		$f = new_file();
		$peer->faults({ name => 'x', match => $match, skip => $skip,
				$way => $true });
		age($node);
		kill_at($f, "$what to be held", held());
		check_safe($f, "killed at $what, $way");
		is(rows($f), "- $f->{key} -", "nothing is named before ($what, $way)");
		is(entry($f), 'claimed 0', "its lease stands ($what, $way)");
		drain($node);
		is(entry($f), 'claimed 0', "and keeps others away ($what, $way)");
		$peer->ctl('release', 'x');
		check_finishes($f, "killed at $what, $way");
	}
}

# In the last transaction: the order's row is held by somebody.
$f = new_file();
my $holder = session($node);
$holder->ask("BEGIN; SELECT 1 FROM orders WHERE id = '$f->{order}' FOR UPDATE");
kill_at($f, 'the order to be waited for', sub {
		return sql($node, q{SELECT count(*) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND query LIKE 'CALL vf_drain%'}) });
$holder = undef;
check_safe($f, 'killed in the last transaction');
is(rows($f), "- $f->{key} -", 'nothing is named before the commit');
check_finishes($f, 'killed in the last transaction');

# 4. What a store may say.

sub trial
{
	my ($what, $fault, $want, %o) = @_;
	$f = new_file(%o);
	$peer->faults({ times => 0, match => $step{'the copy'}, %$fault });
	drain_now();
	is(entry($f), $want, "$what");
	check_safe($f, $what);
	return $f;
}

trial('an error hidden in a 200', { error_in_200 => 'InternalError' },
	'waiting 1 InternalError');
check_finishes($f, 'an error hidden in a 200');
trial('SlowDown hidden in a 200', { error_in_200 => 'SlowDown' },
	'waiting 0 SlowDown');
is( sql($node, 'SELECT state || error FROM vf_outbox_stats'),
	'failingSlowDown', 'the bucket waits');
check_finishes($f, 'SlowDown hidden in a 200');
trial('a 200 with nothing in it', { status => 200, body => '' },
	'waiting 1 MalformedAnswer');
check_finishes($f, 'a 200 with nothing in it');
trial('another document', { status => 200, body => '<CopyPartResult/>' },
	'waiting 1 MalformedAnswer');
check_finishes($f, 'another document');
trial('acted, then an error in a 200',
	{ error_in_200 => 'InternalError', act => $true },
	'waiting 1 InternalError');
check_finishes($f, 'acted, then an error in a 200');
trial('answered late', { delay => 2, times => 1 }, '');
check_done($f, 'answered late');
forget_all();
trial('an answer kept alive by blanks',
	{ status => 200, act => $true, body => " \n  \n<CopyObjectResult/>" }, '');
check_done($f, 'an answer kept alive by blanks');
forget_all();

# Tried again and again it is a dead letter, with its cure.
sql($node, "ALTER DATABASE voiceframe SET voiceframe.s3_max_attempts = 2");
trial('a right that is missing', { status => 403, code => 'AccessDenied' },
	'waiting 1 CopyDenied');
drain_now();
is(entry($f), 'dead 2 CopyDenied', 'at last it is a dead letter');
like( sql($node, 'SELECT cure, kind, target FROM vf_dead_letters'),
	qr{s3:PutObjectAcl under permanent/.*\|copy\|\Q$f->{target}\E},
	'with its cure and its destination');
is( sql($node, q{SELECT result FROM vf_promote()}),
	'was queued before and is a dead letter', 'vf_promote says so');
sql($node, "ALTER DATABASE voiceframe RESET voiceframe.s3_max_attempts");
sql($node, 'SELECT vf_outbox_retry()');
check_finishes($f, 'a right that is missing');

# 5. What lies at the destination.

$f = new_file();
put_object($f->{target}, 'somebody else wrote this');
drain_now();
is(entry($f), 'dead 1 TargetDiffers', 'another object at the destination');
is($peer->ctl('cat', 'voiceframe', $f->{target}), 'somebody else wrote this',
	'P3: is not written over');
check_safe($f, 'another object at the destination');
$peer->post('/remove', { bucket => 'voiceframe', keys => [ $f->{target} ] });
sql($node, 'SELECT vf_outbox_retry()');
check_finishes($f, 'moved away');

$f = new_file();
put_object($f->{target}, $f->{body});
is($peer->anonymous($f->{target}), '403', 'the application copied, privately');
drain_now();
check_done($f, 'the same object at the destination');
forget_all();

my %kms = (headers => {
	'x-amz-server-side-encryption' => 'aws:kms',
	'x-amz-server-side-encryption-aws-kms-key-id' => 'arn:aws:kms:r:1:key/k',
	'x-amz-server-side-encryption-bucket-key-enabled' => 'true' });
$f = new_file(%kms);
put_object($f->{target}, $f->{body}, %{ $kms{headers} });
$peer->grow_old(1000);
drain_now();
is(entry($f), 'dead 1 TargetDiffers', 'what nothing proves to be the same');
check_safe($f, 'what nothing proves to be the same');
forget_all();

# 6. Encryption.

foreach my $mode (\%kms,
	{ headers => { 'x-amz-server-side-encryption' => 'AES256' } })
{
	my %sse = %{ $mode->{headers} };
	my $word = $sse{'x-amz-server-side-encryption'};
	$f = new_file(%$mode);
	drain_now();
	check_done($f, $word);
	$head = $peer->raw('voiceframe', { method => 'HEAD', key => $f->{target} });
	is_deeply({ map { $_ => $head->{headers}{$_} } keys %sse }, \%sse,
		"$word: the copy is as encrypted as the file");
	my ($copy) = grep { $_->{key} eq $f->{target} && $_->{verb} eq 'PUT' }
	  $peer->journal('before');
	is_deeply({ map { $_ => $copy->{amz}{$_} } keys %sse }, \%sse,
		"$word: the copy was asked for so");
	forget_all();

	# Its ETag proves nothing; that it is ours, its age does.
	trial("$word, cut off", { reset => $true }, 'waiting 1 ConnectionCut',
		%$mode);
	check_finishes($f, "$word, cut off");
}
$f = new_file(%kms);
put_object($f->{target}, $f->{body});
drain_now();
is(entry($f), 'dead 1 TargetDiffers', 'a copy that is not encrypted');
forget_all();

# 7. The source.

$f = new_file();
$peer->post('/remove', { bucket => 'voiceframe', keys => [ $f->{key} ] });
drain_now();
is(entry($f), 'dead 1 SourceMissing', 'the source is gone');
is(rows($f), "- $f->{key} -", 'nothing is named for it');
forget_all();

# Replaced before the copy, and after it.
foreach my $at ([ $step{'the copy'}, 0, 'PreconditionFailed', 'before' ],
	[ $step{'HEAD of the source'}, 1, 'SourceChanged', 'after' ])
{
	my ($match, $skip, $code, $when) = @$at;
	$f = new_file();
	$peer->faults({ name => 'x', match => $match, skip => $skip,
			hold => $true });
	age($node);
	my $drain = held_drain($node);
	wait_for(held(), 'the request');
	$f->{body} = 'uploaded anew';
	put_object($f->{key}, $f->{body}, 'x-amz-acl' => 'public-read');
	$peer->ctl('release', 'x');
	$drain->finish;
	is(entry($f), "waiting 1 $code", "replaced $when the copy");
	check_safe($f, "replaced $when the copy");
	if ($when eq 'before') { check_finishes($f, 'replaced before the copy') }
	else
	{
		drain_now();
		is(entry($f), 'dead 2 TargetDiffers', 'then the copy is another');
		check_safe($f, 'the copy is another');
		forget_all();
	}
}

# Where the store does not look at the condition, we see it all the same.
$peer->ctl('set', '{"conditions": "ignore"}');
$f = new_file();
$peer->faults({ name => 'x', match => $step{'the copy'}, hold => $true });
age($node);
my $drain = held_drain($node);
wait_for(held(), 'the copy');
$f->{body} = 'uploaded anew';
put_object($f->{key}, $f->{body}, 'x-amz-acl' => 'public-read');
$peer->ctl('release', 'x');
$drain->finish;
isnt(entry($f), '', 'P1: a store that ignores conditions is seen through');
check_safe($f, 'a store that ignores conditions');
$peer->ctl('set', '{"conditions": "honour"}');
forget_all();

foreach my $key ("temp_photos/./a/../b c%2F+\xc3\xbc&?=~'\"<.JPG",
	'temp_photos/no ending', 'temp_photos/odd.e/n.d-ing',
	"temp_photos/line\nbreak.png")
{
	next if $key =~ /[^\x20-\x7e]/;
	$f = new_file(key => $key, ending => $key =~ /(\.JPG)$/ ? $1 : '');
	drain_now();
	is(rows($f), "$f->{target} $f->{target} completed", "key: $key");
	is($peer->anonymous($f->{target}), "200 $f->{body}", 'its bytes');
	forget_all();
}

done_testing();
