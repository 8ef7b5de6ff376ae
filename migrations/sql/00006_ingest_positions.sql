-- How far each partition is in the tables, and that their history has changed.
--
-- Offsets are committed in Kafka, and a database may lose its last minutes. So the worker
-- also records in each transaction up to which offset the partition's records are in the
-- tables, or are dead letters. After a restore, that position decides where reading
-- continues. It is never ahead of the tables.
--
-- Each transaction updates a row for each of its partitions. No index has next_offset, so
-- with free space in the page such an update adds nothing to the index.
--
-- A database that was restored from a copy of its files has the same identity as before,
-- and uses the same transaction ids again. The worker that finds it behind renews epoch,
-- by which readers know that they have to relist. It is NULL until then.

-- +goose Up
SET LOCAL lock_timeout = '5s';
CREATE TABLE ingest_positions (
    consumer_group text NOT NULL,
    topic_id    uuid    NOT NULL,
    partition   integer NOT NULL CHECK (partition >= 0),
    topic       text    NOT NULL,
    next_offset bigint  NOT NULL CHECK (next_offset >= 0),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    transactions bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (consumer_group, topic_id, partition)
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
COMMENT ON COLUMN ingest_positions.topic_id IS 'Kafka''s id of the topic; all zeros if the broker gives none';
COMMENT ON COLUMN ingest_positions.next_offset IS 'records with smaller offsets are in the tables, or are dead letters';
COMMENT ON COLUMN ingest_positions.transactions IS 'how many were committed for the partition: a batch of several has one offset';
ALTER TABLE order_changes_state ADD COLUMN epoch uuid;
COMMENT ON COLUMN order_changes_state.epoch IS 'random; renewed when the database went back to an earlier state: readers relist';

-- +goose Down
SET LOCAL lock_timeout = '5s';
ALTER TABLE order_changes_state DROP COLUMN epoch;
DROP TABLE ingest_positions;
