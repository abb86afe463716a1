# 004_bucket_state.pl: what is wrong with a bucket is the bucket's affair
# (P4, P6).  For each cause keys are queued and drained: nothing is lost and no
# attempt counted; vf_outbox_stats and vf_alerts tell the error and its cure;
# vf_s3_check() tells the same, in its place and in time; and when the cause
# is gone, the keys go.

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use IPC::Run;
use Test::More;
use Time::HiRes;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('bucket', store => $peer, preload => 0);
make_sample($node, n => 40);
put_live_keys($node, $peer);
configure($node, $peer);
purge($node);
drain($node);

my $round = 0;

sub queue_three
{
	my @keys = map { "temp_photos/state$round.$_" } 1 .. 3;
	$round++;
	queue($node, @keys);
	return @keys;
}

# Rows, keys, attempts and where they are.
sub waiting
{
	return sql($node, q{
		SELECT coalesce(sum(nkeys), 0) || ' keys, ' || coalesce(max(attempts), 0)
			|| ' attempts, ' || coalesce(string_agg(DISTINCT state, ' '), '-')
		FROM vf_outbox WHERE state <> 'cancelled'});
}

sub current
{
	return sql($node, 'SELECT bucket FROM vf_bucket WHERE is_current');
}

sub check_error
{
	my ($code, $message, $what) = @_;
	my ($state, $error, $said, $cure, $failures) = split(
		/\|/,
		sql($node, q{
			SELECT state, error, message, cure, failures FROM vf_outbox_stats
			WHERE waiting > 0}));
	like("$state $error: $said", qr/^(failing|held) $code: .*$message/,
		"P10: vf_outbox_stats tells the error ($what)");
	my $alert = sql($node, q{SELECT firing, value, what_to_do FROM vf_alerts
		WHERE alert = 'bucket'});
	is($alert, 't|' . current() . ": $error|$cure",
		"P10: vf_alerts tells it and the cure ($what)");
	unlike($cure, qr/own words|^\s*$/, "P10: the cure is one ($what)");
	return;
}

# The line of vf_s3_check() that fails; all before it are good.
sub check_line
{
	my ($line, $code, $what) = @_;
	my $begin = Time::HiRes::time();
	my $failed = sql($node, q{
		SELECT string_agg("check", '|'), min(split_part(detail, ':', 1)),
			bool_and(cure <> '')
		FROM vf_s3_check() WHERE NOT ok});
	my $took = Time::HiRes::time() - $begin;
	is($failed, "$line|$code|t", "P10: vf_s3_check() finds it ($what)");
	cmp_ok($took, '<', 11, "P5: in time ($what)");
	return;
}

sub check_drained
{
	my ($what) = @_;
	is(waiting(), '0 keys, 0 attempts, -', "P4: then the keys go ($what)");
	is( sql($node, q{
			SELECT DISTINCT state, error FROM vf_outbox_stats
			WHERE bucket = (SELECT bucket FROM vf_bucket WHERE is_current)
				AND endpoint = (SELECT endpoint FROM vf_bucket
					WHERE is_current)}),
		'ok|', "P10: and the error is gone ($what)");
	return;
}

sub reload
{
	my (%settings) = @_;
	while (my ($name, $value) = each %settings)
	{
		sql($node, "LOAD 'voiceframe_retention';
			ALTER SYSTEM SET voiceframe.$name = '$value'");
	}
	sql($node, 'SELECT pg_reload_conf()');
	# A new connection sees it when the postmaster does.
	foreach my $name (keys %settings)
	{
		wait_for(
			sub {
				sql($node, "LOAD 'voiceframe_retention';
					SHOW voiceframe.$name") eq $settings{$name};
			},
			"voiceframe.$name");
	}
	return;
}

sub region
{
	my ($region) = @_;
	return sql($node, qq{SELECT vf_configure_bucket('voiceframe', '$region',
		'$peer->{endpoint}', 'path')});
}

sub always
{
	my (%fault) = @_;
	return sub {
		$peer->faults({ times => 0, match => { verb => 'POST' }, %fault });
	};
}

my $mended = sub { $peer->ctl('clear') };
my @states = (
	{
		what => 'wrong secret',
		break => sub { $peer->ctl('set', '{"secret": "another"}') },
		mend => sub { $peer->ctl('set', '{"secret": "vfownersecret"}') },
		code => 'SignatureDoesNotMatch',
		line => 'credentials'
	},
	{
		what => 'unknown access key',
		break => sub { $peer->ctl('set', '{"key": "another"}') },
		mend => sub { $peer->ctl('set', '{"key": "vfowner"}') },
		code => 'InvalidAccessKeyId',
		line => 'credentials'
	},
	{
		what => 'wrong region',
		break => sub { $peer->ctl('set', '{"region": "eu-west-1"}') },
		mend => sub { region('eu-west-1') },
		restore => sub {
			$peer->ctl('set', '{"region": "us-east-1"}');
			region('us-east-1');
		},
		code => 'WrongRegion',
		message => 'is in region "eu-west-1", not "us-east-1"',
		line => 'bucket and region'
	},
	{
		what => 'the store is behind',
		break => sub { $peer->ctl('set', '{"clock": -1200}') },
		mend => sub { $peer->ctl('set', '{"clock": 0}') },
		code => 'RequestTimeTooSkewed',
		message => '(1199|1200|1201) seconds behind',
		line => 'bucket and region|clock skew'
	},
	{
		what => 'the store is ahead, told by a HEAD',
		break => sub {
			$peer->ctl('set', '{"clock": 1200}');
			region('us-east-1');
		},
		mend => sub { $peer->ctl('set', '{"clock": 0}') },
		code => 'RequestTimeTooSkewed',
		message => '(1199|1200|1201) seconds ahead',
		line => 'bucket and region|clock skew'
	},
	{
		what => 'connection refused',
		break => sub { $peer->stop },
		mend => sub { $peer->restart },
		code => 'ConnectError',
		line => 'resolve and connect'
	},
	{
		what => 'busy',
		break => always(status => 503, code => 'SlowDown'),
		mend => $mended,
		code => 'SlowDown',
		line => 'delete'
	},
	{
		what => 'broken',
		break => always(status => 500, code => 'InternalError'),
		mend => $mended,
		code => 'InternalError',
		line => 'delete'
	},
	{
		what => 'forbidden',
		break => always(status => 403, code => 'AccessDenied'),
		mend => $mended,
		code => 'AccessDenied',
		line => 'delete'
	},
	{
		what => 'expired token',
		break => always(status => 400, code => 'ExpiredToken'),
		mend => $mended,
		code => 'ExpiredToken',
		line => 'delete'
	},
	{
		what => 'no S3 store',
		break => always(status => 404, body => '<html>nginx</html>'),
		mend => $mended,
		code => 'NoSuchBucket',
		line => 'delete'
	},
	{
		what => 'elsewhere',
		break => always(redirect => 301, region => 'ap-south-1'),
		mend => $mended,
		code => 'WrongRegion',
		message => 'ap-south-1',
		line => 'delete'
	},
	{
		what => 'missing credentials file',
		break =>
		  sub { rename($node->{vf_credentials}, "$node->{vf_credentials}.away") },
		mend =>
		  sub { rename("$node->{vf_credentials}.away", $node->{vf_credentials}) },
		code => 'CredentialsFile',
		line => 'credentials'
	});

foreach my $state (@states)
{
	my $what = $state->{what};
	$peer->put('voiceframe', queue_three());
	$state->{break}->();
	drain($node);
	is(waiting(), '3 keys, 0 attempts, waiting',
		"P4: nothing is lost, nothing counted ($what)");
	check_error($state->{code}, $state->{message} // '', $what);
	check_line($state->{line}, $state->{code}, $what);

	# Asked again in vain: the failures add up.
	my $failures =
	  sql($node, 'SELECT failures FROM vf_bucket WHERE is_current');
	age($node);
	drain($node);
	is( sql($node, 'SELECT failures FROM vf_bucket WHERE is_current'),
		$failures + 1, "P10: failures are counted ($what)");
	$state->{mend}->();
	sql($node, 'SELECT vf_resume()');
	drain($node);
	check_drained($what);
	$state->{restore}->() if $state->{restore};
}

# A bucket that is not there, and one that is not ours: it would say "Deleted"
# to everything.  Keys queued for it go when it has turned out right.

sub register
{
	my ($store, $bucket) = @_;
	return sql($node, qq{
		SELECT vf_configure_bucket('$bucket', '$store->{region}',
			'$store->{endpoint}', 'path')});
}

my @permanent = grep { /^permanent/ } live_keys($node);
register($peer, 'another');
my @three = queue_three();
drain($node);
is(waiting(), '3 keys, 0 attempts, waiting', 'P4: nothing is lost (no bucket)');
check_error('NoSuchBucket', '', 'no bucket');
check_line('bucket and region', 'NoSuchBucket', 'no bucket');
$peer->mkbucket('another');
my $sent = $peer->sent;
age($node);
drain($node);
is(waiting(), '3 keys, 0 attempts, waiting', 'P4: nothing is lost (wrong one)');
check_error('WrongBucket', 'none of the objects that must exist', 'wrong one');
is( sql($node, q{SELECT state FROM vf_outbox_stats WHERE waiting > 0}),
	'held', 'P10: it is held');
is(scalar($peer->sent), $sent, 'P3: no deletion was sent to it');
is($peer->marker('another'), undef, 'P3: nothing is written into it');
$peer->put('another', @three, @permanent);
age($node);
drain($node);
check_drained('the right one after all');
is_deeply([ $peer->contents('another') ], \@permanent,
	'P4: the keys are gone from the bucket they were queued for');
register($peer, 'voiceframe');

# TLS: a certificate of an authority that the server does not know.

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $err;
foreach my $name (qw(ours theirs))
{
	IPC::Run::run([
			qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj),
			"/CN=$name", '-addext', 'subjectAltName=IP:127.0.0.1',
			'-keyout', "$dir/$name.key", '-out', "$dir/$name.crt" ],
		'<', \undef, '>&', \$err)
	  or die "openssl: $err";
}
my $tls = start_peer('--tls', "$dir/ours.crt", "$dir/ours.key", '--bucket',
	'voiceframe');
$tls->put('voiceframe', live_keys($node));
register($tls, 'voiceframe');
reload(s3_ca_file => "$dir/theirs.crt");
$tls->put('voiceframe', queue_three());
drain($node);
is(waiting(), '3 keys, 0 attempts, waiting', 'P4: nothing is lost (tls)');
check_error('TlsError', '', 'tls');
check_line('tls', 'TlsError', 'tls');
is(scalar($tls->sent), 0, 'P9: nothing was sent to a stranger');
reload(s3_ca_file => "$dir/ours.crt");
age($node);
drain($node);
check_drained('tls');
is( sql($node, q{SELECT string_agg("check", ' ') FROM vf_s3_check()
		WHERE ok IS NOT TRUE}),
	'', 'P10: vf_s3_check() finds nothing, with TLS');
is_deeply([ grep { !/^\.voiceframe_retention/ } $tls->contents ],
	[ live_keys($node) ], 'P4: the keys are gone (tls)');
$tls->stop;
register($peer, 'voiceframe');

# A store that never answers: vf_s3_check() ends by itself, or by a cancel.

$peer->faults({ times => 0, stall => JSON::PP::true });
my $begin = Time::HiRes::time();
my ($ret, $said) = VfTest::call($node, 'voiceframe',
	"SET statement_timeout = '500ms'; SELECT * FROM vf_s3_check()");
like($said, qr/canceling statement due to statement timeout/,
	'P5: a check can be cancelled');
cmp_ok(Time::HiRes::time() - $begin, '<', 4, 'P5: at once');
check_line('resolve and connect', 'Timeout', 'never answers');
$peer->ctl('clear');

# The store goes away in the middle of a drain and comes back; nobody calls
# anything, the worker goes on by itself.

sql($node, 'SELECT vf_worker_start()');
my @many = map { "temp_photos/stop$_" } 1 .. 4000;
$peer->put('voiceframe', @many);
$peer->faults({
		match => { query => 'delete' },
		skip => 1,
		times => 0,
		hold => JSON::PP::true
	});
queue($node, @many);
$peer->ctl('wait-held', 3);
$peer->stop;
wait_for(sub {
		sql($node, q{SELECT state || ' ' || waiting FROM vf_outbox_stats
			WHERE waiting > 0}) =~ /^failing [34]000$/ },
	'the worker to notice');
is( sql($node, q{SELECT max(attempts) FROM vf_outbox}),
	0, 'P4: no attempt is counted (store gone in mid-drain)');
$peer->restart;
wait_for(sub { waiting() eq '0 keys, 0 attempts, -' }, 'the worker to go on');
is( sql($node, q{SELECT DISTINCT state FROM vf_outbox_stats}),
	'ok', 'P6: the drain resumes alone');
is_deeply([ grep { !/^\.voiceframe_retention/ } $peer->contents ],
	[ live_keys($node) ],
	'P4: the bucket holds what live rows reference');

done_testing();
