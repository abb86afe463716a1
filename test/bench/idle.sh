# idle.sh: what a run costs that finds nothing due, with few and with many
# paid sessions kept.  Its cost must not grow with success.
#
# The baseline is the same call with the small data set.  Buffers are those
# that one call touches, by pg_stat_statements.

# idle_line KEPT WHAT STATEMENT CALLS
idle_line() {
	local ms buffers
	value run 'SELECT pg_stat_statements_reset()' >/dev/null
	ms=$({
		echo '\timing on'
		for n in $(seq "$4"); do echo "$3;"; done
	} | on run -f - 2>>"$work/said" |
		sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' | sort -n |
		awk '{ t[NR] = $1 } END { print t[int((NR + 1) / 2)] }')
	buffers=$(value run "SELECT
		round((sum(shared_blks_hit) + sum(shared_blks_read)) / sum(calls))
		FROM pg_stat_statements WHERE query LIKE 'CALL vf_purge%'")
	printf '%-10s %-24s %5d %12.2f %12d\n' "$1" "$2" "$4" "$ms" "$buffers"
}

bench_idle() {
	local kept
	echo
	echo "A run with nothing due: median of the calls"
	echo
	printf '%-10s %-24s %5s %12s %12s\n' 'kept paid' call calls ms buffers
	for kept in $((sessions / 100)) "$sessions"; do
		prepare "idle$kept" "$kept" 0
		fresh "idle$kept"
		# The first looks at everything, and remembers how far it looked.
		on run -c 'CALL vf_purge()' 2>>"$work/said"
		idle_line "$kept" 'full_sweep => false' \
			'CALL vf_purge(full_sweep => false)' 50
		idle_line "$kept" 'full sweep' 'CALL vf_purge()' 3
		on postgres -c "DROP DATABASE idle$kept"
	done
}
