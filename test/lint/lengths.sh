#!/bin/bash
# lengths.sh: nobody has to read much at once.  No function over 100 lines, no
# file over 800, no line over 80 columns with tabs of four, tabs to indent.
# A message is one string, however long, as PostgreSQL does it: so that it can
# be found by searching for it.  Strings do not count for a line's length.
#
# With BSD braces a function is what stands between a { and a } that are alone
# in column 0; a struct's closing brace has more on its line.
. "$(dirname "$0")/lib.sh"
export LC_ALL=C.UTF-8

for file in src/*.c; do
	awk -v file="$file" -v max=100 '
		/^[A-Za-z_].*\(/ { name = $0; sub(/\(.*/, "", name) }
		/^\{$/ { start = NR }
		/^\}$/ && start { if (NR - start + 1 > max)
			print file ":" start ": " name ", " NR - start + 1 " lines"
			start = 0 }' "$file"
done | verdict 'no function over 100 lines'

for file in src/*.[ch]; do
	awk -v file="$file" 'END { if (NR > 800) print file ": " NR }' "$file"
done | verdict 'no file over 800 lines'

for file in src/*.[ch]; do
	expand -t 4 "$file" | awk -v file="$file" '{
		n = length($0); gsub(/"([^"\\]|\\.)*"/, "\"\"") }
		length($0) > 80 { print file ":" NR ": " n " columns" }'
done | verdict 'no line over 80 columns'

grep -nE '^ {4}' src/*.[ch] | grep -vE ':[0-9]+: +\*' |
	verdict 'tabs indent'
lint_end
