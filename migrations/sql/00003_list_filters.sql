-- Indexes for lists of one customer's or one track number's orders, newest first.
-- The hash keeps entries small, cheap to compare and never too long for an index,
-- whatever values somebody writes by hand.
--
-- NULLS LAST distinguishes these indexes from orders_newest, although no column
-- has NULLs: a query that sorts this way cannot use orders_newest.

-- +goose Up
CREATE INDEX orders_customer ON orders
    (hashtextextended(customer_id, 0), date_created DESC NULLS LAST, order_uid DESC NULLS LAST);
CREATE INDEX orders_track_number ON orders
    (hashtextextended(track_number, 0), date_created DESC NULLS LAST, order_uid DESC NULLS LAST);

-- +goose Down
-- `orderctl migrate --drop-list-indexes` may have dropped them.
DROP INDEX IF EXISTS orders_customer, orders_track_number;
