-- The fields of records that an order does not have, where workers keep them
-- (INGEST_UNKNOWN_FIELDS=keep).
--
-- NULL: they were not kept. In orders, {}: there were none.

-- +goose Up
SET LOCAL lock_timeout = '5s';
ALTER TABLE orders ADD COLUMN unknown_fields jsonb;
ALTER TABLE deliveries ADD COLUMN unknown_fields jsonb;
ALTER TABLE payments ADD COLUMN unknown_fields jsonb;
ALTER TABLE items ADD COLUMN unknown_fields jsonb;
COMMENT ON COLUMN orders.unknown_fields IS
    'fields of the record that an order does not have; NULL: not kept; {}: there were none';
COMMENT ON COLUMN orders.content_hash IS
    'SHA-256 of the order as the worker stored it, without unknown fields; behind it, where these were kept, that with them';

-- +goose Down
SET LOCAL lock_timeout = '5s';
ALTER TABLE items DROP COLUMN unknown_fields;
ALTER TABLE payments DROP COLUMN unknown_fields;
ALTER TABLE deliveries DROP COLUMN unknown_fields;
ALTER TABLE orders DROP COLUMN unknown_fields;
