# drain.sh: how fast queued keys leave, against a store that costs nothing.
#
# The store (peer.c) says "Deleted" to every key and does nothing else, so what
# is measured is ours: claim, reference check, signing, sending, reading the
# answer, accounting for every key, settling, and two commits for each wave.
#
# The keys are queued by a real purge.  The baseline has empty tables: nothing
# to look at when a key's references are checked.  The other runs have the
# sessions and orders that the purge kept, without and with an index on each of
# the key columns.

# drain_line WHAT: drains up to a million keys, prints a line; "CPU ms/k" is the
# CPU time of our backend for a thousand keys, one request
drain_line() {
	local keys got
	keys=$(value run 'SELECT least(sum(nkeys), 1000000) FROM vf_outbox')
	got=$(measure "CALL vf_drain($keys)")
	echo "$got" | awk -F'|' -v what="$1" -v base="${drain_base:-0}" \
		-v keys="$(value run "SELECT sum(keys_confirmed) FROM vf_run
			WHERE kind = 'drain'")" '{
		rate = keys / $1
		printf "%-34s %9d %7.2f %9.0f %9.2f %8.1f %8.1f   x%.2f\n", what, keys,
			$1, rate, $2 * 1000 / (keys / 1000), $3 / 1e6, $4 / 1024,
			(base == 0 ? 1 : $1 / keys / base) }'
	[ -n "${drain_base:-}" ] || drain_base=$(echo "$got" |
		awk -F'|' -v keys="$keys" '{ print $1 / keys }')
}

# The state to drain from: purged, its keys queued.
drain_ready() {
	local due
	fresh purge
	due=$(value run "SELECT count(*) FROM sessions
		WHERE photo_shape = 'round'")
	on run -c "CALL vf_purge(confirm => $due)" 2>>"$work/said"
	[ -z "${1:-}" ] || on run -c "$1"
	on run -c 'VACUUM ANALYZE' -c CHECKPOINT
}

index_keys() {
	value run "SELECT format('CREATE INDEX ON %s (%I)', attrelid::regclass,
			attname) FROM pg_attribute
		WHERE attrelid IN ('sessions'::regclass, 'orders'::regclass)
		AND attname LIKE '%s3_key'" >"$work/indexes.sql"
	on run -f <(sed 's/$/;/' "$work/indexes.sql") -c 'VACUUM ANALYZE' \
		-c CHECKPOINT
}

bench_drain() {
	local drain_base=
	start_peer
	[ "$(value postgres "SELECT count(*) FROM pg_database
		WHERE datname = 'purge'")" = 1 ] || prepare purge "$sessions" 87
	echo
	echo "Drain: up to 1,000,000 keys"
	echo
	printf '%-34s %9s %7s %9s %9s %8s %8s   %s\n' 'tables' keys 'time s' \
		keys/s 'CPU ms/k' 'WAL MB' 'peak MB' time
	drain_ready 'TRUNCATE sessions, orders'
	drain_line 'empty'
	drain_ready
	drain_line 'kept sessions, no index on keys'
	drain_ready
	index_keys
	drain_line 'kept sessions, indexes on keys'
	kill "$peer"
	peer=
}
