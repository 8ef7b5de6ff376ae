-- Notes, at the end of each DDL command and of each step in a transaction of its own, which
-- tables the transaction has read at length while it holds a lock that keeps writers out.
CREATE SCHEMA watch;
GRANT USAGE ON SCHEMA watch TO PUBLIC;
CREATE TABLE watch.findings (what text);
GRANT SELECT ON watch.findings TO PUBLIC;
CREATE TABLE watch.tables AS
    SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'goose_db_version';

CREATE FUNCTION watch.look() RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    INSERT INTO watch.findings
    SELECT format('reads %s while %s on %s is held', r.oid::regclass, l.mode, l.relation::regclass)
      FROM pg_locks l JOIN watch.tables h ON h.oid = l.relation, watch.tables r
     WHERE l.pid = pg_backend_pid() AND l.granted
       AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
       AND pg_stat_get_xact_tuples_returned(r.oid) > 100;
    SELECT pg_stat_force_next_flush(); -- or the next transaction would count these rows, too
$$;
CREATE FUNCTION watch.command() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM watch.look(); END';
CREATE FUNCTION watch.step() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM watch.look(); RETURN NULL; END';
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch.command();
CREATE TRIGGER watch AFTER INSERT ON goose_db_version FOR EACH ROW EXECUTE FUNCTION watch.step();
