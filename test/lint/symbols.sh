#!/bin/bash
# symbols.sh [LIBRARY]: the library shows the server nothing but vf_* names
# and what PostgreSQL's loader looks for; anything else could clash with
# another extension in the same process.  Without an argument it builds one.
. "$(dirname "$0")/lib.sh"

library=${1:-}
if [ -z "$library" ]; then
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	clean_copy "$work"
	make -s -C "$work" with_llvm=no PG_CONFIG="$PG_CONFIG" \
		>"$work/log" 2>&1 || {
		tail -n 20 "$work/log" | verdict 'the library builds'
		lint_end
	}
	library=$work/voiceframe_retention.so
fi

nm -D --defined-only "$library" | awk '{ print $NF }' |
	grep -vE '^(vf_.*|pg_finfo_vf_.*|Pg_magic_func|_PG_init|_init|_fini)$' |
	verdict 'only vf_ symbols and PostgreSQL'\''s magic are exported'
lint_end
