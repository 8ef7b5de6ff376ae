-- Changes that ordinary triggers do not see: those that logical replication applies,
-- and those of sessions whose session_replication_role is replica. For these the
-- triggers replica_… do what the others do for everybody else.
--
-- They are row triggers, since logical replication fires no statement triggers for
-- rows. Rows from another server bring its change_xid, which says nothing here: they
-- are stamped anew. As ENABLE REPLICA triggers they do not run in ordinary sessions.
-- Those of inserts are AFTER triggers: a BEFORE row trigger, even one that does not
-- run, makes COPY write the rows one by one.
--
-- ALTER TABLE … ENABLE TRIGGER ALL, which pg_restore --disable-triggers ends with,
-- makes them ordinary triggers, silent in the replica role. Readers report that;
-- SELECT order_triggers_enable() enables them again.

-- +goose Up
-- A lock that is not to be had soon would keep all writers waiting behind it. The
-- order of the tables is the worker's, so neither waits for the other in a circle.
SET LOCAL lock_timeout = '5s';
LOCK TABLE orders, deliveries, payments, items, order_deletions IN SHARE ROW EXCLUSIVE MODE;

-- +goose StatementBegin
CREATE FUNCTION order_replicated() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    NOTIFY orders_changed;
    IF OLD.order_uid IS DISTINCT FROM NEW.order_uid THEN
        INSERT INTO order_deletions (order_uid) VALUES (OLD.order_uid);
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    NEW.change_xid := pg_current_xact_id();
    RETURN NEW;
END $$;
-- +goose StatementEnd

-- Stamps the order of a row, unless this transaction has. An argument says that the row
-- is the order. Without enable_seqscan, a plan from when the table was empty would scan
-- all of it for each row later.
--
-- There are no foreign keys in the replica role. So a part may come while its order's
-- transaction is still open, as in the first copy of a subscription, which copies tables
-- side by side. If the order then committed first, no stamp would show that the part came
-- later. So a part that has no order waits for the transactions that insert orders, and
-- they wait for it.
-- +goose StatementBegin
CREATE FUNCTION order_row_replicated() RETURNS trigger LANGUAGE plpgsql
    SET search_path FROM CURRENT SET enable_seqscan = off AS $$
BEGIN
    NOTIFY orders_changed;
    IF TG_NARGS > 0 THEN
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('orderhub.replicated', 0));
    ELSIF TG_OP <> 'DELETE' AND NOT EXISTS (SELECT FROM orders WHERE order_uid = NEW.order_uid) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('orderhub.replicated', 0));
    END IF;
    UPDATE orders SET change_xid = pg_current_xact_id()
     WHERE order_uid IN (OLD.order_uid, NEW.order_uid) AND change_xid <> pg_current_xact_id();
    RETURN NULL;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION order_triggers_enable() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE t record;
BEGIN
    FOR t IN SELECT tgrelid::regclass AS tab, tgname, CASE WHEN tgname LIKE 'replica\_%' THEN 'REPLICA' ELSE '' END AS role
               FROM pg_trigger
              WHERE tgrelid IN ('orders'::regclass, 'deliveries'::regclass, 'payments'::regclass, 'items'::regclass, 'order_deletions'::regclass)
                AND tgfoid IN (SELECT oid FROM pg_proc WHERE proname LIKE 'order%') LOOP
        EXECUTE format('ALTER TABLE %s ENABLE %s TRIGGER %I', t.tab, t.role, t.tgname);
    END LOOP;
END $$;
-- +goose StatementEnd
COMMENT ON FUNCTION order_triggers_enable IS
    'enables the triggers that stamp and notify changes, each for its role, after pg_restore --disable-triggers or ALTER TABLE … TRIGGER';

CREATE TRIGGER replica_inserted AFTER INSERT ON orders FOR EACH ROW
    WHEN (current_setting('orderhub.whole_orders', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION order_row_replicated('order');
CREATE TRIGGER replica_changed BEFORE UPDATE OR DELETE ON orders FOR EACH ROW EXECUTE FUNCTION order_replicated();
CREATE TRIGGER replica_inserted BEFORE INSERT ON order_deletions FOR EACH ROW EXECUTE FUNCTION order_row_stamp();

-- +goose StatementBegin
DO $$
DECLARE part text;
BEGIN
    FOREACH part IN ARRAY ARRAY['deliveries', 'payments', 'items'] LOOP
        EXECUTE format($t$
            CREATE TRIGGER replica_inserted AFTER INSERT ON %1$I FOR EACH ROW
                WHEN (current_setting('orderhub.whole_orders', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION order_row_replicated();
            CREATE TRIGGER replica_changed AFTER UPDATE OR DELETE ON %1$I FOR EACH ROW EXECUTE FUNCTION order_row_replicated();
        $t$, part);
    END LOOP;
    FOREACH part IN ARRAY ARRAY['orders', 'deliveries', 'payments', 'items', 'order_deletions'] LOOP
        EXECUTE format('CREATE TRIGGER replica_truncated AFTER TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION orders_call_relist()', part);
    END LOOP;
END $$;
-- +goose StatementEnd
SELECT order_triggers_enable();

-- +goose Down
-- +goose StatementBegin
DO $$
DECLARE t record;
BEGIN
    FOR t IN SELECT tgrelid::regclass AS tab, tgname FROM pg_trigger
              WHERE tgname LIKE 'replica\_%' AND tgfoid IN (SELECT oid FROM pg_proc WHERE proname LIKE 'order%') LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, t.tab);
    END LOOP;
END $$;
-- +goose StatementEnd
DROP FUNCTION order_triggers_enable, order_replicated, order_row_replicated;
