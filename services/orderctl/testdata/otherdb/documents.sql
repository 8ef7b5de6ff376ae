-- Whole orders as JSON, and sums in another table with decimals: a mapping file says where fields are.
CREATE TABLE docs (id serial PRIMARY KEY, body jsonb);
CREATE TABLE sums (doc int REFERENCES docs, amount numeric(14,2), delivery_cost numeric(14,2), goods_total numeric(14,2), custom_fee numeric(14,2));
INSERT INTO docs (body) SELECT to_jsonb(o) || jsonb_build_object('delivery', (SELECT to_jsonb(d) FROM staging.deliveries d WHERE d.order_uid = o.order_uid),
    'payment', (SELECT to_jsonb(p) FROM staging.payments p WHERE p.order_uid = o.order_uid),
    'items', (SELECT jsonb_agg(to_jsonb(i) ORDER BY position) FROM staging.items i WHERE i.order_uid = o.order_uid)) FROM staging.orders o;
INSERT INTO sums SELECT id, p.amount / 100.0, p.delivery_cost / 100.0, p.goods_total / 100.0, p.custom_fee / 100.0 FROM docs JOIN staging.payments p ON p.order_uid = body->>'order_uid';
