#!/bin/bash
# selftest.sh: start the strict S3 peer and prove that it refuses what it has
# to refuse and that its faults do what they say.  A peer that lets a wrong
# signature pass would make every test that talks to it worthless.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
trap '/usr/bin/python3 "$here/peerctl.py" "$dir" stop; rm -rf "$dir"' EXIT

endpoint=$(/usr/bin/python3 "$here/peerctl.py" "$dir" start \
	--region us-east-2 --bucket b1)
S3_ENDPOINT=$endpoint S3_KEY=vfowner S3_SECRET=vfownersecret \
	S3_REGION=us-east-2 /usr/bin/python3 "$here/selftest.py" "$dir"

# Objects outlive SIGKILL where they are to: one put, one deleted again.
ctl() { /usr/bin/python3 "$here/peerctl.py" "$dir" "$@"; }
ctl stop
ctl start --region us-east-2 --bucket b2 --durable >/dev/null
printf 'stays\ngoes\n' | ctl put b2 >/dev/null
S3_ENDPOINT=http://127.0.0.1:$(cat "$dir/port") S3_KEY=vfowner \
	S3_SECRET=vfownersecret S3_REGION=us-east-2 \
	/usr/bin/python3 "$here/bucket.py" rm b2 goes
for n in 1 2; do
	kill -9 "$(cat "$dir/pid")"
	ctl start --region us-east-2 --durable --keep >/dev/null
	[ "$(ctl ls b2)" = stays ] || {
		echo "durable: after kill $n there is: $(ctl ls b2)"
		exit 1
	}
done
