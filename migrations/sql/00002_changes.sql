-- How a change reaches the caches. Any change of the four tables, by any client,
-- does one of three things: it stamps the order's row (orders.change_xid), it adds
-- a row to order_deletions, or it requests a relist. Each statement notifies at
-- most once (NOTIFY orders_changed, empty payload).
--
-- The worker inserts whole orders, whose rows are stamped by the column's default,
-- and notifies once per transaction itself. It sets orderhub.whole_orders to 'on'
-- for its transaction, which disables the insert triggers.
--
-- plan_cache_mode: a statement that is first planned while the tables are empty
-- would keep its sequential scan long after they have grown.
-- search_path: names refer to the tables in the function's schema, whatever the
-- client's search_path is.

-- +goose Up
CREATE TABLE order_deletions (
    order_uid  text COLLATE "C" NOT NULL,
    change_xid xid8        NOT NULL DEFAULT pg_current_xact_id(),
    deleted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX order_deletions_change_xid ON order_deletions (change_xid);

CREATE TABLE order_changes_state (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    horizon    xid8 NOT NULL DEFAULT pg_current_xact_id(),
    relist_xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON COLUMN order_changes_state.horizon IS
    'deletions with a smaller change_xid may have been pruned: a reader whose last snapshot does not reach up to here relists';
COMMENT ON COLUMN order_changes_state.relist_xid IS
    'last transaction that changed what no stamp can show (TRUNCATE): a reader whose last snapshot does not see it relists';
INSERT INTO order_changes_state DEFAULT VALUES;

-- +goose StatementBegin
CREATE FUNCTION order_row_stamp() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NEW.change_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- Rows inserted by hand may have a change_xid of their own, such as one from
-- another cluster's dump. It is replaced.
-- +goose StatementBegin
CREATE FUNCTION orders_inserted() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (SELECT order_uid FROM new_rows WHERE change_xid <> pg_current_xact_id());
    NOTIFY orders_changed;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- An order whose uid changed counts as deleted under the old uid.
-- +goose StatementBegin
CREATE FUNCTION orders_updated() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    INSERT INTO order_deletions (order_uid)
    SELECT order_uid FROM old_rows EXCEPT SELECT order_uid FROM new_rows;
    NOTIFY orders_changed;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION orders_deleted() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    INSERT INTO order_deletions (order_uid) SELECT order_uid FROM old_rows;
    NOTIFY orders_changed;
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- A changed part stamps its order, and the stamp's own UPDATE notifies. If the
-- order itself is being deleted, there is nothing left to stamp.
-- +goose StatementBegin
CREATE FUNCTION order_parts_inserted() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (SELECT order_uid FROM new_rows);
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION order_parts_updated() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (SELECT order_uid FROM old_rows UNION SELECT order_uid FROM new_rows);
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION order_parts_deleted() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (SELECT order_uid FROM old_rows);
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION orders_call_relist() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE order_changes_state SET relist_xid = pg_current_xact_id();
    NOTIFY orders_changed;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER stamp BEFORE UPDATE ON orders
    FOR EACH ROW EXECUTE FUNCTION order_row_stamp();
CREATE TRIGGER inserted AFTER INSERT ON orders REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT WHEN (current_setting('orderhub.whole_orders', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION orders_inserted();
CREATE TRIGGER updated AFTER UPDATE ON orders REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION orders_updated();
CREATE TRIGGER deleted AFTER DELETE ON orders REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION orders_deleted();

-- +goose StatementBegin
DO $$
DECLARE part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['deliveries', 'payments', 'items'] LOOP
        EXECUTE format($t$
            CREATE TRIGGER inserted AFTER INSERT ON %1$I REFERENCING NEW TABLE AS new_rows
                FOR EACH STATEMENT WHEN (current_setting('orderhub.whole_orders', true) IS DISTINCT FROM 'on')
                EXECUTE FUNCTION order_parts_inserted();
            CREATE TRIGGER updated AFTER UPDATE ON %1$I REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
                FOR EACH STATEMENT EXECUTE FUNCTION order_parts_updated();
            CREATE TRIGGER deleted AFTER DELETE ON %1$I REFERENCING OLD TABLE AS old_rows
                FOR EACH STATEMENT EXECUTE FUNCTION order_parts_deleted();
        $t$, part);
    END LOOP;
    FOREACH part IN ARRAY ARRAY['orders', 'deliveries', 'payments', 'items', 'order_deletions'] LOOP
        EXECUTE format('CREATE TRIGGER truncated AFTER TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION orders_call_relist()', part);
    END LOOP;
END $$;
-- +goose StatementEnd

-- +goose Down
DROP TRIGGER stamp ON orders;
-- +goose StatementBegin
DO $$
DECLARE part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['orders', 'deliveries', 'payments', 'items'] LOOP
        EXECUTE format('DROP TRIGGER inserted ON %1$I; DROP TRIGGER updated ON %1$I;
                        DROP TRIGGER deleted ON %1$I; DROP TRIGGER truncated ON %1$I', part);
    END LOOP;
END $$;
-- +goose StatementEnd
DROP TABLE order_deletions, order_changes_state;
DROP FUNCTION order_row_stamp, orders_inserted, orders_updated, orders_deleted,
    order_parts_inserted, order_parts_updated, order_parts_deleted, orders_call_relist;
