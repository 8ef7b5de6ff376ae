-- The NATS-based orders service: init-db, tables in the singular with ids of their own.
CREATE TABLE orders (order_uid text PRIMARY KEY, track_number text, entry text, locale text, internal_signature text, customer_id text,
    delivery_service text, shardkey text, sm_id integer, date_created timestamptz, oof_shard text);
CREATE TABLE delivery (id serial PRIMARY KEY, order_uid text UNIQUE REFERENCES orders (order_uid), name text, phone text, zip text, city text, address text, region text, email text);
CREATE TABLE payment (id serial PRIMARY KEY, order_uid text UNIQUE REFERENCES orders (order_uid), transaction text, request_id text, currency text, provider text,
    amount integer, payment_dt bigint, bank text, delivery_cost integer, goods_total integer, custom_fee integer);
CREATE TABLE items (id serial PRIMARY KEY, order_uid text REFERENCES orders (order_uid), chrt_id integer, track_number text, price integer, rid text, name text,
    sale integer, size text, total_price integer, nm_id integer, brand text, status integer);
INSERT INTO orders SELECT order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard FROM staging.orders;
INSERT INTO delivery (order_uid, name, phone, zip, city, address, region, email) SELECT order_uid, name, phone, zip, city, address, region, email FROM staging.deliveries;
INSERT INTO payment (order_uid, transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee) SELECT order_uid, transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee FROM staging.payments;
INSERT INTO items (order_uid, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status)
    SELECT order_uid, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status FROM staging.items ORDER BY position, order_uid;
