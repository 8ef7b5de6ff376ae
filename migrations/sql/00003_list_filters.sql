-- Lists of one customer's or one track number's orders, newest first. The hash
-- makes entries small, cheap to compare and never too long for an index,
-- whatever somebody writes into the columns by hand.
--
-- NULLS LAST, though no column has NULLs, tells these apart from orders_newest:
-- a query in this order can't be planned along that one.

-- +goose Up
CREATE INDEX orders_customer ON orders
    (hashtextextended(customer_id, 0), date_created DESC NULLS LAST, order_uid DESC NULLS LAST);
CREATE INDEX orders_track_number ON orders
    (hashtextextended(track_number, 0), date_created DESC NULLS LAST, order_uid DESC NULLS LAST);

-- +goose Down
DROP INDEX orders_customer, orders_track_number;
