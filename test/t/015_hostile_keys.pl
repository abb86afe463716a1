# 015_hostile_keys.pl: keys that a careless client would spell otherwise,
# against a real S3 server (P3, P4).  For each key every object that it could
# be mistaken for is in the bucket too: decoded, encoded, trimmed, with its
# dots resolved, normalized, cut, escaped.  No row names these neighbours, so
# nothing but exactness protects them.  Then a row names each key itself, and
# at last the neighbours have their turn.

use strict;
use warnings;

use Encode;
use PostgreSQL::Test::Utils;
use Test::More;
use Unicode::Normalize;
use VfTest;

my $ceph = start_ceph();
my $node = new_cluster('hostile', store => $ceph, preload => 0);
make_sample($node, n => 1);
sql($node, q{
	DELETE FROM orders; DELETE FROM sessions;
	ALTER TABLE sessions ALTER photo_s3_key TYPE text});
$ceph->mkbucket('voiceframe');
configure($node, $ceph);

# As bytes.  All under a prefix that may be deleted from, but for the last.
my $p = 'temp_photos';
my $camera = "\xf0\x9f\x93\xb7";
my @keys = (
	"$p/plain.jpg", "$p/quotes \"'`.jpg", "$p/E'\\x41'.jpg", "$p/\$1\$\$",
	"$p/{a,b}", "$p/{\"a\"}", "$p/NULL", "$p/%s%d%n", "$p/--;DROP TABLE x",
	"$p/line\nend\n", "$p/carriage\rreturn\r", "$p/both\r\n", "$p/tab\tend\t",
	"$p/ leading", "$p/trailing ", "$p/trailing  ", "$p/ ", "$p/a  b",
	"$p/nbsp\xc2\xa0", "$p/a/../b", "$p/a/./b", "$p/a//b", "$p//b",
	"$p/..", "$p/.", "$p/../$p/up", "$p/../permanent/photos/1.jpg",
	"$p/%2e%2e/c", "$p/%2E./d", "$p/a%2Fb", "$p/a%2fb", "$p/a%252Fb",
	"$p/one+one", "$p/one%2Bone", "$p/100%", "$p/%", "$p/%zz", "$p/%00x",
	"$p/back\\slash", "$p/\\", "$p/\\n", "$p/\\\\\\", "$p/x?versionId=1",
	"$p/x#f", "$p/x&delete=", "$p/a=b;c", "$p/<&>", "$p/&amp;", "$p/&#13;",
	"$p/&lt;Key&gt;", "$p/</Key></Object>", "$p/]]>", "$p/<![CDATA[x]]>",
	"$p/<!-- c -->", "$p/<?p?>", "$p/\x01", "$p/\x08\x0b\x0c\x0e\x1f",
	"$p/del\x7f", "$p/\x1b[31m", "$p/a/../\x02", "$p/\x03/./x y+z%2B",
	"$p/c1\xc2\x85", "$p/fffe\xef\xbf\xbe", "$p/ffff\xef\xbf\xbf",
	"$p/bom\xef\xbb\xbf", "$p/line\xe2\x80\xa8sep", "$p/rtl\xe2\x80\xaetxt",
	"$p/caf\xc3\xa9", "$p/cafe\xcc\x81", "$p/\xef\xac\x81", "$p/\xc3\x85",
	"$p/\xe2\x84\xab", "$p/$camera", "$p/\xf4\x8f\xbf\xbd", "$p/UPPER.JPG",
	"$p/upper.jpg ", "$p/" . 'k' x (1024 - 12), "$p/" . $camera x 253, "$p/" . $camera x 252 . "\xc3\xa9" x 2,
	"$p/" . '%' x (1024 - 12), "$p/" . "\x04" x (1024 - 12),
	"$p/" . '&' x (1024 - 12), 'temp_audio/a.mp3', 'waveforms/../x');
my @dead = (
	"$p/" . 'k' x (1025 - 12),
	"$p/" . $camera x 253 . "\xc3\xa9",
	"$p/http://x/y");
my @outside = (
	"/$p/leading.jpg", "//$p/leading.jpg", " $p/blank.jpg", "./$p/dot.jpg",
	"TEMP_PHOTOS/case.jpg", "$p", "temp%5Fphotos/coded.jpg",
	"temp_photos\\back.jpg", "permanent/photos/2.jpg", "\xef\xbb\xbf$p/x");

sub resolved
{
	my ($key) = @_;
	my @parts;
	foreach my $part (split(m{/}, $key, -1))
	{
		if ($part eq '..') { pop @parts }
		elsif ($part ne '.') { push @parts, $part }
	}
	return join('/', @parts);
}

sub percent
{
	my ($key) = @_;
	return $key =~ s/([^A-Za-z0-9_.~\/-])/sprintf('%%%02X', ord $1)/ger;
}

sub unpercent
{
	my ($key) = @_;
	return $key =~ s/%([0-9A-Fa-f]{2})/chr hex $1/ger;
}

my %named = (amp => '&', lt => '<', gt => '>', quot => '"', '#13' => "\r");

sub unescaped
{
	my ($key) = @_;
	return $key =~ s/&(amp|lt|gt|quot|#13);/$named{$1}/gr;
}

sub normal
{
	my ($form, $key) = @_;
	return encode('UTF-8', $form->(decode('UTF-8', $key)));
}

sub mistaken_for
{
	my ($k) = @_;
	return (
		"$k.bak", "$k/", substr($k, 0, -1), resolved($k), percent($k),
		unpercent($k), unpercent($k =~ tr/+/ /r), $k =~ tr/+/ /r,
		$k =~ tr/ /+/r, $k =~ s{/+}{/}gr, $k =~ s{^/+}{}r,
		$k =~ s{/$}{}r, $k =~ s/\s+$//r, $k =~ s/ +$//r, $k =~ s/ +/ /gr,
		$k =~ s{/ +}{/}gr, $k =~ s/\r\n/\n/gr, $k =~ s/\r/\n/gr,
		$k =~ s/\n/\r\n/gr, $k =~ s/[\r\n]//gr, $k =~ s/[\r\n\t]/ /gr,
		$k =~ s/[\x00-\x1f\x7f].*//sr, $k =~ s/[\x00-\x1f\x7f]//gr,
		$k =~ s/[\x00-\x1f\x7f]/?/gr, $k =~ s/[?#].*//sr,
		$k =~ s/[&;=].*//sr, $k =~ tr{\\}{/}r, $k =~ s/\\//gr,
		$k =~ s/\\n/\n/gr, unescaped($k),
		$k =~ s/&/&amp;/gr =~ s/</&lt;/gr =~ s/>/&gt;/gr,
		$k =~ s/["'`]//gr, $k =~ s/["{}]//gr, lc $k, uc $k,
		normal(\&NFC, $k), normal(\&NFD, $k), normal(\&NFKC, $k),
		$k =~ s/[\x80-\xff]//gr, $k =~ s/[\x80-\xff]+/?/gr,
		$k =~ s/\xef\xbf[\xbe\xbf]/\xef\xbf\xbd/gr,
		$k =~ s/\xef\xbb\xbf//gr, substr($k, 0, 255));
}

sub is_utf8
{
	my ($key) = @_;
	return eval { decode('UTF-8', $key, Encode::FB_CROAK); 1 };
}

my %hostile = map { $_ => 1 } @keys;
my %neighbour;
foreach my $key (@keys, @outside, @dead)
{
	foreach my $other (mistaken_for($key))
	{
		$neighbour{$other} = 1
		  if length $other && length $other <= 1024 && $other !~ /\0/
		  && !$hostile{$other} && is_utf8("$other");
	}
}
$neighbour{$_} = 1 foreach @outside;
my @neighbours = sort keys %neighbour;
cmp_ok(scalar(@neighbours), '>', 400, 'there are neighbours');

# As bucket.py writes them, and in its order.
sub to_lines
{
	return [ sort map { s/\\/\\\\/gr =~ s/\n/\\n/gr } @_ ];
}

sub in_bucket
{
	return [ sort $ceph->keys('voiceframe') ];
}

sub put
{
	return $ceph->put('voiceframe',
		map { s/\\/\\\\/gr =~ s/\n/\\n/gr } @_);
}

sub left
{
	return sql($node, q{
		SELECT string_agg(concat_ws(' ', state, last_error_code, length(key),
			count), E'\n' ORDER BY state, last_error_code, length(key))
		FROM (SELECT state, last_error_code, key, count(*)
			FROM vf_outbox_keys GROUP BY 1, 2, 3) k});
}

put(@keys, @neighbours);
is_deeply(in_bucket(), to_lines(@keys, @neighbours),
	'the store has an object for every key and neighbour');

# The keys go, and nothing else.

queue($node, @keys, @outside, @dead);
my $said = drain($node);
my $n = @keys;
like($said, qr/: $n keys confirmed gone, 0 to be tried again, 3 dead/,
	'P4: each key is confirmed, and what no store can have is dead');
is_deeply(in_bucket(), to_lines(@neighbours),
	'P3: the keys are gone, every neighbour stays');
is( left(),
	join("\n", (map { "cancelled OutsidePrefixes $_ 1" }
			sort { $a <=> $b } map { length decode('UTF-8', $_) } @outside),
		'dead KeyIsUrl 22 1', 'dead KeyTooLong 266 1',
		'dead KeyTooLong 1025 1'),
	'P4: and every other key is on record with its reason');

# A row that names a key keeps its object, by the same exactness.

sql($node, 'DELETE FROM vf_outbox');
put(@keys);
queue($node, @keys);
add_due($node, @keys);
sql($node, q{UPDATE sessions
	SET expires_at = (now() + interval '1 day') AT TIME ZONE 'UTC'});
drain($node);
is( sql($node, q{SELECT string_agg(DISTINCT concat_ws(' ', state,
		last_error_code), ', ') || ' ' || count(*) FROM vf_outbox_keys}),
	"cancelled Referenced $n", 'P3: a key that a row names is cancelled');
is_deeply(in_bucket(), to_lines(@keys, @neighbours),
	'P3: and its object stays');

# One of them is named no longer: it alone goes.

foreach my $at (0 .. $#keys)
{
	next if $at % 20;
	sql($node, 'UPDATE sessions SET photo_s3_key = NULL WHERE photo_s3_key = '
		  . VfTest::literal($keys[$at]));
}
queue($node, @keys);
drain($node);
is_deeply(in_bucket(),
	to_lines((map { $keys[$_] } grep { $_ % 20 } 0 .. $#keys), @neighbours),
	'P3: those that no row names any more go, alone');

# The neighbours' turn: under the prefixes they are hostile keys themselves.

sql($node, 'DELETE FROM vf_outbox; DELETE FROM sessions');
queue($node, @neighbours, @keys);
drain($node);
my @stay =
  grep { !m{^(temp_photos|temp_audio|waveforms)/} || m{://} } @neighbours;
is_deeply(in_bucket(), to_lines(@stay),
	'P4: all others go in their turn, but for what lies outside');
is( sql($node, q{SELECT count(*) FROM vf_outbox
		WHERE state NOT IN ('cancelled', 'dead')}),
	0, 'P4: no key waits');

$node->stop;
done_testing();
