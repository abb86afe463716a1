#!/bin/bash
# mutants.sh [NAME]...: can the crash harness find faults?  Takes one safety
# away at a time, in a copy of the tree, builds that, and lets the harness run
# up to 50 rounds of a fixed seed at it: it must find a violation.  Prints a
# table, and exits with 1 if a mutant lived.  As root on Debian 12.
#
# SEED=n      another seed than the mutant's own
# ROUNDS=n    another number of rounds
#
# A mutation whose place in the source has changed fails loudly.  The build is
# loaded from a folder of its own (crash.py --library), so that all may run
# beside each other; the SQL files are those of the tree, installed once.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
[ "$(id -u)" = 0 ] || { echo "mutants.sh: needs root" >&2; exit 2; }
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
export PG_CONFIG
. "$top/test/setup.sh"
setup test

work=$(mktemp -d /tmp/vf-mutants.XXXXXX)
child=
finish() {
	code=$?
	trap - EXIT
	[ -z "$child" ] || kill "$child" 2>/dev/null || true
	if [ -n "${uninstall:-}" ]; then
		make -s -C "$work/tree" with_llvm=no PG_CONFIG="$PG_CONFIG" \
			uninstall >/dev/null 2>&1 || true
	fi
	rm -rf "$work"
	exit $code
}
trap finish EXIT
trap 'exit 130' INT TERM
chmod 755 "$work"

copy_tree() {
	mkdir "$1"
	tar -C "$top" -cf - --exclude='*.o' --exclude='*.bc' --exclude='*.so' \
		src sql test Makefile voiceframe_retention.control |
		tar -C "$1" -xf -
}

build() {
	make -s -j2 -C "$1" with_llvm=no PG_CONFIG="$PG_CONFIG" \
		COPT=-DUSE_ASSERT_CHECKING all >"$work/make.log" 2>&1 || {
		tail -n 40 "$work/make.log" >&2
		return 1
	}
}

# change FILE PERL: edit a file of the mutant; it must match exactly once.
change() {
	perl -0777 -i -pe "\$n = ($2); END { exit(\$n == 1 ? 0 : 1) }" \
		"$tree/src/$1" || {
		echo "mutants.sh: $name: no single place in $1 for: $2" >&2
		return 1
	}
}

# ---- the mutations: one safety each ----

NAMES="recheck lease_token per_key_account payments_held reference_check
	claim_flush undo_window undo_lock undo_in_flight payment_restores holds
	erase_asks every_version"

# An order that came between the pick and the delete keeps nothing.
mutate_recheck() {
	change purge_batch.c \
		's/(order_came\(const VfPass \*pass\)\n\{)/$1\n\tif (pass != NULL)\n\t\treturn false;/g' &&
	change purge_batch.c 's/AND \{keeps\}\)\)\) IS NOT FALSE/AND {keeps} AND false))) IS NOT FALSE/g'
}

# Whoever comes settles, whosever the lease is.
mutate_lease_token() {
	change outbox.c \
		's/DELETE FROM \{vf\}\.vf_outbox"\s*" WHERE id = \$1 AND lease_token = \$2/DELETE FROM {vf}.vf_outbox"\n" WHERE id = \$1 AND \$2::int8 IS NOT NULL/g' &&
	change outbox.c \
		's/" WHERE id = \$1 AND lease_token = \$2"(\s*" AND state = .claimed. RETURNING 1")/" WHERE id = \$1 AND \$2::int8 IS NOT NULL"$1/g'
}

# A key that the answer does not mention counts as deleted.
mutate_per_key_account() {
	seed=5
	change s3_delete.c \
		's/VF_S3_KEY_PASSING, "MissingFromAnswer",\s*"the answer does not mention the key"/VF_S3_OK, "", ""/g' &&
	change s3_delete.c \
		's/strcmp\(key->code, "MissingFromAnswer"\) == 0/key->class == VF_S3_OK/g'
}

# Neither the guard nor the lock that replaces it.
mutate_payments_held() {
	change purge_batch.c \
		's/(hold_payments\(const VfSource \*source\)\n\{\n.*?\n\n)/$1\tif (guard >= 0)\n\t\treturn;\n/sg' &&
	change source_guard.c 's/" THEN\\n"/" OR true THEN\\n"/g'
}

# A live row that names a key does not keep it.
mutate_reference_check() {
	change drain_keep.c \
		's/(referenced = vf_source_referenced\(.*?\);\n)/$1\tn = 0;\n/sg'
}

# The claim, and with it the purge, is not on disk before the request goes out.
# Only seen where transactions commit asynchronously: an even seed.
mutate_claim_flush() {
	seed=2
	change drain.c 's/vf_db_commit_flushed\(\)/vf_db_commit_unflushed()/g'
}

# An open window spares nothing: not the entry, nor the key in other entries.
mutate_undo_window() {
	seed=3
	change outbox.c 's/" AND coalesce\(not_before <= \$3, true\)"//g' &&
	change drain_keep.c \
		's/(= vf_undo_named\(all, n_all, &n\);\n\n\tif \(n) == 0\)/$1 >= 0)/g'
}

# The drain does not ask who is putting rows back when the window ends.
mutate_undo_lock() {
	seed=3
	change undo.c \
		's/return vf_db_bool\(0, 0\);(\n\}\n\nvoid\nvf_undo_lock)/return false;$1/g'
}

# A session goes back while a request for its objects is under way.
mutate_undo_in_flight() {
	seed=3
	change restore.c \
		's/return !s->gone && s->state != VF_HELD_IN_FLIGHT;/return !s->gone;/g'
}

# A payment brings nothing back.
mutate_payment_restores() {
	seed=3
	change restore.c 's/if \(!payment_wants\(source, token\)\)/if (payment_wants(source, token) || true)/g'
}

# Nobody asks for holds.
mutate_holds() {
	seed=3
	change source_rules.c \
		's/" AND h\.until > pg_catalog\.now\(\)\)"/" AND false)"/g' &&
	change purge_batch.c \
		's/(hold_came\(const VfPass \*pass\)\n\{)/$1\n\tif (pass != NULL)\n\t\treturn false;/g'
}

# Who erases asks for no order.
mutate_erase_asks() {
	seed=3
	change erase.c 's/\t\trequire_free\(&e\);\n//g'
}

# The newest version of a key stands for all of them.
mutate_every_version() {
	seed=4
	change drain_versions.c 's/v < l->list\.n; v\+\+/v < 1; v++/g' &&
	change drain_versions.c 's/\[l->position\] = l->list\.n;/[l->position] = 1;/g'
}

# ---- the run ----

report() { printf '%-18s %-8s %s\n' "$@"; }

mutant() {
	local log=$work/$name.log code=0 seed=1
	tree=$work/$name
	cp -a "$work/tree" "$tree"	# only what is mutated is built anew
	"mutate_$name" && build "$tree" || { report "$name" BROKEN ''; return 1; }
	chown -R postgres "$tree"
	cd /
	runuser -u postgres -- env PG_CONFIG="$PG_CONFIG" /usr/bin/python3 \
		"$tree/test/fault/crash.py" --library "$tree" \
		--seed "${SEED:-$seed}" --rounds "${ROUNDS:-50}" >"$log" 2>&1 &
	child=$!
	wait $child || code=$?
	child=
	rm -rf "$(sed -n 's/^kept: //p' "$log")"
	if grep -q '^VIOLATION' "$log"; then
		report "$name" found "$(sed -n \
			's/^VIOLATION seed [0-9]* \(.*\)/\1/p' "$log" | cut -c1-100)"
		return 0
	fi
	report "$name" "LIVED" "$(tail -n 1 "$log")"
	[ $code = 0 ] || tail -n 20 "$log" >&2
	return 1
}

copy_tree "$work/tree"
[ -e "$("$PG_CONFIG" --pkglibdir)/voiceframe_retention.so" ] ||
	uninstall=yes
build "$work/tree"
make -s -C "$work/tree" with_llvm=no PG_CONFIG="$PG_CONFIG" install \
	>"$work/make.log" 2>&1
failed=0
for name in ${*:-$NAMES}; do mutant || failed=$((failed + 1)); done
[ $failed = 0 ]
