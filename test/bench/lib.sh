# lib.sh: what the benchmarks share; sourced by run.sh.
#
# One private cluster, one prepared database for each data set, and a copy of
# it for each measurement: the same pages in the same order every time, all
# visible, frozen hint bits and all.  A measurement begins right after VACUUM
# ANALYZE and CHECKPOINT, so the WAL has the full-page images that a first
# touch costs.  Autovacuum is off, the worker too: nobody else writes.
#
# Durability is on, unlike in tests: a purge that commits often should pay for
# it here as it does in a shop.

bench_conf="fsync = on
synchronous_commit = on
autovacuum = off
shared_buffers = ${SHARED_BUFFERS:-1GB}
max_wal_size = 16GB
checkpoint_timeout = 1h
shared_preload_libraries = 'voiceframe_retention, pg_stat_statements'
pg_stat_statements.track_planning = on
voiceframe.databases = 'no_such_database'
log_min_messages = warning"

on() {
	local database=$1
	shift
	pg_psql "$work/pg" -q -d "$database" "$@"
}

value() { on "$1" -Atc "$2"; }

# prepare NAME SESSIONS DUE: the database that copies are made of
prepare() {
	on postgres -c "CREATE DATABASE $1"
	on "$1" -v indexes=1 -f "$top/test/demo/voiceframe.sql"
	on "$1" -v n="$2" -v due="$3" -f "$top/test/bench/data.sql"
}

# fresh NAME: database run, a copy of it, with the extension at work
fresh() {
	on postgres -c 'SET client_min_messages = warning' \
		-c 'DROP DATABASE IF EXISTS run' \
		-c "CREATE DATABASE run TEMPLATE $1 STRATEGY file_copy"
	on run -c 'SET client_min_messages = error' \
		-c 'CREATE EXTENSION voiceframe_retention' \
		-c 'CREATE EXTENSION pg_stat_statements' >/dev/null
	on run -o /dev/null -c 'SELECT vf_configure()' -c "SELECT vf_configure_bucket('bench',
		region => 'us-east-1', endpoint => '${endpoint:-http://127.0.0.1:9}',
		path_style => 'path', probe => false)"
	on run -c 'VACUUM ANALYZE' -c 'CHECKPOINT'
}

# measure STATEMENT [PSQL ARGUMENT]...: runs it in a session of its own, prints
# "seconds cpu-seconds WAL-bytes private-peak-kB".  The peak is the backend's
# VmHWM without what it shares with others in the end (buffers, binaries).
measure() {
	local statement=$1
	shift
	on run -At "$@" -f - <<-PSQL 2>>"$work/said"
		SELECT pg_backend_pid() AS pid \\gset
		\\setenv BACKEND :pid
		\\set cpu \`cut -d' ' -f14,15 /proc/\$BACKEND/stat\`
		SELECT pg_current_wal_insert_lsn() AS lsn, clock_timestamp() AS t \\gset
		\\o /dev/null
		$statement;
		\\o
		SELECT round(extract(epoch FROM clock_timestamp() - :'t'), 3) AS s,
			pg_wal_lsn_diff(pg_current_wal_insert_lsn(), :'lsn') AS wal \\gset
		\\set after \`cut -d' ' -f14,15 /proc/\$BACKEND/stat\`
		\\set peak \`awk '/^VmHWM/ { p = \$2 } /^Rss(Shmem|File)/ { p -= \$2 } END { print p }' /proc/\$BACKEND/status\`
		SELECT :s, round(((SELECT sum(a::int) FROM unnest(string_to_array(:'after', ' ')) a)
			- (SELECT sum(a::int) FROM unnest(string_to_array(:'cpu', ' ')) a)) / 100.0, 2),
			:wal, :'peak';
	PSQL
}

# start_peer [OBJECTS]: the store that costs nothing, listing so many objects;
# sets peer and endpoint
start_peer() {
	gcc -O2 -Wall -o "$work/peer" "$top/test/bench/peer.c"
	: >"$work/peer.port"
	"$work/peer" "${1:-0}" >"$work/peer.port" &
	peer=$!
	for _ in $(seq 100); do
		[ ! -s "$work/peer.port" ] || break
		sleep 0.05		# a pause between two looks at the file
	done
	endpoint=http://127.0.0.1:$(cat "$work/peer.port")
}
