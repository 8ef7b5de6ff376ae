-- orderHub_L0: four tables by goose, joined by order_uid.
CREATE TABLE goose_db_version (id serial PRIMARY KEY, version_id bigint NOT NULL, is_applied boolean NOT NULL, tstamp timestamp DEFAULT now());
INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true), (1, true), (2, true), (3, true);
CREATE TABLE orders (order_uid varchar(64) PRIMARY KEY, track_number varchar(64) NOT NULL, entry varchar(64), locale varchar(64), internal_signature text,
    customer_id varchar(64), delivery_service varchar(64), shardkey varchar(64), sm_id int, date_created timestamp NOT NULL, oof_shard varchar(64));
CREATE TABLE deliveries (order_uid varchar(64) PRIMARY KEY REFERENCES orders ON DELETE CASCADE, name text, phone text, zip text, city text, address text, region text, email text);
CREATE TABLE payments (order_uid varchar(64) PRIMARY KEY REFERENCES orders ON DELETE CASCADE, transaction text, request_id text, currency varchar(8), provider text,
    amount int, payment_dt bigint, bank text, delivery_cost int, goods_total int, custom_fee int);
CREATE TABLE items (id serial PRIMARY KEY, order_uid varchar(64) REFERENCES orders ON DELETE CASCADE, chrt_id bigint, track_number text, price int, rid text, name text,
    sale int, size text, total_price int, nm_id bigint, brand text, status int);
INSERT INTO orders SELECT order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id, date_created AT TIME ZONE 'UTC', oof_shard FROM staging.orders;
INSERT INTO deliveries SELECT order_uid, name, phone, zip, city, address, region, email FROM staging.deliveries;
INSERT INTO payments SELECT order_uid, transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee FROM staging.payments;
INSERT INTO items (order_uid, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status)
    SELECT order_uid, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status FROM staging.items ORDER BY position, order_uid;
