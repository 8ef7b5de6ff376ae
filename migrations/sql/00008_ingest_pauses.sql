-- Whether an operator has paused the workers of a group.
--
-- A row is a pause. The workers look for it when they get partitions and then every few
-- seconds. It is in the database, since it has to outlast restarts and to be the same for
-- all workers.

-- +goose Up
SET LOCAL lock_timeout = '5s';
CREATE TABLE ingest_pauses (
    consumer_group text PRIMARY KEY,
    paused_by text NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    why text NOT NULL
);

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP TABLE ingest_pauses;
