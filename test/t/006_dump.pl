# 006_dump.pl: a copy is harmless (P8).  A dump of the database, or of orders
# alone, is restored into another server, another database, the same name,
# with and without the extension; a database is cloned.  What is restored
# remembers all and deletes nothing, by hand or by worker, until a person
# calls vf_adopt(); and payments go on everywhere.

use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $conf = "voiceframe.naptime = 1\nvoiceframe.databases = voiceframe\n";
my $node = new_cluster('origin', store => $peer, conf => $conf);
my $other = new_cluster('other', store => $peer, conf => $conf);
make_sample($node, n => 40);
put_live_keys($node, $peer);
configure($node, $peer);
purge($node);
drain($node);
sql($node, 'SELECT vf_worker_stop()');

# Keys that wait, one that is dead, sessions that are due.
$peer->put('voiceframe', map { "temp_photos/$_" } qw(waits dead due));
queue($node, 'temp_photos/waits');
queue($node, 'temp_photos/dead');
sql($node, q{UPDATE vf_outbox SET state = 'dead', last_error_code = 'Test'
	WHERE keys = '{temp_photos/dead}'});
add_due($node, 'temp_photos/due');
# A copy's worker notes at once that it was refused, and may look at what the
# bucket holds, which harms nobody: not these runs.
my $counts = q{SELECT (SELECT count(*) FROM sessions),
	(SELECT count(*) FROM orders), (SELECT count(*) FROM vf_outbox_keys),
	(SELECT count(*) FROM vf_run WHERE outcome <> 'failed' AND kind <> 'scan')};
my $before = sql($node, $counts);
my @objects = $peer->contents;
my $sent = $peer->sent;

my $dir = PostgreSQL::Test::Utils::tempdir();
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/all", 'voiceframe' ],
	'the database is dumped');
$node->command_ok([ 'pg_dump', '-Fc', '-t', 'orders', '-f', "$dir/orders",
		'voiceframe' ], 'orders alone are dumped');

# Payments go on, whatever became of the extension.
sub check_payments
{
	my ($where, $db, $what) = @_;
	my ($ret, $said) = VfTest::call($where, $db, q{
		BEGIN;
		INSERT INTO orders (id, email, amount_cents, status, session_token)
		SELECT gen_random_uuid(), 'x', 1, 'pending', session_token
		FROM sessions LIMIT 1;
		UPDATE orders SET status = 'completed' WHERE status = 'pending';
		ROLLBACK});
	is($ret, 0, "payments go on ($what)") or diag($said);
	return;
}

sub guard
{
	my ($where, $db) = @_;
	return sql($where, q{SELECT tgenabled FROM pg_trigger
		WHERE tgname = 'vf_payment_guard'}, $db);
}

sub check_harmless
{
	my ($where, $db, $what) = @_;
	is(sql($where, $counts, $db), $before, "P8: all is there ($what)");
	is(guard($where, $db), 'A', "P1: the guard stands ($what)");
	check_payments($where, $db, $what);
	foreach my $call (
		'CALL vf_purge()', 'SELECT vf_purge_now()', 'CALL vf_drain()')
	{
		my ($ret, $said) = VfTest::call($where, $db, $call);
		like($said, qr/ERROR: .*is a copy.*vf_adopt\(\)/s,
			"P8: $call refuses ($what)");
	}
	like(
		sql($where, q{SELECT firing, value FROM vf_alerts
			WHERE alert = 'registration'}, $db),
		qr/^t\|.*copy/, "P10: an alert says why ($what)");

	# The worker, though a person let it purge where the dump was taken, and
	# here again.
	sql($where, 'SELECT vf_worker_start(), vf_resume()', $db);
	wait_for(
		sub {
			sql($where, q{SELECT errors >= 1 FROM vf_workers
				WHERE database = current_database()}, $db) eq 't';
		},
		'the worker to refuse');
	sql($where, 'SELECT vf_worker_stop()', $db);
	is(scalar($peer->sent), $sent, "P8: nothing was sent ($what)");
	return;
}

sub check_adopted
{
	my ($where, $db, $what) = @_;
	$peer->put('voiceframe', @objects);
	# While the lease of where it comes from lives, it would only wait.
	$peer->grow_old(1000);
	sql($where, 'SELECT vf_adopt()', $db);
	is(sql($where, q{SELECT firing FROM vf_alerts
			WHERE alert = 'registration'}, $db),
		'f', "P10: adopted, all is well ($what)");
	purge($where, $db);
	drain($where, $db);
	is_deeply([ $peer->contents ],
		[ sort(live_keys($where, $db), 'temp_photos/dead') ],
		"P8: adopted, it purges and drains ($what)");
	is( sql($where, q{SELECT nextval('vf_outbox_id_seq') >
			(SELECT max(id) FROM vf_outbox),
			nextval('vf_run_id_seq') > (SELECT max(id) FROM vf_run)}, $db),
		't|t', "P4: numbers go on where they were ($what)");
	$sent = $peer->sent;
	return;
}

# Another server.

$other->command_ok([ 'pg_restore', '-d', 'voiceframe', "$dir/all" ],
	'the dump is restored into another server');
check_harmless($other, 'voiceframe', 'another server');
check_adopted($other, 'voiceframe', 'another server');

# Another database of the same server; a clone; the same name again.

$node->safe_psql('postgres', 'CREATE DATABASE second');
$node->command_ok([ 'pg_restore', '-d', 'second', "$dir/all" ],
	'restored beside the first');
check_harmless($node, 'second', 'another database');
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE voiceframe');
check_harmless($node, 'clone', 'a clone');
check_adopted($node, 'clone', 'a clone');
$node->safe_psql('postgres', 'DROP DATABASE voiceframe');
$node->safe_psql('postgres', 'CREATE DATABASE voiceframe');
$node->command_ok([ 'pg_restore', '-d', 'voiceframe', "$dir/all" ],
	'restored under the same name');
check_harmless($node, 'voiceframe', 'the same name');
check_adopted($node, 'voiceframe', 'the same name');

# Orders alone: into an empty database, then in place of the table.

sub restore_errors
{
	my ($where, $db, @options) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'pg_restore', '-d', $where->connstr($db), @options ],
		'>', \$out, '2>', \$err);
	return join(' ', $err =~ /ERROR:  (.*)/g);
}

$node->safe_psql('postgres', 'CREATE DATABASE empty');
like(restore_errors($node, 'empty', "$dir/orders"),
	qr/^function public.vf_payment_guard\(\) does not exist/,
	'orders alone, without the guard\'s function: told');
is( sql($node, 'SELECT count(*) FROM orders', 'empty'),
	sql($node, 'SELECT count(*) FROM orders'),
	'and the rows are there');
my ($ret, $said) =
  VfTest::call($node, 'empty', q{UPDATE orders SET status = 'paid'});
is($ret, 0, 'payments go on (orders alone)') or diag($said);

sql($node, 'DROP TABLE orders');
is(restore_errors($node, 'voiceframe', "$dir/orders"),
	'', 'orders alone, in place of the table');
is(guard($node, 'voiceframe'), 'A', 'P1: with its guard');
check_payments($node, 'voiceframe', 'in place of the table');
($ret, $said) = VfTest::call($node, 'voiceframe', 'CALL vf_purge()');
like($said, qr/ERROR: .*orders.*vf_configure\(\)/s,
	'P1: another table of that name is not trusted');
sql($node, 'SELECT vf_configure()');
purge($node);

# Its rows alone.  While they are gone, nothing is purged.

sql($node, q{TRUNCATE orders});
($ret, $said) = VfTest::call($node, 'voiceframe', 'CALL vf_purge()');
like($said, qr/ERROR: .*brake: the orders table is empty/,
	'P1: without orders the brake stops the purge');
is(restore_errors($node, 'voiceframe', '-a', "$dir/orders"),
	'', 'the rows are restored');
like(purge($node), qr/purged 0 sessions/, 'P1: nobody who paid is lost');

# A server without the extension: the same dump, less what needs it.

$node->command_ok([ 'pg_restore', '-l', '-f', "$dir/list", "$dir/all" ],
	'the list of the dump');
my $list = slurp_file("$dir/list");
$list =~ s/^.*(EXTENSION|TABLE DATA public vf_|SEQUENCE SET public vf_).*\n//mg;
append_to_file("$dir/less", $list);
$node->safe_psql('postgres', 'CREATE DATABASE without');
my $errors = restore_errors($node, 'without', '-L', "$dir/less", "$dir/all");
$errors =~ s/extension "voiceframe_retention" does not exist//g;
$errors =~ s/function public.vf_payment_guard\(\) does not exist//g;
is($errors =~ s/ //gr, '', 'only the guard is missing, and told');
is( sql($node, 'SELECT count(*) FROM orders', 'without')
	  . '|'
	  . sql($node, 'SELECT count(*) FROM sessions', 'without'),
	join('|', reverse((split(/\|/, $before))[ 0, 1 ])),
	'the rows are there');
is(guard($node, 'without'), '', 'without the guard');
check_payments($node, 'without', 'without the extension');

done_testing();
