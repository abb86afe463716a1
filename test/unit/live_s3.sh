#!/bin/bash
# live_s3.sh ENDPOINT KEY SECRET REGION [KEY2 SECRET2 TOKEN]: our signatures
# before a store that verifies them, such as Ceph's radosgw.  The last line
# is "N passed, N failed".
set -eu

here=$(cd "$(dirname "$0")" && pwd)
pg_config=${PG_CONFIG:-pg_config}
include=$("$pg_config" --includedir-server)
lib=$("$pg_config" --pkglibdir)
[ -e "$lib/libpgcommon.a" ] || lib=$("$pg_config" --libdir)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"${CC:-gcc}" -std=gnu99 -g -O1 -Wall -Wextra -Wno-missing-field-initializers \
	-Werror -DFRONTEND -I"$here/../../src" -I"$here" -isystem "$include" \
	-o "$work/live_sign" "$here/live_sign.c" "$here/../../src/s3_sign.c" \
	"$here/../../src/digest.c" "$lib/libpgcommon.a" "$lib/libpgport.a" \
	-lcurl -lcrypto
"$work/live_sign" "$@"
