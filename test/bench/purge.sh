# purge.sh: what a purge costs against a bare DELETE of the same rows.
#
# Four ways of deleting the same rows, in pairs (rounds) that take turns, each
# from the same state:
#
#	bare	DELETE by a mark on the row: the rows go, nothing is asked
#	checked	DELETE with the question whether an order paid, once
#	now		vf_purge_now(): one transaction
#	call	CALL vf_purge(): a commit for every batch
#
# The last two also queue the keys.  Ratios are those of each round, and the
# table shows their median, as of everything else.

bare="DELETE FROM sessions WHERE photo_shape = 'round'"
checked="DELETE FROM sessions s WHERE expires_at < now() AT TIME ZONE 'UTC'
	AND NOT EXISTS (SELECT FROM orders o
		WHERE o.session_token = s.session_token
		AND (o.status = ANY ('{pending,failed,canceled,cancelled}')
			AND o.permanent_photo_s3_key IS NULL) IS NOT TRUE)"

# purge_one ROUND WAY STATEMENT: a line for the table, and a check that the way
# did what the others do
purge_one() {
	local got left
	fresh purge
	got=$(measure "$3")
	left=$(value run 'SELECT count(*) FROM sessions')
	if [ "$left" != "$kept" ]; then
		echo "bench: $2 left $left sessions, $kept should stay" >&2
		return 1
	fi
	echo "$1 $2 $(echo "$got" | tr '|' ' ')" | tee -a "$work/purge.txt" >&2
}

bench_purge() {
	local round due way statement
	prepare purge "$sessions" 87
	due=$(value purge "SELECT count(*) FROM sessions
		WHERE photo_shape = 'round'")
	kept=$((sessions - due))
	: >"$work/purge.txt"
	for round in $(seq "$rounds"); do
		purge_one "$round" bare "$bare"
		purge_one "$round" checked "$checked"
		purge_one "$round" now "SELECT vf_purge_now(confirm => $due)"
		purge_one "$round" call "CALL vf_purge(confirm => $due)"
	done
	echo
	echo "Purge: $due of $sessions sessions due, three keys each, $rounds rounds"
	echo
	purge_table "$work/purge.txt"
}

# Medians by way, and of the ratios to the bare DELETE of the same round.
purge_table() {
	awk '
	function median(list,   a, n, i, j, t) {
		n = split(list, a, " ")
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && a[j - 1] + 0 > a[j] + 0; j--) {
				t = a[j]; a[j] = a[j - 1]; a[j - 1] = t
			}
		return n % 2 ? a[(n + 1) / 2] : (a[n / 2] + a[n / 2 + 1]) / 2
	}
	{
		if (!($2 in time)) order[++ways] = $2
		if ($2 == "bare") { bare = $3; bare_cpu = $4; bare_wal = $5 }
		time[$2] = time[$2] " " $3; cpu[$2] = cpu[$2] " " $4
		wal[$2] = wal[$2] " " $5; peak[$2] = peak[$2] " " $6
		x[$2] = x[$2] " " $3 / bare; x_cpu[$2] = x_cpu[$2] " " $4 / bare_cpu
		x_wal[$2] = x_wal[$2] " " $5 / bare_wal
	}
	END {
		printf "%-8s %9s %9s %9s %9s   %6s %6s %6s\n", "way", "time s",
			"CPU s", "WAL MB", "peak MB", "time", "CPU", "WAL"
		for (i = 1; i <= ways; i++) {
			w = order[i]
			printf "%-8s %9.2f %9.2f %9.1f %9.1f   x%5.2f x%5.2f x%5.2f\n",
				w, median(time[w]), median(cpu[w]),
				median(wal[w]) / 1e6, median(peak[w]) / 1024,
				median(x[w]), median(x_cpu[w]), median(x_wal[w])
		}
	}' "$1"
}
