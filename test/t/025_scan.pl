# 025_scan.pl: the whole bucket as rows.  Each page is merged with what was
# known of its range; a scan that is cut off goes on at its last page (P7), and
# nothing of the database is held while the store is asked (P5).

use strict;
use warnings;
use utf8;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe', '--bucket', 'other');
my $node = new_cluster('scan', store => $peer, preload => 0);
make_sample($node, n => 20);

sub scan
{
	my ($arguments) = @_;
	return (VfTest::call($node, undef, 'CALL vf_s3_scan(' . ($arguments // '') . ')'))[1];
}

# What we know of the bucket, and what it has: keys as peerctl.py writes them.
sub known
{
	my ($where) = @_;
	return [ sort split(/\n/, sql($where // $node, q{SELECT replace(replace(key, E'\\\\',
		E'\\\\\\\\'), E'\n', E'\\\\n') FROM vf_object
		WHERE key NOT LIKE '.voiceframe%'})) ];
}

sub held
{
	return [ sort $peer->contents ];
}

sub put
{
	my ($body, @keys) = @_;
	return $peer->post('/put',
		{ bucket => 'voiceframe', keys => \@keys, body => $body });
}

sub remove
{
	return $peer->post('/remove', { bucket => 'voiceframe', keys => [@_] });
}

# ---- refusals

my $out;
$node->safe_psql('voiceframe', 'CREATE EXTENSION voiceframe_retention');
(undef, $out) = VfTest::call($node, undef, 'CALL vf_s3_scan()');
like($out, qr/no tables are registered|no bucket is registered|not registered/,
	'without a registration there is nothing to scan');
configure($node, $peer);
(undef, $out) = VfTest::call($node, undef, 'BEGIN; CALL vf_s3_scan()');
like($out, qr/vf_s3_scan|transaction/, 'not in a transaction block');
like(scan('0'), qr/max_pages must be greater than 0/, 'nor for no page');
(undef, $out) = VfTest::call($node, undef, 'SELECT * FROM vf_s3_missing');
like($out, qr/has not been scanned.*CALL vf_s3_scan\(\)/s,
	'before a scan nobody knows what is missing');

# ---- keys of every kind, in their order

my @keys = (
	'a', 'images/1', 'images2/1', 'permanent/photos/x.jpg', 'temp_photos/',
	'temp_photos/%41', 'temp_photos/a+b', 'temp_photos/a b', "temp_photos/a\nb",
	"temp_photos/a\rb", "temp_photos/a\tb", 'temp_photos/..', 'temp_photos//x',
	'temp_photos/<&>"', 'temp_photos/ä',
	"temp_photos/\x{ffee}x", 'temp_photos/😀\\n',
	'/leading', 'z', 'temp_photos/' . 'x' x 1000,
);
put($_ x 2, $_) foreach @keys;
like(scan(), qr/listed \d+ objects; the scan is complete/, 'the first scan');
is_deeply(known(), held(), 'every key as the store has it, byte for byte');
is( sql($node, q{SELECT count(*) FROM vf_object
		WHERE bytes <> 2 * octet_length(convert_to(key, 'UTF8'))}),
	0, 'with its size');
is( sql($node, q{SELECT count(*) FROM vf_object
		WHERE key LIKE 'images/%'}),
	1, 'images2/ is not in images/');
is( sql($node, q{SELECT format('%s %s', objects, bytes) FROM vf_s3_usage
		WHERE prefix = 'images/'}),
	'1 16', 'counted by prefix');
is( sql($node, q{SELECT sum(objects) = (SELECT count(*) FROM vf_object)
		AND sum(bytes) = (SELECT sum(bytes) FROM vf_object) FROM vf_s3_usage}),
	't', 'usage is the sum of the objects');

# ---- what changes, and what costs no write

my $first = sql($node, q{SELECT string_agg(ctid::text, ' ' ORDER BY key) FROM vf_object});
scan();
is( sql($node, q{SELECT string_agg(ctid::text, ' ' ORDER BY key) FROM vf_object}),
	$first, 'P7: objects that have not changed are not written');
remove('images/1');
put('new', 'images/2');
put('another', 'a');
scan();
is( sql($node, q{SELECT string_agg(format('%s %s %s', key, bytes,
		scan_id = (SELECT max(id) FROM vf_scan)), '; ' ORDER BY key)
		FROM vf_object WHERE key IN ('a', 'images/1', 'images/2', 'images2/1')}),
	'a 7 t; images/2 3 t; images2/1 18 f',
	'one is gone, one new, one another: each with the scan that saw it first');

# ---- cut off and gone on

my $before = known();
like(scan('2'), qr/not at its end.*goes on/s, 'a scan of two pages');
is_deeply(known(), $before, 'what was not listed yet is not gone');
like( sql($node, q{SELECT format('%s, %s', state, detail) FROM vf_progress
		WHERE job = 'scan'}),
	qr/^waits to go on, \d of 4 ranges listed, 2 pages$/, 'vf_progress says so');
like(scan(), qr/complete/, 'the next goes on');
is( sql($node, q{SELECT pages FROM vf_scan ORDER BY id DESC LIMIT 1}),
	4, 'and asks for no page twice');
is( sql($node, q{SELECT count(*) FROM vf_progress WHERE job = 'scan'}),
	0, 'done');

# Two at a time: the second is refused, and a dead one's scan is taken over.
$peer->faults({ name => 'stall', stall => \1, times => 0, match => { query => 'start-after' } });
my $scan = session($node);
$scan->tell('CALL vf_s3_scan()');
wait_for(sub { $peer->ctl('held') =~ /stall/ });
is( sql($node, q{SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE query LIKE 'CALL vf_s3_scan%' AND pid <> pg_backend_pid()
		AND locktype <> 'virtualxid' AND locktype <> 'advisory'}),
	0, 'P5: no lock while the store is asked');
is( sql($node, q{SELECT count(*) FROM pg_stat_activity
		WHERE query LIKE 'CALL vf_s3_scan%' AND pid <> pg_backend_pid()
		AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)}),
	0, 'P5: no snapshot and no transaction id');
like(scan(), qr/another process is scanning the bucket/, 'one at a time');
my $pid = sql($node, q{SELECT pid FROM pg_stat_activity
	WHERE query LIKE 'CALL vf_s3_scan%' AND pid <> pg_backend_pid()});
sql($node, "SELECT pg_terminate_backend($pid)");
wait_for(sub { !sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") });
$peer->ctl('clear');
like(scan(), qr/complete/, 'the scan of a process that died goes on');
is_deeply(known(), held(), 'nothing is lost by it');

# ---- a store that fails, asks for patience, or lies

$peer->faults({ status => 503, code => 'SlowDown', times => 2,
	match => { query => 'list-type', without => 'prefix' } });
like(scan(), qr/complete/, 'P6: patience');
$peer->faults({ status => 403, code => 'AccessDenied', times => 0,
	match => { query => 'list-type', without => 'prefix' } });
like(scan(), qr/the scan stopped: AccessDenied.*HINT/s,
	'a refusal ends it, with its cure');
is( sql($node, q{SELECT outcome, error LIKE 'AccessDenied%' FROM vf_run
		WHERE kind = 'scan' ORDER BY id DESC LIMIT 1}),
	'failed|t', 'P10: on record');
is( sql($node, q{SELECT firing, value LIKE 'AccessDenied%' FROM vf_alerts
		WHERE alert = 'scan'}),
	't|t', 'P10: an alert says so');
$peer->ctl('clear');
scan();
is(sql($node, q{SELECT firing FROM vf_alerts WHERE alert = 'scan'}),
	'f', 'until a scan works');
is_deeply(known(), held(), 'and the next goes on');

# An answer that cannot be one of this list is asked for again, not believed.
sub list_of
{
	my ($end, @entries) = @_;
	return '<ListBucketResult><EncodingType>url</EncodingType>'
	  . join('', map { "<Contents><Key>$_->[0]</Key><LastModified>2026-01-01T00:00:00Z"
			. '</LastModified><ETag>"1"</ETag><Size>1</Size><StorageClass>'
			. ($_->[1] // 'STANDARD') . '</StorageClass></Contents>' } @entries)
	  . "$end</ListBucketResult>";
}
my $no_more = '<IsTruncated>false</IsTruncated>';
my %lies = (
	'that does not say whether it goes on' => list_of(''),
	'of more than were asked for' =>
	  list_of($no_more, map { [ sprintf('%%21%04d', $_) ] } 1 .. 1001),
	'with a text that is cut off within a character' =>
	  list_of($no_more, [ '%21', '&#228;' x 20 ]),
	'with a key that is longer than a key can be' => list_of($no_more, [ '%21' x 1025 ]),
	'with an object that has no key' => list_of($no_more, [ '' ]),
);
foreach my $what (sort keys %lies)
{
	$peer->faults({ status => 200, body => $lies{$what},
		match => { query => 'list-type', without => 'prefix' } });
	scan();
	is_deeply(known(), held(), "a list $what");
	$peer->ctl('clear');
}

# Nor is one that nobody need ask for again.
my %codes = (
	UnorderedList => list_of($no_more, ['x/b'], ['x/a']),
	EndlessList => list_of('<IsTruncated>true</IsTruncated>'));
foreach my $code (sort keys %codes)
{
	my $had = known();
	$peer->faults({ status => 200, body => $codes{$code}, times => 0,
		match => { query => 'list-type', without => 'prefix' } });
	like(scan(), qr/the scan stopped: $code.*HINT/s, "$code ends it");
	is_deeply(known(), $had, 'and changes nothing');
	$peer->ctl('clear');
	scan();
}

# ---- missing files

sql($node, q{UPDATE orders SET permanent_photo_s3_key = NULL,
	permanent_audio_s3_key = NULL, permanent_waveform_s3_key = NULL,
	permanent_pdf_s3_key = NULL, pdf_s3_key = NULL;
	DELETE FROM sessions; INSERT INTO sessions (id, session_token, photo_s3_key,
		audio_s3_key, created_at, expires_at)
	SELECT md5(t)::uuid, t, 'temp_photos/' || t, 'temp_audio/' || t, now(), now()
	FROM unnest(ARRAY['there', 'gone', 'copied']) t;
	UPDATE orders SET session_token = 'copied',
		permanent_photo_s3_key = 'permanent/photos/x.jpg'
	WHERE id = (SELECT id FROM orders LIMIT 1)});
put('x', map { "temp_$_/there" } 'photos', 'audio');
scan();
sql($node, q{INSERT INTO sessions (id, session_token, photo_s3_key)
	VALUES (md5('late')::uuid, 'late', 'temp_photos/late')});
is( sql($node, q{SELECT string_agg(key, ' ' ORDER BY key) FROM vf_s3_missing}),
	'temp_audio/copied temp_audio/gone temp_photos/gone',
	'missing: not what was copied, not what is there, not what came since');
is( sql($node, q{SELECT string_agg(format('%s %s %s %s', storage_type, keys,
		objects, bytes), '; ') FROM vf_storage_by_type
		WHERE storage_type IN ('temp_photos', 'permanent_photos')}),
	'temp_photos 4 1 1; permanent_photos 1 1 44',
	'vf_storage_by_type has the real bytes');

# Keys are bytes, whatever the collation of their column, and whatever its name.
my $before_names = sql($node, 'SELECT * FROM vf_storage_by_type');
sql($node, q{CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2',
	deterministic = false);
	ALTER TABLE sessions ALTER photo_s3_key TYPE varchar(500) COLLATE anycase});
is(sql($node, 'SELECT * FROM vf_storage_by_type'),
	$before_names, 'vf_storage_by_type compares keys by their bytes');
is( sql($node, q{SELECT string_agg(key, ' ' ORDER BY key) FROM vf_s3_missing}),
	'temp_audio/copied temp_audio/gone temp_photos/gone', 'so does vf_s3_missing');
sql($node, q{SELECT count(*) FROM vf_configure()});
sql($node, q{ALTER TABLE sessions ALTER photo_s3_key TYPE varchar(500) COLLATE "default"});

# ---- versions

$peer->ctl('set', '{"versioning": {"voiceframe": "Enabled"}, "page": 7}');
put('one', 'temp_photos/v') foreach 1 .. 20;
put('two', 'temp_photos/w');
remove('temp_photos/there');
scan();
is_deeply(known(), held(), 'of a versioned bucket the objects are the current versions');
is( sql($node, q{SELECT string_agg(format('%s %s %s', kind, objects, bytes), '; '
		ORDER BY kind) FROM vf_s3_usage WHERE prefix = 'temp_photos/'
		AND kind <> 'current'}),
	'delete marker 1 0; noncurrent 20 58', 'noncurrent ones are counted');

# A store that is being written to can call two versions the latest.
my $twice = '<Version><Key>%21</Key><VersionId>1</VersionId><IsLatest>true</IsLatest>'
  . '<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>"1"</ETag><Size>1</Size>'
  . '<StorageClass>STANDARD</StorageClass></Version>';
$peer->faults({ status => 200, match => { query => 'versions' },
	body => "<ListVersionsResult>$twice$twice<EncodingType>url</EncodingType>"
	  . '<IsTruncated>false</IsTruncated></ListVersionsResult>' });
like(scan(), qr/the scan is complete/, 'a key with two latest versions');
$peer->ctl('clear');
scan();
is_deeply(known(), held(), 'and the next scan knows better');

# ---- growth, history

sql($node, q{UPDATE vf_scan SET ended_at = ended_at - interval '8 days',
	started_at = started_at - interval '8 days'});
put('four', 'images/3');
scan();
is( sql($node, q{SELECT format('%s %s', objects_week, bytes_week) FROM vf_s3_usage
		WHERE prefix = 'images/'}),
	'1 4', 'what was added since the week before');
sql($node, q{UPDATE vf_scan SET ended_at = ended_at - interval '200 days'});
scan();
is(sql($node, 'SELECT count(*) FROM vf_scan'),
	1, 'P7: scans older than run_history go, and their usage');

# ---- the worker

my $scans = sql($node, q{SELECT max(id) FROM vf_scan});
sql($node, q{SELECT vf_resume(), vf_worker_start()});
wait_for(sub { sql($node, q{SELECT count(*) FROM vf_workers
	WHERE last_drain_at IS NOT NULL}) }, 'a worker to run');
is(sql($node, 'SELECT max(id) FROM vf_scan'),
	$scans, 'it does not scan what was scanned today');
sql($node, q{UPDATE vf_scan SET started_at = started_at - interval '2 days'});
$node->append_conf('postgresql.conf', 'voiceframe.naptime = 1');
$node->reload;
wait_for(sub { sql($node, q{SELECT count(*) FROM vf_run WHERE kind = 'scan'
	AND caller = 'worker' AND outcome = 'ok'}) == 1 }, 'the worker to scan');
is_deeply(known(), held(), 'the worker scans once a day');
# Its turns are short: a store that never answers must be found out all the same.
$peer->faults({ status => 500, times => 0, match => { query => 'versions' } });
sql($node, q{UPDATE vf_scan SET started_at = started_at - interval '2 days'});
wait_for(sub { sql($node, q{SELECT count(*) FROM vf_run WHERE kind = 'scan'
	AND caller = 'worker' AND outcome = 'failed' AND error LIKE 'InternalError%'}) },
	'the worker to give up');
is(sql($node, q{SELECT count(*) FROM vf_run WHERE kind = 'scan' AND caller = 'worker'
	AND outcome = 'stopped' AND objects = 0}),
	0, 'P10: a scan that gets nowhere is a failure on record, once');
$peer->ctl('clear');
sql($node, 'SELECT vf_worker_stop()');
like(scan(), qr/complete/, 'and is gone on with');

# ---- another bucket, none

sub register
{
	my ($bucket) = @_;
	return sql($node, qq{SELECT vf_configure_bucket(bucket => '$bucket',
		region => '$peer->{region}', endpoint => '$peer->{endpoint}',
		path_style => 'path')});
}

register('other');
is(sql($node, 'SELECT sum(objects) IS NULL FROM vf_storage_by_type'),
	't', 'what one bucket holds is not counted in another');
like(scan(), qr/complete/, 'another bucket is scanned');
register('voiceframe');
(undef, $out) = VfTest::call($node, undef, 'SELECT * FROM vf_s3_missing');
like($out, qr/has not been scanned/, 'back again, nothing is missing before a scan');
scan('1');
register('other');
scan();
register('voiceframe');
like(scan(), qr/complete/, 'half a scan is not gone on with after another bucket');
is_deeply(known(), held(), 'but begun anew');

# Whoever scans while it is forgotten hears of that, and writes nothing more.
$peer->faults({ name => 'held', hold => \1, times => 1, match => { query => 'key-marker' } });
$scan = session($node);
$scan->tell('CALL vf_s3_scan()');
wait_for(sub { $peer->ctl('held') =~ /held/ });

sql($node, 'SELECT vf_unconfigure(discard => true)');
is(sql($node, 'SELECT (SELECT count(*) FROM vf_scan) + (SELECT count(*) FROM vf_object)'),
	0, 'vf_unconfigure() forgets what was scanned');
$peer->ctl('release');
$out = $scan->ask('SELECT 1');
is(sql($node, 'SELECT (SELECT count(*) FROM vf_scan) + (SELECT count(*) FROM vf_object)'),
	0, 'also while it is scanned');
like($out, qr/the scan is no longer this process's/, 'which is told why');
$scan->quit;

$node->stop;
$peer->stop;

# ---- a real store

my $ceph = start_ceph();
my $shop = new_cluster('ceph', store => $ceph, preload => 0);
make_sample($shop, n => 200);
put_live_keys($shop, $ceph);
configure($shop, $ceph);
my @hostile = map { s/\\/\\\\/gr =~ s/\n/\\n/gr } @keys;
utf8::encode($_) foreach @hostile;
$ceph->put('voiceframe', @hostile);
my ($ret, $said) = VfTest::call($shop, undef, 'CALL vf_s3_scan()');
like($said, qr/the scan is complete/, 'Ceph: a scan') or diag($said);
is_deeply(known($shop), [ sort $ceph->keys('voiceframe') ],
	'Ceph: every key as the store has it');
is(sql($shop, 'SELECT count(*) FROM vf_s3_missing'), 0, 'Ceph: nothing is missing');
my ($lost) = grep { m{^permanent/} } live_keys($shop);
$ceph->bucket('', 'rm', 'voiceframe', $lost);
VfTest::call($shop, undef, 'CALL vf_s3_scan()');
is(sql($shop, 'SELECT string_agg(key, $$ $$) FROM vf_s3_missing'),
	$lost, 'Ceph: but for what was removed');
$ceph->bucket('', 'versioning', 'voiceframe', 'on');
$ceph->put('voiceframe', 'images/1') foreach 1 .. 3;
$ceph->bucket('', 'rm', 'voiceframe', 'images2/1');
VfTest::call($shop, undef, 'CALL vf_s3_scan()');
is_deeply(known($shop), [ sort $ceph->keys('voiceframe') ],
	'Ceph: of a versioned bucket what is current');
is( sql($shop, q{SELECT string_agg(format('%s %s %s', prefix, kind, objects), '; '
		ORDER BY prefix, kind) FROM vf_s3_usage WHERE prefix LIKE 'images%'}),
	'images/ current 1; images/ noncurrent 3; images2/ delete marker 1; '
	  . 'images2/ noncurrent 1', 'Ceph: and what is not');
$shop->stop;
done_testing();
