# 029_shared_bucket.pl: two databases in one bucket (P3).  What nothing of one
# references may be the other's: where their prefixes overlap, neither calls
# anything an orphan.  The owner markers say who works where.

use strict;
use warnings;
use utf8;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('shared', store => $peer, preload => 0);
$node->safe_psql('postgres', 'CREATE DATABASE second');
foreach my $db ('voiceframe', 'second')
{
	make_sample($node, n => 1, db => $db);
	sql($node, 'DELETE FROM orders; DELETE FROM sessions', $db);
	configure($node, $peer, db => $db);
}

sub scan
{
	my ($db) = @_;
	my ($ret, $said) = VfTest::call($node, $db, 'CALL vf_s3_scan()');
	die $said if $ret;
	return;
}

sub pass
{
	my ($hours) = @_;
	$peer->grow_old($hours * 3600);
	sql($node, qq{
		UPDATE vf_scan SET started_at = started_at - interval '$hours hours',
			ended_at = ended_at - interval '$hours hours',
			store_time = store_time - interval '$hours hours';
		UPDATE vf_object SET modified = modified - interval '$hours hours'}, $_)
	  foreach 'voiceframe', 'second';
	return;
}

sub put
{
	my ($body, @keys) = @_;
	utf8::encode($body);
	return $peer->post('/put',
		{ bucket => 'voiceframe', keys => \@keys, body => $body });
}

sub remove
{
	return $peer->post('/remove', { bucket => 'voiceframe', keys => [@_] });
}

sub orphans
{
	my ($db) = @_;
	my $keys = sql($node,
		q{SELECT coalesce(string_agg(key, ' ' ORDER BY key), '') FROM vf_s3_orphans},
		$db);
	utf8::decode($keys);
	return $keys;
}

sub said
{
	my ($db) = @_;
	return (VfTest::call($node, $db, 'SELECT key FROM vf_s3_orphans'))[1];
}

sub alert
{
	my ($db) = @_;
	my $alert = sql($node, q{SELECT format('%s %s', firing, value) FROM vf_alerts
		WHERE alert = 'shared_bucket'}, $db);
	utf8::decode($alert);
	return $alert;
}

sub check
{
	my ($db) = @_;
	return sql($node, q{SELECT format('%s %s', ok, detail) FROM vf_s3_check()
		WHERE "check" = 'shared bucket'}, $db);
}

sub marker_of
{
	my ($db) = @_;
	return '.voiceframe_retention/'
	  . sql($node, 'SELECT marker_id FROM vf_bucket WHERE is_current', $db);
}

sub text_of
{
	my ($db) = @_;
	return $peer->ctl('cat', 'voiceframe', marker_of($db));
}

sub row
{
	my ($db, $key) = @_;
	return sql($node, qq{INSERT INTO sessions (id, session_token, photo_s3_key,
		created_at, expires_at) VALUES (gen_random_uuid(), gen_random_uuid(),
		'$key', now() AT TIME ZONE 'UTC', 'infinity')}, $db);
}

sub prefixes
{
	my ($db, @prefixes) = @_;
	my $list = join(', ', map { qq("$_") } @prefixes);
	return sql($node, qq{ALTER DATABASE $db SET voiceframe.deletable_prefixes = '$list';
		ALTER DATABASE $db SET voiceframe.orphan_prefixes = '$list'}, $db);
}

# ---- both under the same prefixes

my @first = ('temp_photos/first', 'temp_photos/lost', 'temp_audio/lost');
put('x', @first, 'temp_photos/second', 'temp_photos2/1');
row('voiceframe', 'temp_photos/first');
row('second', 'temp_photos/second');
pass(24 * 10);
scan('voiceframe');
is(text_of('voiceframe') =~ /^prefixes: (.*)$/m ? $1 : '',
	'temp_photos/ temp_audio/ waveforms/ pdfs/preview_',
	'the marker says where the objects of its database lie');
like(check('voiceframe'), qr/^t no other database has a marker/, 'alone so far');
is(alert('voiceframe'), 'f ', 'no alert');
scan('second');
pass(25);
scan($_) foreach 'voiceframe', 'second';
foreach my $db ('voiceframe', 'second')
{
	my $other = $db eq 'second' ? 'voiceframe' : 'second';
	is(orphans($db), '', "P3: nothing is an orphan of $db");
	like(said($db),
		qr/WARNING: .*another database works.*Database "$other" of server \d+, host \S+, works under "temp_photos\/" as this database does under "temp_photos\/".*HINT/s,
		'P10: it says why, who, and what to do');
	like(alert($db), qr/^t .*temp_photos\/: $other/, 'P10: an alert');
	like(check($db), qr/^f database "$other" of server \d+.*"temp_photos\/"/,
		'P10: vf_s3_check() says it');
	is( sql($node, q{SELECT count(*) FROM vf_s3_shared
			WHERE prefix = other_prefix AND problem IS NULL}, $db),
		4, 'vf_s3_shared has all of them');
}
is( sql($node, q{SELECT what_to_do ~ 'delete the marker' FROM vf_alerts
		WHERE alert = 'shared_bucket'}),
	't', 'P10: with its cure');

# A database that is switched off still has its objects.
pass(24 * 3);
scan('voiceframe');
is(orphans('voiceframe'), '', 'P3: a heartbeat of three days ago keeps its objects');

# ---- prefixes of their own

prefixes('second', 'second/', 'temp_photos2/');
put('x', 'second/1');
row('second', 'second/1');
scan('voiceframe');
is(orphans('voiceframe'), '', 'P3: until the other has said so');
scan('second');
like(text_of('second'), qr/^prefixes: second\/ temp_photos2\/$/m,
	'the marker is written anew when the setting changes');
scan('voiceframe');
is( orphans('voiceframe'), 'temp_audio/lost temp_photos/lost temp_photos/second',
	'temp_photos2/ has nothing of temp_photos/');
is(alert('voiceframe'), 'f ', 'no alert any more');
like(check('voiceframe'), qr/^t other databases work in the bucket, under other prefixes/,
	'nor a complaint');
is(alert('second'), 'f ', 'by the prefixes in force');

# Also where the marker is young and its writer was sure of it.
put(text_of('second') =~ s/^settled: no/settled: yes/mr =~ s/^(prefixes: ).*/$1x\//mr,
	marker_of('second'));
scan('second');
like(text_of('second'), qr/^prefixes: second\/ temp_photos2\/$/m,
	'and when it says something else');

# One within the other, either way; what does not overlap is shown.
foreach my $nested ('temp_photos/eu/', 'temp_photos/')
{
	prefixes('second', 'second/', $nested);
	scan('second');
	scan('voiceframe');
	is(orphans('voiceframe'), 'temp_audio/lost', "P3: $nested");
}
prefixes('second', 'temp_photos/eu/');
scan('second');
is( sql($node, q{SET voiceframe.orphan_prefixes = 'temp_photos/'; SELECT count(*)
		FROM vf_s3_orphans}),
	0, 'P3: the setting in force when it is asked');

# Odd ones are the same on both sides.
put('x', 'a b%41/ä/lost');
pass(24 * 10);
prefixes($_, 'a b%41/ä/') foreach 'voiceframe', 'second';
scan('second');
scan('voiceframe');
pass(25);
scan('voiceframe');
like(text_of('second'), qr/^prefixes: a%20b%2541\/%C3%A4\/$/m, 'odd ones are encoded');
is(orphans('voiceframe'), '', 'P3: and overlap all the same');
like(alert('voiceframe'), qr/^t a b%41\/ä\/: second/, 'as they were written');
prefixes('second', 'a bA/ä/');
scan('second');
scan('voiceframe');
is(orphans('voiceframe'), 'a b%41/ä/lost', 'not with what they would be decoded');

# More than fit into a marker are all of the bucket.
prefixes('second', map { 'long/' . 'x' x 60 . "$_/" } 1 .. 40);
scan('second');
like(text_of('second'), qr/^prefixes: \*$/m, 'too many to be told');
scan('voiceframe');
is(orphans('voiceframe'), '', 'P3: are all of the bucket');
like(said('voiceframe'), qr/works under the whole bucket/, 'P10: it says so');
prefixes('second', 'second/');
sql($node, "ALTER DATABASE voiceframe RESET ALL", 'voiceframe');
scan('second');

# ---- markers by others than us

my $strange = '.voiceframe_retention/00000000-0000-4000-8000-000000000001';
my $head = "voiceframe_retention lease 1\ngeneration: 1\nreleased: yes\nsettled: yes\n";
my $who = "system: 1\ndatabase: 5\nstart: 0f\nname: old\n";
my $all = 'temp_audio/lost temp_photos/lost temp_photos/second';
scan('voiceframe');
is(orphans('voiceframe'), $all, 'nobody else');
my %markers = (
	'one of version 1.1' => [ "$head$who", '' ],
	'one that says nothing we can read' => [ 'x', '' ],
	'one that is cut' => [ "$head${who}prefixes: second/", '' ],
	'one that is too large' => [ "$head$who" . 'more: ' . 'x' x 9000 . "\n", '' ],
	'one of a later version' => [ ($head =~ s/1$/2/mr) . $who, '' ],
	'one with an odd prefix' => [ "$head${who}prefixes: second/%zz\n", '' ],
	'one with all of the bucket' => [ "$head${who}prefixes: second/ *\n", '' ],
	'one with waveforms/' => [ "$head${who}prefixes: waveforms/\n", $all ],
	'one with nothing' => [ "$head${who}prefixes: \n", $all ],
	'one of this very database, long ago' => [
		$head . sql($node, q{SELECT format(E'system: %s\ndatabase: %s\nstart: 0f\n',
			system_identifier, (SELECT oid FROM pg_database
			WHERE datname = current_database())) FROM pg_control_system()})
		  . "prefixes: *\n", $all ]);
foreach my $what (sort keys %markers)
{
	my ($text, $shown) = @{ $markers{$what} };
	put($text, $strange);
	scan('voiceframe');
	is(orphans('voiceframe'), $shown, "P3: $what");
	is( sql($node, q{SET voiceframe.orphan_prefixes = '"a b%41/ä/"';
			SELECT count(*) FROM vf_s3_orphans}),
		$shown || $what =~ /1\.1/ ? 1 : 0, 'as for other prefixes than the default');
	remove($strange);
}
put($markers{'one of version 1.1'}[0], $strange . '0', '.voiceframe_retention/check',
	'.voiceframe_retention/x/' . '0' x 36);
scan('voiceframe');
is(orphans('voiceframe'), $all, 'what is named otherwise is no marker');

# The objects of a copy, or of a database that took ours over, are not ours.
my $text = text_of('voiceframe');
my $mine = marker_of('voiceframe');
put($text =~ s/^system: .*/system: 1/mr, $mine);
sql($node, 'UPDATE vf_bucket SET next_attempt_at = NULL');
scan('voiceframe');
is(orphans('voiceframe'), '', 'P3: our own marker in the hands of another');
like(said('voiceframe'), qr/own marker is not in the bucket.*LeaseHeldElsewhere/s,
	'P10: who holds it');
pass(1);
put($text =~ s/^generation: .*/generation: 0/mr, $mine);
pass(1);
scan('voiceframe');
is(orphans('voiceframe'), $all, 'and in ours again');
$text = text_of('voiceframe');
put($text =~ s/^start: .*/start: 0f/mr, $mine);
scan('voiceframe');
is(orphans('voiceframe'), '', 'P8: a copy of these files lives elsewhere');
like(said('voiceframe'), qr/LeaseHeldElsewhere: another start/, 'P10: it says so');
pass(1);
$text = text_of('voiceframe');
scan('voiceframe');
is(orphans('voiceframe'), $all, 'until it has not been heard of for long enough');
is(text_of('voiceframe'), $text, 'P8: a scan takes nothing from it all the same');
remove($mine);
sql($node, q{SELECT vf_pause('test')});
scan('voiceframe');
unlike($peer->ctl('ls', 'voiceframe'), qr/\Q$mine\E/,
	'P8: while paused it writes nothing either');
like(said('voiceframe'), qr/own marker is not in the bucket.*paused/s, 'P10: and says so');
sql($node, 'SELECT vf_resume()');
scan('voiceframe');
is(orphans('voiceframe'), $all, 'and then it does');

# ---- who may not read, list or write is told nothing

my %faults = (
	'list' => [ qr/listed: AccessDenied/,
		{ status => 403, code => 'AccessDenied', match => { query => 'prefix' } } ],
	'read' => [ qr/read: AccessDenied/,
		{ status => 403, code => 'AccessDenied',
			match => { verb => 'GET', key => marker_of('second') } } ],
	'write' => [ qr/own marker is not in the bucket.*right to write it is missing/,
		{ status => 403, code => 'AccessDenied',
			match => { verb => 'PUT', key => $mine } } ],
	'get an answer' => [ qr/listed: SlowDown/,
		{ status => 503, code => 'SlowDown', match => { query => 'prefix' } } ],
	'believe the answer' => [ qr/listed: MalformedAnswer/,
		{ status => 200, match => { query => 'prefix' },
			body => '<ListBucketResult><EncodingType>url</EncodingType><Contents><Key>x</Key>'
			  . '<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>"1"</ETag>'
			  . '<Size>1</Size></Contents><IsTruncated>false</IsTruncated></ListBucketResult>' } ]);
foreach my $what (sort keys %faults)
{
	my ($words, $fault) = @{ $faults{$what} };
	pass(1);
	remove($mine) if $what eq 'write';
	$peer->faults({ times => 0, %$fault });
	scan('voiceframe');
	is(orphans('voiceframe'), '', "P3: who cannot $what has no orphans");
	like(said('voiceframe'), qr/WARNING: .*not known whether another.*$words.*HINT/s,
		'P10: and is told why');
	like(alert('voiceframe'), qr/^t .*$words/s, 'P10: by an alert too');
	like(check('voiceframe'), qr/^f .*$words/s, 'P10: and by vf_s3_check()')
	  if $what =~ /read|believe/;
	$peer->ctl('clear');
	scan('voiceframe');
	is(orphans('voiceframe'), $all, 'until it can');
}
my @many = map { sprintf('.voiceframe_retention/%08d-0000-4000-8000-000000000000', $_) } 1 .. 50;
put("$head${who}prefixes: second/\n", @many);
scan('voiceframe');
like(said('voiceframe'), qr/more than 50/, 'P7: so many are not read');
is(orphans('voiceframe'), '', 'P3: nor ignored');
remove(@many);

# ---- nothing is held meanwhile

foreach my $match ({ query => 'prefix' }, { verb => 'GET', key => marker_of('second') })
{
	$peer->faults({ hold => \1, match => $match });
	my $scan = session($node);
	$scan->tell('CALL vf_s3_scan()');
	$peer->ctl('wait-held', 1);
	is( sql($node, q{
			SELECT count(*) FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid
				AND l.locktype <> 'virtualxid'
			WHERE a.query LIKE 'CALL vf_s3_scan%' AND a.pid <> pg_backend_pid()
			AND (l.pid IS NOT NULL OR a.backend_xmin IS NOT NULL
			OR a.backend_xid IS NOT NULL)}),
		0, 'P5: nothing is held while the markers are read');
	$peer->ctl('release');
	$scan->quit;
}

# ---- the end of a database

prefixes('second', 'temp_photos/');
scan('second');
scan('voiceframe');
is(orphans('voiceframe'), 'temp_audio/lost', 'shared again');
my $left = marker_of('second');
sql($node, 'SELECT vf_unconfigure(discard => true)', 'second');
is(sql($node, 'SELECT count(*) FROM vf_shared', 'second'), 0, 'forgotten there');
scan('voiceframe');
is(orphans('voiceframe'), 'temp_audio/lost',
	'P3: unregistered, its application still has its objects');
remove($left);
scan('voiceframe');
is(orphans('voiceframe'), $all, 'until a person deletes its marker');

# A copy under another name takes nothing for its own.
sql($node, 'CHECKPOINT', 'postgres');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE voiceframe');
sql($node, q{UPDATE vf_shared SET problem = NULL}, 'copy');
scan('copy');
is(sql($node, 'SELECT count(*) FROM vf_s3_orphans', 'copy'), 0,
	'P8: a copy has no orphans');
like((VfTest::call($node, 'copy', 'SELECT * FROM vf_s3_orphans'))[1],
	qr/copy until vf_adopt\(\)/, 'P10: and is told why');
is(orphans('voiceframe'), $all, 'P8: the original goes on');
$node->stop;

# ---- a real store

my $ceph = start_ceph();
$node = new_cluster('ceph', store => $ceph, preload => 0);
$node->safe_psql('postgres', 'CREATE DATABASE second');
$ceph->mkbucket('voiceframe');
$ceph->put('voiceframe', 'temp_photos/lost', 'second/lost');
foreach my $db ('voiceframe', 'second')
{
	make_sample($node, n => 1, db => $db);
	sql($node, 'DELETE FROM orders; DELETE FROM sessions', $db);
	configure($node, $ceph, db => $db);
	scan($db);
}
sub age_scans
{
	my ($db) = @_;
	return sql($node, q{UPDATE vf_scan SET started_at = started_at - interval '25 hours',
			store_time = store_time + interval '30 days'}, $db);
}
age_scans($_) foreach 'voiceframe', 'second';
scan($_) foreach 'voiceframe', 'second';
age_scans($_) foreach 'voiceframe', 'second';
foreach my $db ('voiceframe', 'second')
{
	is(orphans($db), '', "P3: on Ceph: $db");
	like(alert($db), qr/^t .*temp_photos\//, 'P10: and its alert');
}
prefixes('second', 'second/');
scan('second');
scan('voiceframe');
age_scans('voiceframe');
is(orphans('voiceframe'), 'temp_photos/lost', 'apart again, on Ceph');

done_testing();
