# parts.sh: where the time of a purge goes.
#
# pg_stat_statements is told to look at the statements inside a CALL too; what
# it adds up by the kind of statement is one table.  "C, parsing, commits" is
# what is left of the whole: copying and packing keys, parse analysis, the
# commits themselves and their WAL.

bench_parts() {
	local due
	[ "$(value postgres "SELECT count(*) FROM pg_database
		WHERE datname = 'purge'")" = 1 ] || prepare purge "$sessions" 87
	due=$(value purge "SELECT count(*) FROM sessions
		WHERE photo_shape = 'round'")
	fresh purge
	value run 'SELECT pg_stat_statements_reset()' >/dev/null
	on run -c "SET pg_stat_statements.track = 'all'" \
		-c "CALL vf_purge(confirm => $due)" 2>>"$work/said"
	echo
	echo "Where the time of CALL vf_purge() goes: $due of $sessions sessions"
	echo
	on run -P pager=off -P footer=off -f "$top/test/bench/parts.sql"
}
