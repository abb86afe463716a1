#!/bin/bash
# run.sh asan|valgrind [regress|isolation|tap|fault]...: the suites over
# servers that are watched by the address and undefined-behaviour sanitizers or
# by valgrind; root, Debian 12, PostgreSQL 15.  A finding in the extension's
# code fails the run, and so does an output that differs from the expected one.
# Last line and exit code are those of ../run.sh, whose environment counts here
# too.  Without parts asan runs all four, valgrind all but tap.
#
# Of the TAP files those run that exercise the code most, unless TESTS names
# some tests.  Some minutes with asan, about half an hour with valgrind.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
SANITIZE=${1:-}
case $SANITIZE in
asan) parts='regress isolation tap fault' ;;
valgrind) parts='regress isolation fault' ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
shift

. "$top/test/setup.sh"
[ -n "${PG_CONFIG:-}" ] || setup sanitize

tests=$(sed -n 's/^test: *//p' "$top/test/sql/schedule")
for file in "$top"/test/isolation/specs/*.spec \
	"$top"/test/t/{001,003,004,013,014,017,018,019}_*.pl; do
	name=${file##*/}
	tests="$tests ${name%.*}"
done
TESTS=${TESTS:-$(echo $tests)}
export SANITIZE TESTS
exec bash "$top/test/run.sh" ${*:-$parts}
