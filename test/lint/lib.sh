# lib.sh: what the lints share; to be sourced.  A lint prints "ok - WHAT" or
# "not ok - WHAT" for each thing it proves, and ends with `lint_end`.
set -eu

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
lint_failed=0
cd "$top"
# lastpipe: a verdict at the end of a pipe must be able to set lint_failed.
shopt -s nullglob lastpipe

# verdict WHAT: the faults come on stdin; none of them is "ok".
verdict() {
	local faults
	faults=$(cat)
	if [ -z "$faults" ]; then
		echo "ok - $1"
	else
		echo "not ok - $1"
		printf '%s\n' "$faults" | sed 's/^/#   /' | head -n 40
		lint_failed=1
	fi
}

lint_end() { exit $lint_failed; }

# clean_copy DIR: what a build needs, without anything already built.
clean_copy() {
	cp -r src sql Makefile voiceframe_retention.control "$1"
	find "$1" \( -name '*.o' -o -name '*.bc' -o -name '*.so' \) -delete
}
