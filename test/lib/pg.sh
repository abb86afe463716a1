# pg.sh: private PostgreSQL clusters for tests; to be sourced by bash.
#
#   pg_new DIR [PORT] [CONF LINE]...   initdb, write the configuration
#   pg_start DIR                       start, wait until it answers
#   pg_stop DIR [fast|immediate|smart] stop; no error if it does not run
#   pg_psql DIR [PSQL ARGUMENT]...     psql as superuser postgres, stops at
#                                      the first error
#   pg_as_postgres COMMAND...          run it as the user who owns clusters
#
# A cluster listens on a unix socket in DIR alone, so PORT only names that
# socket and never clashes.  initdb refuses root: as root all is run as user
# postgres.  Another major is chosen with PG_CONFIG.  DIR must be short: a
# socket's path is limited to 107 bytes.

# No test asks the machine it runs on for credentials.
export AWS_EC2_METADATA_DISABLED=true

PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
PG_BINDIR=${PG_BINDIR:-$("$PG_CONFIG" --bindir)}

pg_as_postgres() {
	if [ "$(id -u)" = 0 ]; then
		# From a folder that postgres may enter, or each call would warn.
		(cd / && exec runuser -u postgres -- "$@")
	else
		"$@"
	fi
}

pg_new() {
	local dir=$1 port=5432 line
	shift
	case ${1:-} in [0-9]*) port=$1; shift ;; esac
	mkdir -p "$dir"
	if [ "$(id -u)" = 0 ]; then chown postgres "$dir"; fi
	pg_as_postgres "$PG_BINDIR/initdb" -D "$dir/data" -A trust -U postgres \
		-E "${PG_ENCODING:-UTF8}" --no-locale -N >"$dir/initdb.log" 2>&1 || {
		cat "$dir/initdb.log" >&2
		return 1
	}
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$dir'"
		echo "port = $port"
		echo "fsync = off"
		echo "log_line_prefix = '%m [%p] %b %d '"
		for line; do echo "$line"; done
	} >>"$dir/data/postgresql.conf"
	echo "$port" >"$dir/port"
}

# The log comes out when it does not start: nobody can ask for it later.
pg_start() {
	pg_as_postgres "$PG_BINDIR/pg_ctl" -D "$1/data" -l "$1/log" -w -t 60 \
		start >"$1/start.log" 2>&1 || {
		cat "$1/start.log" >&2
		tail -n 30 "$1/log" >&2
		return 1
	}
}

pg_stop() {
	[ -e "$1/data/postmaster.pid" ] || return 0
	pg_as_postgres "$PG_BINDIR/pg_ctl" -D "$1/data" -m "${2:-fast}" -w -t 60 \
		stop >/dev/null 2>&1
}

# As root, the files given with -f stay readable: psql itself runs as root.
pg_psql() {
	local dir=$1
	shift
	PGHOST=$dir PGPORT=$(cat "$dir/port") PGUSER=postgres \
		"$PG_BINDIR/psql" -X -v ON_ERROR_STOP=1 "$@"
}
