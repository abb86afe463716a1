#!/bin/bash
# warnings.sh: gcc and clang have nothing to say, from a clean copy of the
# sources.  PG_CONFIG chooses the major.
. "$(dirname "$0")/lib.sh"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The server was configured for gcc and hands its flags on; clang need not
# know all of them.
foreign='-Wno-unknown-warning-option -Wno-ignored-optimization-argument'

for compiler in gcc clang; do
	flags=
	if [ $compiler = clang ]; then flags=$foreign; fi
	mkdir "$work/$compiler"
	clean_copy "$work/$compiler"
	if make -s -k -j2 -C "$work/$compiler" CC=$compiler with_llvm=no WERROR=1 \
		COPT="$flags" PG_CONFIG="$PG_CONFIG" >"$work/log" 2>&1; then
		grep -iE 'warning' "$work/log" || true
	else
		grep -E 'error|warning|\*\*\*' "$work/log" || tail -n 20 "$work/log"
	fi | verdict "$compiler builds without a warning"
done
lint_end
