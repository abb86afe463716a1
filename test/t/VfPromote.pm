package VfPromote;

# VfPromote.pm: what the tests of copies of paid files share.
#
#   my ($node, $peer) = start_shop('name', CONF)  a database without customers
#   my $f = new_file(key => K, body => B, headers => {}, ending => '.jpg',
#       unqueued => 1)      one public file of one paying order, queued; a hash:
#                           name (and token), key, order, body, target
#   put_object($key, $body, HEADERS)
#   rows($f)                what order and session name, and the migration
#   entry($f)               its copy in the outbox: state, attempts, code
#   drain_now()             all that waits is due; what CALL vf_drain() said
#   check_safe($f, WHAT)    a row names it, it is there, and it is public
#   check_done($f, WHAT)    the rows name the copy, the source is to go
#   check_finishes($f, WHAT)   without faults it comes to that
#   forget_all()            no rows, no outbox, no faults
#   held()                  a condition: a request is held
#   %step, @steps           the requests of a copy, as the peer matches them:
#                           name; [name, match, skip]

use strict;
use warnings;

use Exporter 'import';
use Test::More;
use VfTest;

our @EXPORT = qw(start_shop new_file put_object rows entry drain_now check_safe
  check_done check_finishes forget_all held %step @steps);

my ($node, $peer);
my $true = JSON::PP::true;

sub start_shop
{
	my ($name, $conf) = @_;
	$peer = start_peer('--bucket', 'voiceframe');
	$node = new_cluster($name, store => $peer, preload => 0, conf => $conf);
	make_sample($node, n => 1);
	sql($node, 'DELETE FROM orders; DELETE FROM sessions');
	configure($node, $peer);
	return ($node, $peer);
}

# One file of one paying order: its source, and where it goes.
my $serial = 0;

sub put_object
{
	my ($key, $body, %headers) = @_;
	my $answer = $peer->raw('voiceframe',
		{ method => 'PUT', key => $key, body => $body, headers => \%headers });
	die "$answer->{status} $answer->{body}" if $answer->{status} != 200;
	return;
}

sub new_file
{
	my (%o) = @_;
	my $name = 'f' . ++$serial;
	my $key = $o{key} // "temp_photos/$name.jpg";
	put_object($key, $o{body} // "bytes of $name",
		'x-amz-acl' => 'public-read', 'content-type' => 'image/jpeg',
		'x-amz-meta-name' => $name, 'x-amz-tagging' => "name=$name",
		%{ $o{headers} // {} });
	my $literal = VfTest::literal($key);
	sql($node, qq{
		INSERT INTO sessions (id, session_token, photo_s3_key, created_at,
			expires_at)
		VALUES (md5('$name')::uuid, '$name', $literal,
			now() AT TIME ZONE 'UTC', 'infinity');
		INSERT INTO orders (id, email, amount_cents, status, session_token,
			created_at, updated_at)
		VALUES (md5('order $name')::uuid, 'x\@example.test', 1, 'completed',
			'$name', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC')});
	my $id = sql($node, "SELECT md5('order $name')::uuid");
	sql($node, "SELECT * FROM vf_promote('$name')") unless $o{unqueued};
	return { name => $name, key => $key, order => $id,
		body => $o{body} // "bytes of $name",
		target => "permanent/photos/$id" . ($o{ending} // '.jpg') };
}

# What the order and the session name, and what is left in the outbox.
sub rows
{
	my ($f) = @_;
	return sql($node, qq{SELECT concat_ws(' ',
			coalesce(o.permanent_photo_s3_key, '-'),
			coalesce(s.photo_s3_key, '-'), coalesce(o.migration_status, '-'))
		FROM (SELECT) x LEFT JOIN orders o ON o.id = '$f->{order}'
		LEFT JOIN sessions s ON s.session_token = '$f->{name}'});
}

sub entry
{
	my ($f) = @_;
	return sql($node, qq{SELECT concat_ws(' ', state, attempts, last_error_code)
		FROM vf_outbox WHERE copy_order = '$f->{order}'});
}

sub drain_now
{
	age($node);
	return drain($node);
}

# Whatever has happened: a row names the file, it is there, and anybody reads
# it as before.
sub check_safe
{
	my ($f, $what) = @_;
	my ($copy, $original) = split(/ /, rows($f));
	my @named = grep { $_ ne '-' } ($copy, $original);
	my @wrong = grep { $peer->anonymous($_) ne "200 $f->{body}" } @named;
	ok(@named && !@wrong, "P3: named by a row, there, and public ($what)")
	  or diag("named: @named, wrong: @wrong");
	return;
}

sub check_done
{
	my ($f, $what) = @_;
	is(rows($f), "$f->{target} $f->{target} completed",
		"the rows name the copy ($what)")
	  or diag(sql($node, 'SELECT * FROM vf_outbox'));
	check_safe($f, $what);
	is(entry($f), '', "P4: its entry is gone ($what)");
	is( sql($node, qq{SELECT concat_ws(' ', state, kind) FROM vf_outbox_keys
			WHERE key = '$f->{key}'}),
		'waiting delete', "P4: the temporary file waits to go ($what)");
	return;
}

sub forget_all
{
	$peer->faults();
	sql($node, 'DELETE FROM vf_outbox; DELETE FROM orders; DELETE FROM sessions');
	return;
}

sub check_finishes
{
	my ($f, $what) = @_;
	$peer->faults();
	drain_now();
	check_done($f, "$what, then all is well");
	forget_all();
	return;
}

# The steps of one copy, as the peer tells them apart.
our %step = (
	'HEAD of the source' => { verb => 'HEAD', key => 'temp_photos/' },
	'HEAD of the target' => { verb => 'HEAD', key => 'permanent/' },
	'GET acl of the source' =>
	  { verb => 'GET', query => 'acl', key => 'temp_photos/' },
	'the copy' => { verb => 'PUT', copy => $true },
	'GET acl of the copy' =>
	  { verb => 'GET', query => 'acl', key => 'permanent/' },
	'PUT acl' => { verb => 'PUT', query => 'acl', key => 'permanent/' });
our @steps = (
	(map { [ $_, $step{$_}, 0 ] } 'HEAD of the source', 'HEAD of the target',
		'GET acl of the source', 'the copy', 'GET acl of the copy', 'PUT acl'),
	[ 'second GET acl of the copy', $step{'GET acl of the copy'}, 1 ],
	[ 'HEAD of the copy', $step{'HEAD of the target'}, 1 ],
	[ 'second HEAD of the source', $step{'HEAD of the source'}, 1 ]);

sub held
{
	return sub { return $peer->ctl('held') =~ /"id"/ };
}

1;
