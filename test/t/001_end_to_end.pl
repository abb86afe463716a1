# 001_end_to_end.pl: from a due session to a deleted object, against a real S3
# server.  1,000 sessions with 3,000 objects: paid by every status, in
# checkout, with traps, and one that another session has locked.  Whatever
# the server's time zone and the database's encoding, after purge and drain
# exactly the sessions are left that kept.sql keeps (P1), and the bucket holds
# exactly what the rows that are left reference (P2, P4).

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $ceph = start_ceph();
my $node = new_cluster(
	'end_to_end',
	store => $ceph,
	conf => "voiceframe.databases = 'voiceframe'\n"
	  . "voiceframe.naptime = '1h'\n");

# Nothing may be deleted outside the prefixes: these objects stay behind.
my @outside =
  ('backgrounds/a.png', 'permanent/photos/outside.jpg', 'temp_photos');

# Due keys with letters that the encoding has, as UTF-8; \xe9 alone is none.
my %letters = (
	UTF8 => [ "temp_photos/\xc3\xa9t\xc3\xa9.jpg",
		"temp_audio/\xf0\x9f\x8e\xa4 \xe6\xad\x8c.mp3" ],
	LATIN1 => [ "temp_photos/\xc3\xa9t\xc3\xa9.jpg",
		"waveforms/\xc3\xbf\xc2\xa0.png" ],
	SQL_ASCII => [ "temp_photos/\xc3\xa9t\xc3\xa9.jpg",
		"temp_audio/\xf0\x9f\x8e\xa4.mp3" ]);

sub sorted
{
	return [ sort @_ ];
}

sub lines
{
	my ($text) = @_;
	return sorted(split(/\n/, $text));
}

sub check
{
	my ($db, $what, @also_kept) = @_;
	my $kept =
	  VfTest::run_file($node, $db, "$VfTest::root/demo/kept.sql");
	is_deeply(
		lines(sql($node, 'SELECT session_token FROM sessions', $db)),
		sorted(@{ lines($kept) }, @also_kept),
		"P1: the sessions left are those the rules keep ($what)");
	is( sql($node, q{SELECT coalesce(sum(nkeys), 0) FROM vf_outbox
			WHERE state IN ('waiting', 'claimed')}, $db),
		0, "P4: no key waits ($what)");
	is_deeply(
		sorted($ceph->keys(bucket_of($db))),
		sorted(live_keys($node, $db), @outside),
		"P2, P4: the bucket holds exactly what live rows reference ($what)");
	return;
}

# Sessions that the purge left for later: in checkout, or locked.
sub put_off
{
	my ($said) = @_;
	return $said =~ /put off (\d+)/ ? $1 : $said;
}

sub bucket_of
{
	my ($db) = @_;
	return $db =~ tr/_/-/r;
}

sub empty_outbox
{
	my ($db, $by_worker) = @_;
	if ($by_worker)
	{
		wait_for(
			sub {
				sql($node, q{SELECT count(*) = 0 FROM vf_outbox
					WHERE state IN ('waiting', 'claimed')}, $db) eq 't';
			},
			'the worker to drain');
	}
	else
	{
		drain($node, $db);
	}
	return;
}

sub end_to_end
{
	my ($zone, $encoding, $db) = @_;
	my $what = "$zone, $encoding";
	my $by_worker = $db eq 'voiceframe';
	my @letters = @{ $letters{$encoding} };
	local $ENV{PGCLIENTENCODING} =
	  $encoding eq 'SQL_ASCII' ? 'SQL_ASCII' : 'UTF8';

	sql($node, "ALTER SYSTEM SET timezone = '$zone'");
	sql($node, 'SELECT pg_reload_conf()');
	wait_for(sub { sql($node, 'SHOW timezone') eq $zone }, 'the time zone');
	$node->safe_psql('postgres', "CREATE DATABASE $db TEMPLATE template0
		ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'")
	  unless $by_worker;
	make_sample($node, n => 990, traps => 1, db => $db);
	add_due($node, { db => $db }, @letters);
	put_live_keys($node, $ceph, db => $db, bucket => bucket_of($db));
	configure($node, $ceph, db => $db, bucket => bucket_of($db));
	sql($node, "INSERT INTO sessions (id, session_token, photo_s3_key,
			expires_at)
		VALUES (gen_random_uuid(), 'not_utf8', 'temp_photos/' || E'\\xe9',
			'2020-01-01')", $db)
	  if $encoding eq 'SQL_ASCII';
	is( scalar(grep { m{^(temp_|waveforms/)} } live_keys($node, $db)) > 2900,
		1, "about 3,000 objects ($what)");

	sql($node, 'SELECT vf_worker_start()', $db) if $by_worker;
	my $other = session($node, $db);
	$other->ask("BEGIN; SELECT id FROM sessions
		WHERE session_token = 'trap_odd' FOR UPDATE");
	my $put_off = put_off(purge($node, $db));
	empty_outbox($db, $by_worker);
	check($db, "$what, one locked", 'trap_odd');

	$other->ask('COMMIT');
	$other->quit;
	is(put_off(purge($node, $db)), $put_off - 1,
		"P6: a locked session does not stop the purge ($what)");
	empty_outbox($db, $by_worker);
	check($db, $what);
	is( sql($node, q{SELECT last_error_code FROM vf_outbox
			WHERE state = 'dead'}, $db),
		$encoding eq 'SQL_ASCII' ? 'KeyNotUtf8' : '',
		"P4: only what is no key at all is given up ($what)");
	is( sql($node, q{SELECT string_agg(key, ' ' ORDER BY key) FROM vf_outbox_keys
			WHERE state = 'cancelled'
				AND last_error_code = 'OutsidePrefixes'}, $db),
		join(' ', @outside), "P3: keys outside the prefixes stay ($what)");
	return;
}

end_to_end('Asia/Tokyo', 'UTF8', 'voiceframe');
is( sql($node, q{SELECT string_agg(DISTINCT caller, ' ') FROM vf_run
		WHERE kind = 'drain'}),
	'worker', 'the worker drained, woken by the commit');
end_to_end('Asia/Tokyo', 'LATIN1', 'tokyo_latin1');
end_to_end('Asia/Tokyo', 'SQL_ASCII', 'tokyo_ascii');
end_to_end('America/Los_Angeles', 'UTF8', 'angeles_utf8');
end_to_end('America/Los_Angeles', 'LATIN1', 'angeles_latin1');
end_to_end('America/Los_Angeles', 'SQL_ASCII', 'angeles_ascii');

done_testing();
