#!/bin/bash
# ceph.sh start DIR | stop DIR: a real S3 server for tests, Ceph's radosgw.
# ceph.sh gateway DIR starts a gateway that was killed anew, objects as before.
#
# One monitor, one OSD that keeps its objects in memory, one gateway; all on
# 127.0.0.1, all from empty at every start.  `start` prints the endpoint and
# returns when the gateway answers; both are also in DIR/endpoint.  As root
# the daemons run as user ceph, else as the caller.
#
# PORT      the gateway's port; the monitor takes the next one.  Without it
#           a free pair is looked for.
# LC_DAY=n  a day of lifecycle rules lasts n seconds
#
# Keys: owner "vfowner" / "vfownersecret", a second user "vfother" /
# "vfothersecret".  Virtual hosts: BUCKET.s3.voiceframe.test.
set -eu

FSID=5f0c2b1e-7d1a-4a52-9d0e-6b1f3c9a7e01
OSD=9b7c8f1e-0d8e-4e06-8a35-1f9d2d5c4b02

stop_one() {
	local file=$dir/run/$1.pid pid n
	[ -s "$file" ] || return 0
	pid=$(cat "$file")
	kill "$pid" 2>/dev/null || true
	for n in $(seq 100); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	kill -9 "$pid" 2>/dev/null || true
	rm -f "$file"
}

stop_all() {
	stop_one rgw
	stop_one osd
	stop_one mon
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_pair() {
	local n port
	for n in $(seq 50); do
		port=$((20000 + RANDOM % 10000))
		answers "$port" || answers $((port + 1)) || { echo "$port"; return; }
	done
	echo "ceph.sh: no free port" >&2
	return 1
}

# Replication, authentication between the daemons and start-up pauses serve a
# cluster of many machines; here they would only cost seconds.
configure() {
	cat >"$dir/ceph.conf" <<CONF
[global]
fsid = $FSID
mon_host = v2:127.0.0.1:$((port + 1))
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
ms_mon_client_mode = crc
run_dir = $dir/run
admin_socket = $dir/run/\$name.asok
crash_dir = $dir/run
log_file = $dir/log/\$name.log
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data = $dir/mon
mon_data_avail_warn = 1
mon_data_avail_crit = 1
mon_tick_interval = 1
paxos_propose_interval = 0.05
paxos_min_wait = 0.01
osd_data = $dir/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_op_num_shards = 2
rgw_data = $dir/rgw
rgw_frontends = beast endpoint=127.0.0.1:$port
rgw_thread_pool_size = 32
rgw_run_sync_thread = false
rgw_enable_usage_log = false
rgw_dns_name = s3.voiceframe.test
${LC_DAY:+rgw_lc_debug_interval = $LC_DAY}
CONF
}

as_ceph() {
	if [ "$(id -u)" = 0 ]; then runuser -u ceph -- "$@"; else "$@"; fi
}

# One step of the set-up; its output matters only when it fails.
step() {
	as_ceph timeout 60 "$@" >"$dir/log/step" 2>&1 && return 0
	echo "ceph.sh: failed: $*" >&2
	tail -n 20 "$dir/log/step" >&2
	return 1
}

# exec, so that the pid written is the daemon's and not a shell's.
daemon() {
	local name=$1
	shift
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=ceph --regid=ceph --clear-groups \
			"$@" >"$dir/log/$name.out" 2>&1 </dev/null &
	else
		"$@" >"$dir/log/$name.out" 2>&1 </dev/null &
	fi
	echo $! >"$dir/run/$name.pid"
}

add_user() {
	step radosgw-admin user create --uid="$1" --display-name="$1" \
		--access-key="$1" --secret-key="$1secret"
}

start() {
	local port=${PORT:-}
	[ -n "$port" ] || port=$(free_pair)
	stop_all
	rm -rf "$dir"/{run,log,mon,osd,rgw,ceph.conf,endpoint}
	mkdir -p "$dir"/{run,log,mon,osd,rgw}
	configure
	if [ "$(id -u)" = 0 ]; then chown -R ceph "$dir"; fi
	export CEPH_CONF=$dir/ceph.conf CEPH_ARGS="--conf $dir/ceph.conf"

	step monmaptool --create --clobber --add a \
		"v2:127.0.0.1:$((port + 1))" --fsid $FSID "$dir/monmap"
	step ceph-mon --mkfs -i a --monmap "$dir/monmap"
	daemon mon ceph-mon -f -i a
	step ceph osd new $OSD
	step ceph-osd -i 0 --mkfs --osd-uuid $OSD
	daemon osd ceph-osd -f -i 0
	add_user vfowner
	add_user vfother
	echo "http://127.0.0.1:$port" >"$dir/endpoint"
	gateway
}

gateway() {
	local n port
	export CEPH_CONF=$dir/ceph.conf CEPH_ARGS="--conf $dir/ceph.conf"
	read -r port <"$dir/endpoint"
	port=${port##*:}
	daemon rgw radosgw -f -n client.rgw
	for n in $(seq 600); do
		if answers "$port"; then
			cat "$dir/endpoint"
			return 0
		fi
		kill -0 "$(cat "$dir/run/rgw.pid")" 2>/dev/null || break
		sleep 0.05
	done
	echo "ceph.sh: the gateway did not start" >&2
	tail -n 20 "$dir/log/rgw.out" >&2
	return 1
}

dir=${2:-}
case ${1:-}:$dir in
start:/*) start || { stop_all; exit 1; } ;;
stop:/*) stop_all ;;
gateway:/*) gateway ;;
*) echo "usage: ceph.sh start|stop|gateway /DIR" >&2; exit 2 ;;
esac
