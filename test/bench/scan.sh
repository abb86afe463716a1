# scan.sh: how fast a bucket is listed into the database, from a store that
# costs little (peer.c); "peer" is its share, in CPU time.
#
# The first scan writes every object, in one range of keys, since nothing is
# known yet; the next ones part the keys evenly, compare, and write what has
# changed.  The baseline is what PostgreSQL takes to write such a table.

peer_cpu() { awk '{ printf "%.2f", ($14 + $15) / 100 }' "/proc/$peer/stat"; }

# scan_line WHAT STATEMENT
scan_line() {
	local before got
	before=$(peer_cpu)
	got=$(measure "$2")
	echo "$got" | awk -F'|' -v what="$1" -v n="$objects" -v before="$before" \
		-v after="$(peer_cpu)" -v base="${scan_base:-0}" '{
		printf "%-34s %9d %7.2f %9.0f %7.2f %7.2f %8.1f %8.1f   x%.2f\n", what, n,
			$1, n / $1, $2, after - before, $3 / 1e6, $4 / 1024,
			(base == 0 ? 1 : $1 / base) }'
	[ -n "${scan_base:-}" ] || scan_base=${got%%|*}
}

bench_scan() {
	local scan_base= objects=$sessions
	start_peer "$objects"
	[ "$(value postgres "SELECT count(*) FROM pg_database
		WHERE datname = 'bare'")" = 1 ] || prepare bare 1000 87
	fresh bare
	# The lease is taken beforehand: that waits, whatever the objects.
	on run -c 'SET client_min_messages = warning' -c 'CALL vf_s3_scan()' \
		-c 'TRUNCATE vf_object' -c CHECKPOINT
	echo
	echo "Scan: $objects objects"
	echo
	printf '%-34s %9s %7s %9s %7s %7s %8s %8s   %s\n' scan objects 'time s' \
		objects/s 'CPU s' 'peer s' 'WAL MB' 'peak MB' time
	scan_line 'INSERT of such a table' "INSERT INTO vf_object SELECT 0,
		format('temp_photos/%s.jpg', to_char(i, 'FM00000000')), 1000 + i % 1000,
		format('\"%s\"', lpad(to_hex(i), 32, '0')), 'STANDARD', '2026-01-02', 0
		FROM generate_series(0, $objects - 1) i"
	on run -c 'TRUNCATE vf_object' -c CHECKPOINT
	scan_line 'the first' 'CALL vf_s3_scan()'
	on run -c 'VACUUM ANALYZE' -c CHECKPOINT
	scan_line 'nothing has changed' 'CALL vf_s3_scan()'
	on run -c "UPDATE vf_object SET etag = 'x'
		WHERE key LIKE '%7.jpg'" -c 'VACUUM ANALYZE' -c CHECKPOINT
	scan_line 'one in ten has changed' 'CALL vf_s3_scan()'
	kill "$peer"
	peer=
}
