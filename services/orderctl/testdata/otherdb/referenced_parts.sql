-- Orders that refer to their parts by text ids, and a table between orders and items.
CREATE TABLE delivery (delivery_id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text, phone text, zip text, city text, address text, region text, email text, of text);
CREATE TABLE payment (transaction text PRIMARY KEY, request_id text, currency text, provider text, amount bigint, payment_dt timestamptz, bank text,
    delivery_cost bigint, goods_total bigint, custom_fee bigint, of text);
CREATE TABLE "order" (order_uid text PRIMARY KEY, track_number text, entry text, delivery uuid REFERENCES delivery, payment text REFERENCES payment, locale text, internal_signature text,
    customer_id text, delivery_service text, shardkey text, sm_id text, date_created text, oof_shard text);
CREATE TABLE item (rid text, chrt_id bigint, track_number text, price bigint, name text, sale int, size text, total_price bigint, nm_id bigint, brand text, status int, id serial PRIMARY KEY, of text);
CREATE TABLE order_items (order_uid text REFERENCES "order", item_id int REFERENCES item (id));
INSERT INTO delivery SELECT gen_random_uuid(), name, phone, zip, city, address, region, email, order_uid FROM staging.deliveries;
INSERT INTO payment SELECT 't-' || transaction, request_id, currency, provider, amount, to_timestamp(payment_dt), bank, delivery_cost, goods_total, custom_fee, order_uid FROM staging.payments;
INSERT INTO "order" SELECT order_uid, track_number, entry, d.delivery_id, p.transaction, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id,
    to_char(date_created AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), oof_shard
    FROM staging.orders s JOIN delivery d ON d.of = s.order_uid JOIN payment p ON p.of = s.order_uid;
INSERT INTO item SELECT rid, chrt_id, track_number, price, name, sale, size, total_price, nm_id, brand, status, nextval('item_id_seq'), order_uid FROM staging.items ORDER BY order_uid, position;
INSERT INTO order_items SELECT of, id FROM item;
UPDATE staging.payments SET transaction = 't-' || transaction;
