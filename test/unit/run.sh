#!/bin/bash
# run.sh: builds and runs the unit tests, with the sanitizers where the code
# under test is pure.  Needs gcc, PostgreSQL's headers and libpgcommon.a,
# libexpat and libcrypto.  PG_CONFIG names another installation, CC another
# compiler.  The last line is "N passed, N failed".
set -u

here=$(cd "$(dirname "$0")" && pwd)
src=$here/../../src
pg_config=${PG_CONFIG:-pg_config}
include=$("$pg_config" --includedir-server) || exit 1
lib=$("$pg_config" --pkglibdir)
[ -e "$lib/libpgcommon.a" ] || lib=$("$pg_config" --libdir)
cc=${CC:-gcc}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

flags=(-std=gnu99 -g -O1 -Wall -Wextra -Werror -fno-omit-frame-pointer
	-fsanitize=address,undefined -fno-sanitize-recover=undefined
	-I"$src" -I"$here" -isystem "$include")
pg_libs=("$lib/libpgcommon.a" "$lib/libpgport.a")
if "$pg_config" --configure | grep -q with-ssl\\\|with-openssl; then
	pg_libs+=(-lcrypto)
fi

passed=0
failed=0

# build_and_run NAME OPTIONS...: one program; its last line has its counts.
build_and_run() {
	local name=$1 out status counts
	shift
	if ! "$cc" "${flags[@]}" -o "$work/$name" "$@" >"$work/$name.cc" 2>&1
	then
		cat "$work/$name.cc"
		echo "$name: does not build"
		failed=$((failed + 1))
		return
	fi
	out=$("$work/$name" 2>&1)
	status=$?
	counts=$(tail -n 1 <<<"$out")
	if [[ $counts =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		if [ "$status" != 0 ] && [ "${BASH_REMATCH[2]}" = 0 ]; then
			failed=$((failed + 1))
		fi
	else
		failed=$((failed + 1))
	fi
	[ "$status" = 0 ] || printf '%s\n' "$out"
	echo "$name: $counts"
}

build_and_run test_sign -DFRONTEND "$here/test_sign.c" "$src/s3_sign.c" \
	"$src/digest.c" "${pg_libs[@]}"
build_and_run test_schedule "$here/test_schedule.c" "$src/schedule.c" \
	"$src/schedule_pace.c" "${pg_libs[@]}"
build_and_run test_xml "$here/test_xml.c" "$src"/s3_xml{,_write}.c -lexpat
build_and_run test_lcdoc "$here/test_lcdoc.c" "$src"/s3_lcdoc{,_rules,_text}.c \
	-lexpat
build_and_run test_cred "$here/test_cred.c" "$src/s3_cred_parse.c" \
	"$src/s3_cred_url.c"
build_and_run test_cred_json -DFRONTEND "$here/test_cred_json.c" \
	"$src/s3_cred_json.c" "$src/s3_cred_parse.c" "${pg_libs[@]}"
build_and_run test_marker "$here/test_marker.c" "$src/s3_marker.c"
build_and_run test_acl "$here/test_acl.c" "$src/s3_xml_acl.c" -lexpat
build_and_run test_class "$here/test_class.c" "$src/s3_class.c" \
	"$src/s3_name.c" "$src"/s3_xml{,_write}.c -lexpat

# The verbs are backend code over a fake server and a fake transport; their
# digests come from the frontend's library.
"$cc" "${flags[@]}" -DFRONTEND -c -o "$work/digest.o" "$src/digest.c" ||
	failed=$((failed + 1))
"$cc" "${flags[@]}" -DFRONTEND -c -o "$work/json.o" "$src/s3_cred_json.c" ||
	failed=$((failed + 1))
cred=("$work/json.o" "$src/schedule.c")
for name in '' _cache _call _container _file _imds _parse _url _web; do
	cred+=("$src/s3_cred$name.c")
done
build_and_run test_s3 "$here/test_s3.c" "$here/fake_server.c" \
	"$src/s3.c" "$src/s3_judge.c" "$src/s3_delete.c" "$src/s3_probe.c" \
	"$src/s3_class.c" "$src/s3_name.c" "$src"/s3_xml{,_write}.c "$src/s3_sign.c" \
	"${cred[@]}" "$work/digest.o" -lexpat -lm "${pg_libs[@]}"
build_and_run test_cred_find "$here/test_cred_find.c" "$here/fake_server.c" \
	"$src/s3.c" "$src/s3_judge.c" "$src/s3_delete.c" "$src/s3_probe.c" \
	"$src/s3_class.c" "$src/s3_name.c" "$src"/s3_xml{,_write}.c "$src/s3_sign.c" \
	"${cred[@]}" "$work/digest.o" -lexpat -lm "${pg_libs[@]}"

# Its malloc stands in for everybody's, so no sanitizer's may; what stands
# behind palloc raises in the server and does not fail here.
plain=(-DFRONTEND -fno-sanitize=all)
"$cc" "${flags[@]}" "${plain[@]}" -c -o "$work/plain_digest.o" \
	"$src/digest.c" || failed=$((failed + 1))
"$cc" "${flags[@]}" "${plain[@]}" -c -o "$work/plain_json.o" \
	"$src/s3_cred_json.c" || failed=$((failed + 1))
"$cc" "${flags[@]}" -fno-sanitize=all \
	-include "$here/unfailing.h" -c -o "$work/plain_fake.o" \
	"$here/fake_server.c" || failed=$((failed + 1))
build_and_run test_nomem -fno-sanitize=all "$here/test_nomem.c" \
	"$work/plain_fake.o" "$src/s3.c" "$src/s3_judge.c" "$src/s3_delete.c" \
	"$src/s3_probe.c" "$src/s3_class.c" "$src/s3_name.c" "$src"/s3_xml{,_write}.c \
	"$src/s3_sign.c" "$work/plain_json.o" "${cred[@]:1}" \
	"$work/plain_digest.o" -lexpat -lm "${pg_libs[@]}"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
