-- Which record an order comes from, its earlier versions, and deletions that are remembered.
--
-- record_… say how new an order is (model.Stamp decides). They are NULL in rows made by hand
-- or before this step: these are older than any record. No row is rewritten: times are
-- recorded from now on, so stored_at gets its default in a statement of its own.

-- +goose Up
SET LOCAL lock_timeout = '5s';
ALTER TABLE orders
    ADD COLUMN record_version   bigint,
    ADD COLUMN record_time      timestamptz,
    ADD COLUMN record_partition integer,
    ADD COLUMN record_offset    bigint,
    ADD COLUMN stored_at        timestamptz,
    ADD COLUMN updated_at       timestamptz;
ALTER TABLE orders ALTER COLUMN stored_at SET DEFAULT now();
COMMENT ON COLUMN orders.record_version IS 'the record''s own version (INGEST_VERSION_FIELD); of a time the microseconds since 1970';
COMMENT ON COLUMN orders.record_time IS 'Kafka''s timestamp of the newest record with the order''s content';
COMMENT ON COLUMN orders.stored_at IS 'when the order was stored; NULL: before this was recorded';
COMMENT ON COLUMN orders.updated_at IS 'when the order or one of its parts was last changed; NULL: never, or before this was recorded';

CREATE TABLE order_versions (
    order_uid        text COLLATE "C" NOT NULL,
    version          bigint      NOT NULL,
    replaced_at      timestamptz NOT NULL DEFAULT now(),
    record_version   bigint,
    record_time      timestamptz,
    record_partition integer,
    record_offset    bigint,
    content          bytea       NOT NULL,
    since            timestamptz,
    PRIMARY KEY (order_uid, version)
);
CREATE INDEX order_versions_replaced_at ON order_versions (replaced_at);
COMMENT ON TABLE order_versions IS 'what orders were before a newer record replaced or deleted them';
COMMENT ON COLUMN order_versions.version IS 'counts the versions of an order from 1';
COMMENT ON COLUMN order_versions.content IS 'canonical JSON, compressed (zlib)';
COMMENT ON COLUMN order_versions.since IS 'when the order became this, by whomever; NULL: before that was recorded';

CREATE TABLE order_tombstones (
    order_uid        text COLLATE "C" PRIMARY KEY,
    record_version   bigint,
    record_time      timestamptz,
    record_partition integer,
    record_offset    bigint,
    deleted_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX order_tombstones_deleted_at ON order_tombstones (deleted_at);
COMMENT ON TABLE order_tombstones IS
    'deletions by a record with a null value: an older record does not bring the order back';

-- A newer record with the same content moves record_… (and content_hash), which readers do
-- not show: such a change is not stamped. An order has updated_at once it changes in another
-- transaction than the one that inserted it.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION order_row_stamp() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE moved record;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        moved := OLD;
        moved.record_version := NEW.record_version;
        moved.record_time := NEW.record_time;
        moved.record_partition := NEW.record_partition;
        moved.record_offset := NEW.record_offset;
        moved.content_hash := NEW.content_hash;
        IF moved IS DISTINCT FROM OLD AND moved IS NOT DISTINCT FROM NEW THEN
            RETURN NEW;
        END IF;
        IF OLD.change_xid <> pg_current_xact_id() THEN
            NEW.updated_at := now();
        END IF;
    END IF;
    NEW.change_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- A client that sets orderhub.whole_orders changes the order's row itself when it changes parts.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION order_parts_updated() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    IF current_setting('orderhub.whole_orders', true) = 'on' THEN
        RETURN NULL;
    END IF;
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (SELECT order_uid FROM old_rows UNION SELECT order_uid FROM new_rows);
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE OR REPLACE FUNCTION order_parts_deleted() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    IF current_setting('orderhub.whole_orders', true) = 'on' THEN
        RETURN NULL;
    END IF;
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (SELECT order_uid FROM old_rows);
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose Down
SET LOCAL lock_timeout = '5s';
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION order_row_stamp() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.change_xid := pg_current_xact_id();
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION order_parts_updated() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (SELECT order_uid FROM old_rows UNION SELECT order_uid FROM new_rows);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION order_parts_deleted() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (SELECT order_uid FROM old_rows);
    RETURN NULL;
END $$;
-- +goose StatementEnd
DROP TABLE order_tombstones, order_versions;
ALTER TABLE orders DROP COLUMN record_version, DROP COLUMN record_time, DROP COLUMN record_partition, DROP COLUMN record_offset,
    DROP COLUMN stored_at, DROP COLUMN updated_at;
