-- Rows with an order_uid that no address can have are refused, whoever writes them: the
-- API, the page, lists and the stream could not agree on them. model.IsOrderUID is the
-- same rule.
--
-- A class of characters that must not occur costs 0.5 µs an order in COPY; a pattern of
-- those that may, with its {1,64}, costs 12 µs.
--
-- Each step has its own short transaction: the first one locks orders for a moment and
-- gives up after lock_timeout, the second reads the table without keeping others out. Where
-- there are such rows already they stay, and the constraint stays NOT VALID: it holds for
-- rows that are written from now on, and so for orders whose parts are changed.
-- `orderctl verify` counts them.

-- +goose NO TRANSACTION
-- +goose Up
-- +goose StatementBegin
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '5s', true);
    ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_order_uid_form;
    ALTER TABLE orders ADD CONSTRAINT orders_order_uid_form CHECK (
        order_uid !~ '[^A-Za-z0-9._-]' AND octet_length(order_uid) BETWEEN 1 AND 64
        AND order_uid NOT IN ('.', '..', 'stream')) NOT VALID;
    COMMENT ON COLUMN orders.content_hash IS
        'SHA-256 of the order as its record has it, before normalization; NULL in a row made by hand';
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '5s', true);
    ALTER TABLE orders VALIDATE CONSTRAINT orders_order_uid_form;
EXCEPTION WHEN check_violation THEN
    RAISE WARNING 'orders with an order_uid that no address can have are left as they are: '
        'rename them, or delete them from orders (their parts follow), then ALTER TABLE orders VALIDATE CONSTRAINT orders_order_uid_form';
END $$;
-- +goose StatementEnd

-- +goose Down
ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_order_uid_form;
