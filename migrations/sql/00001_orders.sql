-- The four tables of an order. Columns have the names of the JSON fields. Keys
-- contain order_uid and nothing generated, so that each table can be
-- hash-partitioned by it. Uids sort and compare by bytes (COLLATE "C"), which is
-- cheaper than a locale's rules and the same on every machine.

-- +goose Up
CREATE TABLE orders (
    order_uid          text COLLATE "C" PRIMARY KEY,
    track_number       text        NOT NULL,
    entry              text        NOT NULL,
    locale             text        NOT NULL,
    internal_signature text        NOT NULL DEFAULT '',
    customer_id        text        NOT NULL,
    delivery_service   text        NOT NULL,
    shardkey           text        NOT NULL,
    sm_id              bigint      NOT NULL,
    date_created       timestamptz NOT NULL
        CHECK (date_created >= '0001-01-01 00:00:00+00' AND date_created < '10000-01-01 00:00:00+00'),
    oof_shard          text        NOT NULL,
    content_hash       bytea,
    change_xid         xid8        NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON COLUMN orders.content_hash IS
    'SHA-256 of the record as the worker stored it; NULL in a row made by hand';
COMMENT ON COLUMN orders.change_xid IS
    'transaction that last changed the order or one of its parts; readers find what is new by it';

CREATE TABLE deliveries (
    order_uid text COLLATE "C" PRIMARY KEY REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE,
    name      text NOT NULL,
    phone     text NOT NULL,
    zip       text NOT NULL,
    city      text NOT NULL,
    address   text NOT NULL,
    region    text NOT NULL,
    email     text NOT NULL
);

CREATE TABLE payments (
    order_uid     text COLLATE "C" PRIMARY KEY REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE,
    transaction   text   NOT NULL,
    request_id    text   NOT NULL DEFAULT '',
    currency      text   NOT NULL,
    provider      text   NOT NULL,
    amount        bigint NOT NULL,
    payment_dt    bigint NOT NULL,
    bank          text   NOT NULL,
    delivery_cost bigint NOT NULL,
    goods_total   bigint NOT NULL,
    custom_fee    bigint NOT NULL
);

CREATE TABLE items (
    order_uid    text COLLATE "C" NOT NULL REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE,
    position     integer NOT NULL,
    chrt_id      bigint  NOT NULL,
    track_number text    NOT NULL,
    price        bigint  NOT NULL,
    rid          text    NOT NULL,
    name         text    NOT NULL,
    sale         bigint  NOT NULL,
    size         text    NOT NULL,
    total_price  bigint  NOT NULL,
    nm_id        bigint  NOT NULL,
    brand        text    NOT NULL,
    status       bigint  NOT NULL,
    PRIMARY KEY (order_uid, position)
);

-- Indexes of the tail, and of lists: newest first, order_uid breaks ties.
CREATE INDEX orders_change_xid ON orders (change_xid);
CREATE INDEX orders_newest ON orders (date_created DESC, order_uid DESC);

-- +goose Down
DROP TABLE items, payments, deliveries, orders;
