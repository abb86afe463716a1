package VfTest;

# VfTest.pm: what the TAP tests share.
#
#   my $store = start_ceph();             a real S3 server
#   my $store = start_peer(OPTIONS);      the strict scripted one; OPTIONS as
#                                         peer.py's: '--region', 'eu-west-1'
#   $store->{endpoint}, {key}, {secret}, {region}, {dir}
#   $store->mkbucket('b')                 make a bucket
#   $store->put('b', @keys)               put objects; into the peer past its
#                                         checks
#   $store->keys('b')                     all keys of the bucket, sorted
#   $store->ctl(COMMAND, ARGUMENTS)       peerctl.py's words (peer only)
#   $store->faults({...}, {...})          script of faults (peer only)
#   $store->post(PATH, VALUE)             any command of the peer's control
#   $store->journal(PHASE)                its lines as hashes (peer only)
#   $store->stop; $store->restart         the peer keeps its objects and port
#
#   my $file = write_credentials($store, file => F, profile => P)
#   my $node = new_cluster('name', store => $store, preload => 0, conf => ..)
#   make_sample($node, n => 100, traps => 1, indexes => 1, db => 'voiceframe')
#   configure($node, $store, bucket => 'voiceframe', db => 'voiceframe')
#   put_live_keys($node, $store)          an object for every key in a row
#   live_keys($node)                      keys that rows reference, sorted
#   wait_for(sub { ... }, 'what', SECONDS)  until true; dies when it is late
#
#   sql($node, SQL, DB)                   its result, in database voiceframe
#   add_due($node, @keys)                 an expired session for each key; of
#                                         another database { db => DB }, @keys
#   queue($node, @keys)                   the same, purged: the keys wait
#   purge($node, DB)                      CALL vf_purge(), brakes confirmed
#   drain($node, DB)                      CALL vf_drain(); what it said
#   age($node)                            what waits or is leased is due now
#   held_drain($node, DB)                 CALL vf_drain() in the background,
#                                         ->finish gives what it said
#   my $s = session($node, DB)            another psql that stays open:
#                                         ->ask(SQL) waits for its result,
#                                         ->tell(SQL) does not, ->quit
#   $store->sent                          arrays: keys of each ?delete, so far
#   $store->contents('b')                 as keys(), asking nobody's leave
#   $store->marker('b')                   the owner marker, as a hash; undef if
#                                         there is none (one at most)
#   $store->grow_old(SECONDS)             all objects are that much older: 1000
#                                         makes a lease stale
#   $store->raw('b', { method, key, query, headers, body })   a signed request:
#                                         { status, headers, body }
#   $store->anonymous('key')              what anybody gets: '200 bytes', '403'
#   my $dir = make_certificates()         what s3/tls.sh makes, for '--tls'
#
# All that was started is stopped at the end, by its pid.  $root is test/.

use strict;
use warnings;

use Exporter 'import';
use File::Basename;
use File::Spec;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

our @EXPORT = qw(start_ceph start_peer write_credentials new_cluster
  make_sample configure put_live_keys live_keys wait_for sql add_due queue
  purge drain age held_drain session make_certificates);

our $root = File::Spec->rel2abs(dirname(__FILE__) . '/..');
my @python = ('/usr/bin/python3');
my @running;

# No test asks the machine it runs on for credentials.
$ENV{AWS_EC2_METADATA_DISABLED} = 'true';

# Output of a command that must succeed.
sub capture
{
	my ($stdin, @command) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run(\@command, '<', \$stdin, '>', \$out, '2>', \$err)
	  or die "failed: @command\n$out$err";
	return $out;
}

# Time is for giving up, never for being right.
sub wait_for
{
	my ($condition, $what, $seconds) = @_;
	my $end = Time::HiRes::time() + ($seconds // 60);
	while (1)
	{
		my $result = $condition->();
		return $result if $result;
		die "gave up waiting for $what" if Time::HiRes::time() > $end;
		Time::HiRes::usleep(50_000);
	}
}

sub make_certificates
{
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	capture('', 'bash', "$root/s3/tls.sh", $dir);
	return $dir;
}

# Stores

sub start_ceph
{
	my %env = @_;
	my $self = bless {
		kind => 'ceph',
		dir => PostgreSQL::Test::Utils::tempdir_short(),
		key => 'vfowner',
		secret => 'vfownersecret',
		region => 'us-east-1',
		env => \%env
	};
	push @running, $self;
	$self->restart;
	return $self;
}

sub start_peer
{
	my @options = @_;
	my $self = bless {
		kind => 'peer',
		dir => PostgreSQL::Test::Utils::tempdir_short(),
		options => \@options
	};
	my %known = (
		key => 'vfowner',
		secret => 'vfownersecret',
		token => undef,
		region => 'us-east-1');
	while (my ($name, $default) = each %known)
	{
		my ($at) = grep { $options[$_] eq "--$name" } 0 .. $#options;
		$self->{$name} = defined $at ? $options[ $at + 1 ] : $default;
	}
	push @running, $self;
	$self->restart;
	return $self;
}

# A restarted peer has its old port and objects, a restarted Ceph is empty.
sub restart
{
	my ($self) = @_;
	my $out;
	$self->stop if $self->{endpoint};
	if ($self->{kind} eq 'ceph')
	{
		local @ENV{ keys %{ $self->{env} } } = values %{ $self->{env} };
		$out =
		  capture('', 'bash', "$root/s3/ceph.sh", 'start', $self->{dir});
	}
	else
	{
		my @again = ('--keep');
		push @again, '--port', $self->{port} if $self->{port};
		$out = $self->ctl('start', @{ $self->{options} }, @again);
	}
	($self->{endpoint}) = $out =~ m{^(https?://\S+)} or die "no endpoint: $out";
	($self->{port}) = $self->{endpoint} =~ /:(\d+)$/;
	return;
}

sub stop
{
	my ($self) = @_;
	if ($self->{kind} eq 'ceph')
	{
		capture('', 'bash', "$root/s3/ceph.sh", 'stop', $self->{dir});
	}
	else
	{
		$self->ctl('stop');
	}
	return;
}

sub bucket
{
	my ($self, $stdin, @words) = @_;
	local $ENV{S3_ENDPOINT} = $self->{endpoint};
	local $ENV{S3_KEY} = $self->{key};
	local $ENV{S3_SECRET} = $self->{secret};
	local $ENV{S3_REGION} = $self->{region};
	local $ENV{S3_TOKEN} = $self->{token} // '';
	local $ENV{S3_CA} = $self->{ca} // '';
	return capture($stdin, @python, "$root/s3/bucket.py", @words);
}

sub mkbucket
{
	my ($self, $bucket) = @_;
	return $self->bucket('', 'mkbucket', $bucket);
}

sub put
{
	my ($self, $bucket, @keys) = @_;
	my $lines = join('', map { "$_\n" } @keys);
	return $self->ctl_in($lines, 'put', $bucket) if $self->{kind} eq 'peer';
	return $self->bucket($lines, 'put-many', $bucket);
}

# The extension may keep a marker of its own in the bucket; not an object of
# the application.
sub keys    ## no critic
{
	my ($self, $bucket) = @_;
	return grep { !m{^\.voiceframe_retention/} }
	  split(/\n/, $self->bucket('', 'ls', $bucket));
}

sub ctl
{
	my ($self, @words) = @_;
	return $self->ctl_in('', @words);
}

sub ctl_in
{
	my ($self, $stdin, @words) = @_;
	return capture($stdin, @python, "$root/s3/peerctl.py", $self->{dir},
		@words);
}

# As peerctl.py does it, without a process: tests set faults by the hundred.
# Never by the proxies that a test may have planted in the environment.
sub post
{
	my ($self, $path, $value) = @_;
	delete local @ENV{ grep { /_proxy$/i } CORE::keys %ENV };
	my $port = PostgreSQL::Test::Utils::slurp_file("$self->{dir}/control_port");
	chomp $port;
	my $answer = HTTP::Tiny->new(timeout => 60)
	  ->post("http://127.0.0.1:$port$path", { content => encode_json($value) });
	die "$path: $answer->{status} $answer->{content}" if !$answer->{success};
	return decode_json("[$answer->{content}]")->[0];
}

sub faults
{
	my ($self, @faults) = @_;
	return $self->post('/faults', \@faults);
}

sub journal
{
	my ($self, @phase) = @_;
	return map { decode_json($_) } split(/\n/, $self->ctl('journal', @phase));
}

# Keys are bytes, as the database gives them.
sub sent
{
	my ($self) = @_;
	my @sent;
	foreach my $line ($self->journal('before'))
	{
		my @keys = @{ $line->{keys} // [] };
		push @keys, $line->{key}
		  if $line->{verb} eq 'DELETE'
		  && $line->{key} !~ m{^\.voiceframe_retention/};
		utf8::encode($_) foreach @keys;
		push @sent, \@keys if @keys;
	}
	return @sent;
}

sub contents
{
	my ($self, $bucket) = @_;
	return grep { !m{^\.voiceframe_retention/} }
	  split(/\n/, $self->ctl('ls', $bucket // 'voiceframe'));
}

sub marker
{
	my ($self, $bucket) = @_;
	$bucket //= 'voiceframe';
	my ($key, @more) =
	  grep { m{^\.voiceframe_retention/.*-} }
	  split(/\n/, $self->ctl('ls', $bucket));
	die "more than one marker" if @more;
	return undef unless defined $key;
	my %fields = (
		key => $key,
		map { /^(\w+): (.*)$/ ? ($1, $2) : () }
		  split(/\n/, $self->ctl('cat', $bucket, $key)));
	return \%fields;
}

sub grow_old
{
	my ($self, $seconds) = @_;
	return $self->ctl('set', encode_json({ age => $seconds }));
}

# Any request, signed: raw('voiceframe', { method => 'PUT', key => 'k' }); its
# answer as a hash.
sub raw
{
	my ($self, $bucket, $request) = @_;
	return decode_json($self->bucket('', 'raw', $bucket, encode_json($request)));
}

# What anybody gets: "200 the bytes", or "403".
sub anonymous
{
	my ($self, $key, $bucket) = @_;
	delete local @ENV{ grep { /_proxy$/i } CORE::keys %ENV };
	$bucket //= 'voiceframe';
	my $path = $key =~ s/([^A-Za-z0-9\/._~-])/sprintf('%%%02X', ord($1))/ger;
	my $answer = HTTP::Tiny->new(timeout => 60)
	  ->get("$self->{endpoint}/$bucket/$path");
	return $answer->{success} ? "$answer->{status} $answer->{content}" :
	  $answer->{status};
}

# The database

sub write_credentials
{
	my ($store, %o) = @_;
	my $file = $o{file}
	  // PostgreSQL::Test::Utils::tempdir_short() . '/credentials';
	my $profile = $o{profile} // 'default';
	my $token =
	  $store->{token} ? "aws_session_token = $store->{token}\n" : '';
	my $umask = umask 0077;
	open(my $fh, '>', $file) or die "$file: $!";
	print $fh "[$profile]\naws_access_key_id = $store->{key}\n"
	  . "aws_secret_access_key = $store->{secret}\n$token";
	close $fh;
	umask $umask;
	return $file;
}

# The worker's launcher runs unless preload => 0.
sub new_cluster
{
	my ($name, %o) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	my $encoding = $o{encoding} // 'UTF8';
	$node->init(
		extra => [ '--encoding', $encoding, '--no-locale' ],
		allows_streaming => $o{allows_streaming} // 0);
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'voiceframe_retention'")
	  if $o{preload} // 1;
	if ($o{store})
	{
		$node->{vf_credentials} = write_credentials($o{store});
		$node->append_conf('postgresql.conf',
			"voiceframe.s3_credentials_file = '$node->{vf_credentials}'");
	}
	$node->append_conf('postgresql.conf', $o{conf}) if $o{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE DATABASE voiceframe');
	return $node;
}

# psql is called for its \if and variables.
sub run_file
{
	my ($node, $db, $file, %variables) = @_;
	return capture(
		'',
		'psql',
		'-XAtq',
		'-v', 'ON_ERROR_STOP=1',
		'-d', $node->connstr($db),
		(map { ('-v', "$_=$variables{$_}") } sort CORE::keys %variables),
		'-f', $file);
}

sub make_sample
{
	my ($node, %o) = @_;
	my $db = $o{db} // 'voiceframe';
	my $n = $o{n} // 100;
	my %indexes = $o{indexes} // 1 ? (indexes => 1) : ();
	my %traps = $o{traps} ? (traps => 1) : ();
	run_file($node, $db, "$root/demo/voiceframe.sql", %indexes);
	run_file($node, $db, "$root/demo/data.sql", n => $n, %traps);
	return;
}

sub live_keys
{
	my ($node, $db) = @_;
	return sort split(
		/\n/,
		run_file($node, $db // 'voiceframe', "$root/demo/live_keys.sql"));
}

sub put_live_keys
{
	my ($node, $store, %o) = @_;
	my $bucket = $o{bucket} // 'voiceframe';
	$store->mkbucket($bucket);
	return $store->put($bucket, live_keys($node, $o{db}));
}

sub configure
{
	my ($node, $store, %o) = @_;
	my $db = $o{db} // 'voiceframe';
	my $bucket = $o{bucket} // 'voiceframe';
	$node->safe_psql($db, 'CREATE EXTENSION IF NOT EXISTS voiceframe_retention');
	$node->safe_psql($db, 'SELECT * FROM vf_configure()');
	$node->safe_psql($db, qq{
		SELECT * FROM vf_configure_bucket(bucket => '$bucket',
			region => '$store->{region}', endpoint => '$store->{endpoint}',
			path_style => 'path')});
	return;
}

# Sessions that are due, their keys, and drains

sub sql
{
	my ($node, $statement, $db) = @_;
	return $node->safe_psql($db // 'voiceframe', $statement);
}

# Bytes as a literal that is plain on the way to the server.
sub literal
{
	my ($bytes) = @_;
	$bytes =~ s/([\x00-\x1f'\\\x7f])/sprintf('\\x%02x', ord($1))/ge;
	return "E'$bytes'";
}

sub add_due
{
	my ($node, @keys) = @_;
	my $db = ref $keys[0] ? (shift @keys)->{db} : 'voiceframe';
	my $rows = join(",\n", map { '(' . literal($_) . ')' } @keys);
	return sql($node, qq{
		INSERT INTO sessions (id, session_token, photo_s3_key, created_at,
			expires_at)
		SELECT gen_random_uuid(), gen_random_uuid(), key,
			(now() - interval '3 days') AT TIME ZONE 'UTC',
			(now() - interval '2 days') AT TIME ZONE 'UTC'
		FROM (VALUES $rows) k (key)}, $db);
}

# psql's exit code and all it said.
sub call
{
	my ($node, $db, $statement) = @_;
	my ($ret, $out, $err) = $node->psql($db // 'voiceframe', $statement);
	return ($ret, $out . $err);
}

sub purge
{
	my ($node, $db) = @_;
	my ($ret, $said) = call($node, $db, 'CALL vf_purge()');
	($ret, $said) = call($node, $db, "CALL vf_purge(confirm => $1)")
	  if $ret && $said =~ /confirm => (\d+)/;
	die $said if $ret;
	return $said;
}

sub queue
{
	my ($node, @keys) = @_;
	add_due($node, @keys);
	return purge($node);
}

sub drain
{
	my ($node, $db) = @_;
	my ($ret, $said) = call($node, $db, 'CALL vf_drain()');
	die $said if $ret;
	return $said;
}

sub age
{
	my ($node, $db) = @_;
	return sql($node, q{
		UPDATE vf_outbox SET next_attempt_at = now() - interval '1 second'
		WHERE state IN ('waiting', 'claimed');
		UPDATE vf_bucket SET next_attempt_at = NULL}, $db);
}

sub held_drain
{
	my ($node, $db) = @_;
	my $self = bless { said => '' }, 'VfTest::Drain';
	$self->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr($db // 'voiceframe'),
			'-c', 'CALL vf_drain()' ],
		'<', \undef, '>&', \$self->{said}, IPC::Run::timeout(180));
	return $self;
}

sub session
{
	my ($node, $db) = @_;
	my $self = bless { in => '', out => '', n => 0 }, 'VfTest::Session';
	$self->{run} = IPC::Run::start(
		[ 'psql', '-XAtq', '-d', $node->connstr($db // 'voiceframe') ],
		'<', \$self->{in}, '>&', \$self->{out}, IPC::Run::timeout(180));
	return $self;
}

sub VfTest::Session::tell
{
	my ($self, $statement) = @_;
	$self->{in} .= "$statement\n;\n";
	$self->{run}->pump_nb;
	return;
}

sub VfTest::Session::ask
{
	my ($self, $statement) = @_;
	my $mark = 'answered ' . ++$self->{n};
	$self->{out} = '';
	$self->tell($statement);
	$self->{in} .= "\\echo $mark\n";
	$self->{run}->pump until $self->{out} =~ /^\Q$mark\E$/m;
	return $self->{out} =~ s/^\Q$mark\E\n//mr;
}

sub VfTest::Session::quit
{
	my ($self) = @_;
	$self->{in} .= "\\q\n";
	$self->{run}->finish;
	return $self->{out};
}

sub VfTest::Drain::finish
{
	my ($self) = @_;
	$self->{run}->finish;
	return $self->{said};
}

END
{
	# The exit code is the test's; a stop that fails must not change it.
	my $code = $?;
	foreach my $store (@running)
	{
		eval { $store->stop; 1 } or diag("cannot stop a store: $@");
	}
	$? = $code;
}

1;
