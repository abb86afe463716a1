#!/bin/bash
# run.sh [-n SESSIONS] [-r ROUNDS] [purge|parts|idle|drain|scan]...: what things
# cost, against a baseline measured in the same run; all parts unless some are
# named.  As root on Debian 12; it installs what is missing, builds, and works
# in a private cluster that is gone afterwards.
#
# It prints tables and judges nothing: a time is no test.  What is wrong (a way
# of deleting that leaves other rows than the others) is an error all the same.
#
# -n SESSIONS   of the large data sets, 1,000,000 unless given
# -r ROUNDS     of the purge, 3 unless given
# PG_CONFIG=FILE, SHARED_BUFFERS=SIZE (1GB), KEEP=1 (keep the cluster's folder)
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "run.sh: needs root" >&2; exit 2; }
sessions=1000000
rounds=3
while getopts n:r: option; do
	case $option in
	n) sessions=$OPTARG ;;
	r) rounds=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
. "$top/test/setup.sh"
setup bench
. "$top/test/lib/pg.sh"
export PG_CONFIG
. "$top/test/bench/lib.sh"
for part in purge parts idle drain scan; do . "$top/test/bench/$part.sh"; done

work=$(mktemp -d /tmp/vf-bench.XXXXXX)

finish() {
	code=$?
	trap - EXIT
	if [ $code != 0 ]; then
		tail -n 5 "$work/said" "$work/pg/log" 2>/dev/null || true
	fi
	if [ -n "${peer:-}" ]; then kill "$peer" 2>/dev/null || true; fi
	if [ -d "$work/pg/data" ]; then pg_stop "$work/pg" immediate || true; fi
	if [ -n "${uninstall:-}" ]; then
		make -s -C "$work/src" with_llvm=no PG_CONFIG="$PG_CONFIG" \
			uninstall >/dev/null 2>&1 || true
	fi
	if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
	exit $code
}

# As a package would: no assertions.
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

start() {
	pg_new "$work/pg" "$bench_conf"
	install -o postgres -g postgres -m 600 /dev/null "$work/credentials"
	printf '%s\n' '[default]' 'aws_access_key_id = bench' \
		'aws_secret_access_key = benchsecret' >"$work/credentials"
	echo "voiceframe.s3_credentials_file = '$work/credentials'" \
		>>"$work/pg/data/postgresql.conf"
	pg_start "$work/pg"
}

describe() {
	echo "voiceframe_retention $(sed -n "s/^default_version = '\(.*\)'/\1/p" \
		"$top/voiceframe_retention.control"), $("$PG_CONFIG" --version)"
	echo "$(nproc) x $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo |
		head -n 1), $(awk '/MemTotal/ { printf "%.0f GB", $2 / 1048576 }' \
		/proc/meminfo), load $(cut -d' ' -f1 /proc/loadavg)," \
		"$(df -PT "$work" | awk 'NR == 2 { print $2 }')"
	value postgres "SELECT string_agg(name || ' ' || current_setting(name), ', ')
		FROM pg_settings WHERE name IN ('shared_buffers', 'fsync',
		'full_page_writes', 'wal_compression', 'autovacuum', 'work_mem',
		'voiceframe.purge_batch_size', 'voiceframe.s3_concurrency')"
}

trap finish EXIT
trap 'exit 130' INT TERM
chmod 755 "$work"
build
start
describe
for part in ${*:-purge parts idle drain scan}; do "bench_$part"; done
