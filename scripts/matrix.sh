#!/usr/bin/env bash
# scripts/matrix.sh POSTGRESQL KAFKA: runs the tests of worker, reader, orderctl and migrations
# on each of the major versions of PostgreSQL, and `make test-kafka` on each of the versions of
# Kafka, both lists with blanks. It prints a row of a table for each, and fails if one failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# row NAME COMMAND... runs a command and prints what came of its tests.
row() {
	local name=$1 began=$SECONDS result=passed
	shift
	"$@" >"$log" 2>&1 || { result=FAILED failed=1; cat "$log" >&2; }
	printf '| %s | %s | %d | %d | %d | %d |\n' "$name" "$result" \
		"$(grep -c '^ *--- PASS' "$log")" "$(grep -c '^ *--- FAIL' "$log")" "$(grep -c '^ *--- SKIP' "$log")" "$((SECONDS - began))"
}

echo '| on | result | tests passed | failed | skipped | seconds |'
echo '|---|---|--:|--:|--:|--:|'
for version in $1; do
	export ORDERHUB_POSTGRES_VERSION=$version
	row "PostgreSQL $version" go test -count=1 -v -timeout 30m ./services/ingest-worker/... ./services/read-api/... ./services/orderctl/integration ./scripts/internal/ledger
done
unset ORDERHUB_POSTGRES_VERSION
for version in $2; do
	export ORDERHUB_KAFKA_VERSION=$version
	row "Apache Kafka $version" make test-kafka TESTFLAGS=-v
done
exit "$failed"
