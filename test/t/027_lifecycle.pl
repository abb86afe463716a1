# 027_lifecycle.pl: our rules in a document that is everybody's.  Rules of
# others stay as they are, whatever is in them; a store that does not know
# lifecycles loses nothing by being asked; nothing that is still needed comes
# under a rule that expires (P3), and a copy changes nothing (P8).

use strict;
use warnings;

use Test::More;
use VfTest;

my $xmlns = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
my $ours = 'voiceframe-retention-';
my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('lifecycle', store => $peer, preload => 0);
make_sample($node, n => 20);
sql($node, 'DELETE FROM orders; DELETE FROM sessions');
configure($node, $peer);

sub call
{
	return (VfTest::call($node, undef, $_[0]))[1];
}

sub apply
{
	my ($arguments) = @_;
	return call("SELECT rule, action FROM vf_s3_lifecycle_apply($arguments)");
}

# The peer's document; with a value, make it that.
sub document
{
	my ($document, $minimum) = @_;
	my $found = $peer->post('/lifecycle', {
			bucket => 'voiceframe',
			@_ ? (document => $document, minimum => $minimum // '') : () });
	return $found ? wantarray ? @$found : $found->[0] : undef;
}

sub rules
{
	return "<LifecycleConfiguration $xmlns>" . join('', @_)
	  . '</LifecycleConfiguration>';
}

# What was asked since, as verbs.
my $asked = 0;

sub asked
{
	my @lines = grep { $_->{query} =~ /^lifecycle/ } $peer->journal('before');
	my @new = map { $_->{verb} } @lines[ $asked .. $#lines ];
	$asked = @lines;
	return "@new";
}

sub status
{
	return sql($node, q{SELECT coalesce(string_agg(replace(rule,
		'voiceframe-retention-', '') || ' ' || state, ', ' ORDER BY rule), '')
		FROM vf_s3_lifecycle_status()});
}

sub alert
{
	return sql($node,
		q{SELECT firing, value FROM vf_alerts WHERE alert = 'lifecycle'});
}

# ---- stores that do not know it

is(alert(), 'f|', 'before the first call nothing is wanted');
my $out = apply(q{'GLACIER_IR', dry_run => false});
like($out, qr/LifecycleUnknown.*knows no lifecycle rules/s,
	'a store that lists the bucket instead is told apart');
like(call('SELECT * FROM vf_s3_lifecycle_status()'), qr/LifecycleUnknown/,
	'status says so too');
like(call('SELECT * FROM vf_s3_lifecycle_remove(dry_run => false)'),
	qr/LifecycleUnknown/, 'and nothing is removed there');
is(asked(), 'GET GET GET', 'P3: it is asked by GET alone: never DELETE, never PUT');
is($peer->bucket('', 'versioning', 'voiceframe'), "off\n", 'P3: and the bucket is still there');
$peer->post('/set', { lifecycle => 'none' });
like(apply(q{'GLACIER_IR', dry_run => false}), qr/LifecycleUnknown/,
	'NotImplemented is as clear');
$peer->faults({ status => 403, code => 'AccessDenied',
		match => { query => 'lifecycle' } });
like(apply(q{'GLACIER_IR'}), qr/AccessDenied.*s3:GetLifecycleConfiguration/s,
	'the right that is needed is named');
$peer->faults({ status => 200, code => '', body => '<LifecycleConfiguration><Rule>',
		match => { query => 'lifecycle' } });
like(apply(q{'GLACIER_IR', dry_run => false}), qr/LifecycleUnknown|MalformedAnswer/,
	'half a document is none');
is(asked(), 'GET GET GET', 'nothing was written');

# ---- the first time

$peer->post('/set', { lifecycle => 'know' });
like(call('SELECT rule FROM vf_s3_lifecycle_apply(dry_run => false)'),
	qr/archive_class has to be chosen.*QR code.*GLACIER_IR is read at once/s,
	'archive_class has no default, and it says why');
is(status(), 'permanent missing, temp missing', 'both are missing');
$out = apply(q{'GLACIER_IR'});
like($out, qr/${ours}temp\|add\n${ours}permanent\|add.*nothing was written/s,
	'a dry run is the default');
is(document(), undef, 'and writes nothing');
like(apply(q{'GLACIER', false}), qr/cannot be played.*${ours}temp\|add|${ours}temp\|add.*cannot be played/s,
	'GLACIER is the owner\'s to choose, with a warning');
like(document(), qr/>GLACIER</, 'and is written');
like(apply(q{'GLACIER_IR', false}),
	qr/${ours}temp\|keep\n${ours}permanent\|change/, 'another class changes that rule alone');
my $wanted = rules(
	"<Rule><ID>${ours}temp</ID><Filter><Prefix>temp_</Prefix></Filter>"
	  . '<Status>Enabled</Status><Expiration><Days>7</Days></Expiration></Rule>',
	"<Rule><ID>${ours}permanent</ID><Filter><Prefix>permanent/</Prefix></Filter>"
	  . '<Status>Enabled</Status><Transition><Days>30</Days>'
	  . '<StorageClass>STANDARD_IA</StorageClass></Transition><Transition>'
	  . '<Days>90</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule>');
is(document() =~ s/^<\?xml.*?\?>//r, $wanted, 'the document is what it should be');
is(status(), 'permanent in place, temp in place', 'and in place');
asked();
like(apply('dry_run => false'), qr/temp\|keep\n.*permanent\|keep/,
	'once more: what was chosen is remembered');
is(asked(), 'GET', 'and nothing is written that is there');
like(call(q{BEGIN; SELECT * FROM vf_s3_lifecycle_apply(dry_run => false)}),
	qr/cannot run inside a transaction block/, 'not in a transaction block');
is( sql($node, q{SELECT vf_s3_lifecycle_document('json', merged => false)::jsonb
		-> 'Rules' -> 1 -> 'Transitions' -> 1}),
	'{"Days": 90, "StorageClass": "GLACIER_IR"}', 'JSON as AWS has it');
like( sql($node, q{SELECT vf_s3_lifecycle_document('xml')}),
	qr{^<\?xml.*<LifecycleConfiguration.*\n  <Rule>\n    <ID>}s, 'and XML to read');

# ---- rules of others, with everything that AWS documents, and more

my @others = (
	'<Rule><ID>all of it</ID><Filter><And><Prefix>docs/&lt;&amp;"</Prefix>'
	  . '<Tag><Key>a</Key><Value>b c</Value></Tag><Tag><Key>d</Key><Value></Value></Tag>'
	  . '<ObjectSizeGreaterThan>500</ObjectSizeGreaterThan>'
	  . '<ObjectSizeLessThan>64000</ObjectSizeLessThan></And></Filter>'
	  . '<Status>Enabled</Status><Transition><Days>30</Days>'
	  . '<StorageClass>STANDARD_IA</StorageClass></Transition><Transition><Days>60</Days>'
	  . '<StorageClass>GLACIER</StorageClass></Transition>'
	  . '<Expiration><Days>365</Days></Expiration>'
	  . '<NoncurrentVersionTransition><NoncurrentDays>10</NoncurrentDays>'
	  . '<StorageClass>GLACIER</StorageClass><NewerNoncurrentVersions>2'
	  . '</NewerNoncurrentVersions></NoncurrentVersionTransition>'
	  . '<NoncurrentVersionExpiration><NoncurrentDays>90</NoncurrentDays>'
	  . '<NewerNoncurrentVersions>5</NewerNoncurrentVersions>'
	  . '</NoncurrentVersionExpiration></Rule>',
	"<Rule>\n\t<ID>at a date</ID>\n\t<Filter><Tag><Key>k</Key><Value>v</Value></Tag></Filter>"
	  . '<Status>Disabled</Status><Transition><Date>2031-01-01T00:00:00.000Z</Date>'
	  . '<StorageClass>DEEP_ARCHIVE</StorageClass></Transition>'
	  . "<Expiration><Date>2035-01-01T00:00:00.000Z</Date></Expiration>\n</Rule>",
	'<Rule><ID>markers</ID><Filter/><Status>Enabled</Status><Expiration>'
	  . '<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>'
	  . '<AbortIncompleteMultipartUpload><DaysAfterInitiation>3</DaysAfterInitiation>'
	  . '</AbortIncompleteMultipartUpload></Rule>',
	'<Rule xmlns:v="urn:vendor" v:mode="x"><ID>of tomorrow</ID><Filter><NewCondition>'
	  . '<Deep a="1">&#13; text </Deep></NewCondition></Filter><Status>Enabled</Status>'
	  . '<NewAction><Hours>5</Hours><!-- why --></NewAction><v:Note><![CDATA[<&>]]></v:Note></Rule>',
	'<Rule><ID>voiceframe-retentionist</ID><Filter><Prefix> </Prefix></Filter>'
	  . '<Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>');

# Canonical, by somebody else's XML: sorted, without blanks between elements.
sub canonical
{
	my ($text) = @_;
	my $python = q{
import sys, xml.etree.ElementTree as E
def c(e):
    kids = sorted(c(x) for x in e)
    text = (e.text or '') if not kids else (e.text or '').strip()
    return repr((e.tag, sorted(e.attrib.items()), text, kids))
root = E.fromstring(sys.stdin.buffer.read())
for r in sorted(c(x) for x in root):
    print(r)
};
	return VfTest::capture($text, '/usr/bin/python3', '-c', $python);
}

# Of the document, rules of others alone.
sub foreign
{
	my ($text) = @_;
	return join("\n", grep { !/'voiceframe-retention-/ } split(/\n/, canonical($text)));
}

my $before = rules(@others);
document($before, 'varies_by_storage_class');
is(status(), join(', ', sort('permanent missing', 'temp missing',
			map { "$_ foreign" } 'all of it', 'at a date', 'markers', 'of tomorrow',
			'voiceframe-retentionist')), 'rules of others are foreign');
like(alert(), qr/^t\|.*temp missing.*permanent missing/, 'drift is an alert');
asked();
$out = apply('dry_run => false');
is(() = $out =~ /\|foreign/g, 5, 'all of them are shown as foreign');
my ($after, $minimum) = document();
is(foreign($after), foreign($before), 'rules of others stay, with every element');
is($minimum, 'varies_by_storage_class', 'the transition minimum is echoed');
is(alert(), 'f|', 'and the alert ends');
is(asked(), 'GET GET PUT GET', 'read, read again, put, read back');

# ---- put back, and taken away

is( call('SELECT rule, action FROM vf_s3_lifecycle_restore(dry_run => false)')
	  =~ /${ours}temp\|remove/ ? canonical(scalar document()) : '', canonical($before),
	'what was there before is put back, canonically equal');
is(alert() =~ /^t/ ? 't' : 'f', 't', 'it lacks what is wanted still, as before');
apply('dry_run => false');
like(call('SELECT rule, action FROM vf_s3_lifecycle_remove()'),
	qr/${ours}temp\|remove.*dry run/s, 'to take ours away is a dry run first');
call('SELECT rule, action FROM vf_s3_lifecycle_remove(dry_run => false)');
is(canonical(scalar document()), canonical($before), 'rules of others stay always');
is(alert(), 'f|', 'and nothing is wanted any more');
document(undef);
apply('dry_run => false');
asked();
call('SELECT rule, action FROM vf_s3_lifecycle_remove(dry_run => false)');
is(document(), undef, 'the last rule goes by DELETE');
is(asked(), 'GET GET DELETE GET', 'which a document just read has proved to be safe');
is(sql($node, 'SELECT count(*) FROM vf_lifecycle_kept WHERE document IS NULL'), 2,
	'that there was none is kept too');

# ---- the version of the document, and its names

document(rules('<Rule><ID>old</ID><Prefix>x/</Prefix><Status>Enabled</Status>'
	  . '<Expiration><Days>9</Days></Expiration></Rule>'));
apply('dry_run => false');
like(document(), qr{<ID>${ours}temp</ID><Prefix>temp_</Prefix>}, 'an old document stays old');
unlike(document(), qr/Filter/, 'nothing is mixed');
is(status(), 'old foreign, permanent in place, temp in place', 'and is in place');
document(qq{<s3:LifecycleConfiguration xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/">}
	  . '<s3:Rule><s3:ID>p</s3:ID><s3:Filter><s3:Prefix>x/</s3:Prefix></s3:Filter>'
	  . '<s3:Status>Enabled</s3:Status><s3:Expiration><s3:Days>9</s3:Days></s3:Expiration>'
	  . '</s3:Rule></s3:LifecycleConfiguration>');
apply('dry_run => false');
like(document(), qr{<s3:ID>${ours}temp</s3:ID>}, 'ours have the names of the others');
is(status(), 'p foreign, permanent in place, temp in place', 'with prefixes too');

# ---- switches, versions, drift

document(undef);
apply(q{waveforms => true, pdf_previews => true, delete_markers => true,
	unfinished_uploads => true, dry_run => false});
is(status(), join(', ', map { "$_ in place" } qw(delete-markers permanent previews
		temp uploads waveforms)), 'every switch has its rule');
unlike(document(), qr/Noncurrent/, 'a bucket without versions has none for them');
$peer->post('/set', { versioning => { voiceframe => 'Enabled' } });
is(status(), 'delete-markers in place, permanent in place, previews different, '
	  . 'temp different, uploads in place, waveforms different',
	'with versions more is wanted');
apply(q{waveforms => false, pdf_previews => false, delete_markers => false,
	unfinished_uploads => false, dry_run => false});
like(document(), qr{temp_</Prefix>.*<NoncurrentVersionExpiration><NoncurrentDays>7<},
	'noncurrent versions under temp_ go too');
is(status(), 'permanent in place, temp in place', 'what is switched off is gone');
document(document() =~ s{<Days>7</Days>}{<Days>8</Days>}r
	  =~ s{</LifecycleConfiguration>}{<Rule><ID>${ours}extra</ID><Filter><Prefix>e</Prefix></Filter><Status>Disabled</Status><Expiration><Days>9</Days></Expiration></Rule></LifecycleConfiguration>}r);
is(status(), 'extra not wanted, permanent in place, temp different',
	'what somebody changed is different, what nobody wants is not wanted');
is(alert(), "t|${ours}temp different, ${ours}extra not wanted", 'and both alert');
apply('dry_run => false');
is(status(), 'permanent in place, temp in place', 'and are put right');

# The scan looks too, once it is through.
document(undef);
is(alert(), 'f|', 'a change that nobody looked at is not known');
call('CALL vf_s3_scan()');
is(alert(), "t|${ours}temp missing, ${ours}permanent missing", 'the scan finds drift');
$peer->faults({ status => 503, times => 0, match => { query => 'lifecycle' } });
call('CALL vf_s3_scan()');
like(alert(), qr/^t\|.*missing/, 'no answer is no news');
$peer->post('/set', { lifecycle => 'none' });
$peer->ctl('clear');
call('CALL vf_s3_scan()');
is(alert(), 't|cannot be read: LifecycleUnknown', 'a refusal is');
$peer->post('/set', { lifecycle => 'know' });
apply('dry_run => false');
is(alert(), 'f|', 'until the rules are in place');

# ---- somebody else writes meanwhile

document(rules($others[0]));
asked();
$peer->faults({ name => 'meanwhile', hold => 1, skip => 1,
		match => { query => 'lifecycle', verb => 'GET' } });
my $call = session($node);
$call->tell('SELECT rule, action FROM vf_s3_lifecycle_apply(dry_run => false)');
wait_for(sub { $peer->ctl('held') =~ /meanwhile/ }, 'the second read');
my $theirs = rules($others[0], $others[1]);
document($theirs);
$peer->post('/release', 'meanwhile');
like($call->ask('SELECT 1'), qr/changed meanwhile.*Nothing was written/s,
	'P6: a document changed between read and put is not overwritten');
is(document(), $theirs, 'it is theirs');
is(asked(), 'GET GET', 'nothing was put');
$call->quit;

# ---- a store that keeps less than it is told

document(rules($others[3]));
$before = document();
$peer->post('/set', { lifecycle => 'careless' });
$out = apply('dry_run => false');
like($out, qr/did not keep the lifecycle rules as they were written; the document from before is back|could not be put back/,
	'P3: a rule that lost its prefix does not stay');
$peer->post('/set', { lifecycle => 'know' });
document(undef);
$peer->post('/set', { lifecycle => 'careless' });
asked();
$out = apply('dry_run => false');
like($out, qr/document from before is back.*temp_.*became.*<Prefix><\/Prefix>/s,
	'it says what became of what');
is(document(), undef, 'P3: and that there was none is restored');
is(asked(), 'GET GET PUT GET DELETE GET', 'at once');
$peer->post('/set', { lifecycle => 'plain' });
like(apply('dry_run => false'), qr/LifecycleRefused.*InvalidStorageClass.*archive_class => 'none'/s,
	'a store without the class says so, and what to leave out');
$out = apply(q{'none', false, infrequent_class => 'none', noncurrent_versions => false});
like($out, qr/${ours}temp\|add/, 'what it has can be had');
is(status(), 'temp in place', 'and no more is wanted');
$peer->post('/set', { lifecycle => 'know', md5 => 'refuse' });
$out = apply(q{'GLACIER_IR', false, infrequent_class => 'STANDARD_IA'});
like($out, qr/permanent\|add/, 'where MD5 is refused SHA-256 does');
$peer->post('/set', { md5 => 'require' });

# An answer that never comes: was it done?
$peer->faults({ reset => 1, match => { query => 'lifecycle', verb => 'PUT' } });
$out = apply(q{'GLACIER_IR', false, pdf_previews => true});
like($out, qr/previews\|add/, 'a lost answer to a PUT that was done is a success');
is(status(), 'permanent in place, previews in place, temp in place', 'for it was done');
$peer->faults({ status => 500, match => { query => 'lifecycle', verb => 'PUT' } });
like(apply(q{pdf_previews => false, dry_run => false}),
	qr/did not take the lifecycle rules: InternalError.*as they were/s,
	'one that was not done is a failure');
$peer->faults({ status => 503, times => 0, skip => 2,
		match => { query => 'lifecycle', verb => 'GET' } },
	{ reset => 1, match => { query => 'lifecycle', verb => 'PUT' } });
my $kept = sql($node, 'SELECT max(id) FROM vf_lifecycle_kept');
like(apply(q{pdf_previews => false, dry_run => false}), qr/nobody can tell whether/,
	'and if nobody can tell, it says that');
$peer->ctl('clear');
like(alert(), qr/^t\|nobody can tell/, 'as does the alert');
is(status(), 'permanent in place, temp in place', 'status can');
is( sql($node, qq{SELECT change, changed_by = session_user,
		convert_from(document, 'UTF8') LIKE '%previews%' FROM vf_lifecycle_kept
		WHERE id > $kept}),
	'apply|t|t', 'P10: what was there is kept, and who changed it');

# A store that shows a change late, and one that never shows it.
$peer->post('/set', { lifecycle_lag => 0 });

asked();
sub late
{
	my ($lag, $arguments) = @_;
	$peer->faults({ name => 'late', hold => 1,
			match => { query => 'lifecycle', verb => 'PUT' } });
	my $late = session($node);
	$late->tell("SELECT rule, action FROM vf_s3_lifecycle_apply($arguments, dry_run => false)");
	wait_for(sub { $peer->ctl('held') =~ /late/ }, 'the PUT');
	$peer->post('/set', { lifecycle_lag => $lag });
	$peer->post('/release', 'late');
	my $said = $late->ask('SELECT 1');
	$late->quit;
	$peer->post('/set', { lifecycle_lag => 0 });
	return $said;
}
$out = late(2, 'pdf_previews => true');
like($out, qr/previews\|add/, 'what a store shows late is waited for');
unlike($out, qr/WARNING|ERROR/, 'without a word');
is(asked(), 'GET GET PUT GET GET GET', 'by looking again');
like(late(1000, 'pdf_previews => false'), qr/still shows those from before/,
	'what it does not show in time is not known');
is(asked() =~ /PUT.*PUT/ ? 'put back' : 'left', 'left', 'and is left alone');
is(status(), 'permanent in place, temp in place', 'status shows it in the end');

# 10 seconds are the limit (P5), and a person can cancel.
$peer->faults({ name => 'stall', stall => 1, match => { query => 'lifecycle' } });
like(call(q{SET statement_timeout = '500ms'; SELECT * FROM vf_s3_lifecycle_status()}),
	qr/canceling statement/, 'P5: a cancel ends it');
$peer->faults({ name => 'stall', stall => 1, times => 0, match => { query => 'lifecycle' } });
my $began = time;
like(call(q{SELECT * FROM vf_s3_lifecycle_apply(dry_run => false)}), qr/Timeout/,
	'P5: a store that does not answer is not waited for');
cmp_ok(time - $began, '<=', 11, 'P5: for more than 10 seconds');
$peer->ctl('clear');

# What cannot be written cannot be noted; other encodings; who may.
like(call('BEGIN READ ONLY; SELECT count(*) FROM vf_s3_lifecycle_status()'), qr/^\d+$/,
	'status works in a read-only transaction');
$node->safe_psql('postgres', q{CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0});
make_sample($node, n => 1, db => 'latin');
sql($node, 'DELETE FROM orders; DELETE FROM sessions', 'latin');
configure($node, $peer, db => 'latin');
my $strange = rules("<Rule><ID>\x{c3}\x{a9}\x{e2}\x{82}\x{ac}</ID><Filter><Prefix>\x{e2}\x{82}\x{ac}"
	  . '</Prefix></Filter><Status>Enabled</Status><Expiration><Days>9</Days></Expiration></Rule>');
utf8::decode($strange);
document($strange);
$out = (VfTest::call($node, 'latin', q{SELECT rule, before FROM
	vf_s3_lifecycle_apply('none', false, accept_loss => 0)}))[1];
like($out, qr/\?\?.*&#8364;/, 'P6: letters that the database does not know are references');
like(document(), qr/\x{20ac}/, 'and stay what they are in the bucket');
document(undef);
call('SELECT * FROM vf_s3_lifecycle_apply(dry_run => false)');

# ---- what is still needed (P3)

apply(q{pdf_previews => false, dry_run => false});
call('SELECT * FROM vf_s3_lifecycle_remove(dry_run => false)');
sql($node, q{UPDATE vf_lifecycle_kept SET kept_at = kept_at});
sub add_session
{
	my ($token, $expires, $created) = @_;
	return sql($node, qq{INSERT INTO sessions (id, session_token, photo_s3_key,
		audio_s3_key, waveform_s3_key, created_at, expires_at)
		VALUES (md5('$token')::uuid, '$token', 'temp_photos/$token.jpg',
		'temp_audio/$token.mp3', 'waveforms/$token.png',
		(now() - interval '} . ($created // '1 hour') . qq{') AT TIME ZONE 'UTC',
		$expires)});
}
sub add_order
{
	my ($token, $status, $copies) = @_;
	return sql($node, qq{INSERT INTO orders (id, email, amount_cents, status,
		session_token, created_at, permanent_photo_s3_key, permanent_audio_s3_key)
		VALUES (gen_random_uuid(), 'x', 1, '$status', '$token',
		now() AT TIME ZONE 'UTC', } . ($copies // 'NULL, NULL') . ')');
}
my $soon = q{(now() + interval '1 day') AT TIME ZONE 'UTC'};
add_session('fresh', $soon);
add_session('pending', $soon);
add_order('pending', 'pending');
add_session('paid', $soon, '2 days');
add_order('paid', 'completed', q{'permanent/photos/p.jpg', 'permanent/audio/p.mp3'});
add_session('overdue', q{now() AT TIME ZONE 'UTC'}, '30 days');
like(apply('dry_run => false'), qr/temp\|add/,
	'P3: what goes before its object, or has a permanent copy, is no obstacle');
call('SELECT * FROM vf_s3_lifecycle_remove(dry_run => false)');
add_session('risk', $soon);
add_order('risk', 'completed', q{'permanent/photos/r.jpg', NULL});
add_session('held', $soon);
sql($node, q{SELECT vf_hold('held', NULL, 'dispute')});
add_session('never', 'NULL', '1 hour');
sql($node, q{UPDATE sessions SET created_at = NULL WHERE session_token = 'never'});
sql($node, q{UPDATE orders SET pdf_s3_key = 'temp_pdfs/1.pdf' WHERE status = 'pending'});
$out = apply('dry_run => false');
like($out, qr/would delete 6 objects that are still referenced.*accept_loss => 6/s,
	'P3: what is at risk, held, never due or in an order is');
like($out, qr/audio_s3_key: 1 \(held\).*\(paid, and no permanent copy\)/, 'and why');
is(document(), undef, 'nothing was written');
is( sql($node, q{SELECT string_agg(key, ' ' ORDER BY key) FROM vf_find_lifecycle_losses()}),
	'temp_audio/held.mp3 temp_audio/never.mp3 temp_audio/risk.mp3'
	  . ' temp_pdfs/1.pdf temp_photos/held.jpg temp_photos/never.jpg', 'they can be looked at');
like(apply(q{dry_run => false, accept_loss => 5}), qr/accept_loss => 6/,
	'P3: not by another number');
like(apply(''), qr/WARNING.*accept_loss => 6.*temp\|add|temp\|add.*WARNING.*accept_loss => 6/s,
	'a dry run warns');
like(apply('waveforms => true'), qr/accept_loss => 10/,
	'waveforms/ would take more: of them no order here has a copy');
like(apply(q{dry_run => false, accept_loss => 6}), qr/temp\|add/, 'by this number');
like(apply(q{dry_run => false}), qr/temp\|keep/, 'what is there is not asked about again');
call('SELECT * FROM vf_s3_lifecycle_remove(dry_run => false)');
like(call('SELECT * FROM vf_s3_lifecycle_restore(dry_run => false)'), qr/accept_loss => 6/,
	'P3: nor does putting back get round it');
is( sql($node, q{SET voiceframe.unpaid_after = '30d'; UPDATE sessions
		SET expires_at = NULL WHERE session_token = 'fresh';
		SELECT string_agg(key, ' ' ORDER BY key) FROM vf_find_lifecycle_losses()
		WHERE why LIKE 'the row%' AND key LIKE '%fresh%'}),
	'temp_audio/fresh.mp3 temp_photos/fresh.jpg',
	'P3: a session that lives for longer than its object is');

sql($node, q{CREATE TABLE albums (covers text[]);
	INSERT INTO albums VALUES ('{temp_photos/cover,permanent/x}');
	SELECT vf_add_reference('albums', 'covers')});
is( sql($node, q{SELECT table_name, column_name, key, why
		FROM vf_find_lifecycle_losses() WHERE table_name ~ 'albums'}),
	'public.albums|covers|temp_photos/cover|an added column references it',
	'P3: so is what an added column names');
sql($node, q{SELECT vf_drop_reference('albums', 'covers'); DROP TABLE albums});

# By the scan: what is gone cannot be lost, an old object goes sooner.
call('CALL vf_s3_scan()');
is(sql($node, 'SELECT count(*) FROM vf_find_lifecycle_losses()'), 0,
	'what the scan did not find is not lost');
$peer->post('/put', { bucket => 'voiceframe', body => 'x', keys =>
	  [ 'temp_audio/risk.mp3', 'temp_photos/pending.jpg', 'temp_photos/held.jpg' ] });
$peer->grow_old(86400 * 6.5);
call('CALL vf_s3_scan()');
is( sql($node, q{SELECT string_agg(key || ' ' || why, ', ' ORDER BY key)
		FROM vf_find_lifecycle_losses()}),
	'temp_audio/risk.mp3 paid, and no permanent copy, temp_photos/held.jpg held, '
	  . 'temp_photos/pending.jpg the row stays longer than the object',
	'P3: an object is as old as the store says');
add_session('late', q{'infinity'});
like( sql($node, q{SELECT string_agg(key, ' ') FROM vf_find_lifecycle_losses()
		WHERE why LIKE 'the row%'}), qr/temp_photos\/pending.jpg/,
	'and rows written since the scan are judged by their own age');

# ---- what may not

sql($node, q{UPDATE vf_source SET system_identifier = system_identifier + 1});
like(call('SELECT * FROM vf_s3_lifecycle_remove(dry_run => false)'), qr/copy of another/,
	'P8: a copy removes nothing');
like(apply('dry_run => false, accept_loss => 2'), qr/vf_adopt/, 'P8: nor applies');
like(apply(''), qr/dry run/, 'it may look');
sql($node, q{UPDATE vf_source SET system_identifier = system_identifier - 1});
document(rules($others[1]));
like(call('SELECT * FROM vf_s3_lifecycle_restore(dry_run => false)'),
	qr/rules of others have changed/, 'what others wrote since is not undone by chance');
like(call('SELECT rule, action FROM vf_s3_lifecycle_restore(1, overwrite => true)'),
	qr/at a date\|remove/, 'but by intent');
like(call('SELECT * FROM vf_s3_lifecycle_restore(4711)'), qr/kept as number 4711/,
	'a number that there is not');
# ---- a real store, where a day lasts two seconds

my $ceph = start_ceph(LC_DAY => 2);
my $real = new_cluster('real_lifecycle', store => $ceph, preload => 0);
make_sample($real, n => 1);
sql($real, 'DELETE FROM orders; DELETE FROM sessions');
$ceph->mkbucket('voiceframe');
configure($real, $ceph);

# The document of the bucket; with a value, make it that.
sub held
{
	my ($document) = @_;
	return $ceph->bucket($document // '', 'lifecycle', 'voiceframe',
		defined $document ? '-' : ());
}

sub real
{
	return (VfTest::call($real, undef, $_[0]))[1];
}

held(rules('<Rule><ID>two tags</ID><Filter><And><Prefix>docs/</Prefix>'
	  . '<Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>c</Key><Value>d</Value></Tag>'
	  . '</And></Filter><Status>Enabled</Status><Expiration><Days>2</Days></Expiration>'
	  . '<NoncurrentVersionExpiration><NoncurrentDays>90</NoncurrentDays>'
	  . '</NoncurrentVersionExpiration></Rule>',
	'<Rule><ID>one tag</ID><Filter><And><Prefix>docs/</Prefix>'
	  . '<Tag><Key>a</Key><Value>b</Value></Tag></And></Filter><Status>Enabled</Status>'
	  . '<Expiration><Date>2045-01-01T00:00:00.000Z</Date></Expiration></Rule>',
	'<Rule><ID>theirs</ID><Filter><Prefix>theirs/gone</Prefix></Filter><Status>Enabled</Status>'
	  . '<Expiration><Days>8</Days></Expiration></Rule>',
	'<Rule><ID>whole</ID><Filter><Prefix></Prefix></Filter><Status>Enabled</Status>'
	  . '<AbortIncompleteMultipartUpload><DaysAfterInitiation>4</DaysAfterInitiation>'
	  . '</AbortIncompleteMultipartUpload></Rule>'));
$before = held();
$ceph->put('voiceframe', qw(temp_photos/a.jpg temp_audio/a.mp3 temporary/a
	permanent/photos/a.jpg waveforms/a.png docs/a theirs/a theirs/gone));
like(real(q{SELECT rule, action FROM vf_s3_lifecycle_apply('GLACIER_IR', false)}),
	qr/two tags\|foreign.*temp\|add.*permanent\|add/s, 'Ceph takes our rules');
is(foreign(held()), foreign($before),
	'Ceph: rules of others stay, those too that it writes otherwise than it reads');
is( sql($real, q{SELECT string_agg(DISTINCT state, ' ') FROM vf_s3_lifecycle_status()
		WHERE rule LIKE 'voiceframe%'}),
	'in place', 'Ceph: ours are in place');

# The foreign rule acts a day later than ours: when it has, ours have.
wait_for(sub { !grep { $_ eq 'theirs/gone' } $ceph->keys('voiceframe') },
	'the rules to act', 180);
wait_for(sub { !grep { /^temp_/ } $ceph->keys('voiceframe') },
	'our rule to act', 180);
is(join(' ', $ceph->keys('voiceframe')),
	'docs/a permanent/photos/a.jpg temporary/a theirs/a waveforms/a.png',
	'Ceph: what is under temp_ goes, all else stays');
real('SELECT * FROM vf_s3_lifecycle_restore(dry_run => false)');
is(canonical(held()), canonical($before), 'Ceph: put back it is canonically equal');

# Versions, and a bucket that had no document.
$ceph->mkbucket('versions');
$ceph->bucket('', 'versioning', 'versions', 'on');
configure($real, $ceph, bucket => 'versions');
$out = real(q{SELECT rule, action FROM vf_s3_lifecycle_apply('none', false,
	infrequent_class => 'none', delete_markers => true, unfinished_uploads => true)});
like($out, qr/temp\|add.*delete-markers\|add.*uploads\|add/s, 'Ceph: versions');
is( sql($real, q{SELECT string_agg(DISTINCT state, ' ') FROM vf_s3_lifecycle_status()}),
	'in place', 'Ceph: rules for the whole bucket are in place too');
$ceph->put('versions', 'temp_photos/v.jpg', 'permanent/v.jpg');
$ceph->bucket('', 'rm', 'versions', 'temp_photos/v.jpg', 'permanent/v.jpg');
wait_for(sub { $ceph->bucket('', 'versions', 'versions', 'temp_photos/v.jpg') eq '' },
	'versions and markers to go', 180);
my @left = split(/\n/, $ceph->bucket('', 'versions', 'versions', 'permanent/v.jpg'));
is(scalar @left, 2, 'Ceph: noncurrent versions go under temp_ alone, then their marker');
like(real('SELECT * FROM vf_s3_lifecycle_restore(dry_run => false)'), qr/temp\|remove/,
	'Ceph: put back');
is($ceph->bucket('', 'lifecycle', 'versions'), '', 'Ceph: there is none, as before');
is(join(' ', $ceph->keys('voiceframe')),
	'docs/a permanent/photos/a.jpg temporary/a theirs/a waveforms/a.png',
	'and the other bucket is as it was');

done_testing();
