-- What is to be done so that the roles of the prefix $1 exist, reach the database and the
-- schema, and have their rights there, in order: rows of a statement, the role whose
-- password ends it, and a note for people. $2 are the roles that get a password. A row
-- without a statement says why there is no plan. It only reads.
, roles (n, role, name, there, excess) AS (
    SELECT n, role, $1::text || '_' || role, rolname IS NOT NULL,
           concat_ws(', ', CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
                     CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION' END,
                     CASE WHEN rolbypassrls THEN 'BYPASSRLS' END)
      FROM unnest(ARRAY['migrate', 'writer', 'reader', 'operator']) WITH ORDINALITY AS r (role, n)
      LEFT JOIN pg_roles ON rolname = $1::text || '_' || role
), tables (oid) AS ( -- with their partitions
    SELECT oid FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relname IN (SELECT tab FROM rights) AND relkind IN ('r', 'p', 'S')
    UNION
    SELECT inhrelid FROM pg_inherits JOIN tables ON inhparent = tables.oid
), moved (object, owner) AS ( -- what another user owns
    SELECT object, owner
      FROM (SELECT 'TABLE ' || oid::regclass, relowner FROM pg_class JOIN tables USING (oid)
            UNION ALL
            SELECT 'FUNCTION ' || oid::regprocedure, proowner FROM pg_proc
             WHERE pronamespace = current_schema()::regnamespace
               AND (proname = 'order_triggers_enable'
                    OR proname LIKE 'order%' AND oid IN (SELECT tgfoid FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM tables)))
           ) AS ours (object, owner)
     WHERE pg_get_userbyid(owner) <> $1::text || '_migrate'
), members (name) AS (
    -- The connected user must be able to act as the new owner. Who owned tables can then
    -- do what it could before, so programs that connect as it keep working. Since
    -- PostgreSQL 16, who creates a role is a member of it, but without the right SET.
    SELECT quote_ident(u.rolname)
      FROM pg_roles u LEFT JOIN pg_roles o ON o.rolname = $1::text || '_migrate'
     WHERE NOT u.rolsuper AND EXISTS (SELECT FROM moved) AND (u.rolname = current_user OR u.oid IN (SELECT owner FROM moved))
       AND NOT coalesce(pg_has_role(u.oid, o.oid, CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END), false)
), has (tab, name, need) AS (
    SELECT relname::text, name, privilege_type
      FROM pg_class JOIN tables USING (oid), aclexplode(relacl) JOIN roles ON name = pg_get_userbyid(grantee)
)
SELECT statement, password, note
  FROM (
    SELECT 1, n, 0, '', '', format('role %s may do more than a program should (%s): ALTER ROLE it, or use another prefix', name, excess)
      FROM roles WHERE excess <> ''
    UNION ALL
    SELECT 2, n, 0, format('%s ROLE %s LOGIN', CASE WHEN there THEN 'ALTER' ELSE 'CREATE' END, name), role, ''
      FROM roles WHERE role = ANY ($2)
    UNION ALL
    SELECT 2, n, 0, format('CREATE ROLE %s NOLOGIN', name), '',
           format('%s cannot log in, for want of a password: name its file, or GRANT %1$s to a user that can', name)
      FROM roles WHERE NOT there AND role <> ALL ($2)
    UNION ALL
    SELECT 3, n, 0, format('GRANT CONNECT ON DATABASE %I TO %s', current_database(), name), '', ''
      FROM roles WHERE NOT has_database_privilege(CASE WHEN there THEN name ELSE 'public' END, current_database(), 'CONNECT')
    UNION ALL
    SELECT 3, n, 1, format('GRANT %s ON SCHEMA %I TO %s', need, current_schema(), name), '', ''
      FROM roles, unnest(ARRAY['USAGE', 'CREATE']) AS need
     WHERE (need = 'USAGE' OR role = 'migrate')
       AND NOT has_schema_privilege(CASE WHEN there THEN name ELSE 'public' END, current_schema(), need)
    UNION ALL
    SELECT 4, 0, 0, format('GRANT %s_migrate TO %s', $1::text, name), '',
           format('%s is a member of %s_migrate, so that programs that connect as it keep working; once none does: REVOKE %2$s_migrate FROM %1$s', name, $1::text)
      FROM members
    UNION ALL -- whoever waits for a table keeps others waiting
    SELECT 5, 0, 0, 'SET LOCAL lock_timeout = ''5s''', '', '' WHERE EXISTS (SELECT FROM moved)
    UNION ALL
    SELECT 6, 0, 0, format('ALTER %s OWNER TO %s_migrate', object, $1::text), '', '' FROM moved
    UNION ALL
    SELECT 7, min(oid::bigint), min(n), format('REVOKE %s ON %s FROM %s', string_agg(need, ', ' ORDER BY need), oid::regclass, name), '', ''
      FROM has JOIN pg_class ON relname = tab AND relnamespace = current_schema()::regnamespace JOIN roles USING (name)
     WHERE role <> 'migrate' AND NOT EXISTS (SELECT FROM rights r WHERE r.tab = has.tab AND r.role = roles.role AND r.need = has.need)
     GROUP BY oid, name
    UNION ALL
    SELECT 8, rights.n, min(roles.n), format('GRANT %s ON %s TO %s', string_agg(need, ', ' ORDER BY k), oid::regclass, name), '', ''
      FROM rights JOIN roles USING (role) JOIN pg_class ON relname = tab AND relnamespace = current_schema()::regnamespace
     WHERE (tab, name, need) NOT IN (SELECT tab, name, need FROM has)
     GROUP BY rights.n, oid, name
    UNION ALL -- so that its transactions of whole orders skip the look-ups for foreign keys; only who may give it does
    SELECT 9, n, 0, format('GRANT SET ON PARAMETER session_replication_role TO %s', name), '', ''
      FROM roles
     WHERE role = 'writer' AND has_parameter_privilege('session_replication_role', 'SET WITH GRANT OPTION')
       AND NOT CASE WHEN there THEN has_parameter_privilege(name, 'session_replication_role', 'SET') ELSE false END
  ) AS steps (step, n, m, statement, password, note)
 ORDER BY step, n, m, statement DESC
