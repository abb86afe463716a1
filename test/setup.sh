#!/bin/bash
# setup.sh [demo|test|bench|sanitize]: install what a part of the project needs
# on Debian 12, from Debian's packages alone, as root.  Installs only what is
# missing, so a second call touches neither network nor disk.  Quiet unless it
# fails.  The other scripts source it and call `setup PART`.
#
# Debian starts a server as soon as its package is installed, and makes a
# PostgreSQL cluster; all our servers are private ones, so both are switched
# off while apt works, and left as we found them.
set -eu

BUILD="gcc libc6-dev make postgresql-15 postgresql-server-dev-15
	libcurl4-openssl-dev libexpat1-dev"
S3="ceph-mon ceph-osd radosgw ceph-common python3"
CHECK="clang libclang-rt-14-dev clang-tidy cppcheck perl libipc-run-perl
	postgresql-15-cron openssl curl procps"

packages() {
	case $1 in
	demo) echo $BUILD $S3 ;;
	test) echo $BUILD $S3 $CHECK ;;
	bench) echo $BUILD $S3 $CHECK nginx ;;
	sanitize) echo $BUILD $S3 $CHECK valgrind ;;
	*) echo "usage: setup.sh [demo|test|bench|sanitize]" >&2; return 2 ;;
	esac
}

missing() {
	local p
	for p in "$@"; do
		case $(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) in
		installed) ;;
		*) echo "$p" ;;
		esac
	done
}

# In a subshell, so that the trap also undoes a half-done installation.
install_quietly() (
	policy=/usr/sbin/policy-rc.d
	cluster=/etc/postgresql-common/createcluster.d/voiceframe-test.conf
	log=$(mktemp)
	set_aside=

	restore() {
		if [ -n "$set_aside" ]; then mv "$policy.voiceframe" "$policy"
		else rm -f "$policy"; fi
		rm -f "$cluster" "$log"
		rmdir --ignore-fail-on-non-empty "${cluster%/*}"
	}
	trap restore EXIT
	if [ -e "$policy" ]; then
		mv "$policy" "$policy.voiceframe"; set_aside=yes
	fi
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	mkdir -p "${cluster%/*}"
	echo 'create_main_cluster = false' >"$cluster"

	export DEBIAN_FRONTEND=noninteractive
	if ! { apt-get update -q &&
		apt-get install -y -q --no-install-recommends "$@"; } \
		</dev/null >"$log" 2>&1; then
		tail -n 30 "$log" >&2
		echo "setup.sh: could not install: $*" >&2
		exit 1
	fi
)

setup() {
	local wanted todo
	wanted=$(packages "${1:-test}")
	todo=$(missing $wanted)
	[ -n "$todo" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "setup.sh: needs root to install:" $todo >&2
		return 1
	fi
	install_quietly $todo
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then setup "$@"; fi
