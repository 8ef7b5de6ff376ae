-- After partition.sql: a schema for each of the eight partitions, shard_0 to
-- shard_7, in which the four tables are views of that partition alone. A reader
-- whose DATABASE_URL ends with ?search_path=shard_3,public (or &search_path=…,
-- after other settings) holds, lists and streams the orders of that shard.
--
-- Everything is changed through the tables as before, and whatever stands in no
-- schema of a shard (deletions, the relist, the schema's version) is the same for
-- all of them. A reader of views does not see that a trigger was switched off and
-- on again: start it anew then. Run this again after a migration that adds a
-- column. A role of its own for readers needs USAGE on the schemas and SELECT on
-- the views.

DO $$
DECLARE
    name text;
BEGIN
    FOR i IN 0 .. 7 LOOP
        EXECUTE format('CREATE SCHEMA IF NOT EXISTS shard_%s', i);
        FOREACH name IN ARRAY ARRAY['orders', 'deliveries', 'payments', 'items'] LOOP
            EXECUTE format('CREATE OR REPLACE VIEW shard_%2$s.%1$I AS SELECT * FROM public.%1$s_%2$s', name, i);
        END LOOP;
    END LOOP;
END $$;
