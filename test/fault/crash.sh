#!/bin/bash
# crash.sh [--rounds N] [--seconds S] [--seed S] [--store peer|ceph]: torture
# of the whole extension on a private cluster with a private S3 server, as
# root on Debian 12.  Everything that can die is killed; after each round the
# promises P1 to P4, P6 and P10 are checked by rows and objects.
#
# Prints the seed first, a line every ten rounds, and at the end
# "N rounds, 0 violations"; on a violation seed, round and what, and where the
# data is kept, and exits with 1.  Several may run at the same time.
#
# INSTALLED=1  the extension is installed: do not build
# PG_CONFIG    another PostgreSQL
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "crash.sh: needs root" >&2; exit 2; }
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
export PG_CONFIG

work=$(mktemp -d /tmp/vf-crash.XXXXXX)
finish() {
	code=$?
	trap - EXIT
	if [ -n "${uninstall:-}" ]; then
		make -s -C "$work/src" with_llvm=no PG_CONFIG="$PG_CONFIG" \
			uninstall >/dev/null 2>&1 || true
	fi
	rm -rf "$work"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM

# From a copy, which user postgres can read wherever the tree is.
chmod 755 "$work"
mkdir "$work/src"
tar -C "$top" -cf - --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
	src sql test Makefile voiceframe_retention.control |
	tar -C "$work/src" -xf -
if [ -z "${INSTALLED:-}" ]; then
	. "$top/test/setup.sh"
	setup test
	[ -e "$("$PG_CONFIG" --pkglibdir)/voiceframe_retention.so" ] ||
		uninstall=yes
	make -s -j2 -C "$work/src" with_llvm=no PG_CONFIG="$PG_CONFIG" \
		COPT=-DUSE_ASSERT_CHECKING all install >"$work/make.log" 2>&1 || {
		tail -n 40 "$work/make.log"
		exit 1
	}
fi
chown -R postgres "$work/src"

# In the background, so that a signal to us reaches it by its pid.
cd /
runuser -u postgres -- env PG_CONFIG="$PG_CONFIG" \
	/usr/bin/python3 "$work/src/test/fault/crash.py" "$@" &
child=$!
trap 'kill $child 2>/dev/null; wait $child; exit 130' INT TERM
wait $child
