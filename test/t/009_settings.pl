# 009_settings.pl: a line of the configuration that does not hold stops all
# that deletes (P1).  The server itself only warns and falls back to defaults;
# here purge and drain refuse and an alert names the line, by hand and in the
# worker, until it is corrected.  Overridden lines are fine; rules set for the
# database are the worker's too.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'settings',
	store => $peer,
	conf => "voiceframe.naptime = 1\nvoiceframe.databases = voiceframe\n");
make_sample($node, n => 20);
put_live_keys($node, $peer);
configure($node, $peer);
purge($node);
drain($node);
sql($node, 'SELECT vf_worker_start()');
my $file = $node->data_dir . '/postgresql.conf';
my $good = slurp_file($file);

sub fault
{
	return sql($node, q{SELECT value FROM vf_alerts
		WHERE alert = 'settings' AND firing});
}

sub set_lines
{
	my ($lines) = @_;
	open(my $fh, '>', $file) or die "$file: $!";
	print $fh $good, $lines;
	close $fh;
	return sql($node, 'SELECT pg_reload_conf()');
}

# The number that the first of our lines has.
my $line = 1 + ($good =~ tr/\n//);
my $key = 0;

sub check_stopped
{
	my ($lines, $pattern, $what) = @_;
	set_lines("$lines\n");
	like(fault(), $pattern, "P10: the alert names the line ($what)");
	add_due($node, 'temp_photos/' . ++$key);
	foreach my $call (
		'CALL vf_purge()', 'SELECT vf_purge_now()', 'CALL vf_drain()')
	{
		sql($node, q{INSERT INTO vf_outbox (run_id, endpoint, bucket, keys,
				nkeys)
			SELECT 0, endpoint, bucket, '{temp_photos/never}', 1
			FROM vf_bucket}) if $call =~ /drain/;
		my ($ret, $said) = VfTest::call($node, 'voiceframe', $call);
		like($said, qr/ERROR: .*configuration files is not in force.*$pattern/s,
			"P1: $call refuses ($what)");
	}
	my $errors = sql($node, 'SELECT errors FROM vf_workers');
	sql($node, 'SELECT vf_resume()');
	wait_for(sub { sql($node, 'SELECT errors FROM vf_workers') > $errors },
		'the worker to refuse');
	is( sql($node, 'SELECT count(*) FROM sessions '
			  . "WHERE photo_s3_key = 'temp_photos/$key'"),
		'1', "P1: nothing is purged, by the worker neither ($what)");
	is(scalar(grep { $_ eq 'temp_photos/never' } map { @$_ } $peer->sent),
		0, "P1: nothing is sent ($what)");
	sql($node, q{DELETE FROM vf_outbox WHERE keys = '{temp_photos/never}'});
	return;
}

sub check_going
{
	my ($lines, $what) = @_;
	set_lines($lines);
	wait_for(sub { fault() eq '' }, 'the fault to be gone');
	purge($node);
	drain($node);
	is( sql($node, 'SELECT count(*) FROM sessions '
			  . "WHERE photo_s3_key = 'temp_photos/$key'"),
		'0', "all goes on ($what)");
	return;
}

check_stopped(
	'voiceframe.unpaid_afer = 30d',
	qr/voiceframe\.unpaid_afer \(line $line of .*postgresql\.conf\): no such setting/,
	'a mistyped name');
check_going('', 'the line is gone');
check_stopped(
	'voiceframe.unpaid_after = 30days',
	qr/voiceframe\.unpaid_after \(line $line of /,
	'a mistyped value');
check_going("voiceframe.unpaid_after = 30d\n", 'the value is right');
check_stopped(
	"voiceframe.unpaid_statuses = 'pending, completed'",
	qr/voiceframe\.unpaid_statuses \(line $line of /,
	'a status that means paid');
check_going(
	"voiceframe.unpaid_statuses = 'pending, abandoned'\n",
	'another status');
check_stopped(
	"voiceframe.deletable_prefixes = 'temp_photos/, '",
	qr/voiceframe\.deletable_prefixes \(line $line of /,
	'an empty prefix');
check_stopped(
	"VoiceFrame.Naptme = 5",
	qr/naptme \(line $line of /i,
	'a mistyped name in another case');
check_going('', 'the lines are gone');

# Overridden: by a later line, by ALTER SYSTEM.

sql($node, q{ALTER SYSTEM SET voiceframe.checkout_grace = '2d'});
check_going(
	"voiceframe.checkout_grace = 1d\nvoiceframe.checkout_grace = 3d\n",
	'overridden lines');
is(sql($node, 'SHOW voiceframe.checkout_grace'), '2d', 'ALTER SYSTEM holds');
set_lines('');

# Rules of the database: the worker's after it started again.  A grace of 50
# years keeps what is due; the sweep has not looked yet, for the rules differ.

add_due($node, 'temp_photos/kept');
sql($node, q{ALTER DATABASE voiceframe SET voiceframe.expired_grace = '20000d';
	ALTER DATABASE voiceframe SET voiceframe.unpaid_after = '20000d'});

sub worker_purges
{
	my $runs = q{SELECT coalesce(sum(1 + repeats), 0) FROM vf_run
		WHERE kind = 'purge' AND caller = 'worker'};
	sql($node, 'SELECT vf_worker_stop()');
	my $before = sql($node, $runs);
	sql($node, 'SELECT vf_worker_start()');
	wait_for(sub { sql($node, $runs) > $before + 1 }, 'the worker to purge');
	return sql($node, q{SELECT count(*) FROM sessions
		WHERE photo_s3_key = 'temp_photos/kept'});
}
is(worker_purges(), '1', 'P1: ALTER DATABASE SET is the worker\'s rule');
sql($node, q{ALTER DATABASE voiceframe RESET voiceframe.expired_grace;
	ALTER DATABASE voiceframe RESET voiceframe.unpaid_after});
is(worker_purges(), '0', 'and without it the default is');

done_testing();
