-- Makes the four tables of an order hash-partitioned by order_uid, with their
-- rows, keys, indexes and triggers as they are. Run it as the tables' owner while
-- workers are stopped: it holds the tables and writes every row once more.
--
-- From then on change rows through the tables, never through a partition: the
-- triggers that tell readers of changes are the tables'. Rights that were granted
-- on the old tables have to be granted again. Keep the partitions' names: by
-- orders_… the worker sees that another writer was quicker, where a uid is refused.

BEGIN;
DO $$
DECLARE
    partitions CONSTANT int := 8;
    tables     CONSTANT text[] := ARRAY['orders', 'deliveries', 'payments', 'items'];
    name       text;
    definition text;
    later      text[] := '{}';
BEGIN
    -- What CREATE TABLE LIKE does not copy under its old name, in the order in
    -- which it can be made again: primary keys, foreign keys, indexes, triggers.
    later := ARRAY(
        SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
          FROM pg_constraint
         WHERE conrelid::regclass::text = ANY (tables) AND contype IN ('p', 'f')
         ORDER BY contype = 'f', conrelid::regclass::text)
      || ARRAY(
        SELECT pg_get_indexdef(indexrelid)
          FROM pg_index
         WHERE indrelid::regclass::text = ANY (tables) AND NOT indisprimary)
      || ARRAY(
        SELECT pg_get_triggerdef(oid)
          FROM pg_trigger
         WHERE tgrelid::regclass::text = ANY (tables) AND NOT tgisinternal);

    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('ALTER TABLE %1$I RENAME TO %1$s_whole', name);
        EXECUTE format('CREATE TABLE %1$I (LIKE %1$s_whole INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING COMMENTS)
                        PARTITION BY HASH (order_uid)', name);
        FOR i IN 0 .. partitions - 1 LOOP
            EXECUTE format('CREATE TABLE %1$s_%3$s PARTITION OF %1$I FOR VALUES WITH (MODULUS %2$s, REMAINDER %3$s)',
                           name, partitions, i);
        END LOOP;
        -- No trigger is there yet, so change_xid stays, and readers need no relist.
        EXECUTE format('INSERT INTO %1$I SELECT * FROM %1$s_whole', name);
    END LOOP;
    FOREACH name IN ARRAY tables LOOP
        EXECUTE format('DROP TABLE %1$s_whole CASCADE', name);
    END LOOP;
    FOREACH definition IN ARRAY later LOOP
        EXECUTE definition;
    END LOOP;
    PERFORM order_triggers_enable(); -- each for its role again
END $$;
COMMIT;
ANALYZE orders, deliveries, payments, items;
