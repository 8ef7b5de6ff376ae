-- The checks that are queries. Each returns rows of finding, what it is about, evidence
-- and what its advice says besides. The row ok is what a check without findings has seen.

-- postgres.server
SELECT CASE WHEN n < 150000 THEN 'too_old' WHEN n >= 190000 THEN 'untested' ELSE 'ok' END, '',
       'version ' || current_setting('server_version') || CASE WHEN pg_is_in_recovery() THEN ', a standby' ELSE '' END, ''
  FROM (SELECT current_setting('server_version_num')::int AS n) AS version

-- postgres.schema
SELECT 'invalid_index', indexrelid::regclass::text, 'the index of ' || indrelid::regclass || ' is not used: its creation was interrupted', ''
  FROM pg_index
 WHERE indrelid IN ('orders'::regclass, 'deliveries'::regclass, 'payments'::regclass, 'items'::regclass, 'order_deletions'::regclass) AND NOT indisvalid
UNION ALL
SELECT 'not_validated', conname, 'rows of ' || conrelid::regclass || ' from before the constraint may break it',
       format('repair the rows (orderctl verify counts them), then: ALTER TABLE %s VALIDATE CONSTRAINT %I', conrelid::regclass, conname)
  FROM pg_constraint
 WHERE conrelid IN ('orders'::regclass, 'deliveries'::regclass, 'payments'::regclass, 'items'::regclass) AND NOT convalidated
UNION ALL
SELECT 'ok', '', 'at version ' || max(version_id), '' FROM orderhub_db_version WHERE is_applied

-- postgres.roles
SELECT DISTINCT 'superuser', application_name, application_name || ' connects as the superuser ' || usename, ''
  FROM pg_stat_activity JOIN pg_roles ON rolname = usename
 WHERE rolsuper AND datname = current_database() AND application_name IN ('ingest-worker', 'read-api', 'orderctl')
UNION ALL
SELECT DISTINCT 'foreign_key_look_ups', usename::text, format('user %I may not set session_replication_role: PostgreSQL looks foreign keys up for each order, which takes two fifths of its time', usename),
       format('GRANT SET ON PARAMETER session_replication_role TO %I', usename)
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'ingest-worker'
   AND NOT has_parameter_privilege(usename, 'session_replication_role', 'SET')
UNION ALL
SELECT 'ok', '', 'the roles of the programs have their rights', ''

-- postgres.triggers
-- Tables that do not exist, and triggers that the last release's schema does not have, are
-- left out: that is for the schema's check.
SELECT kind, tab || '.' || name,
       CASE kind WHEN 'missing' THEN 'the trigger does not exist: some changes do not reach the caches'
                 WHEN 'foreign' THEN 'the trigger is not Orderhub''s: it may slow down, change or refuse orders'
                 ELSE 'the trigger is not enabled for the role that it was made for: some changes do not reach the caches' END,
       format('%I ON %s', name, tab)
  FROM (WITH wanted AS (
            SELECT tab, name
              FROM (VALUES
                    ('orders',          'stamp inserted updated deleted truncated replica_inserted replica_changed replica_truncated'),
                    ('deliveries',      'inserted updated deleted truncated replica_inserted replica_changed replica_truncated'),
                    ('payments',        'inserted updated deleted truncated replica_inserted replica_changed replica_truncated'),
                    ('items',           'inserted updated deleted truncated replica_inserted replica_changed replica_truncated'),
                    ('order_deletions', 'truncated replica_inserted replica_truncated')
                   ) AS t (tab, names), string_to_table(names, ' ') AS name
             WHERE to_regclass(tab) IS NOT NULL
               AND (name NOT LIKE 'replica\_%' OR to_regproc('order_replicated') IS NOT NULL OR to_regclass('ingest_positions') IS NOT NULL)
        ), found AS (
            SELECT tab, tgname::text AS name, tgenabled, p.proname LIKE 'order%' AS ours
              FROM (SELECT DISTINCT tab FROM wanted) AS t
              JOIN pg_trigger ON tgrelid = to_regclass(tab) AND NOT tgisinternal
              JOIN pg_proc p ON p.oid = tgfoid
        )
        SELECT CASE WHEN ours IS NULL THEN 'missing' WHEN w.name IS NULL OR NOT ours THEN 'foreign' ELSE 'disabled' END AS kind, tab, name
          FROM wanted w FULL JOIN found f USING (tab, name)
         WHERE w.name IS NULL OR NOT coalesce(ours, false)
            OR tgenabled::text NOT IN ('A', CASE WHEN name LIKE 'replica\_%' THEN 'R' ELSE 'O' END)) AS wrong
UNION ALL
SELECT 'ok', '', 'all are enabled', ''

-- postgres.connections
SELECT CASE WHEN used >= 0.8 * most THEN 'nearly_used' ELSE 'ok' END, '', format('%s of %s connections are used', used, most), ''
  FROM (SELECT sum(numbackends) AS used, current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0) AS most FROM pg_stat_database) AS n

-- postgres.disk
SELECT 'inactive_slot', slot_name::text, format('nobody reads the replication slot, which keeps %s of WAL, and more with time, until the disk is full',
       pg_size_pretty(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn))), ''
  FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL
UNION ALL
SELECT CASE WHEN age(datfrozenxid) > 1000000000 THEN 'wraparound' ELSE 'ok' END, '',
       format('the database takes %s, its oldest transaction id is %s old (at 2 billion PostgreSQL refuses writes); the free space of the disks of PostgreSQL and Kafka cannot be seen from here',
              pg_size_pretty(pg_database_size(oid)), age(datfrozenxid)), ''
  FROM pg_database WHERE datname = current_database()
