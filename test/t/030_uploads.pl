# 030_uploads.pl: uploads that were begun and never finished are in no list of
# objects and cost all the same.  A scan counts them, and the bytes of the
# parts of some (P7); a store that does not tell costs it nothing else (P6).

use strict;
use warnings;
use utf8;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('uploads', store => $peer, preload => 0);
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
configure($node, $peer);

sub scan
{
	my ($arguments) = @_;
	return (VfTest::call($node, undef, 'CALL vf_s3_scan(' . ($arguments // '') . ')'))[1];
}

sub usage
{
	my $text = sql($node, q{SELECT coalesce(string_agg(format('%s %s %s %s', prefix,
			storage_class, objects, bytes), '; ' ORDER BY prefix, storage_class), '')
		FROM vf_s3_usage WHERE kind = 'unfinished upload'});
	utf8::decode($text);
	return $text;
}

sub uploads
{
	return $peer->post('/uploads', { bucket => 'voiceframe', uploads => [@_] });
}

# Requests of the last scan for lists of uploads, and of parts.
my $from = 0;

sub asked
{
	my @lines = grep { ($_->{query} // '') =~ /\buploads=|uploadId=/ } $peer->journal('before');
	my @new = @lines[ $from .. $#lines ];
	$from = @lines;
	return (scalar(grep { $_->{query} =~ /uploads=/ } @new),
		scalar(grep { $_->{query} =~ /uploadId=/ } @new));
}

sub known
{
	return sql($node, q{SELECT coalesce(uploads_error, '') FROM vf_scan
		WHERE state = 'complete' ORDER BY id DESC LIMIT 1});
}

$peer->post('/put', { bucket => 'voiceframe', keys => ['temp_photos/1'], body => 'x' });
like(scan(), qr/complete/, 'a bucket without them');
is(usage(), '', 'has none');
is_deeply([ asked() ], [ 1, 0 ], 'for one request');

# ---- counted by prefix and storage class, keys of every kind

my @keys = ('temp_photos/a+b', 'temp_photos/a b', 'temp_photos/%41', "temp_photos/a\nb",
	'temp_photos/..', 'temp_photos/./x', 'temp_photos/ä', 'temp_photos/<&>"', '/leading');
my $i = 0;
uploads((map { [ $_, 'id' . ++$i, 'STANDARD', [ 5, 7 ] ] } @keys),
	[ 'temp_photos/a b', 'another/+=', 'GLACIER', [ (1000) x 3 ] ],
	[ 'temp_photos2/1', 'x', 'STANDARD', [1] ]);
like(scan(), qr/complete/, 'with uploads of every kind');
is(usage(), '/ STANDARD 1 12; temp_photos/ GLACIER 1 3000; temp_photos/ STANDARD 8 96;'
	  . ' temp_photos2/ STANDARD 1 1', 'counted by prefix and class, with their bytes');
is_deeply([ asked() ], [ 1, scalar(@keys) + 2 ], 'a request for the parts of each');
is(known(), '', 'nothing is missing');
is( sql($node, q{SELECT format('%s %s', objects, bytes) FROM vf_s3_usage
		WHERE kind = 'current' AND prefix = 'temp_photos/'}),
	'1 1', 'objects are counted apart');
is(sql($node, q{SELECT count(*) FROM vf_object WHERE key NOT LIKE '.voiceframe%'}), 1,
	'P3: and no upload is an object');

# ---- pages, of uploads and of parts

$peer->ctl('set', '{"page": 3}');
scan();
is(usage(), '/ STANDARD 1 12; temp_photos/ GLACIER 1 3000; temp_photos/ STANDARD 8 96;'
	  . ' temp_photos2/ STANDARD 1 1', 'page by page it is the same');
is_deeply([ asked() ], [ 4, 11 ], 'no page twice');
uploads([ 'temp_audio/1', 'x', 'STANDARD', [ 1 .. 10 ] ]);
scan();
is(usage(), 'temp_audio/ STANDARD 1 55', 'an upload of many parts');
is_deeply([ asked() ], [ 1, 4 ], 'page by page, too');
$peer->ctl('set', '{"page": 1000}');

# ---- bounded

uploads(map { [ "temp_audio/$_", 'x', 'STANDARD', [10] ] } 1 .. 1500);
scan();
is(usage(), 'temp_audio/ STANDARD 1500 2000',
	'P7: all are counted, parts are asked for 200 times');
is_deeply([ asked() ], [ 2, 200 ], 'P7: and no more');

# ---- cut off and gone on

$peer->faults({ stall => \1, skip => 1, match => { query => 'uploads' } });
my $scan = session($node);
$scan->tell('CALL vf_s3_scan()');
wait_for(sub { sql($node, q{SELECT uploads_pages FROM vf_scan
	WHERE state = 'running'}) eq '1' }, 'the first page of uploads');
$peer->ctl('wait-held', 1);
is( sql($node, q{
		SELECT count(*) FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid
			AND l.locktype <> 'virtualxid'
		WHERE a.query LIKE 'CALL vf_s3_scan%' AND a.pid <> pg_backend_pid()
		AND (l.pid IS NOT NULL OR a.backend_xmin IS NOT NULL
		OR a.backend_xid IS NOT NULL)}),
	0, 'P5: nothing is held while they are listed');
my $pid = sql($node, q{SELECT lease_pid FROM vf_scan WHERE state = 'running'});
sql($node, "SELECT pg_terminate_backend($pid)");
wait_for(sub { !sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") });
$peer->ctl('clear');
asked();
like(scan(), qr/complete/, 'the next scan goes on');
is(usage(), 'temp_audio/ STANDARD 1500 2000', 'none is counted twice');
is_deeply([ asked() ], [ 1, 0 ], 'at the second page, within the same bounds');

# While parts are asked for nothing is held either, and a cancel is heard.
uploads([ 'temp_audio/1', 'x', 'STANDARD', [1] ]);
$peer->faults({ hold => \1, match => { query => 'uploadId' } });
$scan = session($node);
$scan->tell('CALL vf_s3_scan()');
$peer->ctl('wait-held', 1);
is( sql($node, q{
		SELECT count(*) FROM pg_stat_activity a LEFT JOIN pg_locks l ON l.pid = a.pid
			AND l.locktype <> 'virtualxid'
		WHERE a.query LIKE 'CALL vf_s3_scan%' AND a.pid <> pg_backend_pid()
		AND (l.pid IS NOT NULL OR a.backend_xmin IS NOT NULL
		OR a.backend_xid IS NOT NULL)}),
	0, 'P5: nor while their parts are');
$peer->ctl('release');
$scan->quit;
is(usage(), 'temp_audio/ STANDARD 1 1', 'done');

# ---- stores that do not tell

my $begun = usage();
foreach my $answer ([ 501, 'NotImplemented' ], [ 405, 'MethodNotAllowed' ],
	[ 403, 'AccessDenied' ])
{
	my ($status, $code) = @$answer;
	$peer->faults({ status => $status, code => $code, times => 0,
		match => { query => 'uploads' } });
	like(scan(), qr/complete.*not all is known of unfinished uploads.*$code/s,
		"P6: $code is no failure of the scan");
	is(usage(), '', 'usage has none');
	like(known(), qr/^$code/, 'P10: on record');
	is( sql($node, q{SELECT format('%s %s', ok IS NULL, detail) FROM vf_s3_check()
			WHERE "check" = 'unfinished uploads'}),
		"t cannot be listed ($code): vf_s3_usage has none", 'P10: vf_s3_check() says so');
	$peer->ctl('clear');
}
is( sql($node, q{SELECT outcome FROM vf_run WHERE kind = 'scan'
		ORDER BY id DESC LIMIT 1}), 'ok', 'nor of the run');
is( sql($node, q{SELECT detail FROM vf_s3_check() WHERE "check" = 'unfinished uploads'}),
	'can be listed', 'vf_s3_check() when it is allowed');
scan();
is(usage(), $begun, 'then they are known again');

# A passing failure is asked again; one that stays is given up.
$peer->faults({ status => 503, code => 'SlowDown', times => 2,
	match => { query => 'uploads' } });
like(scan(), qr/^(?!.*not all is known).*complete/s, 'patience');
is(usage(), $begun, 'pays');
uploads(map { [ "temp_audio/$_", 'x', 'STANDARD', [10] ] } 1 .. 1500);
$peer->faults({ status => 500, code => 'InternalError', times => 0, skip => 1,
	match => { query => 'uploads' } });
like(scan(), qr/complete.*InternalError/s, 'P6: it has an end');
is(usage(), '', 'P10: and what was counted until then is no half of a number');
$peer->ctl('clear');

# Sizes may be refused, or come too late.
uploads([ 'temp_audio/1', 'a', 'STANDARD', [1] ], [ 'temp_audio/2', 'b', 'STANDARD', [2] ]);
$peer->faults({ status => 403, code => 'AccessDenied', times => 0,
	match => { query => 'uploadId' } });
asked();
like(scan(), qr/complete.*not all bytes are known: AccessDenied/s, 'without the right to parts');
is(usage(), 'temp_audio/ STANDARD 2 0', 'they are counted without bytes');
is_deeply([ asked() ], [ 1, 1 ], 'and asked for once');
$peer->ctl('clear');
$peer->faults({ status => 404, code => 'NoSuchUpload', match => { query => 'uploadId' } });
scan();
is(usage(), 'temp_audio/ STANDARD 1 2', 'one that has ended meanwhile is none');

# ---- answers that cannot be

sub list
{
	my ($inner, $end) = @_;
	return '<ListMultipartUploadsResult><EncodingType>url</EncodingType>'
	  . "$inner$end</ListMultipartUploadsResult>";
}
my $one = '<Upload><Key>temp_audio/1</Key><UploadId>a</UploadId></Upload>';
my %lies = (
	'that never ends' => list($one, '<IsTruncated>true</IsTruncated>'),
	'that goes on at its own beginning' =>
	  list('', '<NextKeyMarker>a</NextKeyMarker><IsTruncated>true</IsTruncated>'),
	'that does not say whether it goes on' => list($one, ''),
	'of a key twice' => list('<Upload><Key>a</Key><Key>b</Key></Upload>',
		'<IsTruncated>false</IsTruncated>'),
	'of more than were asked for' => list($one x 1001, '<IsTruncated>false</IsTruncated>'),
	'of objects' => '<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>',
	'with a key of no length' => list('<Upload><UploadId>a</UploadId></Upload>',
		'<IsTruncated>false</IsTruncated>'),
	'with a number as its class' => list($one x 2, ''));
foreach my $what (sort keys %lies)
{
	$peer->faults({ status => 200, body => $lies{$what}, times => 0,
		match => { query => 'uploads' } });
	like(scan(), qr/complete.*not all is known/s, "P6: a list $what");
	is(usage(), '', 'counts nothing');
	$peer->ctl('clear');
}

# One page after the other for ever, each with a place of its own.
my $turn = 0;
my @bodies = map { list("<Upload><Key>temp_audio/$_</Key><UploadId>a</UploadId></Upload>",
		"<NextKeyMarker>temp_audio/$_</NextKeyMarker><NextUploadIdMarker>a</NextUploadIdMarker>"
		  . '<IsTruncated>true</IsTruncated>') } 1, 2;
$peer->faults(map { { status => 200, body => $bodies[ $turn++ % 2 ],
	match => { query => 'uploads' } } } 1 .. 1001);
like(scan(), qr/complete.*more than were counted/s, 'P7: a list in a circle has an end');
$peer->ctl('clear');
my $part = '<Part><PartNumber>1</PartNumber><Size>';
my %odd = (
	'of no size' => '<Part><PartNumber>1</PartNumber></Part><IsTruncated>false</IsTruncated>',
	'that is too large' => $part . ('9' x 18) . '</Size></Part><IsTruncated>false</IsTruncated>',
	'that goes on for ever' => $part . '1</Size></Part><IsTruncated>true</IsTruncated>'
	  . '<NextPartNumberMarker>1</NextPartNumberMarker>',
	'below nothing' => $part . '-1</Size></Part><IsTruncated>false</IsTruncated>');
foreach my $what (sort keys %odd)
{
	$peer->faults({ status => 200, times => 0, match => { query => 'uploadId' },
		body => "<ListPartsResult>$odd{$what}</ListPartsResult>" });
	like(scan(), qr/complete.*not all bytes are known/s, "P6: a part $what");
	like(usage(), qr/^temp_audio\/ STANDARD 2 0$/, 'is no byte');
	$peer->ctl('clear');
}
$node->stop;

# ---- a real store

my $ceph = start_ceph();
$node = new_cluster('ceph', store => $ceph, preload => 0);
make_sample($node, n => 1);
$ceph->mkbucket('voiceframe');
configure($node, $ceph);
my %sizes = ('temp_photos/a b+%41' => [ 1000, 24 ], 'temp_photos/ä' => [7],
	'temp_photos/..' => [3], 'temp_photos/!' => [1], 'waveforms/none' => []);
$ceph->bucket('', 'upload', 'voiceframe', $_, @{ $sizes{$_} }) foreach sort keys %sizes;
$ceph->bucket('', 'upload', 'voiceframe', 'temp_photos/ä', 10);
$ceph->put('voiceframe', 'temp_photos/1');
like(scan(), qr/complete/, 'a scan of Ceph');
is(usage(), 'temp_photos/ STANDARD 5 1045; waveforms/ STANDARD 1 0',
	'counts its unfinished uploads');
$ceph->bucket('', 'upload', 'voiceframe', sprintf('temp_audio/%04d', $_), 2) foreach 1 .. 30;
like(scan(), qr/complete/, 'more of them');
is(usage(), 'temp_audio/ STANDARD 30 60; temp_photos/ STANDARD 5 1045;'
	  . ' waveforms/ STANDARD 1 0', 'all are counted');

done_testing();
