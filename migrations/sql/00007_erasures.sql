-- Orders that were erased on request: an HMAC of each order_uid, by which the worker refuses
-- the order if its record is read again. The key is not in the database.
--
-- erasures_version is a sequence since its value is no part of a snapshot: a transaction
-- that began earlier sees it change, and reads erasures again. The value is random, so a
-- restored database never has the value of other erasures.

-- +goose Up
SET LOCAL lock_timeout = '5s';
CREATE TABLE erasures (
    hmac      bytea PRIMARY KEY CHECK (octet_length(hmac) = 16),
    key_id    text NOT NULL,
    erased_at timestamptz NOT NULL DEFAULT now(),
    pending   boolean NOT NULL DEFAULT false
);
COMMENT ON COLUMN erasures.key_id IS 'tells with which key the HMAC was made';
COMMENT ON COLUMN erasures.pending IS
    'it came from the dead-letter topic, after the database went back to an earlier state: its order is still to be looked for';
CREATE SEQUENCE erasures_version;

-- +goose Down
SET LOCAL lock_timeout = '5s';
DROP SEQUENCE erasures_version;
DROP TABLE erasures;
