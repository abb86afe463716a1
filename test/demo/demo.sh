#!/bin/bash
# demo.sh: the whole way, from a due session to a deleted object, with real
# parts: PostgreSQL 15 and an S3 server (Ceph), both private to this run and
# gone after it.  For root on Debian 12; `make demo` calls it.
#
# It installs what is missing from Debian's packages (a minute or two at the
# first call), builds and installs the extension, fills a VoiceFrame database
# and its bucket, does what a user would do, and then checks with means of its
# own that exactly the right rows and objects are left.  Exit code 0 is PASS.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
demo=$top/test/demo
. "$top/test/setup.sh"

SESSIONS=${SESSIONS:-1000}
export S3_KEY=vfowner S3_SECRET=vfownersecret S3_REGION=us-east-1

say() { printf '\n=== %s\n' "$*"; }

bucket() { /usr/bin/python3 "$top/test/s3/bucket.py" "$@"; }

# A statement as a user types it, and what it prints.
ask() {
	printf '\nvoiceframe=# %s\n' "$1"
	pg_psql "$work/pg" -d voiceframe -P pager=off -P columns=98 \
		-P format=wrapped -P expanded=auto -c "$1"
}

value() { pg_psql "$work/pg" -d voiceframe -Atc "$1"; }

finish() {
	code=$?
	trap - EXIT
	if [ $code != 0 ] && [ -s "$work/pg/log" ]; then
		say "The end of the server's log"
		tail -n 25 "$work/pg/log" | cut -c1-300
	fi
	if [ -d "$work/pg/data" ]; then pg_stop "$work/pg" || true; fi
	if [ -d "$work/ceph" ]; then
		bash "$top/test/s3/ceph.sh" stop "$work/ceph"
	fi
	if [ -n "${uninstall:-}" ]; then
		make -s -C "$work/src" with_llvm=no PG_CONFIG="$PG_CONFIG" \
			uninstall >/dev/null 2>&1 || true
	fi
	rm -rf "$work"
	exit $code
}

# From a copy: objects of another compiler or user in the tree cannot matter,
# and the tree stays as it was.
build() {
	mkdir "$work/src"
	cp -r "$top/src" "$top/sql" "$top/Makefile" \
		"$top/voiceframe_retention.control" "$work/src"
	find "$work/src" \( -name '*.o' -o -name '*.bc' -o -name '*.so' \) -delete
	[ -e "$("$PG_CONFIG" --pkglibdir)/voiceframe_retention.so" ] ||
		uninstall=yes
	make -s -j2 -C "$work/src" with_llvm=no PG_CONFIG="$PG_CONFIG" \
		all install >"$work/make.log" 2>&1 || {
		tail -n 40 "$work/make.log"
		return 1
	}
}

write_credentials() {
	install -o postgres -g postgres -m 600 /dev/null "$work/credentials"
	cat >"$work/credentials" <<-CREDENTIALS
		[default]
		aws_access_key_id = $S3_KEY
		aws_secret_access_key = $S3_SECRET
	CREDENTIALS
}

start_postgres() {
	pg_new "$work/pg" \
		"shared_preload_libraries = 'voiceframe_retention'" \
		"voiceframe.s3_credentials_file = '$work/credentials'" \
		"voiceframe.scan_interval = 0"
	pg_start "$work/pg"
	pg_psql "$work/pg" -qc 'CREATE DATABASE voiceframe'
}

fill() {
	pg_psql "$work/pg" -q -d voiceframe -v indexes=1 \
		-f "$demo/voiceframe.sql"
	pg_psql "$work/pg" -q -d voiceframe -v n="$SESSIONS" -f "$demo/data.sql"
	pg_psql "$work/pg" -d voiceframe -Atf "$demo/live_keys.sql" >"$work/keys"
	pg_psql "$work/pg" -d voiceframe -Atf "$demo/kept.sql" >"$work/kept"
	bucket mkbucket voiceframe
	bucket put-many voiceframe <"$work/keys" >/dev/null
	echo "$SESSIONS sessions with $(grep -cE \
		'^(temp_photos|temp_audio|waveforms)/' "$work/keys") objects, and" \
		"$(grep -cE '^(permanent|pdfs)' "$work/keys") permanent ones."
	echo "By the rules $((SESSIONS - $(wc -l <"$work/kept"))) sessions are" \
		"due and $(wc -l <"$work/kept") stay."
}

# A brake is meant to be answered by a person who has read the number.
purge() {
	local number
	if ask 'SELECT * FROM vf_purge_now();' 2>"$work/refusal"; then
		cat "$work/refusal"
		return
	fi
	cat "$work/refusal"
	number=$(grep -oE 'confirm => [0-9]+' "$work/refusal" |
		grep -oE '[0-9]+' | head -n 1)
	[ -n "$number" ] || return 1
	ask "SELECT * FROM vf_purge_now(confirm => $number);"
}

# drain CONDITION: until no such row is in the outbox
drain() {
	local n
	for n in $(seq 600); do
		[ "$(value "SELECT count(*) FROM vf_outbox WHERE $1")" != 0 ] ||
			return 0
		# A pause between two looks; the condition is the empty outbox.
		sleep 0.2
	done
	ask 'SELECT * FROM vf_outbox_stats;'
	ask 'SELECT * FROM vf_alerts;'
	echo "The outbox has not got rid of them after two minutes."
	return 1
}

# same WHAT FILE1 FILE2
same() {
	LC_ALL=C sort "$2" >"$work/a"
	LC_ALL=C sort "$3" >"$work/b"
	if cmp -s "$work/a" "$work/b"; then
		echo "ok      $1 ($(wc -l <"$work/a"))"
	else
		echo "NOT OK  $1; expected (<) and found (>) differ:"
		diff "$work/a" "$work/b" | head -n 10
		verdict=FAIL
	fi
}

verify() {
	verdict=PASS
	value 'SELECT session_token FROM sessions' >"$work/left"
	same 'the sessions left are those the rules keep' "$work/kept" \
		"$work/left"
	pg_psql "$work/pg" -d voiceframe -Atf "$demo/live_keys.sql" \
		>"$work/live"
	# The extension may keep a marker of its own in the bucket.
	bucket ls voiceframe | grep -v '^\.voiceframe_retention/' \
		>"$work/found"
	value "SELECT key FROM vf_outbox_keys WHERE state = 'waiting'" \
		>>"$work/live"
	same 'the objects left are those that live rows name, and temporary ones
        that stay an hour after their copy' "$work/live" "$work/found"
	value "SELECT key FROM vf_object WHERE key NOT LIKE '.voiceframe%'" \
		>"$work/scanned"
	same 'the scan has found every object' "$work/found" "$work/scanned"
	value 'SELECT * FROM vf_dead_letters' >"$work/dead"
	same 'no key was given up' /dev/null "$work/dead"
	printf '\n%s\n' "$verdict"
	[ $verdict = PASS ]
}

[ "$(id -u)" = 0 ] || { echo "demo.sh: needs root" >&2; exit 2; }
work=$(mktemp -d /tmp/vf-demo.XXXXXX)
trap finish EXIT
trap 'exit 130' INT TERM
chmod 755 "$work"

say "Installing what is missing (Debian packages)"
setup demo
. "$top/test/lib/pg.sh"
say "Building and installing voiceframe_retention for $(
	"$PG_CONFIG" --version)"
build
say "Starting a private S3 server (Ceph) and a private PostgreSQL"
S3_ENDPOINT=$(bash "$top/test/s3/ceph.sh" start "$work/ceph")
export S3_ENDPOINT
write_credentials
start_postgres
echo "S3 at $S3_ENDPOINT, credentials in a file that only the server reads:"
ls -l "$work/credentials" | cut -c1-98
say "Filling the database and the bucket as VoiceFrame does"
fill

say "1. Register: the extension finds the application's tables by itself"
ask 'CREATE EXTENSION voiceframe_retention;'
ask 'SELECT * FROM vf_configure();'
ask "SELECT * FROM vf_configure_bucket(bucket => 'voiceframe',
		region => '$S3_REGION', endpoint => '$S3_ENDPOINT',
		path_style => 'path');"
ask 'SELECT * FROM vf_s3_check();'

say "2. Look first: nothing is deleted"
ask 'SELECT * FROM vf_session_counts;'
ask 'SELECT * FROM vf_storage_by_type;'
ask 'SELECT * FROM vf_purge_preview();'

say "3. Purge: rows go, and the intent to delete their objects commits with" \
	"them"
purge

say "4. The worker, woken by that commit, deletes the objects"
if [ "$(value 'SELECT count(*) FROM vf_workers')" = 0 ]; then
	ask 'CALL vf_drain();'
fi
drain true
ask 'SELECT * FROM vf_session_counts;'
ask 'SELECT * FROM vf_storage_by_type;'
ask 'SELECT * FROM vf_outbox_stats;'
ask 'SELECT * FROM vf_runs;'
ask 'SELECT * FROM vf_alerts;'

say "5. The whole bucket: what it holds, what is missing, what is at risk" \
	"(the worker scans once a day; here by hand)"
ask 'CALL vf_s3_scan();'
ask 'SELECT prefix, kind, storage_class, objects, bytes FROM vf_s3_usage;'
ask 'SELECT count(*) AS missing FROM vf_s3_missing;'
ask 'SELECT column_name, status, count(*) AS at_risk, min(deadline) AS first
		FROM vf_at_risk GROUP BY 1, 2 ORDER BY 1, 2;'

say "6. Paid files that the application never copied: a copy for the order," \
	"before a lifecycle rule takes the only one"
ask 'SELECT column_name, result, count(*) FROM vf_promote()
		GROUP BY 1, 2 ORDER BY 1, 2;'
if [ "$(value 'SELECT count(*) FROM vf_workers')" = 0 ]; then
	ask 'CALL vf_drain();'
fi
drain "kind = 'copy'"
ask 'SELECT count(*) AS at_risk FROM vf_at_risk WHERE found;'
ask 'SELECT state, left(last_error, 70) AS message, count(*)
		FROM vf_outbox_keys GROUP BY 1, 2 ORDER BY 1, 2;'

say "7. Lifecycle rules as code (a dry run), and who else may name objects"
ask "SELECT rule, action, prefix
		FROM vf_s3_lifecycle_apply(archive_class => 'GLACIER_IR');"
ask "SELECT * FROM vf_references WHERE state <> 'registered';"
ask 'CALL vf_s3_scan();'

say "8. Check, without the extension's help"
verify
