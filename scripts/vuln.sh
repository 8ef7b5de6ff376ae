#!/bin/sh
# Looks for known vulnerabilities in the services with govulncheck, of the version given
# as the argument. GOVULNDB names another database than https://vuln.go.dev.
#
# Exit codes: 0 nothing found, 3 found, 4 not checked because the database cannot be
# reached, 1 anything else. Where nothing could be checked, nothing has passed.
set -u
version=$1
cd "$(dirname "$0")/.."
worst=0
for service in services/*; do
	output=$(cd "$service" && go run "golang.org/x/vuln/cmd/govulncheck@$version" ${GOVULNDB:+-db "$GOVULNDB"} ./cmd/... 2>&1)
	code=$?
	# `go run` ends with 1 and prints the program's own code.
	case $code:$output in 1:*"exit status 3"*) code=3 ;; esac
	printf '== %s\n%s\n' "$service" "$output"
	case $code in
	0) ;;
	3) worst=3 ;;
	*)
		case $output in
		*"fetching vulnerabilities"*)
			printf '\nNOT CHECKED: the vulnerability database (%s) cannot be reached.\n' "${GOVULNDB:-https://vuln.go.dev}" >&2
			exit 4
			;;
		esac
		exit 1
		;;
	esac
done
exit $worst
