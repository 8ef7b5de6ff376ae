-- Numeric ids, parts that refer to them, times of payment as timestamps, names with the part before them.
CREATE TABLE orders (id bigserial PRIMARY KEY, uid text UNIQUE, track_number text, entry text, locale text, customer text,
    delivery_service text, shard_key text, sm_id int, created_at timestamptz, oof_shard text, updated_at timestamptz DEFAULT now());
CREATE TABLE deliveries (id serial PRIMARY KEY, order_id bigint REFERENCES orders (id), delivery_name text, phone_number text, zip_code text, city text, address text, region text, e_mail text);
CREATE TABLE payments (id serial PRIMARY KEY, order_id bigint REFERENCES orders (id), transaction_id text, currency char(5), provider text,
    amount numeric, payment_date timestamp, bank text, delivery_cost numeric(12), goods_total bigint, custom_fee bigint);
CREATE TABLE items (id serial PRIMARY KEY, order_id bigint REFERENCES orders (id), position int, chrt_id bigint, track_number text, price bigint, rid text, name text,
    discount int, size text, total_price bigint, nm_id bigint, brand text, status int);
UPDATE staging.orders SET internal_signature = '';
UPDATE staging.payments SET request_id = ''; -- there is no column for either
INSERT INTO orders (uid, track_number, entry, locale, customer, delivery_service, shard_key, sm_id, created_at, oof_shard)
    SELECT order_uid, track_number, entry, locale, customer_id, delivery_service, shardkey, sm_id, date_created, oof_shard FROM staging.orders ORDER BY random();
INSERT INTO deliveries (order_id, delivery_name, phone_number, zip_code, city, address, region, e_mail)
    SELECT o.id, name, phone, zip, s.city, s.address, s.region, email FROM staging.deliveries s JOIN orders o ON o.uid = s.order_uid;
INSERT INTO payments (order_id, transaction_id, currency, provider, amount, payment_date, bank, delivery_cost, goods_total, custom_fee)
    SELECT o.id, transaction, currency, provider, amount, to_timestamp(payment_dt) AT TIME ZONE 'UTC', bank, delivery_cost, goods_total, custom_fee
    FROM staging.payments s JOIN orders o ON o.uid = s.order_uid;
INSERT INTO items (order_id, position, chrt_id, track_number, price, rid, name, discount, size, total_price, nm_id, brand, status)
    SELECT o.id, position + 1, chrt_id, s.track_number, price, rid, name, sale, size, total_price, nm_id, brand, status
    FROM staging.items s JOIN orders o ON o.uid = s.order_uid ORDER BY random();
