#!/bin/bash
# text.sh: errors carry an errcode and read as PostgreSQL's do, nothing is
# left for later, no trailing blanks, the top level holds what it may hold,
# and a file in sql/ never shares its name with a test.
. "$(dirname "$0")/lib.sh"

# Statements, not lines: parentheses are matched, comments and strings apart.
errors='
	my $s = $_;
	$s =~ s{/\*.*?\*/}{$& =~ tr/\n//cdr}gse;
	while ($s =~ /\bereport\s*(\((?:[^()"]++|"(?:\\.|[^"\\])*+"|(?1))*+\))/g) {
		my $all = $1;
		my $line = 1 + (substr($s, 0, $-[0]) =~ tr/\n//);
		next unless $all =~ /^\(\s*(?:ERROR|FATAL|PANIC)\b/;
		print "$ARGV:$line: no errcode\n" unless $all =~ /\berrcode\w*\s*\(/;
		while ($all =~ /\berrmsg(?:_plural)?\s*\(\s*((?:"(?:\\.|[^"\\])*"\s*)+)/g) {
			my $text = $1;
			print "$ARGV:$line: message begins with a capital\n"
				if $text =~ /^"[A-Z][a-z]/;
			print "$ARGV:$line: message ends with a full stop\n"
				if $text =~ /[^.]\."\s*$/;
		}
	}'
for file in src/*.[ch]; do
	perl -0777 -ne "$errors" "$file"
done | verdict 'every ereport(ERROR) has an errcode and a plain message'

# Spelled so that this file does not find itself.
todo='TO''DO|FIX''ME|\bXX''X\b'
texts() {
	find src sql test Makefile voiceframe_retention.control README.md .ci \
		-type f ! -name '*.o' ! -name '*.bc' ! -name '*.so' ! -name '*.pyc' \
		! -path 'test/unit/build/*' "$@" 2>/dev/null
}
texts -print0 | xargs -0 grep -nEI "$todo" | verdict 'nothing left for later'

# Expected outputs are psql's, and psql pads.
texts ! -name '*.out' -print0 | xargs -0 grep -nIE '[ 	]+$' |
	verdict 'no trailing blanks'

# What a build or a test run leaves there is ignored by git and here.
for name in *; do
	case $name in
	src | sql | expected | test | Makefile | README.md) ;;
	voiceframe_retention.control) ;;
	*.so | *.o | *.bc | results | regression.* | output_iso | tmp_check) ;;
	log) ;;
	*) echo "$name" ;;
	esac
done | verdict 'the top level holds what it may hold'

for file in sql/*.sql; do
	if [ -e "test/$file" ]; then echo "$file and test/$file"; fi
done | verdict 'no file in sql/ is named as a test'

for file in $(texts -name '*.sh'); do
	bash -n "$file" 2>&1
done | verdict 'shell scripts parse'
lint_end
