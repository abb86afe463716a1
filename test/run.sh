#!/bin/bash
# run.sh [lint|unit|fuzz|regress|isolation|tap|fault]...: build, install and
# test; all parts unless some are named.  `make test` calls it, as root on
# Debian 12; it installs what is missing and runs all the rest as user
# postgres, in a copy of the tree that is gone afterwards.  Shows only what
# failed.
#
# The last line is "N passed, N failed": one for each check of a lint, of a
# unit program and of a TAP test, each regress test, each isolation spec and
# each seed of the crash harness; a part that cannot run at all is a failure.
# The exit code is 0 when all passed.
#
# PG_CONFIG=FILE   another PostgreSQL (then install its packages beforehand)
# KEEP=1           keep the copy, and say where it is
# TESTS="a b"      only these regress tests, specs or TAP files (no suffix)
# FUZZ_SECONDS=N   how long each fuzz target runs (60)
# SECONDS_A_SEED=n how long the crash harness goes on with each seed (20)
# SEEDS="1 2"      its seeds
# SANITIZE=TOOL    every server under asan or valgrind: sanitize/run.sh
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "run.sh: needs root" >&2; exit 2; }
. "$top/test/setup.sh"
[ -n "${PG_CONFIG:-}" ] || setup test
. "$top/test/lib/pg.sh"
export PG_CONFIG

passed=0
failed=0
work=$(mktemp -d /tmp/vf-test.XXXXXX)
copy=$work/src
pgxs=$(dirname "$("$PG_CONFIG" --pgxs)")/..
watch_copt=
part_seconds=900
if [ -n "${SANITIZE:-}" ]; then . "$top/test/sanitize/lib.sh"; fi

finish() {
	code=$?
	trap - EXIT
	for server in pg canary; do
		[ ! -d "$work/$server/data" ] ||
			pg_stop "$work/$server" immediate || true
	done
	if [ -n "${uninstall:-}" ]; then
		make -s -C "$copy" with_llvm=no PG_CONFIG="$PG_CONFIG" \
			uninstall >/dev/null 2>&1 || true
	fi
	if [ -n "${KEEP:-}" ]; then echo "kept: $work"; else rm -rf "$work"; fi
	exit $code
}

# count PASSED FAILED WHAT [LOG]: shows the log's end where something failed
count() {
	passed=$((passed + $1))
	failed=$((failed + $2))
	printf '%-44s %4d passed, %d failed\n' "$3" "$1" "$2"
	if [ "$2" != 0 ] && [ -s "${4:-}" ]; then
		tail -n "${SHOW:-60}" "$4" | sed 's/^/    /'
	fi
}

# matches PATTERN FILE: how many lines
matches() { grep -cE "$1" "$2" || true; }

# The part failed as a whole where nothing else told so.
count_lines() {
	local code=$1 what=$2 log=$3 good=$4 bad=$5 n_good n_bad
	n_good=$(matches "$good" "$log")
	n_bad=$(matches "$bad" "$log")
	if [ "$code" != 0 ] && [ "$n_bad" = 0 ]; then n_bad=1; fi
	if [ "$code" = 0 ] && [ "$n_good" = 0 ]; then n_bad=1; fi
	count "$n_good" "$n_bad" "$what" "$log"
}

wanted() {
	[ -z "${TESTS:-}" ] || case " $TESTS " in *" $1 "*) ;; *) return 1 ;; esac
}

in_copy() { (cd "$copy" && runuser -u postgres -- "$@"); }

make_copy() {
	chmod 755 "$work"
	mkdir "$copy"
	tar -C "$top" --exclude=./.git --exclude='*.o' --exclude='*.bc' \
		--exclude='*.so' -cf - . | tar -C "$copy" -xf -
	chown -R postgres "$work"
}

# With assertions: the server has none, ours count all the same.
build() {
	[ -e "$("$PG_CONFIG" --pkglibdir)/voiceframe_retention.so" ] ||
		uninstall=yes
	if in_copy make -s -j2 with_llvm=no PG_CONFIG="$PG_CONFIG" \
		COPT="-DUSE_ASSERT_CHECKING $watch_copt" all >"$work/build.log" 2>&1 &&
		make -s -C "$copy" with_llvm=no PG_CONFIG="$PG_CONFIG" \
			install >>"$work/build.log" 2>&1; then
		count 1 0 'build and install'
	else
		count 0 1 'build and install' "$work/build.log"
		return 1
	fi
}

start_server() {
	[ ! -d "$work/pg/data" ] || return 0
	pg_new "$work/pg" "$(cat "$copy/test/sql/regress.conf")"
	pg_start "$work/pg"
}

part_lint() {
	local script name code
	for script in "$copy"/test/lint/*.sh; do
		name=${script##*/}
		[ "$name" != lib.sh ] || continue
		wanted "${name%.sh}" || continue
		code=0
		in_copy bash "$script" >"$work/lint.log" 2>&1 || code=$?
		count_lines $code "lint $name" "$work/lint.log" '^ok ' '^not ok '
	done
}

part_unit() {
	local code=0 line good=0 bad=0
	[ -e "$copy/test/unit/run.sh" ] || return 0
	in_copy bash test/unit/run.sh >"$work/unit.log" 2>&1 || code=$?
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$work/unit.log" |
		tail -n 1)
	if [ -n "$line" ]; then read -r good _ bad _ <<<"$line"; else bad=1; fi
	if [ $code != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
	count "$good" "$bad" 'unit programs' "$work/unit.log"
}

part_fuzz() {
	local code=0
	in_copy bash test/fuzz/run.sh "${FUZZ_SECONDS:-60}" >"$work/fuzz.log" \
		2>&1 || code=$?
	count_lines $code 'fuzz targets' "$work/fuzz.log" '^ok ' '^not ok '
}

# What pg_regress and pg_isolation_regress print: 15 in words, later ones TAP.
GOOD='^(ok [0-9]+|test .* \.\.\. ok| {5,}.* \.\.\. ok)'
BAD='^(not ok [0-9]+|test .* \.\.\. FAILED| {5,}.* \.\.\. FAILED)'

# driver PROGRAM WHAT DATABASE ARGUMENT...
driver() {
	local program=$1 what=$2 database=$3 code=0
	shift 3
	start_server
	in_copy env PATH="$PG_BINDIR:$PATH" "$program" --bindir="$PG_BINDIR" \
		--host="$work/pg" --port="$(cat "$work/pg/port")" --user=postgres \
		--dbname="$database" --encoding=UTF8 "$@" \
		>"$work/driver.log" 2>&1 || code=$?
	count_lines $code "$what" "$work/driver.log" "$GOOD" "$BAD"
}

show_diffs() {
	[ ! -s "$1" ] || head -n 400 "$1" | sed 's/^/    /'
	if grep -q 'PANIC\|terminated by signal' "$work/pg/log"; then
		grep -m 5 'PANIC\|terminated by signal' "$work/pg/log"
	fi
}

part_regress() {
	local tests name file
	tests=$(sed -n 's/^test: *//p' "$copy/test/sql/schedule")
	for file in "$copy"/test/sql/*.sql; do
		[ -e "$file" ] || continue
		name=$(basename "$file" .sql)
		case " $(echo $tests) " in
		*" $name "*) ;;
		*) count 0 1 "regress: $name is not in test/sql/schedule" ;;
		esac
	done
	tests=$(for name in $tests; do wanted "$name" && echo "$name"; done || :)
	[ -n "$tests" ] || return 0
	driver "$pgxs/test/regress/pg_regress" 'regress tests' \
		contrib_regression --inputdir=test $tests
	show_diffs "$copy/regression.diffs"
}

part_isolation() {
	local tests name file
	tests=$(for file in "$copy"/test/isolation/specs/*.spec; do
		name=$(basename "$file" .spec)
		[ -e "$file" ] && wanted "$name" && echo "$name"
	done || :)
	[ -n "$tests" ] || return 0
	in_copy mkdir -p output_iso
	driver "$pgxs/test/isolation/pg_isolation_regress" 'isolation specs' \
		isolation_regress --inputdir=test/isolation \
		--outputdir=output_iso $tests
	show_diffs "$copy/output_iso/regression.diffs"
}

# TESTDIR is what 15 asks for; the other two are what later majors do.
part_tap() {
	local file name code
	for file in "$copy"/test/t/*.pl; do
		name=$(basename "$file" .pl)
		[ -e "$file" ] && wanted "$name" || continue
		rm -rf "$copy/tmp_check"
		in_copy mkdir tmp_check
		code=0
		in_copy env PATH="$PG_BINDIR:$PATH" TESTDIR="$copy" \
			TESTDATADIR="$copy/tmp_check" TESTLOGDIR="$copy/tmp_check/log" \
			PG_REGRESS="$pgxs/test/regress/pg_regress" PG_CONFIG="$PG_CONFIG" \
			PERL5LIB="$pgxs/test/perl:$copy/test/t" \
			timeout --kill-after=30 $part_seconds prove -v "test/t/$name.pl" \
			>"$work/tap.log" 2>&1 || code=$?
		count_lines $code "tap $name" "$work/tap.log" '^ok ' '^not ok '
		if [ $code != 0 ]; then
			tail -n 40 "$copy"/tmp_check/log/*"$name"* 2>/dev/null |
				cut -c1-300 | sed 's/^/    /'
		fi
	done
}

# A short one, two seeds that are always the same and one that never is; the
# long one is test/fault/crash.sh.
part_fault() {
	local seed code
	# By its number a seed has undo windows (3) or versions (4) as well.
	for seed in ${SEEDS:-1 2 3 4 $((RANDOM + 100))}; do
		code=0
		in_copy env PG_CONFIG="$PG_CONFIG" PATIENCE="${PATIENCE:-1}" \
			/usr/bin/python3 test/fault/crash.py --seed "$seed" --rounds 1000000 \
			--seconds "${SECONDS_A_SEED:-20}" >"$work/fault.log" 2>&1 ||
			code=$?
		count_lines $code "crash harness, seed $seed" "$work/fault.log" \
			'^[0-9]+ rounds, 0 violations$' '^VIOLATION'
	done
	code=0
	in_copy env PG_CONFIG="$PG_CONFIG" PATIENCE="${PATIENCE:-1}" \
		/usr/bin/python3 test/fault/orphans.py --objects 3000 \
		>"$work/fault.log" 2>&1 || code=$?
	count_lines $code 'orphans while all changes' "$work/fault.log" \
		'^[0-9]+ checks, 0 violations$' '^VIOLATION'
}

trap finish EXIT
trap 'exit 130' INT TERM
make_copy
if [ -n "${SANITIZE:-}" ]; then watch_prepare; fi
if build; then
	if [ -n "${SANITIZE:-}" ]; then watch_canary; fi
	for part in ${*:-lint unit fuzz regress isolation tap fault}; do
		"part_$part"
	done
	if [ -n "${SANITIZE:-}" ]; then watch_verdict; fi
fi
echo "$passed passed, $failed failed"
[ $failed = 0 ]
