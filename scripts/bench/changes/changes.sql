-- What changes by SQL write, by the tables' fillfactor and the server's wal_compression.
-- As a superuser, in a database of its own after `orderctl migrate`, on a server with autovacuum=off:
--   psql -v fillfactor=90 -v wal_compression=zstd -f scripts/bench/changes/changes.sql "$DATABASE_URL"
\set ON_ERROR_STOP on
\set QUIET on
\pset format unaligned
\pset tuples_only on
ALTER TABLE orders SET (fillfactor = :fillfactor);
ALTER TABLE deliveries SET (fillfactor = :fillfactor);
ALTER TABLE payments SET (fillfactor = :fillfactor);
SET orderhub.whole_orders = 'on';
INSERT INTO orders (order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard)
SELECT md5(i::text), 'TRACK' || i, 'WBIL', 'en', '', 'c' || i % 10000, 'meest', '9', 99, now() - i * interval '1s', '1' FROM generate_series(1, 300000) i;
INSERT INTO deliveries (order_uid, name, phone, zip, city, address, region, email)
SELECT md5(i::text), 'Test Testov', '+9720000000', '2639809', 'Kiryat Mozkin', 'Ploshad Mira 15', 'Kraiot', 'test@example.com' FROM generate_series(1, 300000) i;
INSERT INTO payments (order_uid, transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee)
SELECT md5(i::text), md5(i::text), '', 'USD', 'wbpay', 1817, 1637907727, 'alpha', 1500, 317, 0 FROM generate_series(1, 300000) i;
RESET orderhub.whole_orders;
VACUUM ANALYZE;
CHECKPOINT;
SET wal_compression = :'wal_compression';
SELECT pg_current_wal_lsn() AS start \gset
UPDATE deliveries SET city = 'Haifa' WHERE order_uid IN (SELECT md5((i * 30)::text) FROM generate_series(1, 10000) i);
SELECT 'bytes of WAL a change, right after a checkpoint: ' || (pg_wal_lsn_diff(pg_current_wal_lsn(), :'start') / 10000)::int;
SELECT pg_current_wal_lsn() AS start \gset
UPDATE deliveries SET city = 'Eilat' WHERE order_uid IN (SELECT md5((i * 30)::text) FROM generate_series(1, 10000) i);
SELECT 'bytes of WAL a change, then: ' || (pg_wal_lsn_diff(pg_current_wal_lsn(), :'start') / 10000)::int;
SELECT pg_stat_force_next_flush() \g /dev/null
SELECT relname || ': ' || n_tup_hot_upd || ' of ' || n_tup_upd || ' changes left the indexes alone (HOT), ' || pg_size_pretty(pg_total_relation_size(relid))
FROM pg_stat_user_tables WHERE n_tup_upd > 0 ORDER BY relname;
