# 017_lease.pl: the lease on the bucket under attack (P8).  Two clones that
# want it at the same moment, on stores that honour conditions, ignore them or
# refuse them; a database rewound to an earlier point; a standby promoted with
# and without a loss; a store that answers wrongly, late or not at all; no
# right to write; old versions; and a real Ceph.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $round = 0;
my $marker = '.voiceframe_retention/';

sub queue_one
{
	my ($node, $store) = @_;
	my $key = 'temp_photos/lease' . ++$round;
	($store // $peer)->put('voiceframe', $key);
	queue($node, $key);
	age($node);
	return $key;
}

sub is_there
{
	my ($key) = @_;
	return scalar(grep { $_ eq $key } $peer->contents);
}

sub requests
{
	my ($from, @verbs) = @_;
	my @lines = grep { $_->{key} =~ /^\Q$marker\E/ } $peer->journal('before');
	return join(' ', map { $_->{verb} } @lines[ $from .. $#lines ]);
}

sub error
{
	my ($node) = @_;
	return sql($node, q{SELECT error FROM vf_outbox_stats WHERE waiting > 0});
}

# The lease is anybody's, and all databases are equally far.
sub level
{
	my (@nodes) = @_;
	my $far = ($peer->marker // { generation => 0 })->{generation} + 1000;
	$peer->grow_old(1000);
	sql($_, "UPDATE vf_bucket SET generation = $far,
		next_attempt_at = NULL") foreach @nodes;
	return;
}

my $node = new_cluster(
	'one',
	store => $peer,
	preload => 0,
	allows_streaming => 1,
	conf => "voiceframe.naptime = 1\n");
make_sample($node, n => 20);
put_live_keys($node, $peer);
configure($node, $peer);
purge($node);
drain($node);

# How much is said, and when.

my $n = () = requests(0) =~ /\w+/g;
is(requests(0), 'GET PUT PUT', 'taken, and the condition tried');
queue_one($node);
drain($node);
is(requests($n), 'GET PUT PUT',
	'P8: another process does not trust what is not settled');

# Nothing is held while it travels (P5).

foreach my $verb ('GET', 'PUT')
{
	$peer->grow_old(100);
	my $key = queue_one($node);
	$peer->faults({
			hold => JSON::PP::true,
			match => { verb => $verb, key => $marker } });
	my $drain = held_drain($node);
	$peer->ctl('wait-held', 1);
	like(
		sql($node, q{
			SELECT coalesce(string_agg(DISTINCT l.locktype, ' '), 'none'),
				bool_or(a.backend_xmin IS NOT NULL),
				bool_or(a.backend_xid IS NOT NULL)
			FROM pg_stat_activity a LEFT JOIN pg_locks l USING (pid)
			WHERE a.query LIKE 'CALL vf_drain%'}),
		qr/^(none|virtualxid)\|f\|f$/, "P5: nothing is held during a $verb");
	$peer->ctl('release');
	like($drain->finish, qr/1 keys confirmed/, "P8: and it goes on ($verb)");
	is(is_there($key), 0, "P4: the key goes ($verb)");
}

# What the store may answer instead.

my %answers = (
	'GET busy' => [ GET => { status => 503, code => 'SlowDown' }, 'SlowDown' ],
	'GET cut' => [ GET => { cut => 60 }, 'ConnectionCut' ],
	'GET endless' => [ GET => { endless => JSON::PP::true }, 'AnswerTooLarge' ],
	'GET no bucket' =>
	  [ GET => { status => 404, code => 'NoSuchBucket' }, 'NoSuchBucket' ],
	'GET garbage' =>
	  [ GET => { garbage => JSON::PP::true }, 'LeaseUnreadable' ],
	'GET an error in a 200' =>
	  [ GET => { error_in_200 => 'InternalError' }, 'LeaseUnreadable' ],
	'PUT busy' => [ PUT => { status => 503, code => 'SlowDown' }, 'SlowDown' ],
	'PUT for ever refused' => [
		PUT => { status => 412, code => 'PreconditionFailed' },
		'PreconditionFailed'
	],
	'PUT in conflict for ever' => [
		PUT => { status => 409, code => 'ConditionalRequestConflict' },
		'LeaseHeldElsewhere'
	],
	'PUT an error in a 200' =>
	  [ PUT => { error_in_200 => 'InternalError' }, 'InternalError' ]);
foreach my $what (sort keys %answers)
{
	my ($verb, $fault, $code) = @{ $answers{$what} };
	$peer->grow_old(1000);
	my $key = queue_one($node);
	my $sent = $peer->sent;
	$peer->faults(
		{ times => 0, match => { verb => $verb, key => $marker }, %$fault });
	drain($node);
	is(error($node), $code, "P10: told ($what)");
	is(scalar($peer->sent), $sent, "P8: nothing is sent ($what)");
	$peer->ctl('clear');
	age($node);
	drain($node);
	is(is_there($key), 0, "P4: then the key goes ($what)");
}

# A marker that is none: until a person has adopted, and it is old.

my $name = $peer->marker->{key};
$peer->put('voiceframe', $name);
my $key = queue_one($node);
drain($node);
is(error($node), 'LeaseUnreadable', 'P8: a strange marker is respected');
sql($node, 'SELECT vf_adopt()');
drain($node);
is(is_there($key), 1, 'P8: by one who adopted as well, while it is young');
age($node);
$peer->grow_old(1000);
drain($node);
is(is_there($key), 0, 'P8: then it is taken over');

# No right to write: the local check stays, vf_s3_check() tells.

$peer->grow_old(1000);
foreach my $verb ('GET', 'PUT')
{
	$peer->faults({
			times => 0,
			match => { verb => $verb, key => $marker },
			status => 403,
			code => 'AccessDenied'
		});
	$key = queue_one($node);
	drain($node);
	is(is_there($key), 0, "P8: it drains without the right to $verb");
	like(
		sql($node, q{SELECT ok, detail, cure FROM vf_s3_check()
			WHERE "check" = 'lease'}),
		qr/^f\|the marker cannot be \w+ \(AccessDenied\).*not recognised\|Allow s3:GetObject, s3:PutObject/,
		"P10: and vf_s3_check() says what that leaves open ($verb)");
	$peer->ctl('clear');
}

# Old versions of the marker do not pile up.

$peer->ctl('set', '{"versioning": {"voiceframe": "Enabled"}}');
for (1 .. 4)
{
	$peer->grow_old(1000);
	queue_one($node);
	drain($node);
}
is(scalar(my @ids = split(' ', $peer->ctl('versions', 'voiceframe', $name))),
	1, 'P7: old versions of the marker are removed');
$peer->ctl('set', '{"versioning": {"voiceframe": ""}}');

# The worker leaves while a drain by hand goes on: the lease stays.

sql($node, 'SELECT vf_worker_start(), vf_resume()');
wait_for(sub { sql($node, 'SELECT count(*) FROM vf_workers') eq '1' },
	'the worker');
$peer->grow_old(1000);
$key = queue_one($node);
wait_for(sub { !is_there($key) }, 'the worker to drain');
sql($node, q{SELECT vf_pause('by hand')});
sql($node, 'SELECT vf_worker_stop()');
is($peer->marker->{released}, 'yes', 'P8: it gives the lease back');
sql($node, 'SELECT vf_resume(), vf_worker_start()');
wait_for(sub { $peer->marker->{released} eq 'no' },
	'P8: a worker takes the lease though nothing waits');
$peer->faults({ hold => JSON::PP::true, match => { query => 'delete' } });
queue_one($node);
$peer->ctl('wait-held', 1);
sql($node, q{UPDATE vf_outbox SET next_attempt_at = now() + interval '1 hour'
	WHERE state = 'claimed'});
$peer->faults({ hold => JSON::PP::true, match => { query => 'delete' } });
queue($node, 'temp_photos/by_hand');
my $drain = held_drain($node);
$peer->ctl('wait-held', 2);
sql($node, 'SELECT vf_worker_stop()');
is($peer->marker->{released},
	'no', 'P8: not while a drain by hand goes on under it');
$peer->ctl('release');
$drain->finish;
age($node);
drain($node);

# Two clones at the same moment.  All writes of the first step are let go at
# once, when both have read.

$node->backup('base');
my $two = PostgreSQL::Test::Cluster->new('two');
$two->init_from_backup($node, 'base');
$two->start;
my @both = ($node, $two);

sub race
{
	my ($what, $wait) = @_;
	level(@both);
	my @keys = map { queue_one($_) } @both;
	$peer->faults({
			times => 2,
			hold => JSON::PP::true,
			match => { verb => 'PUT', key => $marker } }) if $wait;
	my @drains = map { held_drain($_) } @both;
	if ($wait)
	{
		$peer->ctl('wait-held', 2);
		$peer->ctl('release');
	}
	$_->finish foreach @drains;
	$peer->ctl('clear');
	my $left = grep { is_there($_) } @keys;
	is($left, 1, "P8: one of two clones drains ($what)");
	sql($_, q{UPDATE vf_source SET lost_history = NULL;
		SELECT vf_outbox_cancel(id, 'test') FROM vf_outbox
		WHERE state = 'waiting'}) foreach @both;
	return;
}

foreach my $how (qw(honour ignore refuse))
{
	$peer->ctl('set', qq({"conditions": "$how"}));
	race("conditions: $how, at once, $_", 1) foreach 1 .. 3;
	race("conditions: $how, $_") foreach 1 .. 2;
}

# The same for a marker that is not there yet.

foreach my $how (qw(honour ignore))
{
	$peer->ctl('set', qq({"conditions": "$how"}));
	foreach my $again (1 .. 2)
	{
		my $id = sql($node, 'SELECT gen_random_uuid()');
		sql($_, "UPDATE vf_bucket SET marker_id = '$id'") foreach @both;
		$peer->bucket('', 'rm', 'voiceframe', $peer->marker->{key});
		race("conditions: $how, no marker, $again", 1);
	}
}
$peer->ctl('set', '{"conditions": "honour"}');
$two->stop;

# Rewound to an earlier point.  The worker finds out before it purges.

my $origin = new_cluster(
	'origin',
	store => $peer,
	allows_streaming => 1,
	conf => "voiceframe.naptime = 1\nvoiceframe.databases = none\n");
make_sample($origin, n => 20);
configure($origin, $peer);
$peer->bucket('', 'rm', 'voiceframe', $peer->marker->{key});
$peer->put('voiceframe', live_keys($origin));
purge($origin);
drain($origin);
$origin->enable_archiving;
$origin->restart;
$peer->grow_old(1000);
$origin->backup('before');
queue_one($origin);
drain($origin);
sql($origin, q{SELECT pg_create_restore_point('an hour ago')});
my $then = $peer->marker->{generation};
$peer->grow_old(100);
queue_one($origin);
drain($origin);
cmp_ok($peer->marker->{generation}, '>', $then, 'history goes on');
sql($origin, 'SELECT pg_switch_wal()');
$origin->stop('fast');
$peer->grow_old(1000);

my $rewound = PostgreSQL::Test::Cluster->new('rewound');
$rewound->init_from_backup($origin, 'before', has_restoring => 1,
	standby => 0);
$rewound->append_conf('postgresql.conf', q{
recovery_target_name = 'an hour ago'
recovery_target_action = 'promote'
});
$rewound->start;
wait_for(sub { sql($rewound, 'SELECT pg_is_in_recovery()') eq 'f' },
	'the end of the recovery');
is(sql($rewound, 'SELECT generation FROM vf_bucket'),
	$then, 'restored to an hour ago');
add_due($rewound, 'temp_photos/rewound');
my $sent = $peer->sent;
sql($rewound, 'SELECT vf_worker_start()');
wait_for(
	sub {
		sql($rewound, q{SELECT firing FROM vf_alerts
			WHERE alert = 'registration'}) eq 't';
	},
	'the worker to notice');
sql($rewound, 'SELECT vf_worker_stop()');
is( sql($rewound, q{SELECT count(*) FROM sessions
		WHERE photo_s3_key = 'temp_photos/rewound'}),
	1, 'P8: a rewound database: no row is deleted');
is(scalar($peer->sent), $sent, 'P8: and nothing is sent');
my ($ret, $said) = VfTest::call($rewound, 'voiceframe', 'CALL vf_purge()');
like($said, qr/ERROR: .*lost history.*vf_adopt/s, 'P8: until vf_adopt()');
sql($rewound, 'SELECT vf_adopt()');
$key = queue_one($rewound);
drain($rewound);
is(is_there($key), 0, 'P8: adopted, it goes on');
cmp_ok($peer->marker->{generation}, '>', $then + 1,
	'P8: and is ahead of what it was rewound from');
$rewound->stop;

# A standby, promoted without a loss: at once.

$peer->bucket('', 'rm', 'voiceframe', $peer->marker->{key});
my $primary = new_cluster(
	'primary',
	store => $peer,
	preload => 0,
	allows_streaming => 1,
	conf => "voiceframe.naptime = 1\n");
make_sample($primary, n => 20);
configure($primary, $peer);
$peer->put('voiceframe', live_keys($primary));
purge($primary);
drain($primary);
$primary->backup('base');

sub standby_of
{
	my ($from, $as) = @_;
	my $standby = PostgreSQL::Test::Cluster->new($as);
	$standby->init_from_backup($from, 'base', has_streaming => 1);
	$standby->start;
	return $standby;
}

my $standby = standby_of($primary, 'standby');
my $late = standby_of($primary, 'late');
sql($primary, 'SELECT vf_worker_start(), vf_resume()');
$key = queue_one($primary);
wait_for(sub { !is_there($key) }, 'the primary to drain');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
$primary->wait_for_catchup($late, 'replay', $primary->lsn('insert'));
$late->stop;
$primary->stop('fast');
is($peer->marker->{released}, 'yes', 'the primary gave the lease back');
$standby->promote;
$key = queue_one($standby);
drain($standby);
is(is_there($key), 0, 'P8: promoted without a loss, it runs on');

# With a loss: another standby of the first primary knows nothing of that.

$peer->grow_old(100);
queue_one($standby);
drain($standby);
$standby->stop('immediate');
$late->start;
$late->promote;
$key = queue_one($late);
drain($late);
is(error($late), 'LeaseHeldElsewhere', 'P8: with a loss it waits at first');
$peer->grow_old(1000);
age($late);
(undef, $said) = VfTest::call($late, 'voiceframe', 'CALL vf_drain()');
like($said, qr/ERROR: .*lost history.*vf_adopt/s,
	'P8: and then stops, promoted with a loss');
is(is_there($key), 1, 'P8: nothing is deleted');
$late->stop;

# A real store, plain and versioned: taken, renewed, given back, contended.

my $ceph = start_ceph();
foreach my $versioning (undef, 'on')
{
	my $what = $versioning ? 'versioned Ceph' : 'Ceph';
	my $bucket = $versioning ? 'versioned' : 'plain';
	$ceph->mkbucket($bucket);
	$ceph->bucket('', 'versioning', $bucket, 'on') if $versioning;
	append_to_file($node->{vf_credentials},
		"[ceph]\naws_access_key_id = $ceph->{key}\n"
		  . "aws_secret_access_key = $ceph->{secret}\n") unless $versioning;
	sql($node, qq{SELECT vf_configure_bucket('$bucket', NULL,
		'$ceph->{endpoint}', 'path', 'ceph', probe => false)});
	foreach my $turn (1 .. 3)
	{
		queue($node, "temp_photos/ceph$bucket$turn");
		like(drain($node), qr/1 keys confirmed/, "P8: it drains ($what, $turn)");
	}
	sql($node, 'SELECT vf_worker_start(), vf_resume()');
	my $generation = 'SELECT generation FROM vf_bucket WHERE is_current';
	my $before = sql($node, $generation);
	wait_for(sub { sql($node, $generation) > $before },
		'the worker to take the lease');
	queue($node, "temp_photos/ceph$bucket");
	wait_for(sub { sql($node, q{SELECT count(*) FROM vf_outbox
			WHERE state IN ('waiting', 'claimed')}) eq '0' },
		'the worker to drain');
	$node->stop('fast');
	$node->start;
	queue($node, "temp_photos/ceph$bucket.again");
	like(drain($node), qr/1 keys confirmed/,
		"P8: given back, and taken at once by the next start ($what)");
	$node->stop('immediate');
	$node->start;
	queue($node, "temp_photos/ceph$bucket.crash");
	like(drain($node), qr/ 0 keys confirmed/,
		"P8: after a crash it waits ($what)");
	is( sql($node, q{SELECT error FROM vf_outbox_stats WHERE waiting > 0}),
		'LeaseHeldElsewhere', "P8: for the lease ($what)");
	sql($node, q{SELECT vf_outbox_cancel(id, 'test') FROM vf_outbox
		WHERE state = 'waiting'});
}
$node->stop;
done_testing();
