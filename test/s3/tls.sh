#!/bin/bash
# tls.sh DIR: a throw-away authority, ca.pem, and certificates with keys for a
# server on 127.0.0.1, NAME.pem and NAME.key: good; bad are other_host (made
# out to another host), expired, not_yet (valid from tomorrow), other_ca
# (signed by an authority nobody was told of) and self_signed.
set -eu
dir=$1
mkdir -p "$dir"
cd "$dir"

authority() { # NAME
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$1" \
		-keyout "$1.key" -out "$1.pem" 2>/dev/null
}

# By `openssl ca`, the one way to choose both ends of the validity.
certificate() { # NAME NAMES AUTHORITY START END
	openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout "$1.key" \
		-out "$1.csr" 2>/dev/null
	rm -rf db
	mkdir db
	: >db/index
	echo 01 >db/serial
	cat >db/cnf <<-EOF
	[ca]
	default_ca = c
	[c]
	new_certs_dir = db
	database = db/index
	serial = db/serial
	default_md = sha256
	policy = p
	unique_subject = no
	x509_extensions = x
	[p]
	commonName = supplied
	[x]
	subjectAltName = $2
	basicConstraints = CA:FALSE
	EOF
	openssl ca -batch -notext -config db/cnf -cert "$3.pem" -keyfile "$3.key" \
		-in "$1.csr" -out "$1.pem" -startdate "$4" -enddate "$5" 2>/dev/null
	rm -rf db "$1.csr"
}

days() { date -u -d "$1 days" +%Y%m%d%H%M%SZ; }

here='DNS:localhost,IP:127.0.0.1'
authority ca
authority other_authority
certificate good "$here" ca "$(days -1)" "$(days 30)"
certificate other_host DNS:not-this-host.test ca "$(days -1)" "$(days 30)"
certificate expired "$here" ca "$(days -9)" "$(days -1)"
certificate not_yet "$here" ca "$(days 1)" "$(days 30)"
certificate other_ca "$here" other_authority "$(days -1)" "$(days 30)"
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=self \
	-addext "subjectAltName=$here" -keyout self_signed.key \
	-out self_signed.pem 2>/dev/null
