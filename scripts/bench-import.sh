#!/usr/bin/env bash
# Compares an import of another service's orders with the ingest of as many published
# orders, in one run: each goes into a fresh Orderhub, and is timed until the worker has
# stored all. Usage: scripts/bench-import.sh [ORDERS]. Needs psql, curl, and what `make run` needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
orders=${1:-1000000}
work=$(mktemp -d)
stacks=()
cleanup() {
	for pid in "${stacks[@]}"; do kill -INT "$pid" 2>/dev/null || true; done
	wait
	rm -rf "$work"
}
trap cleanup EXIT

# start NAME PORT runs a stack with its data in $work/NAME, on PORT and some above it.
start() {
	local name=$1 port=$2
	env -u KAFKA_BROKERS -u DATABASE_URL LOG_LEVEL=warn ORDERHUB_DATA="$work/$name" KAFKA_PORT="$port" POSTGRES_PORT=$((port + 1)) \
		HTTP_ADDR=127.0.0.1:$((port + 2)) ADMIN_ADDR=127.0.0.1:$((port + 10)) bin/stack >"$work/$name.log" 2>&1 &
	stacks+=($!)
	for _ in $(seq 240); do
		curl -sf "http://127.0.0.1:$((port + 11))/readyz" >/dev/null && return
		sleep 0.5
	done
	cat "$work/$name.log" >&2
	return 1
}

database() { echo "postgres://orders:orders@127.0.0.1:$(($1 + 1))/orders?sslmode=disable"; }

# stored PORT prints how many records the worker has done.
stored() { curl -s "http://127.0.0.1:$(($1 + 10))/metrics" | awk '/^orderhub_ingest_records_total/ { n += $2 } END { printf "%d\n", n }'; }

# rate PORT COMMAND… prints the records that are stored each second from the command's start on.
rate() {
	local port=$1 before began
	shift
	before=$(stored "$port")
	began=$(date +%s.%N)
	"$@" >"$work/out" 2>&1 || { cat "$work/out" >&2 && return 1; }
	while (($(stored "$port") < before + orders)); do sleep 0.05; done
	awk -v n="$orders" -v from="$began" -v to="$(date +%s.%N)" 'BEGIN { printf "%.0f\n", n / (to - from) }'
}

start published 21000
ingested=$(KAFKA_BROKERS=127.0.0.1:21000 rate 21000 bin/orderctl publish --count "$orders")
# Another service's tables: the columns of the orders, and nothing of Orderhub's.
psql -q "$(database 21000)" >"$work/psql" 2>&1 <<'SQL'
CREATE SCHEMA other;
DO $$ DECLARE name text; columns text; BEGIN
	FOREACH name IN ARRAY ARRAY['orders', 'deliveries', 'payments', 'items'] LOOP
		SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) INTO columns FROM information_schema.columns
			WHERE table_schema = 'public' AND table_name = name AND column_name NOT IN ('content_hash', 'change_xid');
		EXECUTE format('CREATE TABLE other.%I AS SELECT %s FROM public.%I', name, columns, name);
		EXECUTE format('CREATE INDEX ON other.%I (order_uid)', name);
	END LOOP;
END $$;
SQL
start imported 22000
imported=$(KAFKA_BROKERS=127.0.0.1:22000 DATABASE_URL=$(database 22000) rate 22000 \
	bin/orderctl import --state "" --from "$(database 21000)&search_path=other")
awk -v n="$orders" -v a="$ingested" -v b="$imported" 'BEGIN { printf "%d orders: published and stored %d/s, imported and stored %d/s: %.2f x\n", n, a, b, b / a }'
