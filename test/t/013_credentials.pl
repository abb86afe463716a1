# 013_credentials.pl: each source of credentials that expire, end to end, with
# real drains against the strict peer, which takes none but the newest issued
# (P5, P9, P10): web identity, the container's endpoint, the instance's
# metadata service.  They are renewed in time, between waves too, with the
# token file as it is then; what the store refuses is fetched anew; a service
# that is ill costs nothing while the old ones hold.  Every failure has its
# code and cure.  No secret is told, and no proxy of the environment is used.

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;
use VfTest;

my $word = 'planted';
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $role = 'arn:aws:iam::123456789012:role/voiceframe';
my $told = '';
my @services;

# The stand-ins

sub start_service
{
	my (@options) = @_;
	my $self = { dir => PostgreSQL::Test::Utils::tempdir_short() };
	$self->{run} = IPC::Run::start(
		[ '/usr/bin/python3', "$VfTest::root/s3/cred_peer.py", '--dir',
			$self->{dir}, @options ],
		'<', \undef, '>', \$self->{out}, '2>', \$self->{err});
	push @services, $self;
	wait_for(sub { -e "$self->{dir}/port" }, 'a stand-in', 20);
	$self->{url} = 'http://127.0.0.1:' . slurp_file("$self->{dir}/port");
	chomp $self->{url};
	return $self;
}

END
{
	my $code = $?;
	foreach my $service (@services) { $service->{run}->kill_kill }
	$? = $code;
}

sub write_file
{
	my ($file, $text, $mode) = @_;
	unlink "$file.new";
	open(my $fh, '>', "$file.new") or die "$file: $!";
	print $fh $text;
	close $fh;
	chmod $mode // oct(600), "$file.new" or die "$file: $!";
	rename "$file.new", $file or die "$file: $!";
	return $file;
}

my $peer = start_peer('--bucket', 'voiceframe');
my $cloud = start_service('--s3', $peer->{dir});
my $recorder = start_service();
my %script;

sub script
{
	my (%o) = @_;
	write_file("$cloud->{dir}/script", encode_json({ %script, %o }));
	return;
}

sub seen
{
	my ($service, $what) = @_;
	my $file = "$service->{dir}/journal";
	my @lines = -e $file ? split(/\n/, slurp_file($file)) : ();
	return grep { !defined $what || $_->{what} eq $what }
	  map { decode_json($_) } @lines;
}

sub asked { return scalar(my @lines = seen($cloud, $_[0])) }

# The server, with another environment each time

foreach my $name (qw(HTTP_PROXY HTTPS_PROXY ALL_PROXY))
{
	$ENV{$name} = $recorder->{url};
	$ENV{ lc $name } = $recorder->{url};
}
$ENV{HOME} = $dir;
delete @ENV{ grep { /^AWS_/ } keys %ENV };
$ENV{AWS_EC2_METADATA_DISABLED} = 'true';
my $node = new_cluster(
	'credentials',
	preload => 0,
	conf => "log_statement = none\nlog_min_messages = debug1\n"
	  . "log_min_error_statement = panic\nlog_error_verbosity = verbose\n"
	  . "voiceframe.s3_concurrency = 1\n");
make_sample($node, n => 40);
put_live_keys($node, $peer);
configure($node, $peer);
sql($node, 'CREATE ROLE watcher LOGIN IN ROLE pg_monitor');

sub environment
{
	my (%env) = @_;
	my $default = { AWS_EC2_METADATA_DISABLED => 'true', %env };
	local %ENV = (%ENV, %$default);
	$node->restart;

	# Without a worker nobody gave the old start's lease back.
	$peer->grow_old(1000);
	return;
}

sub ask
{
	my ($statement, $who) = @_;
	my $as = $who ? "SET ROLE $who;" : '';
	my ($ret, $said) = VfTest::call($node, 'voiceframe',
		"SET client_min_messages = debug1; $as $statement");
	$told .= $said;
	return $said;
}

# Keys that the next drain finds, each in an entry of its own.
my $round = 0;

sub queue_some
{
	my ($entries) = @_;
	my @keys;
	foreach my $i (1 .. $entries // 1)
	{
		my $key = 'temp_photos/cred' . $round++;
		$peer->put('voiceframe', $key);
		queue($node, $key);
		push @keys, $key;
	}
	age($node);
	return @keys;
}

sub left
{
	my (@keys) = @_;
	my %there = map { $_ => 1 } $peer->contents;
	return scalar(grep { $there{$_} } @keys);
}

# A drain by a connection of its own, and one by a session that has a cache.
sub drains
{
	my ($what, $session) = @_;
	my @keys = queue_some();
	if ($session)
	{
		$told .= $session->ask('CALL vf_drain()');
	}
	else
	{
		ask('CALL vf_drain()');
	}
	is(left(@keys), 0, $what);
	return;
}

sub outbox_error
{
	return sql($node, q{
		SELECT error || ': ' || message FROM vf_outbox_stats WHERE waiting > 0});
}

sub failure
{
	my ($code, $words, $what) = @_;
	queue_some();
	ask('CALL vf_drain()');
	like(outbox_error(), qr/^$code: .*$words/s, "P10: $what: the error");
	my $cure = sql($node, 'SELECT cure FROM vf_outbox_stats WHERE waiting > 0');
	unlike($cure, qr/own words|^\s*$/, "P10: $what: the cure");
	my $begin = Time::HiRes::time();
	is( sql($node, q{
			SELECT string_agg("check", '|'), min(split_part(detail, ':', 1)),
				min(cure)
			FROM vf_s3_check() WHERE NOT ok}),
		"credentials|$code|$cure", "P10: $what: vf_s3_check() finds it");
	cmp_ok(Time::HiRes::time() - $begin, '<', 11, "P5: $what: in time");
	ask('SELECT * FROM vf_s3_check()');
	ask("SELECT * FROM $_", 'watcher')
	  foreach qw(vf_alerts vf_outbox_stats vf_runs vf_stats);
	return;
}

# Web identity.  Kubernetes mounts the token as a link to a link.

mkdir "$dir/..data";
my $identity = "eyJhbGciOiJSUzI1NiJ9.$word.identity-1_";
write_file("$dir/..data/token", "$identity\n", oct(444));
symlink('..data/token', "$dir/token") or die "symlink: $!";
%script = (identity => $identity, role => $role);
script();
my %web = (
	AWS_WEB_IDENTITY_TOKEN_FILE => "$dir/token",
	AWS_ROLE_ARN => $role,
	AWS_REGION => 'eu-west-1',
	AWS_ENDPOINT_URL_STS => $cloud->{url});
environment(%web);
drains('web identity: a drain');
is(asked('sts'), 1, 'one request to STS');
is( sql($node, q{SELECT string_agg("check" || ' ' || detail, '|')
		FROM vf_s3_check() WHERE NOT ok}),
	'', 'vf_s3_check() is content');

my $session = session($node);
drains('a session', $session);
my $before = asked('sts');
drains('and again', $session);
is(asked('sts'), $before, 'what it has is used again');

# Another process got newer ones, so the store takes the old no more.

ask('SELECT * FROM vf_s3_check()');
my @keys = queue_some();
$session->ask('CALL vf_drain()');
like(outbox_error(), qr/^InvalidAccessKeyId: /, 'the store refuses a key');
age($node);
$session->ask('CALL vf_drain()');
is(left(@keys), 0, 'the next try fetches another');
foreach my $code (qw(ExpiredToken InvalidToken))
{
	@keys = queue_some();
	$peer->faults({ match => { query => 'delete' }, status => 400,
			code => $code });
	$before = asked('sts');
	$session->ask('CALL vf_drain()');
	like(outbox_error(), qr/^$code: /, "the store answers $code");
	is(asked('sts'), $before, 'nothing is fetched for that alone');
	age($node);
	$session->ask('CALL vf_drain()');
	is(left(@keys), 0, "$code: the next try");
	is(asked('sts'), $before + 1, "$code: is with new credentials");
}

# Short-lived ones are renewed before each wave, long-lived ones never.

foreach my $case ([ 3600, 1 ], [ 290, 4 ])
{
	my ($lifetime, $requests) = @$case;
	script(lifetime => $lifetime);
	@keys = queue_some(3);
	$before = asked('sts');
	like(ask('CALL vf_drain()'), qr/3 keys confirmed/, 'three waves');
	is(left(@keys), 0, "their keys are gone ($lifetime s)");
	is(asked('sts') - $before, $requests,
		"credentials for $lifetime s: $requests requests to STS");
}

# The token file is read at every renewal.

script(lifetime => 290);
$session->quit;
$session = session($node);
drains('a session with short-lived credentials', $session);
$identity = "eyJhbGciOiJSUzI1NiJ9.$word.identity-2_";
%script = (identity => $identity, role => $role, lifetime => 290);
script();
write_file("$dir/..data/token", $identity, oct(444));
drains('after the token file was rotated', $session);
is((seen($cloud, 'answered'))[-1]->{status}, 200, 'STS takes the new token');

# A service that is ill, while what is at hand holds.

my $log = -s $node->logfile;
script(sts => { code => 'InternalFailure', status => 500 });
drains('while STS is ill', $session);
drains('and still is', $session);
my @lines = grep { /could not be renewed/ }
  split(/\n/, slurp_file($node->logfile, $log));
is(scalar(@lines), 1, 'P10: the log says so once');
script();
$session->ask(q{SELECT count(*) FROM vf_outbox_stats});
$session->quit;

# While STS does not answer, nothing of the database is held, and a cancel is
# heard at once.

@keys = queue_some();
script(sts => { hold => JSON::PP::true });
$before = asked('sts');
my $drain = held_drain($node);
wait_for(sub { asked('sts') > $before }, 'STS to be asked', 20);
is( sql($node, q{
		SELECT count(*), count(backend_xid), count(backend_xmin), (
			SELECT count(*) FROM pg_locks l
			WHERE l.pid = min(a.pid) AND locktype <> 'virtualxid')
		FROM pg_stat_activity a WHERE query LIKE 'CALL vf_drain%'}),
	'1|0|0|0', 'P5: no snapshot, no transaction id, no lock');
sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity
	WHERE query LIKE 'CALL vf_drain%'});
like($drain->finish, qr/canceling statement/, 'P5: it can be cancelled');
script();
age($node);
ask('CALL vf_drain()');
is(left(@keys), 0, 'then the keys go');

# What STS says, and what it should not.

my %said = (
	'an expired token' => [ { code => 'ExpiredTokenException',
			message => "Token expired: $identity" },
		'WebIdentityToken', 'ExpiredTokenException: Token expired' ],
	'a token of nobody' => [ { code => 'InvalidIdentityToken' },
		'WebIdentityToken', 'InvalidIdentityToken' ],
	'a role not ours' => [ { code => 'AccessDenied', status => 403 },
		'StsAccessDenied', 'AccessDenied' ],
	'a provider that is silent' => [ { code => 'IDPCommunicationError' },
		'StsError', 'IDPCommunicationError' ],
	'an STS that is down' => [ { status => 503, body => $word },
		'StsError', 'status 503' ],
	'no XML' => [ { body => "{\"$word\":" }, 'StsError', 'of no use' ],
	'another document' => [ { body => "<ListBucketResult/>" },
		'StsError', 'of no use' ],
	'half an answer' => [ { cut => 700 }, 'StsError', 'cut the connection' ],
	'an endless answer' => [ { body => 'x' x 70000 }, 'StsError', 'larger' ]);
foreach my $what (sort keys %said)
{
	my ($fault, $code, $words) = @{ $said{$what} };
	script(sts => $fault);
	failure($code, $words, $what);
}
script(lifetime => -60);
failure('StsError', 'expired already', 'credentials of yesterday');
script(sts => { hold => JSON::PP::true });
queue_some();
my $begin = Time::HiRes::time();
like(ask('SELECT * FROM vf_s3_check()'), qr/StsError: .*in time/,
	'an STS that never answers');
cmp_ok(Time::HiRes::time() - $begin, '<', 11, 'P5: in time');
script();

# The token file, good and bad.

my %bad = (
	'no token file' => [ sub { unlink "$dir/..data/token" }, 'found' ],
	'anybody may write it' => [ sub {
			write_file("$dir/..data/token", $identity, oct(666)) },
		'written by everybody' ],
	'nobody may read it' => [ sub {
			write_file("$dir/..data/token", $identity, oct(0)) },
		'Permission denied' ],
	'an empty token file' => [ sub {
			write_file("$dir/..data/token", "\n", oct(444)) }, 'empty' ],
	'two lines' => [ sub {
			write_file("$dir/..data/token", "$word\n$word", oct(444)) },
		'not one line' ],
	'a huge token file' => [ sub {
			write_file("$dir/..data/token", $word x 10000, oct(444)) },
		'larger than' ],
	'a directory' => [ sub { unlink "$dir/..data/token";
			mkdir "$dir/..data/token" }, 'not a regular file' ],
	'a token file in the data directory' => [ sub {
			rmdir "$dir/..data/token";
			write_file($node->data_dir . '/token', $identity);
			symlink($node->data_dir . '/token', "$dir/..data/token") },
		'inside the data directory' ]);
foreach my $what (
	'no token file', 'anybody may write it', 'nobody may read it',
	'an empty token file', 'two lines', 'a huge token file', 'a directory',
	'a token file in the data directory')
{
	$before = asked('sts');
	$bad{$what}[0]->();
	failure('WebIdentityToken', $bad{$what}[1], $what);
	is(asked('sts'), $before, "P9: $what: STS is not asked");
}
unlink "$dir/..data/token";
write_file("$dir/..data/token", $identity, oct(440));
age($node);
like(ask('CALL vf_drain()'), qr/[1-9]\d keys confirmed/,
	'a good token file: all keys go');

# Nothing is guessed from half a configuration.

environment(%web, AWS_ROLE_ARN => '');
failure('WebIdentityToken', 'AWS_ROLE_ARN is not', 'no role');
environment(%web, AWS_ENDPOINT_URL_STS => 'http://192.0.2.1');
failure('StsError', 'https only', 'STS of a stranger over http');

# A profile that names role and token file.

sub set
{
	my ($name, $value) = @_;
	sql($node, "LOAD 'voiceframe_retention';
		ALTER SYSTEM SET voiceframe.$name = '$value'");
	sql($node, 'SELECT pg_reload_conf()');
	wait_for(sub { sql($node, "LOAD 'voiceframe_retention';
		SHOW voiceframe.$name") eq $value }, $name);
	return;
}

%script = (%script, session => 'nightly');
script();
write_file("$dir/credentials", "[default]\nrole_arn = $role\n"
	  . "web_identity_token_file = $dir/token\nrole_session_name = nightly\n");
environment(AWS_ENDPOINT_URL_STS => $cloud->{url},
	AWS_ACCESS_KEY_ID => 'wrong', AWS_SECRET_ACCESS_KEY => 'wrong');
set('s3_credentials_file', "$dir/credentials");
drains('a profile with a role');
write_file("$dir/credentials", "[default]\nrole_arn = $role\n"
	  . "web_identity_token_file = $dir/token\nsource_profile = other\n");
failure('CredentialsFile', 'not supported', 'a profile on another');
set('s3_credentials_file', '');
delete $script{session};

# The container's endpoint, whose path is a secret, too.

%script = (authorization => "Bearer $word-container-1");
script();
my %container = (
	AWS_CONTAINER_CREDENTIALS_FULL_URI =>
	  "$cloud->{url}/credentials/$word?id=$word",
	AWS_CONTAINER_AUTHORIZATION_TOKEN => "Bearer $word-container-1");
environment(%container);
drains('container: a drain');
is(asked('container'), 1, 'one request to the endpoint');
write_file("$dir/authorization", "Bearer $word-container-2\n", oct(440));
environment(%container,
	AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => "$dir/authorization");
%script = (authorization => "Bearer $word-container-2", lifetime => 290);
script();
$session = session($node);
drains('container: a token file goes before a token', $session);
%script = (authorization => "Bearer $word-container-3", lifetime => 290);
script();
write_file("$dir/authorization", "Bearer $word-container-3", oct(440));
drains('container: the token file was rotated', $session);
is((seen($cloud, 'answered'))[-1]->{status}, 200, 'the new one is sent');
$session->quit;
%said = (
	'another token' => [ { code => 'Unauthorized', status => 401,
			message => "Bearer $word-container-3 is wrong" },
		'status 401, Unauthorized' ],
	'an endpoint that is ill' => [ { status => 500, body => $word },
		'status 500' ],
	'no JSON' => [ { body => "<$word/>" }, 'not well-formed' ],
	'deep JSON' => [ { body => '[' x 60000 }, 'too deeply' ],
	'no keys in it' => [ { body => '{"Token":"planted"}' }, 'no access key' ],
	'a key that is a number' => [ { body => '{"AccessKeyId":7}' },
		'not a string' ],
	'half of it' => [ { cut => 200 }, 'cut the connection' ]);
foreach my $what (sort keys %said)
{
	script(container => $said{$what}[0]);
	failure('ContainerCredentials', $said{$what}[1], "container: $what");
}
environment(%container,
	AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE => "$dir/nowhere");
failure('ContainerCredentials', 'cannot be found', 'no authorization file');
environment(
	AWS_CONTAINER_CREDENTIALS_FULL_URI => "http://192.0.2.1/$word");
failure('ContainerCredentials', 'https only', 'a stranger over http');

# The metadata service, version 2 alone.

%script = ();
script();
my %instance = (
	AWS_EC2_METADATA_DISABLED => 'false',
	AWS_EC2_METADATA_SERVICE_ENDPOINT => $cloud->{url});
environment(%instance);
drains('metadata service: a drain');
is(join(' ', map { asked($_) } qw(token list role_credentials)), '1 1 1',
	'a session token, the role, its credentials');
my %metadata = (
	'no version 2' => [ token => { code => 'Forbidden', status => 403 },
		'no session token: status 403' ],
	'an answer that is no token' => [ token => { body => "a b\nc" },
		'session token' ],
	'no role' => [ list => { code => 'Not Found', status => 404 },
		'instance has no role' ],
	'a role that is none' => [ list => { body => '../../user-data' },
		'role that is none' ],
	'a token that ended' => [ list => { code => 'Unauthorized',
			status => 401 }, 'status 401' ],
	'none to give' => [ role_credentials => {
			code => 'AssumeRoleUnauthorizedAccess', status => 200 },
		'AssumeRoleUnauthorizedAccess' ],
	'no JSON' => [ role_credentials => { body => $word },
		'not well-formed' ],
	'an answer that never comes' => [ token => { hold => JSON::PP::true },
		'1 s.*hop limit' ]);
foreach my $what (sort keys %metadata)
{
	my ($step, $fault, $words) = @{ $metadata{$what} };
	script($step => $fault);
	my @before = map { asked($_) } qw(list role_credentials);
	failure('MetadataService', $words, "metadata: $what");
	is(join(' ', map { asked($_) } qw(list role_credentials)), "@before",
		"metadata: $what: never version 1")
	  if $step eq 'token';
}
script();
environment(%instance, AWS_EC2_METADATA_DISABLED => 'True');
$before = asked('token');
failure('NoCredentials', 'no credentials', 'metadata service switched off');
is(asked('token'), $before, 'it is not asked');
environment(%instance, AWS_EC2_METADATA_SERVICE_ENDPOINT =>
	  'http://192.0.2.1');
failure('MetadataService', 'https only', 'a stranger instead of it');

# What comes first is the last word.

environment(%web, %container, %instance, AWS_ACCESS_KEY_ID => 'A',
	AWS_SECRET_ACCESS_KEY => 'wrong');
my $all = scalar(my @all = seen($cloud));
ask('CALL vf_drain()');
is(scalar(@all = seen($cloud)), $all, 'keys go before all services');
environment(%web, %container, %instance, AWS_WEB_IDENTITY_TOKEN_FILE => '/x');
failure('WebIdentityToken', 'found', 'web identity before the others');
environment(%container, %instance, AWS_CONTAINER_AUTHORIZATION_TOKEN => 'no');
failure('ContainerCredentials', '401', 'the container before the instance');
is(scalar(@all = seen($cloud)) - asked('container'),
	$all - scalar(grep { $_->{what} eq 'container' } @all[ 0 .. $all - 1 ])
	  + scalar(grep { $_->{what} =~ /answered|connection/ }
		@all[ $all .. $#all ]),
	'nothing else was asked');

# Proxies: none of the environment's; s3_proxy for STS and S3 alone.

is(scalar(my @none = seen($recorder)), 0,
	'P9: no proxy of the environment saw anything');
my $proxy = start_service();
set('s3_proxy', $proxy->{url});
%script = (identity => $identity, role => $role);
script();
environment(%web);
failure('StsError', 'status 404', 'STS by way of s3_proxy');
like((seen($proxy, 'unknown'))[0]->{path}, qr{^\Q$cloud->{url}\E/$},
	'the proxy is asked for STS');
environment(%instance);
$before = scalar(@all = seen($proxy));
queue_some();
ask('CALL vf_drain()');
cmp_ok(scalar(@all = seen($proxy)), '>', $before, 's3_proxy is for S3');
is(scalar(grep { ($_->{path} // '') =~ /latest|credentials/ } @all), 0,
	'P9: but not for the metadata service');
set('s3_proxy', '');
age($node);
ask('CALL vf_drain()');
is(sql($node, q{SELECT count(*) FROM vf_outbox WHERE state = 'waiting'}), 0,
	'P4: in the end all keys went');

# Nobody was told, and nobody did what is forbidden.

is(join('|', map { $_->{why} } seen($cloud, 'violation')), '',
	'P9: no metadata by version 1, no token in a URL');
unlike($told, qr/$word/, 'P9: nobody was told a secret');
is(join("\n", grep { /$word/ } split(/\n/, slurp_file($node->logfile))), '',
	'P9: none is in the log');
cmp_ok(scalar(() = slurp_file($node->logfile) =~ /LOG|WARNING|DEBUG/g),
	'>', 100, 'the log has lines');
foreach my $view (qw(vf_outbox_stats vf_alerts vf_run vf_runs vf_bucket))
{
	unlike(sql($node, "SELECT * FROM $view"), qr/$word/,
		"P9: none is in $view");
}

done_testing();
