# 028_promote.pl: files of paying orders that only a temporary key names are
# copied to the order's permanent key, on a real store: metadata, tags and
# access control with them (what was public stays public), and the rows name
# the copy in one commit.

use strict;
use warnings;

use Encode;
use Test::More;
use VfTest;

my $ceph = start_ceph();
my $node = new_cluster('promote', store => $ceph, preload => 0);
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
$ceph->mkbucket('voiceframe');
configure($node, $ceph);

sub session_row
{
	my ($token, %key) = @_;
	my @keys = map { defined $key{$_} ? "'$key{$_}'" : 'NULL' }
	  qw(photo audio waveform);
	return sql($node, qq{INSERT INTO sessions (id, session_token, photo_s3_key,
		audio_s3_key, waveform_s3_key, created_at, expires_at)
		VALUES (md5('$token')::uuid, '$token', @{[ join(', ', @keys) ]},
		(now() - interval '5 days') AT TIME ZONE 'UTC',
		(now() - interval '4 days') AT TIME ZONE 'UTC')});
}

# Its id is that of the md5 of its name.
sub order_row
{
	my ($name, $token, $status) = @_;
	return sql($node, qq{INSERT INTO orders (id, email, amount_cents, status,
		session_token, migration_status, created_at, updated_at)
		VALUES (md5('$name')::uuid, 'x\@example.test', 1, '$status', '$token',
		'failed', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')});
}

sub id_of
{
	my ($name) = @_;
	return sql($node, "SELECT md5('$name')::uuid");
}

sub order_of
{
	my ($name) = @_;
	return sql($node, qq{SELECT concat_ws(' ', permanent_photo_s3_key,
		permanent_audio_s3_key, permanent_waveform_s3_key, migration_status,
		abs(extract(epoch FROM now() AT TIME ZONE 'UTC'
			- migration_completed_at)) < 100)
		FROM orders WHERE id = md5('$name')::uuid});
}

sub session_of
{
	my ($token) = @_;
	return sql($node, qq{SELECT concat_ws(' ', photo_s3_key, audio_s3_key,
		waveform_s3_key) FROM sessions WHERE session_token = '$token'});
}

sub put_object
{
	my ($key, $body, %headers) = @_;
	my $answer = $ceph->raw('voiceframe',
		{ method => 'PUT', key => $key, body => $body, headers => \%headers });
	die "$answer->{status} $answer->{body}" if $answer->{status} != 200;
	return;
}

sub head
{
	my ($key) = @_;
	return $ceph->raw('voiceframe', { method => 'HEAD', key => $key });
}

# 1. The whole way.

put_object('temp_photos/a.jpg', 'photo of a', 'x-amz-acl' => 'public-read',
	'content-type' => 'image/jpeg', 'x-amz-meta-shot' => 'in Ohio',
	'cache-control' => 'max-age=60', 'x-amz-tagging' => 'kind=photo&n=1');
put_object('temp_audio/a.mp3', 'audio of a', 'content-type' => 'audio/mpeg');
put_object('waveforms/a.png', 'wave of a', 'x-amz-acl' => 'public-read');
session_row('a', photo => 'temp_photos/a.jpg', audio => 'temp_audio/a.mp3',
	waveform => 'waveforms/a.png');
order_row('o1', 'a', 'completed');
my $o1 = id_of('o1');
is(sql($node, 'SELECT count(*) FROM vf_at_risk'), 3, 'three files at risk');
is($ceph->anonymous('temp_photos/a.jpg'), '200 photo of a', 'public before');
is($ceph->anonymous('temp_audio/a.mp3'), '403', 'private before');

is( sql($node, q{SELECT column_name, key, target, result FROM vf_promote()
		ORDER BY 1}),
	join("\n",
		"audio_s3_key|temp_audio/a.mp3|permanent/audio/$o1.mp3|queued",
		"photo_s3_key|temp_photos/a.jpg|permanent/photos/$o1.jpg|queued",
		"waveform_s3_key|waveforms/a.png|permanent/waveforms/$o1.png|queued"),
	'vf_promote says what it queues, and where to');
is( sql($node, q{SELECT DISTINCT result FROM vf_promote()}),
	'was queued before', 'and queues nothing twice');
is(order_of('o1'), 'failed', 'nothing has changed yet');
my $said = drain($node);
like($said, qr/copied paid files: 3 copied, 0 to be tried again, 0 dead, 0 can/,
	'vf_drain makes the copies') or diag(sql($node, 'SELECT * FROM vf_outbox'));
my @copies = map { "permanent/$_" }
  ("photos/$o1.jpg", "audio/$o1.mp3", "waveforms/$o1.png");
is(order_of('o1'), "@copies completed t", 'the order names them, and is done');
is(session_of('a'), "@copies", 'and so does the session');
is($ceph->anonymous($copies[0]), '200 photo of a', 'what was public is public');
is($ceph->anonymous($copies[1]), '403', 'what was private is private');
is($ceph->anonymous($copies[2]), '200 wave of a', 'public again');
my $head = head($copies[0])->{headers};
is( join('|', map { $head->{$_} // '' }
		qw(content-type x-amz-meta-shot cache-control content-length)),
	'image/jpeg|in Ohio|max-age=60|10', 'metadata are kept');
like( $ceph->raw('voiceframe',
		{ key => $copies[0], query => { tagging => '' } })->{body},
	qr{<Key>kind</Key><Value>photo</Value>.*<Key>n</Key><Value>1</Value>}s,
	'and tags');
is( sql($node, q{SELECT count(*) FROM vf_at_risk}), 0, 'nothing is at risk');
is( sql($node, q{SELECT string_agg(key || ' ' || state || ' '
		|| (next_attempt_at > now() + interval '50 minutes'), ', ' ORDER BY key)
		FROM vf_outbox_keys}),
	'temp_audio/a.mp3 waiting true, temp_photos/a.jpg waiting true, waveforms/a.png waiting true',
	'the temporary files go in an hour');
is($ceph->anonymous('temp_photos/a.jpg'), '200 photo of a', 'not before');
is( sql($node, q{SELECT string_agg(result, ', ' ORDER BY id) FROM vf_runs
		WHERE kind = 'promote'}),
	'3 copies queued, nothing to do, 3 copied, 0 again, 0 dead, 0 cancelled',
	'P10: the runs are on record');
age($node);
drain($node);
is_deeply([ $ceph->keys('voiceframe') ], [ sort @copies ],
	'P4: then they are gone, and the copies are there');
is(sql($node, 'SELECT count(*) FROM vf_outbox'), 0, 'and the outbox is empty');

# 2. Keys that a careless client would send as another: the source goes into a
# header and into a path.

my @hostile = map { "temp_photos/$_" } ('./x/../y', 'a b+c%2Fd%', "\x{fc}\x{1f600}",
	q{&?#=;'"<>,}, '..', 'a//b/', '.JPG');
my $n = 0;
foreach my $key (@hostile)
{
	my $bytes = encode('UTF-8', $key);
	put_object($key, "bytes $n", 'x-amz-acl' => 'public-read');
	session_row("h$n");
	sql($node, 'UPDATE sessions SET photo_s3_key = ' . VfTest::literal($bytes)
		  . " WHERE session_token = 'h$n'");
	order_row("oh$n", "h$n", 'paid');
	$n++;
}
put_object('temp_photos/y', 'not this one');
sql($node, 'SELECT vf_promote()');
drain($node);
foreach my $i (0 .. $#hostile)
{
	my $copy = 'permanent/photos/' . id_of("oh$i");
	is(session_of("h$i"), $copy, "key $i: " . encode('UTF-8', $hostile[$i]));
	is($ceph->anonymous($copy), "200 bytes $i", 'its bytes, public');
}
age($node);
drain($node);
is_deeply([ grep { /^temp/ } $ceph->keys('voiceframe') ], ['temp_photos/y'],
	'P3: the sources are gone, and nothing else');

done_testing();
