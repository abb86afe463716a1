#!/bin/bash
# layers.sh: calls go down only.  #include "x.h" is the proof: a file of src/
# includes headers of lower storeys, of its own room, and of rooms that are
# one engine with it: joined by a + in the table.  Some tools have one user.
#
# A file belongs to the room whose name is its own, or its longest beginning
# that ends before a _: source_find.c is of room source.  A file of no room
# fails: give it one, here and in the design.
. "$(dirname "$0")/lib.sh"

table='
8 voiceframe_retention
7 sql
6 worker
5 purge+brake+restore+erase+retain drain+lease+check+scan+lifecycle+promote+orphans register watch
4 source outbox undo hold lookup inventory shared scanlog lclog runlog bucket sweep preflight
3 s3+s3_cred
2 http s3_sign+s3_xml s3_lcdoc
1 db digest pages report schedule server stats+wake texts
0 compat+errors+settings
'

declare -A storey engine
while read -r number words; do
	for word in $words; do
		for room in ${word//+/ }; do
			storey[$room]=$number
			engine[$room]=$word
		done
	done
done <<<"$(sed '/^$/d' <<<"$table")"

# room_of FILE: its room, or nothing
room_of() {
	local name=${1##*/}
	name=${name%.[ch]}
	while [ -z "${storey[$name]:-}" ]; do
		case $name in *_*) name=${name%_*} ;; *) return 0 ;; esac
	done
	echo "$name"
}

check_file() {
	local file=$1 from to header
	from=$(room_of "$file")
	if [ -z "$from" ]; then echo "$file: of no known room"; return; fi
	while read -r header; do
		[ -e "src/$header" ] || continue	# the server's own
		to=$(room_of "$header")
		if [ -z "$to" ]; then echo "$file: $header is of no room"; continue; fi
		[ "${engine[$from]}" != "${engine[$to]}" ] || continue
		[ "${storey[$to]}" -ge "${storey[$from]}" ] || continue
		echo "$file (storey ${storey[$from]}) includes $header" \
			"(storey ${storey[$to]})"
	done < <(sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\([^"]*\)".*/\1/p' "$file")
}

# only WHAT PATTERN FILES: nobody else's code mentions it (comments may)
only() {
	local what=$1 pattern=$2 allowed=$3 file
	for file in src/*.[ch]; do
		[[ ! ${file#src/} =~ ^($allowed)$ ]] || continue
		perl -0777 -pe 's{/\*.*?\*/}{$& =~ tr/\n//cdr}gse' "$file" |
			grep -nE "$pattern" | sed "s|^|$file:|" || true
	done | verdict "only $what"
}

for file in src/*.[ch]; do check_file "$file"; done |
	verdict 'includes go down only'
only 'http knows libcurl' 'curl/|CURL|curl_' 'http(_.*)?\.[ch]'
only 's3_xml and s3_lcdoc know expat' 'expat\.h|XML_Parse' \
	's3_(xml(_acl)?|lcdoc)\.[ch]'
only 'db knows SPI' 'executor/spi\.h|SPI_' 'db(_.*)?\.[ch]'
only 'desks see PG_FUNCTION_ARGS' 'PG_FUNCTION_ARGS|PG_FUNCTION_INFO' \
	'sql_.*\.[ch]'
only 'compat.h asks for the version' 'PG_VERSION_NUM' 'compat\.h'
lint_end
