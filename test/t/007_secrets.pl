# 007_secrets.pl: secrets and bearer tokens appear nowhere (P9).  A word is
# planted in every column of sessions and orders, in every key, and in the
# credentials.  Then all goes well, and all goes wrong, with the log at debug1:
# the word is in no line of the log, in nothing that a caller is told, and in
# no view that pg_monitor may read.  And a credentials file that others can
# read, or would copy, is refused.
#
# Two things are shown on purpose and not planted: unknown statuses, which an
# alert has to name, and up to six characters of a key behind its prefix.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $word = 'planted';
my $secret = "$word/secret+0123456789";
my $token = "$word.session.token";
my $peer = start_peer('--bucket', 'voiceframe', '--secret', $secret,
	'--token', $token);
my $node = new_cluster(
	'secrets',
	preload => 1,
	conf => "log_statement = none\nlog_min_messages = debug1\n"
	  . "log_min_error_statement = panic\nlog_error_verbosity = verbose\n"
	  . "voiceframe.naptime = 1\nvoiceframe.databases = voiceframe\n"
	  . "voiceframe.s3_max_attempts = 2\n");
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $credentials = write_credentials($peer, file => "$dir/good");
my $told = '';

# All that a caller is told, at debug1 too.
sub ask
{
	my ($statement, $role) = @_;
	$role = $role ? "SET ROLE $role;" : '';
	my ($ret, $said) = VfTest::call($node, 'voiceframe',
		"SET client_min_messages = debug1; $role $statement");
	$told .= $said;
	return $said;
}

sub set
{
	my ($name, $value) = @_;
	sql($node, "ALTER SYSTEM SET voiceframe.$name = '$value'");
	sql($node, 'SELECT pg_reload_conf()');
	return wait_for(sub { sql($node, "SHOW voiceframe.$name") eq $value },
		"voiceframe.$name");
}

make_sample($node, n => 40, traps => 1);
sql($node, 'CREATE ROLE watcher LOGIN IN ROLE pg_monitor;
	CREATE ROLE nobody LOGIN');
sql($node, q{
	UPDATE sessions SET session_token = '______planted' || session_token;
	UPDATE orders SET session_token = '______planted' || session_token;
	UPDATE sessions SET
		photo_s3_key = 'temp_photos/' || session_token || '.jpg',
		audio_s3_key = 'temp_audio/' || session_token || '.mp3',
		waveform_s3_key = 'waveforms/' || session_token || '.png',
		photo_filename = 'planted', audio_filename = 'planted',
		custom_text = 'planted', photo_shape = 'planted',
		pdf_size = 'planted', template_id = 'planted',
		background_id = 'planted', font_id = 'planted',
		email = 'planted@example.test', consent_text = 'planted';
	UPDATE orders SET email = 'planted@example.test',
		stripe_payment_intent_id = 'planted' || id,
		download_token = 'planted' || id, migration_error = 'planted',
		pdf_s3_key = 'pdfs/______planted' || id,
		permanent_photo_s3_key = 'permanent/photos/______planted' || id
	WHERE status = 'completed'});
put_live_keys($node, $peer);
ask('CREATE EXTENSION voiceframe_retention');
ask('SELECT * FROM vf_configure(queue_deletes => true)');
ask(qq{SELECT * FROM vf_configure_bucket('voiceframe', 'us-east-1',
	'$peer->{endpoint}', 'path')});
set('s3_credentials_file', $credentials);

# Waits until nothing is due at the bucket.
sub drained
{
	return wait_for(
		sub {
			age($node);
			sql($node, 'SELECT vf_resume()');
			sql($node, q{SELECT count(*) FROM vf_outbox
				WHERE state IN ('waiting', 'claimed')}) eq '0';
		},
		'the keys to be settled');
}

my $n = 0;

sub add_planted
{
	my ($how_many) = @_;
	$n++;
	my @keys = map { "temp_photos/$n.____planted$_.jpg" } 1 .. $how_many;
	$peer->put('voiceframe', @keys);
	add_due($node, @keys);
	sql($node, q{UPDATE sessions SET session_token = '______planted' || id
		WHERE session_token NOT LIKE '%planted%'});
	return;
}

# All goes well.

ask('SELECT * FROM vf_purge_preview(5)');
like(ask('CALL vf_purge()'), qr/purged \d\d sessions/, 'a purge');
sql($node, 'SELECT vf_worker_start()');
drained();
ask('SELECT * FROM vf_s3_check()');
sql($node, q{DELETE FROM sessions WHERE id = (SELECT min(id::text)::uuid
	FROM sessions)});
pass('all went well');

# The application's own tables stand in the way: a foreign key, a trigger that
# tells the token, a row that another session has locked.

add_planted(4);
sql($node, q{
	CREATE TABLE note (token varchar(255) CONSTRAINT note_of_session
		REFERENCES sessions (session_token));
	INSERT INTO note SELECT max(session_token) FROM sessions
		WHERE photo_s3_key LIKE '%.____planted1.jpg'});
like(ask('CALL vf_purge()'), qr/put off/, 'a foreign key');
sql($node, q{
	DROP TABLE note;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'session % is mine', OLD.session_token
			USING DETAIL = OLD.photo_s3_key, HINT = OLD.email;
	END $$;
	CREATE TRIGGER refuse BEFORE DELETE ON sessions
		FOR EACH ROW EXECUTE FUNCTION refuse()});
add_planted(3);
ask('CALL vf_purge()');
ask('SELECT vf_purge_now()');
is( sql($node, q{SELECT count(*) FROM sessions
		WHERE photo_s3_key LIKE 'temp_photos/2.%'}),
	3, 'a trigger that raises');
wait_for(sub { sql($node, q{SELECT count(*) FROM vf_run
		WHERE caller = 'worker' AND kind = 'purge'}) > 0 },
	'the worker to meet it too');
sql($node, 'DROP TRIGGER refuse ON sessions');
my $other = session($node);
$other->ask(q{BEGIN; SELECT FROM sessions
	WHERE photo_s3_key LIKE 'temp_photos/2.%' FOR UPDATE});
ask('CALL vf_purge()');
ask(q{SET statement_timeout = '1ms'; CALL vf_purge()});
ask('SELECT * FROM vf_purge_preview(100)');
$other->ask('ROLLBACK');
$other->quit;

sql($node, 'SELECT vf_worker_stop()');

# What pg_monitor sees while it lasts.
sub look
{
	ask("SELECT * FROM $_", 'watcher')
	  foreach qw(vf_alerts vf_outbox_stats vf_runs vf_run vf_stats);
	return;
}

# The bucket answers wrong.  Some stores name the key in their messages.

my @faults = (
	{
		key_errors => { 'temp_photos/' => 'AccessDenied' },
		key_message => JSON::PP::true
	},
	{
		key_errors => { 'temp_photos/' => 'NoSuchCode' },
		key_message => JSON::PP::true
	},
	{
		status => 403,
		code => 'AccessDenied',
		message => "no right to s3://voiceframe/temp_photos/______$word.jpg"
	},
	{
		status => 400,
		code => "Code$word/______$word",
		message => "temp_photos/______$word,/voiceframe/$word"
	},
	{ status => 500, body => "<html>temp_photos/______$word</html>" },
	{ status => 200, body => "<DeleteResult><Deleted><Key>temp_photos/$word" },
	{ status => 400, code => 'MalformedXML' },
	{ redirect => 307, headers => { Location => "http://$word/$word" } },
	{ extra => ["temp_photos/______$word.never"] },
	{ reset => JSON::PP::true },
	{ garbage => JSON::PP::true });
foreach my $fault (@faults)
{
	add_planted(2);
	$peer->faults({ times => 0, match => { query => 'delete' }, %$fault });
	ask('CALL vf_purge()');
	ask('CALL vf_drain()');
	look();
	age($node);
	ask('CALL vf_drain()');
	look();
	$peer->ctl('clear');
	ask('SELECT vf_outbox_retry()');
	age($node);
	ask('CALL vf_drain()');
}
cmp_ok(sql($node, 'SELECT count(DISTINCT keys_again + keys_dead) FROM vf_run'),
	'>', 2, 'the bucket answered wrong');

# The keys to the bucket are wrong, or the file is.

add_planted(2);
ask('CALL vf_purge()');
ask('CALL vf_drain()');

sub credentials_error
{
	my ($file) = @_;
	set('s3_credentials_file', $file) if $file;
	add_planted(2);
	ask('CALL vf_purge()');
	age($node);
	ask('CALL vf_drain()');
	ask('SELECT * FROM vf_s3_check()');
	look();
	return sql($node, q{SELECT error || ': ' || message FROM vf_outbox_stats});
}

sub write_file
{
	my ($name, $mode, $text) = @_;
	my $file = $name =~ m{^/} ? $name : "$dir/$name";
	append_to_file($file, $text // slurp_file($credentials));
	chmod $mode, $file;
	return $file;
}

$peer->ctl('set', '{"secret": "another"}');
like(credentials_error(), qr/SignatureDoesNotMatch/, 'a wrong secret');
$peer->ctl('set', '{"token": "another"}');
like(credentials_error(), qr/InvalidToken/, 'a wrong session token');
$peer->ctl('set', qq({"token": "$token", "secret": "$secret"}));

my @head = ("[default]", "aws_access_key_id = vfowner");
my %bad = (
	'others can read it' => [ write_file('open', 0644), 'mode is 0644' ],
	'the group can read it' => [ write_file('group', 0640), 'mode is 0640' ],
	'it lies in the data directory' =>
	  [ write_file($node->data_dir . '/keys', 0600), 'inside the data directory' ],
	'it is missing' => [ "$dir/nowhere", 'cannot be found' ],
	'it is a directory' => [ $dir, 'not a regular file' ],
	'it is relative' => [ 'credentials', 'not an absolute path' ],
	'it has no such profile' =>
	  [ write_file('profile', 0600, "[other]\n"), 'no profile' ],
	'it has a bad line' => [
		write_file('line', 0600,
			join("\n", @head, "aws_secret_access_key $secret") . "\n"),
		'Line 3 of'
	],
	'its secret has a blank' => [
		write_file('blank', 0600,
			join("\n", @head, "aws_secret_access_key = $word $secret") . "\n"),
		'value on line 3'
	],
	'it has no secret' => [
		write_file('none', 0600, join("\n", @head) . "\n"),
		'no aws_secret_access_key'
	],
	'its name leads to such a file' => [ "$dir/link", 'mode is 0644' ]);
symlink("$dir/open", "$dir/link") or die "symlink: $!";
my $sent = $peer->sent;
foreach my $what (sort keys %bad)
{
	my ($file, $message) = @{ $bad{$what} };
	like(credentials_error($file),
		qr/^CredentialsFile: .*\Q$message\E/, "P9: refused: $what");
}
is(scalar($peer->sent), $sent, 'P9: nothing was sent with any of them');
unlink "$dir/link";
symlink($credentials, "$dir/link") or die "symlink: $!";
set('s3_credentials_file', "$dir/link");
age($node);
like(ask('CALL vf_drain()'), qr/[1-9]\d keys confirmed/,
	'a link to a good file is good');

# And what people do wrong.

ask('SELECT vf_outbox_cancel(1, $$$$)');
ask('SELECT vf_configure($$nowhere$$, $$orders$$)');
add_planted(2);
ask('CALL vf_purge()');
like(ask('SELECT vf_unconfigure()'), qr/keys still wait/, 'keys wait');
like(ask('DROP EXTENSION voiceframe_retention'),
	qr/keys still wait/, 'they still do');
$peer->stop;
ask('CALL vf_drain()');
ask('SELECT * FROM vf_s3_check()');
look();
like(sql($node, q{SELECT error FROM vf_outbox_stats}),
	qr/ConnectError/, 'connection refused');

# Now look for it.

unlike($told, qr/$word/, 'P9: nobody was told');
my @lines = grep { /$word/ } split(/\n/, slurp_file($node->logfile));
is(join("\n", @lines), '', 'P9: nothing is in the log');
cmp_ok(scalar(() = slurp_file($node->logfile) =~ /LOG|WARNING|DEBUG/g),
	'>', 100, 'the log has lines');

my @views = split(/\n/,
	sql($node, q{SELECT c.relname FROM pg_class c JOIN pg_depend d
		ON d.objid = c.oid AND d.deptype = 'e' AND d.classid = 1259
		WHERE c.relkind IN ('r', 'v') ORDER BY 1}));
my (@readable, @open);
foreach my $view (@views)
{
	my $said = ask("SELECT * FROM $view", 'watcher');
	unlike($said, qr/$word/, "P9: pg_monitor does not see it in $view");
	push @readable, $view if $said !~ /permission denied/;
	push @open, $view
	  if ask("SELECT * FROM $view", 'nobody') !~ /permission denied/;
}
is( "@readable",
	'vf_alerts vf_outbox_stats vf_progress vf_run vf_runs vf_s3_shared vf_s3_usage '
	  . 'vf_session_counts vf_stats vf_storage_by_type vf_workers',
	'pg_monitor reads aggregates');
is("@open", '', 'P9: nobody else reads anything');
unlike(
	ask('SELECT * FROM pg_stat_activity; SELECT * FROM pg_settings',
		'watcher'),
	qr/$word/,
	'P9: nor is it in activity and settings');

done_testing();
