-- The rights on Orderhub's tables that each role needs, apart from the owner, in rows of
-- table, role and right. docs/roles.md says what for, and a test compares it. A program
-- that is given less waits, and names what is missing.
WITH RECURSIVE rights (n, tab, role, k, need) AS (
    SELECT n, tab, role, k, need
      FROM (VALUES
            (1, 'orders',              'SELECT INSERT UPDATE DELETE', 'SELECT', 'SELECT INSERT UPDATE DELETE'),
            (2, 'deliveries',          'SELECT INSERT UPDATE', 'SELECT', 'SELECT INSERT UPDATE DELETE'),
            (3, 'payments',            'SELECT INSERT UPDATE', 'SELECT', 'SELECT INSERT UPDATE DELETE'),
            (4, 'items',               'SELECT INSERT UPDATE DELETE', 'SELECT', 'SELECT INSERT UPDATE DELETE'),
            (5, 'order_deletions',     'SELECT INSERT DELETE', 'SELECT', 'SELECT INSERT'),
            (6, 'order_changes_state', 'SELECT UPDATE', 'SELECT', NULL),
            (7, 'orderhub_db_version', 'SELECT',        'SELECT', 'SELECT'),
            (8, 'ingest_positions',    'SELECT INSERT UPDATE DELETE', NULL, 'SELECT INSERT UPDATE'),
            (9, 'erasures',            'SELECT INSERT UPDATE', NULL, 'SELECT INSERT'),
            (10, 'erasures_version',   'SELECT UPDATE', NULL, 'SELECT UPDATE'),
            (11, 'ingest_pauses',      'SELECT',        NULL, 'SELECT INSERT UPDATE DELETE'),
            (12, 'order_versions',     'SELECT INSERT DELETE', 'SELECT', 'SELECT INSERT DELETE'),
            (13, 'order_tombstones',   'SELECT INSERT UPDATE DELETE', 'SELECT', 'SELECT INSERT UPDATE DELETE')
           ) AS t (n, tab, writer, reader, operator),
           LATERAL (VALUES ('writer', writer), ('reader', reader), ('operator', operator), ('viewer', substring(operator FROM '^SELECT'))) AS r (role, needs),
           string_to_table(needs, ' ') WITH ORDINALITY AS p (need, k)
)
