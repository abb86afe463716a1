#!/bin/bash
# static.sh: clang-tidy's analyser and cppcheck find nothing.
#
# Switched off is what contradicts PostgreSQL's way of writing C: several
# parameters of one type, macros without parentheses around types, memcpy
# without the optional functions of C11, assignments inside conditions; and in
# cppcheck what it says of `s[strspn(s, ...)]`.  Findings inside the server's
# own headers are left out: its lists are beyond the analyser.
. "$(dirname "$0")/lib.sh"

includes="-I$("$PG_CONFIG" --includedir-server)"
checks='-*,clang-analyzer-*,bugprone-*,cert-env33-c,cert-flp30-c'
checks+=',-bugprone-easily-swappable-parameters,-bugprone-macro-parentheses'
checks+=',-bugprone-assignment-in-if-condition,-bugprone-narrowing-conversions'
checks+=',-bugprone-reserved-identifier,-bugprone-branch-clone'
checks+=',-bugprone-implicit-widening-of-multiplication-result'
checks+=',-bugprone-sizeof-expression,-bugprone-suspicious-include'
checks+=',-clang-analyzer-security.insecureAPI.*'
checks+=',-clang-analyzer-optin.performance.Padding'

for tool in clang-tidy cppcheck; do
	command -v $tool >/dev/null || echo "$tool is missing"
done | verdict 'the analysers are there'

for file in src/*.c; do
	clang-tidy --quiet --checks="$checks" --header-filter="^$top/src/.*" \
		"$file" -- -isystem "${includes#-I}" -Isrc -D_GNU_SOURCE \
		'-DVF_VERSION=""' 2>/dev/null |
		grep -E "^$top/src/.*(warning|error):" | sed "s|$top/||" || true
done | verdict 'clang-tidy finds nothing'

cppcheck --quiet --enable=warning,portability --inline-suppr --std=c99 \
	--suppress=missingInclude --suppress=unknownMacro \
	--suppress=preprocessorErrorDirective --suppress=arrayIndexThenCheck \
	--include=test/lint/prelude.h \
	--template='{file}:{line}: {id}: {message}' \
	-Isrc src 2>&1 | verdict 'cppcheck finds nothing'
lint_end
