#!/bin/bash
# run.sh [SECONDS]: builds the fuzz targets with clang, libFuzzer and the
# address and undefined-behaviour sanitizers, and runs each for so long (60),
# as many at a time as there are processors, from the seeds in corpus/TARGET.
# TARGETS="xml cred" runs only these.  One line for each target, "ok - ..." or
# "not ok - ...", then the end of its log, with the input in base64.
#
# To go on from what was found earlier: FOUND=DIR keeps the corpora there.
set -u

seconds=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
src=$here/../../src
pg_config=${PG_CONFIG:-pg_config}
include=$("$pg_config" --includedir-server) || exit 1
lib=$("$pg_config" --pkglibdir)
[ -e "$lib/libpgcommon.a" ] || lib=$("$pg_config" --libdir)
work=$(mktemp -d)
found=${FOUND:-$work/found}
trap 'rm -rf "$work"' EXIT

flags=(-std=gnu99 -g -O1 -Wall -Wextra -Werror -fno-omit-frame-pointer
	-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined
	-I"$src" -I"$here" -isystem "$include")
pg_libs=("$lib/libpgcommon.a" "$lib/libpgport.a" -lm)
if "$pg_config" --configure | grep -q with-ssl\\\|with-openssl; then
	pg_libs+=(-lcrypto)
fi

# sources TARGET: what it needs besides itself
sources() {
	case $1 in
	xml) echo "$src"/s3_xml{,_write}.c "$src/s3_name.c" -lexpat ;;
	key) echo -DFRONTEND "$src"/s3_xml{,_write}.c "$src/s3_name.c" "$src/s3_sign.c" \
		"$src/digest.c" "${pg_libs[@]}" -lexpat ;;
	url) echo "$src/s3_name.c" "$src"/s3_xml{,_write}.c -lexpat ;;
	sign) echo -DFRONTEND "$src/s3_sign.c" "$src/digest.c" "${pg_libs[@]}" ;;
	cred) echo "$src/s3_cred_parse.c" ;;
	judge) echo "$src/s3_judge.c" "$src/s3_class.c" "$src"/s3_xml{,_write}.c \
		"${pg_libs[@]}" -lexpat ;;
	json) echo -DFRONTEND "$src/s3_cred_json.c" "$src/s3_cred_parse.c" \
		"${pg_libs[@]}" ;;
	sts) echo "$src"/s3_xml{,_write}.c -lexpat ;;
	origin) echo "$src/s3_cred_url.c" -lcurl ;;
	marker) echo "$src/s3_marker.c" ;;
	lcdoc) echo "$src"/s3_lcdoc{,_rules,_text}.c -lexpat ;;
	acl) echo "$src/s3_xml_acl.c" -lexpat ;;
	esac
}

# fuzz TARGET: its one line, and why it failed
fuzz() {
	local name=$1 log=$work/$1.log runs input
	mkdir -p "$found/$name"
	if ! clang "${flags[@]}" -o "$work/$name" "$here/fuzz_$name.c" \
		$(sources "$name") >"$log" 2>&1; then
		echo "not ok - fuzz $name: does not build"
		tail -n 30 "$log" | sed 's/^/#   /'
		return 1
	fi
	local options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024
		-max_len=10000 -verbosity=1 -print_final_stats=1
		-artifact_prefix="$work/$name.")
	[ ! -e "$here/$name.dict" ] || options+=(-dict="$here/$name.dict")
	"$work/$name" "${options[@]}" "$found/$name" "$here/corpus/$name" \
		>"$log" 2>&1
	local code=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	if [ $code = 0 ] && [ "${runs:-0}" -gt 100 ]; then
		echo "ok - fuzz $name: $runs inputs"
		return 0
	fi
	echo "not ok - fuzz $name: after ${runs:-no} inputs, exit code $code"
	grep -v '^#[0-9]' "$log" | tail -n 40 | cut -c1-2000 | sed 's/^/#   /'
	for input in "$work/$name".{crash,timeout,oom,leak}-*; do
		[ ! -s "$input" ] || base64 -w 76 "$input" | sed 's/^/#   /'
	done
	return 1
}

failed=0
running=0
for name in ${TARGETS:-xml key url sign cred judge json sts origin marker lcdoc acl}; do
	if [ $running -ge "$(nproc)" ]; then
		wait -n || failed=1
		running=$((running - 1))
	fi
	fuzz "$name" >"$work/$name.out" &
	running=$((running + 1))
done
while [ $running -gt 0 ]; do
	wait -n || failed=1
	running=$((running - 1))
done
cat "$work"/*.out
exit $failed
