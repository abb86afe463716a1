# lib.sh: what ../run.sh does otherwise where SANITIZE=asan or valgrind is set;
# to be sourced by it.  Uses its variables $top, $work and $copy.
#
#   watch_prepare    make the tool's programs; PG_CONFIG names them afterwards
#   $watch_copt      what the extension is compiled and linked with besides
#   watch_canary     faults made on purpose: each must be seen
#   watch_verdict    what was found in all servers so far
#
# The server's programs are copied into a folder of their own, where `postgres`
# is a script that starts the real one under the tool.  So whoever starts a
# server by PG_CONFIG, be it pg_ctl, a TAP test or the crash harness, gets one
# that is watched, and needs to know nothing of it.  The folder is not named
# bin, or the server would look for its libraries beside it.
#
# asan: the extension is built with -fsanitize, and libasan comes first in the
# server by LD_PRELOAD.  valgrind: every process runs in memcheck.  Both see
# the extension's chunks as blocks (palloc.c).  Signed overflow counts although
# PostgreSQL builds with -fwrapv: ours shall not need it.

watch=$work/watch
reports=$watch/reports
here=$top/test/sanitize

wraps=
for name in palloc palloc0 repalloc repalloc_huge MemoryContextAlloc \
	MemoryContextAllocZero MemoryContextAllocHuge MemoryContextStrdup \
	pstrdup pnstrdup psprintf; do
	wraps="$wraps -Wl,--wrap=$name"
done
watch_copt="-O1 -g -fno-omit-frame-pointer -U_FORTIFY_SOURCE"
case $SANITIZE in
asan)
	# The flags come last, so that PostgreSQL's own do not undo them.
	watch_copt="$watch_copt -fno-wrapv -fsanitize=address,undefined"
	watch_copt="$watch_copt,float-cast-overflow,bounds-strict"
	watch_copt="$watch_copt -fno-sanitize-recover=all"
	;;
valgrind)
	# Nothing that answers late is wrong: it is 20 to 50 times slower.
	export PGISOLATIONTIMEOUT=3600 PGCTLTIMEOUT=600
	export PG_TEST_TIMEOUT_DEFAULT=1800 PATIENCE=50
	part_seconds=7200
	;;
*) echo "SANITIZE is asan or valgrind" >&2; exit 2 ;;
esac
# PGXS names it twice; of an archive that does no harm.
watch_copt="$watch_copt $wraps -Wl,$watch/palloc.a"

# The command that stands before the real server.
watch_command() {
	local libasan libubsan
	if [ "$SANITIZE" = valgrind ]; then
		echo "exec valgrind --quiet --trace-children=yes --leak-check=no" \
			"--num-callers=40 --error-limit=no --error-markers=BEGIN,END" \
			"--fullpath-after= --log-file=$reports/valgrind.%p" \
			"--suppressions=$copy/test/sanitize/valgrind.supp" \
			"--sim-hints=lax-ioctls"
		return
	fi
	libasan=$(gcc -print-file-name=libasan.so)
	libubsan=$(gcc -print-file-name=libubsan.so)
	# Leaks are the server's way: what it leaves is freed by its end.  The
	# server measures its stack, so a frame must stay on it.
	cat <<-END
	export LD_PRELOAD="$libasan $watch/preload.so $libubsan"
	export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:\\
	detect_stack_use_after_return=0:quarantine_size_mb=64:\\
	log_path=$reports/asan"
	export WATCH_REPORTS="$reports"
	exec
	END
}

watch_prepare() {
	local bin server=$watch/server define=
	bin=$("$PG_CONFIG" --bindir)
	mkdir -p "$server" "$reports"
	chmod 777 "$reports"
	cp -L "$bin"/* "$server"
	mv "$server/postgres" "$server/postgres.real"
	# What initdb runs has none of ours.
	{
		echo '#!/bin/sh'
		echo 'case ${1:-} in --boot | --single | --check | -V)'
		echo "	exec $server/postgres.real \"\$@\" ;;"
		echo 'esac'
		echo "$(watch_command) $server/postgres.real \"\$@\""
	} >"$server/postgres"
	# A restart takes the program that the last start left on record, which is
	# the real one: so it is named.
	mv "$server/pg_ctl" "$server/pg_ctl.real"
	{
		echo '#!/bin/sh'
		echo 'case " $* " in *" restart "*)'
		echo "	set -- \"\$@\" -p $server/postgres ;;"
		echo 'esac'
		echo "exec $server/pg_ctl.real \"\$@\""
	} >"$server/pg_ctl"
	chmod 755 "$server/postgres" "$server/pg_ctl"
	gcc -shared -fPIC -Wall -Wextra -Werror -o "$watch/preload.so" \
		"$here/preload.c"
	[ "$SANITIZE" = asan ] || define=-DSANITIZE_VALGRIND
	gcc -c -fPIC -O1 -g -Wall -Wextra -Werror $define -isystem \
		"$("$PG_CONFIG" --includedir-server)" -o "$watch/palloc.o" \
		"$here/palloc.c"
	ar rcs "$watch/palloc.a" "$watch/palloc.o"
	chown -R postgres "$watch"
	PG_CONFIG=$server/pg_config
	PG_BINDIR=$server
	export PG_CONFIG
}

# watch_read: what counts of the reports, shortened, to stdout.  Of memcheck's
# only errors under a call of ours do: the server's own are its own.
watch_read() {
	find "$reports" -type f -size +0 -print0 | sort -z |
		xargs -0 -r perl -ne '
			our ($tool, $ours) = @ENV{qw(SANITIZE copy)};
			if ($tool eq "asan") { print; next }
			if (/ BEGIN$/) { $in = 1; $text = "$ARGV\n"; }
			$text .= $_ if $in;
			if ($in && / END$/) {
				print $text if $text =~ m{\(\Q$ours\E/};
				$in = 0;
			}' | head -n "${SHOW:-200}"
}

# faults that must be seen: of asan all, of valgrind those of memory.
watch_canary() {
	local name seen=0 unseen=0 names='beyond freed shift overflow' so moved
	[ "$SANITIZE" = asan ] || names='beyond freed unset'
	so=$watch/canary.so
	gcc -shared -fPIC -isystem "$("$PG_CONFIG" --includedir-server)" \
		-o "$so" "$copy/test/sanitize/canary.c" $watch_copt
	pg_new "$work/canary" "log_min_messages = info"
	pg_start "$work/canary"
	for name in $names moved; do
		pg_psql "$work/canary" -Atqc "CREATE FUNCTION canary_$name(int)
			RETURNS int LANGUAGE c AS '$so'"
	done
	moved=$(pg_psql "$work/canary" -Atqc 'SELECT canary_moved(100)' || :)
	for name in $names; do
		rm -f "$reports"/*
		pg_psql "$work/canary" -Atqc "SELECT canary_$name(16)" \
			>/dev/null 2>&1 || :
		wait_up "$work/canary"
		if watch_read | grep -q 'canary\.c:'; then seen=$((seen + 1))
		else unseen=$((unseen + 1)); echo "not seen: canary_$name"; fi
	done
	rm -f "$reports"/*
	if [ "$moved" = 200 ]; then seen=$((seen + 1))
	else unseen=$((unseen + 1)); echo "canary_moved gave '$moved'"; fi
	pg_stop "$work/canary" immediate || :
	count $seen $unseen "$SANITIZE sees faults made on purpose"
}

# A server whose process died starts again; not for longer than a minute.
wait_up() {
	local end=$((SECONDS + 60))
	until pg_psql "$1" -Atqc 'SELECT 1' >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

watch_verdict() {
	watch_read >"$work/found.log"
	if [ -s "$work/found.log" ]; then
		SHOW=400 count 0 1 "$SANITIZE found something" "$work/found.log"
	else
		count 1 0 "$SANITIZE found nothing"
	fi
}
export SANITIZE copy
