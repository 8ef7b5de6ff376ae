-- What the user $1 lacks of a role's rights ($2), as the statements that grant it. A right
-- on some columns counts: the server will say if another one is needed. A schema without
-- USAGE hides its tables.
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', nspname, $1::text)
  FROM pg_namespace n
 WHERE nspname = ANY (string_to_array(translate(current_setting('search_path'), '" ', ''), ','))
   AND NOT has_schema_privilege($1, n.oid, 'USAGE')
   AND EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = 'orderhub_db_version')
UNION ALL
(SELECT format('GRANT %s ON %s TO %I', string_agg(need, ', ' ORDER BY k), t, $1::text)
   FROM rights, to_regclass(tab) AS t
  WHERE role = $2
    AND NOT CASE need WHEN 'DELETE' THEN has_table_privilege($1, t, need) ELSE has_any_column_privilege($1, t, need) END
  GROUP BY n, t ORDER BY n)
