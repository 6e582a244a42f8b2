#!/usr/bin/env bash
#
# lint.sh - rules that a grep can check, one line each
#
# Prints a line for each broken rule with the places; ends with 1 if there is
# any. Looks at what git knows (in a tarball: at all files).

set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
	mapfile -t files < <(git ls-files -- '*.c' '*.h' | while read -r f; do
		[ ! -e "$f" ] || echo "$f"; done)
else
	mapfile -t files < <(find . -name '*.c' -o -name '*.h' | sed 's|^\./||' | grep -v '^build')
fi
broken=0

# places of a pattern in files, comments and strings left out
places() {
	local pattern=$1
	shift
	[ $# -gt 0 ] || return 0
	perl -e '
		my $pattern = shift;
		for my $file (@ARGV) {
			open my $in, "<", $file or die "$file: $!";
			local $/; my $text = <$in>;
			# Blank out what is not code, but keep the lines.
			$text =~ s{(/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*")}
				{my $x = $1; $x =~ s/[^\n]/ /g; $x}gse;
			my $n = 0;
			for my $line (split /\n/, $text) {
				$n++;
				print "  $file:$n: $line\n" if $line =~ /$pattern/;
			}
		}' "$pattern" "$@"
}

# rule TEXT PLACES
rule() {
	if [ -n "$2" ]; then
		printf '%s:\n%s\n' "$1" "$2"
		broken=1
	fi
}

select_files() { printf '%s\n' "${files[@]}" | grep -E "$1" || true; }
mapfile -t all < <(select_files '.')
# The list of what is banned names it.
mapfile -t code < <(select_files '.' | grep -v '^core/base/ban\.h$')
# storage/suite is a test program of the core's store, with a backend linked in.
mapfile -t plugins < <(select_files '^(plugins|auth|storage)/' |
	grep -vE '_(test|fuzz)\.c$|^storage/suite/')
# Tables of test data read better unwrapped.
mapfile -t wrapped < <(select_files '.' | grep -vE '_test\.c$|^storage/suite/')
mapfile -t outside_loop < <(select_files '^core/' | grep -vE '^core/(loop|net|main|ctl)/')

rule 'banned: unbounded or unsafe C functions' "$(places \
	'\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|alloca|system|popen|scanf)\s*\(' "${code[@]}")"
rule 'banned: random numbers that can be guessed (use mk_random)' "$(places \
	'\b(s?rand|s?random|[dlm]rand48|rand_r)\s*\(' "${code[@]}" | grep -v '^  test/bench/')"
rule 'the wall clock is for stamps, not for waiting (mk_now_usec, mk_cond_wait)' "$(places \
	'\bCLOCK_REALTIME\b' "${code[@]}" | grep -vE '^  (core/base/time\.c|.*_test\.c|test/)')"
rule 'banned: queries with escaped text (use parameters)' "$(places \
	'\b(PQescape\w*|mysql_real_escape\w*|sqlite3_exec_printf|sqlite3_mprintf)\s*\(' "${code[@]}")"
rule 'libevent: evhttp, evdns, evtag and OpenSSL bufferevents are not for us' "$(places \
	'\b(evhttp_\w+|evdns_\w+|evtag_\w+|bufferevent_openssl\w*)\s*\(' "${code[@]}")"

mapfile -t parsers < <(places '\b(xmlCreate\w*ParserCtxt|xmlNew\w*ParserCtxt|xmlRead(Memory|File|Doc|Fd|IO)|xmlSAXUserParse\w*|xmlParse\w+)\s*\(' \
	"${code[@]}" | sed 's/^  \([^:]*\):.*/\1/' | sort -u)
[ ${#parsers[@]} -le 1 ] || rule 'more than one file makes XML parsers (S-01)' "$(printf '  %s\n' "${parsers[@]}")"
rule 'XML parser options that resolve or load (S-01)' "$(places \
	'\bXML_PARSE_(NOENT|DTDLOAD|DTDATTR|DTDVALID|XINCLUDE|HUGE)\b' "${code[@]}")"

# Include lines hold strings, so not through places().
rule 'plugins, auth and storage include <meerkat/...>, a library, or their own folder' "$(
	for f in "${plugins[@]}"; do
		grep -HnE '^\s*#\s*include\s+"' "$f" | while IFS=: read -r file line text; do
			name=${text#*\"} name=${name%\"*}
			[ -e "$(dirname "$file")/$name" ] || [[ $file == storage/*/* && -e storage/$name ]] ||
				echo "  $file:$line: $text"
		done
	done)"
rule 'public headers include only each other and libc' "$(
	for f in core/include/meerkat/*.h; do
		grep -HnE '^\s*#\s*include\s+("|<(libxml|gnutls|event|sqlite|libpq|yaml|jansson|stringprep))' "$f" | sed 's/^/  /'
	done)"
rule 'loop/ knows nothing of what is above it' "$(
	grep -nE '#\s*include\s+"(xml|net|tls|session|stream|route|store|plugin|conf|domain|ctl|main)/' \
		core/loop/*.[ch] core/base/*.[ch] 2>/dev/null | grep -v '_test\.c:' | sed 's/^/  /')"
rule 'libevent is used by loop/, net/, main/ and ctl/ alone' "$(
	grep -nE '#\s*include\s+<event' "${outside_loop[@]}" /dev/null 2>/dev/null | sed 's/^/  /')"
rule 'promises instead of code' "$(grep -nE '\b(TODO|FIXME|XXX)\b|not (yet )?implemented' \
	"${all[@]}" /dev/null | grep -v 'feature-not-implemented' | sed 's/^/  /')"
rule 'lines longer than 110 columns' "$(
	for f in "${wrapped[@]}"; do
		expand -t8 "$f" | awk -v f="$f" 'length($0) > 110 { print "  " f ":" FNR ": " length($0) " columns" }'
	done)"
rule 'a folder named util, common, misc or helpers' "$(
	printf '%s\n' "${all[@]}" | grep -E '(^|/)(util|utils|common|misc|helpers)/' | sed 's/^/  /')"
for folder in core/*/ plugins/*/ auth/*/ storage/*/; do
	case $folder in core/include/ | '*'*) continue ;; esac
	[ -d "$folder" ] || continue
	[ -n "$(ls "$folder"*.c 2>/dev/null)" ] || continue
	[ -f "${folder}README.md" ] || rule 'a folder without README.md' "  $folder"
done

[ $broken = 0 ] && echo 'all rules hold'
exit $broken
