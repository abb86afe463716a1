# 003_peer_accounting.pl: every key is accounted for (P4).  A strict peer does
# wrong what a store can do wrong, and keeps a journal: a worker is killed
# between request and settle, a lease is lost while a request travels, keys
# fail one by one, are left out of the answer, or were never asked for; whole
# answers are not what they seem; one key poisons its batch; keys are odd.

use strict;
use warnings;

use Encode;
use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'accounting',
	store => $peer,
	preload => 0,
	conf => "restart_after_crash = on\nvoiceframe.s3_max_attempts = 3\n");
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
configure($node, $peer);

# All but the settled, in order of keys.
sub outbox
{
	return sql($node, q{
		SELECT string_agg(concat_ws(' ', key, state, attempts,
			last_error_code), E'\n' ORDER BY key COLLATE "C")
		FROM vf_outbox_keys WHERE state <> 'cancelled'});
}

sub confirmed
{
	return sql($node, 'SELECT sum(keys_confirmed) FROM vf_run');
}

sub put
{
	my (@keys) = @_;
	$peer->put('voiceframe', @keys);
	return @keys;
}

sub keys_like
{
	my ($name, $n) = @_;
	return map { sprintf('temp_photos/%s%04d', $name, $_) } 1 .. $n;
}

# Killed between request and settle.  The peer acts and does not answer.

my @keys = put(keys_like('killed', 3));
queue($node, @keys);
$peer->faults({ late => JSON::PP::true, match => { query => 'delete' } });
my $pid = sql($node, 'SELECT vf_worker_start()');
$peer->ctl('wait-held', 1);
is(join(' ', map { scalar @$_ } $peer->sent),
	'3', 'P4: the batch was sent before the worker is killed');
kill 'KILL', $pid;
wait_for(sub { $node->psql('voiceframe', 'SELECT 1') == 0 && !kill(0, $pid) },
	'the server to recover');
$peer->ctl('release');
wait_for(sub { sql($node, 'SELECT pid FROM vf_workers') =~ /\d/ },
	'the worker to come back');
is(sql($node, 'SELECT vf_worker_stop()'), 't', 'P6: the worker comes back');
is(outbox(), join("\n", map { "$_ claimed 0" } @keys),
	'P4: the lease outlives the worker');
drain($node);
is(scalar($peer->sent), 1, 'P4: nobody sends the batch while the lease lasts');
age($node);
drain($node);
is_deeply([ map { [ sort @$_ ] } $peer->sent ],
	[ \@keys, \@keys ], 'P4: after it the same batch is sent again');
is(outbox(), '', 'P4: and settled');
is(confirmed(), 3, 'P4: once');
is( sql($node,
		q{SELECT outcome FROM vf_run WHERE kind = 'drain' ORDER BY id LIMIT 1}
	),
	'interrupted', 'P10: the killed run is on record');

# A lease lost while the request travels: whatever the answer, the old token
# changes nothing.  xmin shows a write that left every value as it was.

sub row
{
	return sql($node, q{SELECT xmin, * FROM vf_outbox});
}

my %answers = (
	'all deleted' => {},
	'half of it failed' => {
		key_errors => {
			'temp_photos/lost0001' => 'AccessDenied',
			'temp_photos/lost0002' => 'InternalError'
		}
	},
	'a bucket that is busy' => { status => 503, code => 'SlowDown' },
	'a malformed batch' => { status => 400, code => 'MalformedXML' });
foreach my $what (sort keys %answers)
{
	my $before = confirmed();
	my $log = -s $node->logfile;
	queue($node, put(keys_like('lost', 4)));
	$peer->faults({
			hold => JSON::PP::true,
			match => { query => 'delete' },
			%{ $answers{$what} } });
	my $drain = held_drain($node);
	$peer->ctl('wait-held', 1);
	sql($node, q{
		UPDATE vf_outbox SET lease_token = lease_token + 1,
			lease_pid = 1, next_attempt_at = now() + interval '1 hour'});
	my $row = row();
	$peer->ctl('release');
	my $said = $drain->finish;
	is(row(), $row, "P4: an old token changes nothing ($what)");
	like($said, qr/: 0 keys confirmed gone, 0 to be tried again, 0 dead/,
		"P4: and counts nothing ($what)");
	ok($node->log_contains('was settled too late', $log),
		"P10: the log tells ($what)");
	age($node);
	drain($node);
	is(outbox() . ' ' . (confirmed() - $before),
		' 4', "P4: the new holder settles it ($what)");
}

# Each key's own fate.  The peer also claims to have deleted keys that it was
# not asked for, among them one that waits in another row.

sql($node, 'DELETE FROM vf_outbox');
my %key = map { $_ => "temp_photos/$_" }
  qw(denied fine internal other quiet slow strange);
put(values %key);
my %fault = (
	times => 0,
	match => { query => 'delete' },
	key_errors => {
		$key{denied} => 'AccessDenied',
		$key{internal} => 'InternalError',
		$key{slow} => 'SlowDown',
		$key{strange} => 'NoSuchCodeInAnyManual'
	},
	omit => [ $key{quiet} ],
	extra => [ $key{other}, 'temp_photos/never' ]);
$peer->faults(\%fault);
queue($node, $key{other});
sql($node, q{UPDATE vf_outbox SET next_attempt_at = now() + interval '1 hour'});
queue($node, map { $key{$_} } qw(denied fine internal quiet slow strange));
my $said = drain($node);
like($said,
	qr/1 keys confirmed gone, 4 to be tried again, 1 dead, 0 cancelled/,
	'P4: the drain counts each fate');
is(outbox(), <<"OUT" =~ s/\n\z//r, 'P4: each key has a fate of its own');
$key{denied} dead 1 AccessDenied
$key{internal} waiting 1 InternalError
$key{other} waiting 0
$key{quiet} waiting 1 MissingFromAnswer
$key{slow} waiting 0 SlowDown
$key{strange} waiting 1 NoSuchCodeInAnyManual
OUT
is( sql($node, q{SELECT count(*) FROM vf_outbox
		WHERE state = 'waiting' AND next_attempt_at < now()
			AND last_error_code IS NOT NULL}),
	0, 'P4: what failed waits for its next attempt');
like(
	sql($node, q{SELECT cure FROM vf_dead_letters}),
	qr/s3:DeleteObject|policy|rights?/i,
	'P10: the dead letter names its cure');
is(join(' ', grep { /fine/ } $peer->contents), '', 'P4: the good one is gone');

foreach my $round (2 .. 4)
{
	sql($node, q{
		UPDATE vf_outbox SET next_attempt_at = now() - interval '1 second'
		WHERE state = 'waiting' AND last_error_code IS NOT NULL});
	drain($node);
}
is(outbox(), <<"OUT" =~ s/\n\z//r, 'P4: SlowDown is never counted, others end');
$key{denied} dead 1 AccessDenied
$key{internal} dead 3 InternalError
$key{other} waiting 0
$key{quiet} dead 3 MissingFromAnswer
$key{slow} waiting 0 SlowDown
$key{strange} dead 3 NoSuchCodeInAnyManual
OUT
is( sql($node, q{SELECT firing, value FROM vf_alerts
		WHERE alert = 'dead_letters'}),
	't|4 keys', 'P10: dead letters are an alert');
is( sql($node, q{SELECT count(*) FROM vf_dead_letters WHERE cure <> ''}),
	4, 'P10: each dead letter has a cure');
$peer->ctl('clear');
is(sql($node, 'SELECT vf_outbox_retry()'), 4, 'P4: dead letters come back');
age($node);
drain($node);
is(outbox(), '', 'P4: all are confirmed in the end');
is(join(' ', $peer->contents), '', 'P4: and gone');

# Answers that are not what they seem: nothing is confirmed by any of them, no
# attempt is counted, and the batch is sent again.

my %seeming = (
	'an error in a 200' => { error_in_200 => 'InternalError' },
	'no XML at all' => { garbage => JSON::PP::true },
	'an answer cut short' => { cut => -30 },
	'no answer' => { cut => 0 },
	'a reset' => { reset => JSON::PP::true },
	'half a document, whole by its length' => {
		status => 200,
		body => '<?xml version="1.0"?><DeleteResult><Deleted>'
		  . '<Key>temp_photos/seeming0001</Key></Deleted>'
	},
	'another document' => {
		status => 200,
		body => '<?xml version="1.0"?><ListBucketResult><Deleted><Key>'
		  . 'temp_photos/seeming0001</Key></Deleted></ListBucketResult>'
	},
	'no body' => { status => 204, body => '' });
foreach my $what (sort keys %seeming)
{
	@keys = put(keys_like('seeming', 2));
	queue($node, @keys);
	# For ever: libcurl asks once more itself where a used connection breaks.
	$peer->faults(
		{ times => 0, match => { query => 'delete' }, %{ $seeming{$what} } });
	drain($node);
	$peer->ctl('clear');
	my $left = outbox();
	$left =~ s/ \w+$//mg;
	is( $left,
		join("\n", map { "$_ waiting 0" } @keys),
		"P4: $what confirms nothing");
	age($node);
	drain($node);
	is(outbox() . join(' ', $peer->contents), '', "P4: $what is asked again");
}

# One key poisons its batch.

@keys = put(keys_like('crowd', 999));
my $sent = scalar($peer->sent);
$peer->faults({
		times => 0,
		match => { query => 'delete', key => 'temp_photos/poison' },
		status => 400,
		code => 'MalformedXML'
	});
queue($node, put('temp_photos/poison'), @keys);
drain($node);
is(outbox(), 'temp_photos/poison waiting 1 MalformedXML',
	'P6: a poisoned batch is halved until the poison stands alone');
is(join(' ', $peer->contents), 'temp_photos/poison',
	'P6: the others are confirmed and gone');
my @sent = $peer->sent;
cmp_ok(@sent - $sent, '<=', 25, 'P6: in a few requests');
for (2 .. 3)
{
	age($node);
	drain($node);
}
is(outbox(), 'temp_photos/poison dead 3 MalformedXML',
	'P6: alone it ends as a dead letter');
sql($node, q{SELECT vf_outbox_cancel(id, 'test') FROM vf_outbox
	WHERE state = 'dead'});
$peer->ctl('clear');

# Several rows, several requests; what was learned from the faults is forgotten.

sql($node, 'DELETE FROM vf_pace; UPDATE vf_bucket SET batch_keys = 1000');
@keys = put(keys_like('many', 2500));
$sent = scalar($peer->sent);
queue($node, @keys);
drain($node);
@sent = map { scalar @$_ } ($peer->sent)[ $sent .. $sent + 2 ];
is(join(' ', sort { $a <=> $b } @sent), '500 1000 1000',
	'P7: a request carries up to 1,000 keys');
is(outbox() . join(' ', grep { /many/ } $peer->contents), '', 'P4: all gone');

# Odd keys.  What a live row has is the oracle: a neighbour that a careless
# client would delete instead lives on.

my $wide = "\xf0\x9f\x93\xb7";
my @odd = (
	"temp_photos/dots/a/../b.jpg", "temp_photos/dots/a/./b.jpg",
	"temp_photos/dots//b.jpg", "temp_photos/..",
	"temp_photos/dots/c/../\x01.jpg", "temp_photos/dots/\x01d/./e",
	"temp_photos/cr\rlf\n.jpg", "temp_photos/tab\t end ",
	"temp_photos/one\x01", "temp_photos/us\x1f\x7f", "temp_photos/\x0b%2F?#",
	"temp_photos/ \"'&<>]]>+%20%", "temp_photos/\xc3\xa9\xef\xbf\xbe",
	'temp_photos/\\n', 'temp_photos/' . ($wide x 253));
my @neighbours = (
	'temp_photos/dots/b.jpg', 'temp_photos/dots/a/b.jpg',
	'temp_photos/dots/.jpg', 'temp_photos/dots/d/e',
	'temp_photos/dots/\x01d/e', "temp_photos/cr\nlf\n.jpg",
	"temp_photos/tab\t end", 'temp_photos/one', 'temp_photos/n',
	'temp_photos/ "\'&<>]]>+ %', 'temp_photos/' . ($wide x 252));
my $url = 'temp_photos/https://cdn.example.test/x.jpg';
my $long = 'temp_photos/' . ($wide x 254);
add_due($node, @neighbours);
sql($node, q{UPDATE sessions
	SET expires_at = (now() + interval '1 day') AT TIME ZONE 'UTC'});
my @live = live_keys($node);
add_due($node, @odd);
put(grep { $_ ne 'temp_photos/poison' } live_keys($node));
add_due($node, $url, $long);
purge($node);
drain($node);
is(outbox(), <<"OUT" =~ s/\n\z//r, 'P4: what no store can have is dead at once');
$url dead 1 KeyIsUrl
$long dead 1 KeyTooLong
OUT
is_deeply([ grep { !/poison/ } $peer->contents ],
	\@live, 'P3: odd keys are gone, their neighbours stay');
is( sql($node, q{SELECT count(*) FROM vf_dead_letters
		WHERE cure ~ 'the row that|Store the'}),
	2, 'P10: their cure is to correct the row');

$node->stop;
done_testing();
