-- Takes the replica role for the rest of the transaction, unless the user may not, or the
-- role would skip or add something besides the look-ups of Orderhub's foreign keys:
-- another trigger or key, or a rule. Returns that, or ''. Triggers that are enabled always
-- run in both roles, and disabled ones in neither. But one before each row may leave an order
-- out, or give it another order_uid, and only the look-ups notice that its parts have no order.
WITH RECURSIVE tables (oid, root) AS ( -- with their partitions
    SELECT t::oid, t::oid FROM unnest(ARRAY['orders', 'deliveries', 'payments', 'items']::regclass[]) AS t
    UNION ALL
    SELECT inhrelid, root FROM pg_inherits JOIN tables ON inhparent = tables.oid
), own_keys (oid) AS ( -- without joins, which take long to plan
    SELECT oid
      FROM pg_constraint
     WHERE contype = 'f' AND conrelid = ANY (ARRAY(SELECT oid FROM tables WHERE root <> 'orders'::regclass))
       AND confrelid = ANY (ARRAY(SELECT oid FROM tables WHERE root = 'orders'::regclass))
       AND (SELECT attname FROM pg_attribute WHERE attrelid = conrelid AND ARRAY[attnum] = conkey) = 'order_uid'
       AND (SELECT attname FROM pg_attribute WHERE attrelid = confrelid AND ARRAY[attnum] = confkey) = 'order_uid'
), obstacles (obstacle) AS (
    SELECT format('the user may not set session_replication_role: as a superuser, GRANT SET ON PARAMETER session_replication_role TO %I', current_user)
     WHERE NOT has_parameter_privilege('session_replication_role', 'SET')
    UNION ALL
    SELECT format('trigger %I on %s', tgname, tgrelid::regclass)
      FROM pg_trigger JOIN tables ON tgrelid = tables.oid JOIN pg_proc p ON p.oid = tgfoid
     WHERE tgtype & 4 <> 0 -- of INSERT
       AND (tgenabled IN ('O', 'R') OR tgenabled = 'A' AND tgtype & 3 = 3) AND tgconstraint NOT IN (SELECT oid FROM own_keys)
       AND NOT (proname IN ('orders_inserted', 'order_parts_inserted', 'order_row_replicated')
                AND pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'orders'::regclass))
    UNION ALL
    SELECT format('rule %I on %s', rulename, ev_class::regclass) FROM pg_rewrite JOIN tables ON ev_class = tables.oid
)
SELECT CASE obstacle WHEN '' THEN left(set_config('session_replication_role', 'replica', true), 0) ELSE obstacle END
  FROM (SELECT coalesce((SELECT obstacle FROM obstacles LIMIT 1), '') AS obstacle OFFSET 0) AS first
