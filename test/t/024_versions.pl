# 024_versions.pl: versioned buckets.  Without voiceframe.s3_delete_versions a
# delete leaves a marker; with it every version of exactly that key goes, each
# accounted for (P4), and no other key's (P3).  The peer refuses whoever asks
# to get round a retention.

use strict;
use warnings;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('versions', store => $peer, preload => 0);
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
configure($node, $peer);
purge($node);
$peer->ctl('set', '{"versioning": {"voiceframe": "Enabled"}}');

sub versions
{
	my ($key) = @_;
	return scalar(my @ids = split(' ', $peer->ctl('versions', 'voiceframe', $key)));
}

sub outbox
{
	return sql($node, q{SELECT coalesce(string_agg(format('%s %s keys, %s',
		state, nkeys, last_error_code), '; ' ORDER BY id), 'empty')
		FROM vf_outbox});
}

sub check
{
	return sql($node, q{SELECT format('%s %s', ok, detail) FROM vf_s3_check()
		WHERE "check" = 'versioning'});
}

my $key = 'temp_photos/a';
my @neighbours = ("$key.bak", "$key/b", "$key ", 'temp_photos/aa', 'temp_photos/');

# ---- switched off: a marker, and it says so

$peer->put('voiceframe', $key) foreach 1 .. 3;
queue($node, $key);
drain($node);
is(versions($key), 4, 'a plain delete leaves all versions under a marker');
is(outbox(), 'empty', 'and the key is confirmed');
like(check(), qr/^f enabled: a delete leaves the bytes/,
	'vf_s3_check() says so');

# ---- switched on

$node->append_conf('postgresql.conf', 'voiceframe.s3_delete_versions = on');
$node->reload;
like(check(), qr/^t enabled: every version/, 'and what is on');

$peer->put('voiceframe', $_, $_) foreach @neighbours;
queue($node, $key);
drain($node);
is(versions($key), 0, 'every version goes, the marker too');
is(versions($_), 2, "P3: the versions of '$_' stay") foreach @neighbours;
is(outbox(), 'empty', 'the key is confirmed');

# The versions of one key may take many pages and many requests, and one of
# them may be from before versioning: its id is null.
$peer->ctl('set', '{"versioning": {"voiceframe": ""}}');
$peer->put('voiceframe', $key);
$peer->ctl('set', '{"versioning": {"voiceframe": "Enabled"}, "page": 7}');
$peer->put('voiceframe', $key) foreach 1 .. 30;
$peer->ctl('set', '{"versioning": {"voiceframe": "Suspended"}}');
queue($node, $key);
drain($node);
is(versions($key), 0, 'page after page, with the null version');
is(versions($_), 2, "P3: those of '$_' stay") foreach @neighbours;
$peer->ctl('set', '{"versioning": {"voiceframe": "Enabled"}, "page": 1000}');

# A key without any version is gone already.
queue($node, 'temp_photos/never');
drain($node);
is(outbox(), 'empty', 'P4: a key without versions is confirmed');

# Keys that a careless reader would mix up.
my @odd = ('temp_photos/a+b', 'temp_photos/a b', 'temp_photos/a%20b',
	'temp_photos/a%2Bb', "temp_photos/\x{e2}\x{82}\x{ac}", 'temp_photos/<&>',
	"temp_photos/x\x01y", "temp_photos/line\nbreak");
$peer->put('voiceframe', grep { !/\n/ } @odd) foreach 1 .. 2;
my @gone = @odd[ 0, 4, 5 ];
queue($node, @gone);
drain($node);
is_deeply([ map { versions($_) } @gone ], [ 0, 0, 0 ], 'odd keys go');
is_deeply([ map { versions($_) } @odd[ 1, 2, 3 ] ],
	[ 2, 2, 2 ], 'P3: those that look like them stay');

# ---- what is refused

$peer->put('voiceframe', $key, 'temp_photos/free') foreach 1 .. 3;
my ($locked) = split(' ', $peer->ctl('versions', 'voiceframe', $key));
$peer->ctl('set', qq({"locked": {"voiceframe": [["$key", "$locked"]]}}));
queue($node, $key, 'temp_photos/free');
drain($node);
is(versions($key), 1, 'P4: only the version under a lock is left');
is(versions('temp_photos/free'), 0, 'P6: the other key is gone');
is(outbox(), 'dead 1 keys, AccessDenied', 'the key is dead');
like(sql($node, 'SELECT cure FROM vf_dead_letters'), qr/object lock/,
	'and its cure says what to look for');
$peer->ctl('set', '{"locked": {"voiceframe": []}}');
sql($node, 'SELECT vf_outbox_retry()');
drain($node);
is(versions($key), 0, 'once the lock is lifted it goes');
is(outbox(), 'empty', 'and is confirmed');

$peer->put('voiceframe', $key);
queue($node, $key);
$peer->ctl('set', '{"mfa_delete": {"voiceframe": true}}');
drain($node);
is( sql($node, 'SELECT error || state FROM vf_outbox_stats'),
	'MfaDeletefailing', 'a second factor that nobody has is a state');
like(sql($node, 'SELECT cure FROM vf_outbox_stats'), qr/MFA delete off/,
	'with its cure');
like(check(), qr/^f .*second factor/, 'vf_s3_check() says so');
is(outbox(), "waiting 1 keys, ", 'the keys wait, no attempt is counted');
$peer->ctl('set', '{"mfa_delete": {"voiceframe": false}}');
age($node);
drain($node);
is(versions($key), 0, 'without it they go');

# ---- a row that names the key while its versions are listed

$peer->put('voiceframe', $key, 'temp_photos/free');
queue($node, $key, 'temp_photos/free');
$peer->faults({ hold => JSON::PP::true,
	match => { verb => 'GET', query => 'versions' } });
my $drain = held_drain($node);
$peer->ctl('wait-held', 1);
sql($node, qq{INSERT INTO sessions (id, session_token, photo_s3_key,
	created_at, expires_at) VALUES (gen_random_uuid(), 'late', '$key',
	now(), now() + interval '1 day')});
$peer->ctl('release');
$drain->finish;
is(versions($key), 1, 'P3: references are looked at again before the request');
is(versions('temp_photos/free'), 0, 'the other goes');
is(outbox(), 'cancelled 1 keys, Referenced', 'P4: and that is on record');
sql($node, 'DELETE FROM sessions; DELETE FROM vf_outbox');

# A list that fails, and one that is cut, count nothing as gone.
queue($node, $key);
foreach my $fault ({ status => 503, code => 'SlowDown' }, { cut => 200 },
	{ garbage => JSON::PP::true })
{
	$peer->faults({ %$fault, match => { verb => 'GET', query => 'versions' } });
	drain($node);
	is(versions($key), 1, 'P4: a list that fails deletes nothing');
	like(outbox(), qr/^waiting 1 keys/, 'and its key waits');
	age($node);
}
drain($node);
is(versions($key), 0, 'then it goes');

# ---- lists that lie

# A list of XML elements behind those of every list.
sub list_says
{
	my ($inner) = @_;
	$peer->faults({
		status => 200, times => 0,
		match => { verb => 'GET', query => 'versions' },
		headers => { 'Content-Type' => 'application/xml' },
		body => '<ListVersionsResult><EncodingType>url</EncodingType>'
		  . "$inner</ListVersionsResult>" });
	sql($node, 'DELETE FROM vf_outbox');
	sql($node, 'UPDATE vf_bucket SET failures = 0, next_attempt_at = NULL');
	queue($node, $key);
	drain($node);
	$peer->ctl('clear');
	return sql($node, 'SELECT state || last_error_code FROM vf_outbox');
}

sql($node, 'UPDATE vf_bucket SET failures = 0');
$peer->ctl('set', '{"mfa_delete": {"voiceframe": false}}');
is( list_says('<IsTruncated>false</IsTruncated><Version>'
		  . '<Key>temp_audio/b</Key><VersionId>v</VersionId></Version>'),
	'waitingMalformedAnswer', 'P4: a list of other keys proves nothing');
is( list_says('<IsTruncated>true</IsTruncated>'),
	'waitingEndlessList', 'P4: nor does one without entries that goes on');
is( list_says('<IsTruncated>true</IsTruncated>'
		  . "<NextKeyMarker>$key</NextKeyMarker><Version><Key>$key</Key>"
		  . '<VersionId>v</VersionId></Version>'),
	'waitingEndlessList', 'P4: nor does one that breaks off in the key');

# ---- a real store

my $ceph = start_ceph();
my $shop = new_cluster(
	'ceph',
	store => $ceph,
	preload => 0,
	conf => "voiceframe.s3_delete_versions = on\n");
make_sample($shop, n => 1);
sql($shop, 'DELETE FROM orders; DELETE FROM sessions');
$ceph->mkbucket('voiceframe');
configure($shop, $ceph);
purge($shop);
my @real = ($key, 'temp_photos/a+b', 'temp_photos/a b', "$key.bak");

sub on_ceph
{
	my ($name) = @_;
	return scalar(my @ids =
		  split(/\n/, $ceph->bucket('', 'versions', 'voiceframe', $name)));
}

$ceph->put('voiceframe', $key);
$ceph->bucket('', 'versioning', 'voiceframe', 'on');
$ceph->put('voiceframe', @real) foreach 1 .. 3;
$ceph->bucket('', 'rm', 'voiceframe', $key);
is(on_ceph($key), 5, 'Ceph: three versions, a null one and a marker');
queue($shop, $key, 'temp_photos/a+b');
drain($shop);
is_deeply([ map { on_ceph($_) } @real ], [ 0, 0, 3, 3 ],
	'Ceph: every version goes, and no other key');
is(sql($shop, 'SELECT count(*) FROM vf_outbox'), 0, 'Ceph: all confirmed');

done_testing();
