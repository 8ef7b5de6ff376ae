#!/bin/sh
# Prints the path of golangci-lint of the version given as the argument: the one
# on PATH, or the one in .tools, where it is installed if it is missing.
set -eu
version=$1
tools=$(cd "$(dirname "$0")/.." && pwd)/.tools

is_wanted() {
	[ "$("$1" version --short 2>/dev/null)" = "$version" ]
}

for candidate in golangci-lint "$tools/golangci-lint"; do
	if is_wanted "$candidate"; then
		echo "$candidate"
		exit
	fi
done
echo "installing golangci-lint $version into $tools" >&2
GOBIN=$tools go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v$version"
echo "$tools/golangci-lint"
