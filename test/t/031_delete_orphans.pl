# 031_delete_orphans.pl: orphans leave through the outbox, each only if it is
# still what the scans saw when its turn comes (P3), and only where somebody
# has said of every column that may name objects whether it does.

use strict;
use warnings;

use Test::More;
use VfTest;

my $peer = start_peer('--bucket', 'voiceframe');
my $node = new_cluster('delete_orphans', store => $peer, preload => 0);
make_sample($node, n => 1);
sql($node, 'DELETE FROM orders; DELETE FROM sessions; TRUNCATE file_audit_logs');
configure($node, $peer);

sub scan
{
	my ($on) = @_;
	my ($ret, $said) = VfTest::call($on // $node, undef, 'CALL vf_s3_scan()');
	die $said if $ret;
	return;
}

# As if so many days had passed, here and at the store.
sub later
{
	my ($days) = @_;
	$peer->grow_old($days * 86400);
	sql($node, qq{
		UPDATE vf_scan SET started_at = started_at - interval '$days days',
			ended_at = ended_at - interval '$days days',
			store_time = store_time - interval '$days days';
		UPDATE vf_object SET modified = modified - interval '$days days'});
	return;
}

sub put
{
	my ($body, @keys) = @_;
	return $peer->post('/put',
		{ bucket => 'voiceframe', keys => \@keys, body => $body });
}

sub row
{
	my ($token, $key) = @_;
	return sql($node, qq{INSERT INTO sessions (id, session_token, photo_s3_key,
		created_at, expires_at) VALUES (md5('$token')::uuid, '$token', '$key',
		now() AT TIME ZONE 'UTC', 'infinity')});
}

# Objects that two scans will have seen, ten days old.
sub left_behind
{
	put('x', @_);
	later(10);
	scan();
	later(2);
	scan();
	return;
}

sub ask
{
	my ($statement) = @_;
	return (VfTest::call($node, undef, $statement))[1];
}

my $go = 'SELECT * FROM vf_s3_delete_orphans(dry_run => false)';

sub bucket
{
	return join ' ', grep { !m{^\.voiceframe} } sort split /\n/,
	  $peer->ctl('ls', 'voiceframe');
}

# What became of keys that did not go.
sub fates
{
	return sql($node, q{SELECT coalesce(string_agg(format('%s %s %s',
		replace(key, 'temp_photos/', ''), state, last_error_code), '; '
		ORDER BY key), '') FROM vf_outbox_keys});
}

# ---- who may be one

like(ask($go), qr/orphans are not known yet.*two complete scans/s,
	'nothing before two scans a day apart');
row('kept', 'temp_photos/kept');
left_behind(map { "temp_photos/$_" } qw(kept lost added listed));
put('x', 'images2/1');
is( sql($node, q{SELECT string_agg(format('%s %s %s', table_name, column_name,
		state), '; ') FROM vf_references WHERE state <> 'registered'}),
	'public.file_audit_logs destination_path unknown; '
	  . 'public.file_audit_logs source_path unknown',
	'columns named like keys are shown');
my $said = ask($go);
like($said, qr/2 columns may reference objects.*file_audit_logs \(source_path\)/s,
	'P3: and keep everything');
like($said, qr/HINT.*vf_add_reference.*vf_waive_reference/s, 'with what to do');
sql($node, q{
	SELECT vf_waive_reference('file_audit_logs', column_name, 'a log of copies')
	FROM vf_references WHERE state = 'unknown';
	CREATE TABLE gallery (id int, image_path varchar(200), paths text[]);
	INSERT INTO gallery VALUES (1, 'temp_photos/added', '{temp_photos/listed,x}')});
like(ask($go), qr/gallery \(image_path\), public\.gallery \(paths\)/,
	'P3: a new one too');
is( sql($node, q{SELECT vf_add_reference('gallery', 'image_path'),
		vf_add_reference('gallery', 'paths')}),
	'1|2', 'added: a key, and a list of keys');
is( sql($node, q{SELECT string_agg(key, ' ') FROM vf_s3_orphans}),
	'temp_photos/lost', 'P3: what they name is no orphan');
is( sql($node, 'SELECT * FROM vf_s3_delete_orphans()'),
	'temp_photos/|1|1|0', 'a dry run unless told otherwise');
is(sql($node, 'SELECT count(*) FROM vf_outbox'), 0, 'which queues nothing');
like(ask('SELECT * FROM vf_s3_delete_orphans()'), qr/dry run: 1 orphans/,
	'and says so');
is(sql($node, $go), 'temp_photos/|1|1|1', 'told otherwise');
is( sql($node, q{SELECT kind, outcome, keys_queued FROM vf_run
		ORDER BY id DESC LIMIT 1}),
	'orphans|ok|1', 'P10: on record');
is(sql($node, $go), '', 'what is queued is none any more');
drain($node);
is(bucket(), 'images2/1 temp_photos/added temp_photos/kept temp_photos/listed',
	'it is gone, and nothing else');
is(fates(), '', 'P4: and accounted for');

# ---- columns that are no longer what they were

sql($node, 'ALTER TABLE gallery RENAME TO pictures');
is( sql($node, q{SELECT count(*) FROM vf_references
		WHERE table_name = 'public.pictures' AND state = 'added'}),
	2, 'a rename is followed');
queue($node, 'temp_photos/due');
sql($node, 'CREATE TABLE gallery (id int)');
like(ask('CALL vf_drain()'), qr/image_path.*belongs to another relation/s,
	'P3: a swap stops all that deletes');
is( sql($node, q{SELECT firing, value LIKE '%cannot be read for references%'
		FROM vf_alerts WHERE alert = 'registration'}),
	't|t', 'with an alert');
sql($node, 'DROP TABLE gallery; ALTER TABLE pictures RENAME TO gallery');
sql($node, 'DROP TABLE gallery');
like(ask('CALL vf_drain()'), qr/table no longer exists.*vf_drop_reference/s,
	'so does a table that is gone');
is( sql($node, q{SELECT string_agg(column_name || ' ' || state, ' ')
		FROM vf_references WHERE table_name = 'public.gallery'}),
	'image_path gone paths gone', 'the view says which');
is( sql($node, q{SELECT bool_and(vf_drop_reference(table_name, column_name))
		FROM vf_references WHERE state = 'gone'}),
	't', 'until somebody says that it is all right');
drain($node);
is( sql($node, q{SELECT vf_drop_reference('public.gallery', 'paths')}),
	'f', 'there is nothing left to drop');
$peer->post('/remove', { bucket => 'voiceframe',
	keys => [ map { "temp_photos/$_" } qw(added listed) ] });

like(ask(q{SELECT vf_add_reference('orders', 'pdf_s3_key')}),
	qr/reference already/, 'a registered column is one already');
foreach my $case (
	[ 'CREATE UNLOGGED TABLE odd (k_path text)', qr/unlogged/ ],
	[ 'CREATE TABLE odd (k_path int)', qr/Its type is integer/ ],
	[ 'CREATE TABLE odd (k_path text); ALTER TABLE odd OWNER TO pg_monitor',
		qr/not owned by/ ],
	[ 'CREATE TABLE odd (k_path text); ALTER TABLE odd FORCE ROW LEVEL SECURITY',
		qr/Row security/ ],
	[ q{CREATE TABLE odd (k_path text); INSERT INTO odd VALUES ('s3://b/k')},
		qr/1 of its 1 values are URLs/ ],
	[ 'CREATE TABLE odd (k_path text[]) PARTITION BY RANGE (k_path); CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE odd_1 PARTITION OF odd DEFAULT SERVER s',
		qr/foreign table/ ],
	[ 'CREATE VIEW odd AS SELECT 1::text AS k_path', qr/not a table/ ])
{
	my ($sql, $refusal) = @$case;
	sql($node, $sql);
	like(ask(q{SELECT vf_add_reference('odd', 'k_path')}), $refusal,
		"refused: $refusal");
	sql($node, ($sql =~ /VIEW/ ? 'DROP VIEW odd' : 'DROP TABLE odd'));
}
like(ask(q{SELECT vf_add_reference('vf_outbox', 'keys')}),
	qr/this extension's/, 'what is queued is no reference to itself');

# A list of keys, and a domain, are named like those that are registered.
sql($node, q{CREATE DOMAIN key AS text;
	ALTER TABLE sessions ADD extra_s3_key text[], ADD odd_s3_key key});
like(ask($go), qr/2 columns may.*sessions \(extra_s3_key\), public\.sessions \(odd_s3_key\)/s,
	'P3: a column of sessions too, where it is not registered');
is( sql($node, q{SELECT vf_add_reference('sessions', 'extra_s3_key'),
		vf_add_reference('sessions', 'odd_s3_key');
	SELECT count(*) FROM vf_references WHERE state = 'added'}),
	"0|0\n2", 'until it is added');
sql($node, q{SELECT vf_drop_reference('sessions', 'extra_s3_key'),
		vf_drop_reference('public.sessions', 'odd_s3_key');
	ALTER TABLE sessions DROP extra_s3_key, DROP odd_s3_key});

# However it is written.
sql($node, q{CREATE TABLE odd (filepath text, "s3Key" text, "imageURLs" text[],
	donkey_id text)});
is( sql($node, q{SELECT string_agg(column_name, ' ' ORDER BY column_name)
		FROM vf_references WHERE state = 'unknown'}),
	'filepath imageURLs s3Key', 'P3: one word or two, it is one of keys');
sql($node, 'DROP TABLE odd');

# A name without a schema may be that of two tables.
sql($node, q{CREATE SCHEMA a; CREATE SCHEMA b;
	CREATE TABLE a.shelf (thing text); CREATE TABLE b.shelf (thing text);
	SELECT vf_add_reference('a.shelf', 'thing'), vf_add_reference('b.shelf', 'thing')});
like(ask(q{SELECT vf_drop_reference('shelf', 'thing')}),
	qr/2 tables of that name.*a\.shelf and b\.shelf.*schema too/s,
	'P3: the other table keeps its objects');
is(sql($node, q{SELECT vf_drop_reference('b.shelf', 'thing'),
		vf_drop_reference('shelf', 'thing')}), 't|t', 'until it is named');
row('url', 'https://voiceframe.s3.amazonaws.com/temp_photos/kept');
like(ask($go), qr/1 of 2 references are no keys.*URLs/s,
	'P3: a reference that is a URL keeps everything');
sql($node, q{DELETE FROM sessions WHERE session_token = 'url'});

# ---- between the queue and the request

my @fates = qw(again back elsewhere gone old other rowed undone);
left_behind((map { "temp_photos/$_" } @fates, "odd \x01", 'a/../b'),
	'pdfs/preview_1.pdf', 'pdfs/1.pdf');
sql($node, 'CREATE TABLE elsewhere (id int, thing text)');
is(sql($node, $go), "pdfs/preview_|1|1|1\ntemp_photos/|10|10|10",
	'ten and a preview, by prefix');
put('x', 'temp_photos/again');
put('y', 'temp_photos/other');
row('rowed', 'temp_photos/rowed');
sql($node, q{INSERT INTO elsewhere VALUES (1, 'temp_photos/elsewhere');
	SELECT vf_add_reference('elsewhere', 'thing')});
$peer->post('/remove', { bucket => 'voiceframe', keys => ['temp_photos/gone'] });
row('undone', 'temp_photos/undone');
sql($node, q{UPDATE sessions SET expires_at = now() - interval '1 day'
	WHERE session_token = 'undone'});
sql($node, q{SET voiceframe.undo_window = '1d'; CALL vf_purge(confirm => 1)});
sql($node, q{DELETE FROM vf_outbox WHERE orphan_scan IS NULL});
drain($node);
is( fates(),
	'again cancelled OrphanChanged; elsewhere cancelled Referenced; '
	  . 'other cancelled OrphanChanged; rowed cancelled Referenced; '
	  . 'undone waiting UndoWindow',
	'P3: what is uploaded again, or named by now, stays');
is( bucket(),
	join(' ', 'images2/1', 'pdfs/1.pdf', map { "temp_photos/$_" }
		qw(again elsewhere kept other rowed undone)),
	'the others are gone, keys that XML cannot carry too');
sql($node, q{DELETE FROM vf_outbox; SELECT vf_undo_discard()});

# A scan that has seen another object since says so without a request.
left_behind('temp_photos/scanned');
sql($node, $go);
put('z', 'temp_photos/scanned');
scan();
drain($node);
is(fates() =~ /scanned (\w+ \w+)/ ? $1 : '', 'cancelled OrphanChanged',
	'P3: a scan since saw another object');
sql($node, 'DELETE FROM vf_outbox');

# After the look, before the delete: the condition is in the request.
foreach my $how ('honour', 'ignore', 'refuse')
{
	sql($node, q{DELETE FROM vf_outbox});
	left_behind('temp_photos/a', 'temp_photos/b', "temp_photos/c\x01");
	ask($go);
	$peer->ctl('set', qq({"conditions": "$how"}));
	$peer->faults({ name => 'hold', hold => \1,
		match => { verb => 'POST', query => 'delete' } });
	my $drain = held_drain($node);
	wait_for(sub { $peer->ctl('held') =~ /hold/ });
	is( sql($node, q{SELECT count(*) FROM pg_stat_activity
			WHERE query LIKE 'CALL vf_drain%' AND pid <> pg_backend_pid()
			AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)}),
		0, 'P5: nothing is held meanwhile');
	put('new', 'temp_photos/a');
	$peer->ctl('release');
	$drain->finish;
	$peer->ctl('clear');
	age($node);
	drain($node);
	my $kept = $how eq 'honour';
	is(fates(), $kept ? 'a cancelled OrphanChanged' : '',
		"conditions: $how: P3: the ETag decides where the store looks at it");
	is(scalar(bucket() =~ m{temp_photos/a}), $kept ? 1 : '', 'as it says');
	unlike(bucket(), qr{temp_photos/[bc]}, 'the others are gone');
	$peer->ctl('set', '{"conditions": "honour"}');
}

# A row and an undo row that come while the store is asked.
left_behind('temp_photos/late', 'temp_photos/later');
sql($node, $go);
$peer->faults({ name => 'hold', hold => \1, times => 0, match => { verb => 'HEAD' } });
my $asking = held_drain($node);
wait_for(sub { $peer->ctl('held') =~ /hold/ });
row('late', 'temp_photos/late');
row('later', 'temp_photos/later');
sql($node, q{UPDATE sessions SET expires_at = now() - interval '1 day'
	WHERE session_token = 'later'});
sql($node, q{SET voiceframe.undo_window = '1d'; CALL vf_purge(confirm => 1)});
sql($node, q{DELETE FROM vf_outbox WHERE orphan_scan IS NULL});
$peer->ctl('clear');
$peer->ctl('release');
$asking->finish;
like(fates(), qr/^late cancelled Referenced; later waiting/,
	'P3: what is named while the store is asked stays');
like(bucket(), qr{temp_photos/late temp_photos/later}, 'as it says');
sql($node, q{DELETE FROM vf_outbox; SELECT vf_undo_discard();
	DELETE FROM sessions WHERE session_token = 'late'});

# One that is put back while the references are read: the statement sees
# neither the row nor, once it is done, the undo row.
sql($node, q{DELETE FROM vf_outbox; CREATE TABLE album (things text[]);
	ALTER TABLE album ALTER things SET STORAGE EXTERNAL;
	INSERT INTO album SELECT array_agg(md5(i::text)) FROM generate_series(1, 1000) i;
	SELECT vf_add_reference('album', 'things')});
my $toast = sql($node, q{SELECT indexrelid::regclass FROM pg_index WHERE indrelid =
	(SELECT reltoastrelid FROM pg_class WHERE relname = 'album')});
left_behind('temp_photos/back again');
sql($node, $go);
$peer->faults({ name => 'hold', hold => \1, match => { verb => 'HEAD' } });
$asking = held_drain($node);
wait_for(sub { $peer->ctl('held') =~ /hold/ });
row('back again', 'temp_photos/back again');
sql($node, q{UPDATE sessions SET expires_at = now() - interval '1 day'
	WHERE session_token = 'back again'});
sql($node, q{SET voiceframe.undo_window = '1d'; CALL vf_purge(confirm => 1)});
my $holder = session($node);
$holder->ask('BEGIN; REINDEX INDEX ' . $toast);
$peer->ctl('clear');
$peer->ctl('release');
wait_for(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity
	WHERE wait_event_type = 'Lock' AND query LIKE 'CALL vf_drain%'}) });
is(sql($node, q{SELECT outcome FROM vf_undo_purge('back again')}), 'restored',
	'a row is put back while the references are read');
$holder->ask('ROLLBACK');
$holder->quit;
$asking->finish;
like(bucket(), qr{temp_photos/back again}, 'P3: its object stays');
sql($node, q{DELETE FROM vf_outbox; SELECT vf_undo_discard();
	DELETE FROM sessions WHERE session_token = 'back again';
	SELECT vf_drop_reference('album', 'things'); DROP TABLE album});

# A column that comes after the queue.
$peer->post('/remove',
	{ bucket => 'voiceframe', keys => ['temp_photos/back again'] });
left_behind('temp_photos/u1');
sql($node, $go);
sql($node, 'CREATE TABLE covers (id int, cover_path text)');
drain($node);
is(fates(), 'u1 waiting UnknownReference',
	'P3: a column that comes after the queue lets orphans wait');
sql($node, q{SELECT vf_add_reference('covers', 'cover_path')});
age($node);
drain($node);
is(fates(), '', 'until somebody has said what it is');
sql($node, 'DROP TABLE covers');
like(ask('SELECT * FROM vf_s3_orphans'), qr/may be shown as orphans.*is gone/s,
	'the list says that it may be wrong');
sql($node, q{SELECT vf_drop_reference('covers', 'cover_path')});

# ---- what fails

sql($node, 'DELETE FROM vf_outbox');
left_behind(map { "temp_photos/f$_" } 1 .. 5);
sql($node, $go);
$peer->faults({ status => 403, times => 0,
	match => { verb => 'HEAD', key => 'temp_photos/f3' } });
drain($node);
like(fates(), qr/^f3 waiting \w+$/, 'P6: one that may not be looked at waits');
is(sql($node, 'SELECT failures FROM vf_bucket'), 0,
	'P6: and says nothing of the bucket');
$peer->ctl('clear');
$peer->faults({ status => 503, code => 'SlowDown', times => 1,
	match => { verb => 'HEAD' } });
age($node);
drain($node);
is(sql($node, 'SELECT failures FROM vf_bucket'), 1, 'a busy store is waited for');
like(fates(), qr/^f3 waiting/, 'P4: its key too');
$peer->ctl('clear');
age($node);
drain($node);
is(fates(), '', 'and then it goes');

# A drain that dies between the look and the delete.
left_behind(map { "temp_photos/g$_" } 1 .. 3);
sql($node, $go);
$peer->faults({ name => 'hold', hold => \1, match => { verb => 'HEAD' } });
my $drain = held_drain($node);
wait_for(sub { $peer->ctl('held') =~ /hold/ });
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE query LIKE 'CALL vf_drain%' AND pid <> pg_backend_pid()});
$drain->finish;
$peer->ctl('release');
$peer->ctl('clear');
put('new', 'temp_photos/g2');
age($node);
drain($node);
is(fates(), 'g2 cancelled OrphanChanged', 'P3: the next looks again');

# ---- the brake

sql($node, 'DELETE FROM vf_outbox; DELETE FROM vf_run');
put('x', map { "temp_photos/n$_" } 1 .. 150);
left_behind('temp_photos/n0');
sql($node, q{CREATE ROLE keeper LOGIN;
	ALTER TABLE sessions OWNER TO keeper; ALTER TABLE orders OWNER TO keeper;
	ALTER TABLE elsewhere OWNER TO keeper;
	SELECT vf_drop_reference('elsewhere', 'thing');
	SELECT vf_waive_reference('file_audit_logs', 'source_path', 'a log')});
configure($node, $peer);
sql($node, q{SELECT vf_add_reference('elsewhere', 'thing')});

# Another owner reads what the one before could.
sql($node, q{CREATE ROLE heir LOGIN;
	ALTER TABLE sessions OWNER TO heir; ALTER TABLE orders OWNER TO heir;
	ALTER TABLE elsewhere OWNER TO heir});
foreach my $asked ('count(*) FROM vf_s3_orphans', 'count(*) FROM vf_at_risk',
	'count(*) FROM vf_find_lifecycle_losses()', 'count(*) FROM vf_promote()',
	'count(*) FROM vf_s3_delete_orphans()')
{
	unlike(ask("SELECT $asked"), qr/ERROR/, "another owner: $asked");
}
sql($node, q{ALTER TABLE sessions OWNER TO keeper;
	ALTER TABLE orders OWNER TO keeper; ALTER TABLE elsewhere OWNER TO keeper});
$said = ask("SET ROLE keeper; $go");
like($said, qr/brake.*more would go than 100, the limit by voiceframe\.orphan_brake_percent/s,
	'the brake counts all there are');
my ($n) = $said =~ /There are (\d+) orphans/;
like(ask("SET ROLE keeper; $go" =~ s/false/false, max_objects => 1/r), qr/brake/,
	'no cap gets round it');
like(ask("SET ROLE keeper; $go" =~ s/false/false, confirm => $n/r), qr/superuser/,
	'only a superuser confirms');
like(ask($go =~ s/false/false, confirm => 1/r), qr/1 were confirmed/,
	'the number has to fit');
like( sql($node, $go =~ s/false/false, max_objects => 50, confirm => $n/r),
	qr{^temp_photos/\|$n\|\d+\|50$}, 'confirmed, and capped');
like(ask("$go" =~ s/false/false, max_objects => 10/r), qr/with 50 queued in the last day/,
	'what went in the last day counts');
is( sql($node, q{SET voiceframe.orphan_brake_percent = 100; } . $go) =~ /\|(\d+)$/ ? $1 : '',
	$n - 50, 'the setting decides');
sql($node, q{DELETE FROM vf_outbox; DELETE FROM vf_run; DELETE FROM sessions;
	DELETE FROM elsewhere});
like(ask("SET voiceframe.orphan_brake_percent = 100; $go"),
	qr/brake: no row references any object/,
	'P3: tables that are empty stop it whatever the setting');
sql($node, q{SELECT vf_pause('looking')});
like(ask($go), qr/paused.*looking/s, 'so does a pause');
sql($node, 'SELECT vf_resume()');

# ---- versions stay under a marker

row('kept', 'temp_photos/kept');
$peer->ctl('set', '{"versioning": {"voiceframe": "Enabled"}}');
$peer->post('/remove', { bucket => 'voiceframe', keys => [ split / /, bucket() ] });
left_behind('temp_photos/v1', 'temp_photos/kept');
sql($node, q{ALTER DATABASE voiceframe SET voiceframe.s3_delete_versions = on});
is(sql($node, $go) =~ /\|(\d+)$/ ? $1 : '', 1, 'one in a versioned bucket');
drain($node);
unlike(bucket(), qr/v1/, 'it is gone');
is(scalar(split /\s+/, $peer->ctl('versions', 'voiceframe', 'temp_photos/v1')), 2,
	'P3: its version stays under a marker, whatever s3_delete_versions says');
is(fates(), '', 'P4: accounted for');

# ---- a real store

my $ceph = start_ceph();
$ceph->mkbucket('voiceframe');
my $real = new_cluster('ceph_orphans', store => $ceph, preload => 0);
make_sample($real, n => 30);
configure($real, $ceph);
sql($real, q{SELECT vf_waive_reference('file_audit_logs', column_name, 'a log')
	FROM vf_references WHERE state = 'unknown'});
my @live = VfTest::live_keys($real);
my @lost = ((map { "temp_photos/lost $_" } 1 .. 20), 'temp_photos/a+b%2F',
	"temp_photos/caf\xc3\xa9", 'temp_photos/a/../b');
$ceph->put('voiceframe', @live, @lost);
scan($real);
sql($real, q{UPDATE vf_scan SET started_at = started_at - interval '2 days'});
scan($real);
sql($real, q{UPDATE vf_scan SET store_time = store_time + interval '20 days'});
is( sql($real, 'SELECT count(*) FROM vf_s3_orphans'),
	scalar(@lost), 'Ceph: orphans are what nothing references');
is( sql($real, $go) =~ /\|(\d+)$/ ? $1 : '', scalar(@lost), 'Ceph: queued');
$ceph->put('voiceframe', 'temp_photos/lost 7');
sql($real, q{UPDATE vf_object SET modified = modified - interval '5 s'
	WHERE key = 'temp_photos/lost 7'});
drain($real);
is_deeply([ sort $ceph->keys('voiceframe') ],
	[ sort @live, 'temp_photos/lost 7' ],
	'Ceph: P3: gone but for the one that was uploaded again');
is( sql($real, q{SELECT key, last_error_code FROM vf_outbox_keys}),
	'temp_photos/lost 7|OrphanChanged', 'Ceph: P4: accounted for');

done_testing();
