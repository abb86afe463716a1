# 026_orphans.pl: what nothing references, and nothing else (P3).  An orphan was
# seen unchanged by two complete scans a day apart; what is fresh, referenced,
# uploaded again or queued is none.

use strict;
use warnings;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('orphans', store => $peer, preload => 0);
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
configure($node, $peer);

sub scan
{
	my ($ret, $said) = VfTest::call($node, undef, 'CALL vf_s3_scan()');
	die $said if $ret;
	return;
}

# As if so many hours had passed, here and at the store.
sub pass
{
	my ($hours) = @_;
	$peer->grow_old($hours * 3600);
	sql($node, qq{
		UPDATE vf_scan SET started_at = started_at - interval '$hours hours',
			ended_at = ended_at - interval '$hours hours',
			store_time = store_time - interval '$hours hours';
		UPDATE vf_object SET modified = modified - interval '$hours hours'});
	return;
}

sub put
{
	my ($body, @keys) = @_;
	return $peer->post('/put',
		{ bucket => 'voiceframe', keys => \@keys, body => $body });
}

sub orphans
{
	return sql($node, q{SELECT coalesce(string_agg(replace(key, 'temp_photos/', ''),
		' ' ORDER BY key), '') FROM vf_s3_orphans});
}

sub row
{
	my ($token, $key) = @_;
	return sql($node, qq{INSERT INTO sessions (id, session_token, photo_s3_key,
		created_at, expires_at) VALUES (md5('$token')::uuid, '$token', '$key',
		now() AT TIME ZONE 'UTC', 'infinity')});
}

my (undef, $out) = VfTest::call($node, undef, 'SELECT * FROM vf_s3_orphans');
like($out, qr/not known yet.*two complete scans.*CALL vf_s3_scan\(\)/s,
	'before two scans a day apart there are none, and it says so');

put('x', map { "temp_photos/$_" }
	qw(lost rowed queued undone again images%2F a+b), 'with space', "line\nbreak");
put('x', 'pdfs/preview_1.pdf', 'pdfs/1.pdf', 'images/1', 'temp_photos2/1',
	'permanent/photos/1.jpg');
row('rowed', 'temp_photos/rowed');
pass(24 * 10);
scan();
pass(23);
scan();
(undef, $out) = VfTest::call($node, undef, 'SELECT * FROM vf_s3_orphans');
like($out, qr/not known yet/, 'two scans in a day are not enough');

# Between the scans one is uploaded again, the same bytes; one is new.
put('x', 'temp_photos/again', 'temp_photos/fresh');
row('undone', 'temp_photos/undone');
sql($node, q{UPDATE sessions SET expires_at = now() - interval '1 day'
	WHERE session_token = 'undone'});
sql($node, q{SET voiceframe.undo_window = '1d'; CALL vf_purge(confirm => 1)});
queue($node, 'temp_photos/queued');
pass(2);
scan();
is( orphans(),
	"a+b images%2F line\nbreak lost pdfs/preview_1.pdf with space" =~
		s/^(.*) (pdfs\S+) (.*)$/$2 $1 $3/sr,
	'P3: orphans are what nothing references');
is( sql($node, q{SELECT bytes, storage_class, now() - seen_since > interval '1 day'
		FROM vf_s3_orphans WHERE key = 'temp_photos/lost'}),
	'1|STANDARD|t', 'with their size, and since when');

sql($node, q{DELETE FROM vf_outbox WHERE 'temp_photos/undone' = ANY (keys)});
unlike(orphans(), qr/undone/, 'P3: an undo row keeps its object by itself');

# Each of them, once more, when it has another fate.
row('lost', 'temp_photos/lost');
unlike(orphans(), qr/lost/, 'P3: a row that comes later keeps its object');
sql($node, q{DELETE FROM sessions WHERE session_token = 'lost'});
like(orphans(), qr/lost/, 'and no longer');
put('y', 'temp_photos/lost');
scan();
unlike(orphans(), qr/lost/, 'P3: uploaded again it begins anew');
pass(24);
scan();
unlike(orphans(), qr/lost/, 'P3: and is younger than the grace');
pass(24 * 8);
scan();
like(orphans(), qr/lost.*again|again.*lost/s,
	'until it has been left alone for long enough');
sql($node, q{DELETE FROM vf_outbox; SELECT vf_undo_discard()});
like(orphans(), qr/queued.*undone/s, 'undo and outbox keep theirs as long as they are there');
$peer->post('/remove', { bucket => 'voiceframe', keys => ['temp_photos/lost'] });
scan();
unlike(orphans(), qr/lost/, 'what is gone is no orphan');

# The settings that decide.
is( sql($node, q{SET voiceframe.orphan_prefixes = 'images/';
		SELECT string_agg(key, ' ') FROM vf_s3_orphans}),
	'images/1', 'orphan_prefixes');
is( sql($node, q{SET voiceframe.orphan_grace = '100d';
		SELECT count(*) FROM vf_s3_orphans}),
	0, 'orphan_grace');
(undef, $out) = VfTest::call($node, undef,
	q{LOAD 'voiceframe_retention'; SET voiceframe.orphan_prefixes = 'pdfs/preview'});
like($out, qr/does not end in "\/"/, 'a prefix ends in a slash');
(undef, $out) = VfTest::call($node, undef, q{LOAD 'voiceframe_retention'; SET voiceframe.orphan_grace = '1h'});
like($out, qr/outside the valid range/, 'the grace is a day at least');

done_testing();
