# 008_cron.pl: without a worker, pg_cron does it all: one job with CALL
# vf_purge() and one with CALL vf_drain(), as the README has them, run for
# real.  pg_cron counts in minutes, so this takes up to two of them.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $pkglibdir = qx{$ENV{PG_CONFIG} --pkglibdir};
chomp $pkglibdir;
plan skip_all => 'pg_cron is not installed'
  unless -e "$pkglibdir/pg_cron.so";

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster(
	'cron',
	store => $peer,
	preload => 0,
	conf => "shared_preload_libraries = 'pg_cron'\n"
	  . "cron.database_name = 'voiceframe'\n"
	  . "cron.use_background_workers = on\n");
make_sample($node, n => 40);
put_live_keys($node, $peer);
configure($node, $peer);
my $due = sql($node, q{SELECT sum(sessions) FROM vf_purge_preview()
	WHERE rule IN ('expired', 'unpaid')});
cmp_ok($due, '>', 10, 'sessions are due');
sql($node, q{
	CREATE EXTENSION pg_cron;
	SELECT cron.schedule('vf-purge', '* * * * *', 'CALL vf_purge()');
	SELECT cron.schedule('vf-drain', '* * * * *', 'CALL vf_drain()')});

# Both start in the same second; what the purge queues may wait for the next
# minute's drain.
wait_for(sub {
		sql($node, q{SELECT count(DISTINCT jobid) FROM cron.job_run_details
			WHERE status IN ('succeeded', 'failed')}) eq '2' },
	'both jobs to run', 90);
is( sql($node, q{SELECT string_agg(DISTINCT status, ' ')
		FROM cron.job_run_details}),
	'succeeded', 'both succeed');
is( sql($node, q{SELECT string_agg(DISTINCT kind || ' ' || caller, ', '
			ORDER BY kind || ' ' || caller) FROM vf_run}),
	'drain vf_drain, purge vf_purge', 'P10: both are on record');
is( sql($node, q{SELECT sum(expired + unpaid) FROM vf_run}),
	$due, 'what was due is purged');
wait_for(sub { sql($node, q{SELECT count(*) FROM vf_outbox
		WHERE state <> 'cancelled'}) eq '0' },
	'the next drain', 90);
is_deeply([ $peer->contents ], [ live_keys($node) ],
	'P4: the bucket holds what live rows reference');
is( sql($node, q{SELECT count(*) FROM vf_alerts
		WHERE firing AND alert NOT IN ('unknown_statuses', 'at_risk')}),
	'0', 'P10: no alert fires without a worker')
  or diag(sql($node, 'SELECT * FROM vf_alerts WHERE firing'));

done_testing();
