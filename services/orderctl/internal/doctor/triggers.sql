-- The triggers that are missing, disabled for the role that they were made for, or not
-- ours, in rows of finding, table and trigger. Tables that do not exist are left out.
WITH wanted AS (
    SELECT tab, name
      FROM (VALUES
            ('orders',          'stamp inserted updated deleted truncated replica_inserted replica_changed replica_truncated'),
            ('deliveries',      'inserted updated deleted truncated replica_inserted replica_changed replica_truncated'),
            ('payments',        'inserted updated deleted truncated replica_inserted replica_changed replica_truncated'),
            ('items',           'inserted updated deleted truncated replica_inserted replica_changed replica_truncated'),
            ('order_deletions', 'truncated replica_inserted replica_truncated')
           ) AS t (tab, names), string_to_table(names, ' ') AS name
     WHERE to_regclass(tab) IS NOT NULL
), found AS (
    SELECT tab, tgname::text AS name, tgenabled, p.proname LIKE 'order%' AS ours
      FROM (SELECT DISTINCT tab FROM wanted) AS t
      JOIN pg_trigger ON tgrelid = to_regclass(tab) AND NOT tgisinternal
      JOIN pg_proc p ON p.oid = tgfoid
)
SELECT CASE WHEN ours IS NULL THEN 'missing' WHEN w.name IS NULL OR NOT ours THEN 'foreign' ELSE 'disabled' END, tab, name
  FROM wanted w FULL JOIN found f USING (tab, name)
 WHERE w.name IS NULL OR NOT coalesce(ours, false)
    OR tgenabled::text NOT IN ('A', CASE WHEN name LIKE 'replica\_%' THEN 'R' ELSE 'O' END)
 ORDER BY 2, 3
