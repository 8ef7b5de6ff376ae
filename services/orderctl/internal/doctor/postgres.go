package doctor

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/migrations"
)

const (
	application     = "orderctl doctor"
	oldestServer    = 150000 // server_version_num
	untestedServer  = 190000
	channel         = "orderhub_doctor"
	notifyWait      = 3 * time.Second
	undefinedObject = "42704"
	fullConnections = 0.8
	oldTransactions = 1_000_000_000 // PostgreSQL stops at about 2^31
)

// rows returns the rows of a query whose columns are texts.
func (e *env) rows(ctx context.Context, query string, args ...any) (all [][]string, err error) {
	rows, err := e.db.DB.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	for err == nil && rows.Next() {
		row := make([]string, len(columns))
		to := make([]any, len(columns))
		for i := range row {
			to[i] = &row[i]
		}
		err = rows.Scan(to...)
		all = append(all, row)
	}
	return all, errors.Join(err, rows.Err())
}

// server connects, and looks at the version.
func server(ctx context.Context, e *env, r *report) (string, error) {
	var version string
	var number int
	var standby bool
	err := e.db.DB.QueryRowContext(ctx, `SELECT current_setting('server_version'), current_setting('server_version_num')::int, pg_is_in_recovery()`).Scan(&version, &number, &standby)
	switch {
	case err != nil:
		return "", err
	case number < oldestServer:
		r.find("too_old", "", "PostgreSQL is of version "+version)
	case number >= untestedServer:
		r.find("untested", "", "PostgreSQL is of version "+version+", with which Orderhub was not tested")
	}
	if standby {
		version += ", a standby"
	}
	return "version " + version, nil
}

func schema(ctx context.Context, e *env, r *report) (string, error) {
	err := migrations.Check(ctx, e.db.DB, migrations.Viewer)
	switch {
	case errors.As(err, new(*migrations.VersionError)):
		r.find("outdated", "", err.Error())
		return "", nil
	case errors.As(err, new(*migrations.ForeignTablesError)):
		r.find("foreign_tables", "", err.Error())
		return "", nil
	case errors.As(err, new(*migrations.RightsError)):
		return "", unknown(err.Error())
	case err != nil:
		return "", err
	}
	steps, err := migrations.Status(ctx, e.db.DB)
	if err != nil {
		return "", err
	}
	known := steps[len(steps)-1].Version
	var current int64
	if err := e.db.DB.QueryRowContext(ctx, `SELECT max(version_id) FROM orderhub_db_version WHERE is_applied`).Scan(&current); err != nil {
		return "", err
	}
	if current > known {
		r.find("newer", "", fmt.Sprintf("the schema is at version %d, this orderctl knows %d", current, known))
	}
	unfinished, err := e.rows(ctx, `SELECT 'invalid_index', indexrelid::regclass::text, indrelid::regclass::text FROM pg_index
		 WHERE indrelid IN ('orders'::regclass, 'deliveries'::regclass, 'payments'::regclass, 'items'::regclass, 'order_deletions'::regclass) AND NOT indisvalid
		UNION ALL SELECT 'not_validated', conname, conrelid::regclass::text FROM pg_constraint
		 WHERE conrelid IN ('orders'::regclass, 'deliveries'::regclass, 'payments'::regclass, 'items'::regclass) AND NOT convalidated`)
	for _, row := range unfinished {
		kind, name, table := row[0], row[1], row[2]
		r.find(kind, name, map[string]string{
			"invalid_index": "the index of " + table + " is not used: its creation was interrupted",
			"not_validated": "rows of " + table + " from before the constraint may break it",
		}[kind], fmt.Sprintf("repair the rows (orderctl verify counts them), then ALTER TABLE %s VALIDATE CONSTRAINT %s", table, name))
	}
	return fmt.Sprintf("at version %d", current), err
}

// roles looks at this user's rights and at those of the programs' roles, and who
// connects as a superuser.
func roles(ctx context.Context, e *env, r *report) (string, error) {
	var lacks *migrations.RightsError
	if err := migrations.CheckRights(ctx, e.db.DB, migrations.Operator); errors.As(err, &lacks) {
		r.find("own_rights", lacks.User, "some commands of orderctl are refused", "as the tables' owner: "+strings.Join(lacks.Missing, "; "))
	} else if err != nil {
		return "", err
	}
	owner, err := e.rows(ctx, `SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = to_regclass('orders')`)
	if err != nil || len(owner) == 0 {
		return "", errors.Join(err, unknown("there is no table orders"))
	}
	prefix, ours := strings.CutSuffix(owner[0][0], "_"+string(migrations.Migrate))
	if !ours {
		r.find("no_roles", owner[0][0], "the tables belong to a user who is no role of Orderhub: programs have more rights than they need")
	}
	for _, role := range []migrations.Role{migrations.Writer, migrations.Reader, migrations.Operator} {
		name := prefix + "_" + string(role)
		if !ours {
			break
		}
		err := migrations.CheckRightsOf(ctx, e.db.DB, name, role)
		var refused *pgconn.PgError
		switch {
		case errors.As(err, &lacks):
			r.find("missing_rights", name, "the role lacks rights that its program needs", "as the tables' owner: "+strings.Join(lacks.Missing, "; "))
		case errors.As(err, &refused) && refused.Code == undefinedObject:
			r.find("missing_role", name, "the role does not exist")
		case err != nil:
			return "", err
		}
	}
	super, err := e.rows(ctx, `SELECT DISTINCT application_name, usename FROM pg_stat_activity JOIN pg_roles ON rolname = usename
		WHERE rolsuper AND datname = current_database() AND application_name IN ('ingest-worker', 'read-api', 'orderctl', $1)`, application)
	for _, row := range super {
		r.find("superuser", row[0], fmt.Sprintf("%s connects as the superuser %s", row[0], row[1]))
	}
	return "the roles " + prefix + "_… have their rights", err
}

//go:embed triggers.sql
var triggersQuery string

func triggers(ctx context.Context, e *env, r *report) (string, error) {
	wrong, err := e.rows(ctx, triggersQuery)
	for _, row := range wrong {
		kind, table, name := row[0], row[1], row[2]
		r.find(kind, table+"."+name, map[string]string{
			"missing":  "the trigger does not exist: some changes do not reach the caches",
			"disabled": "the trigger is not enabled for the role that it was made for: some changes do not reach the caches",
			"foreign":  "the trigger is not Orderhub's: it may slow down, change or refuse orders",
		}[kind], pgx.Identifier{name}.Sanitize()+" ON "+table)
	}
	return "all are enabled", err
}

// positions compares how far the tables are with the offsets that the group committed.
func positions(ctx context.Context, e *env, r *report) (string, error) {
	w, err := e.workers(ctx)
	if err != nil {
		return "", e.KafkaError(err)
	}
	id := w.topic.ID
	var rows []orderdb.IngestPosition
	err = e.db.NewSelect().Model(&rows).Where("consumer_group = ?", e.Group).
		Where("topic_id = ?::uuid", fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])).Scan(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range w.topic.Partitions.Numbers() {
		at, name := w.commit(p), fmt.Sprintf("%s/%d", w.topic.Topic, p)
		row := slices.IndexFunc(rows, func(row orderdb.IngestPosition) bool { return row.Partition == int(p) })
		switch {
		case at > 0 && row < 0:
			r.find("missing", name, fmt.Sprintf("offset %d is committed, the tables do not say how far they are: a restore of the database would not be noticed", at))
		case row >= 0 && rows[row].NextOffset < at:
			r.find("behind", name, fmt.Sprintf("offset %d is committed, the tables are at %d: the database lost %d records, which the workers read again", at, rows[row].NextOffset, at-rows[row].NextOffset))
		}
	}
	return fmt.Sprintf("%d partitions are in the tables as far as committed", len(rows)), nil
}

// connect opens a connection outside the pool.
func (e *env) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := bundb.Config(e.Database, application)
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	return pgx.ConnectConfig(ctx, cfg)
}

// pooler finds out whether two transactions of a connection may run in different
// sessions: a session that a second connection has taken cannot be the first one's.
func pooler(ctx context.Context, e *env, r *report) (string, error) {
	const backend = `SELECT pg_backend_pid()`
	one, err := e.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = one.Close(context.WithoutCancel(ctx)) }()
	other, err := e.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = other.Close(context.WithoutCancel(ctx)) }()
	var before, taken, after int
	if err := one.QueryRow(ctx, backend).Scan(&before); err != nil {
		return "", err
	}
	tx, err := other.Begin(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if err := errors.Join(tx.QueryRow(ctx, backend).Scan(&taken), one.QueryRow(ctx, backend).Scan(&after)); err != nil {
		return "", err
	}
	switch {
	case taken == before || after != before:
		r.find("transaction_mode", "", "a pooler gives each transaction another session: LISTEN has no effect, and readers see changes late")
	case int(one.PgConn().PID()) != before:
		return "a pooler in session mode", nil
	}
	return "none", nil
}

// notification sends one from a connection to another.
func notification(ctx context.Context, e *env, r *report) (string, error) {
	listener, err := e.connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = listener.Close(context.WithoutCancel(ctx)) }()
	var standby bool
	if err := listener.QueryRow(ctx, `SELECT pg_is_in_recovery()`).Scan(&standby); err != nil {
		return "", err
	}
	if standby {
		return "", unknown("the server is a standby: run doctor with DATABASE_URL of the primary, too")
	}
	if _, err := listener.Exec(ctx, `LISTEN `+channel); err != nil {
		return "", err
	}
	sent, payload := time.Now(), rand.Text()
	if _, err := e.db.DB.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, payload); err != nil {
		return "", err
	}
	waiting, cancel := context.WithTimeout(ctx, notifyWait)
	defer cancel()
	for {
		got, err := listener.WaitForNotification(waiting)
		switch {
		case err == nil && got.Payload == payload:
			return fmt.Sprintf("received after %s", time.Since(sent).Round(time.Millisecond)), nil
		case err != nil && waiting.Err() != nil && ctx.Err() == nil:
			r.find("lost", "", fmt.Sprintf("a notification did not arrive within %s: readers see changes late", notifyWait))
			return "", nil
		case err != nil:
			return "", err
		}
	}
}

func databaseClock(ctx context.Context, e *env, r *report) (string, error) {
	var now time.Time
	began := time.Now()
	if err := e.db.DB.QueryRowContext(ctx, `SELECT clock_timestamp()`).Scan(&now); err != nil {
		return "", err
	}
	return r.clock("skew", "", now, began), nil
}

// clock compares a clock that was asked since began with this machine's.
func (r *report) clock(kind, about string, theirs, began time.Time) string {
	took := time.Since(began)
	skew := theirs.Sub(began.Add(took / 2))
	seen := fmt.Sprintf("%s apart from this machine's, give or take %s", skew.Abs().Round(time.Millisecond), (took / 2).Round(time.Millisecond))
	if skew.Abs() > maxSkew+took/2 {
		r.find(kind, about, "the clock is "+seen)
	}
	return seen
}

func connections(ctx context.Context, e *env, r *report) (string, error) {
	var used, most int
	err := e.db.DB.QueryRowContext(ctx, `SELECT sum(numbackends), current_setting('max_connections')::int
		- current_setting('superuser_reserved_connections')::int - coalesce(current_setting('reserved_connections', true)::int, 0) FROM pg_stat_database`).Scan(&used, &most)
	seen := fmt.Sprintf("%d of %d connections are used", used, most)
	if err == nil && float64(used) >= fullConnections*float64(most) {
		r.find("nearly_used", "", seen)
	}
	return seen, err
}

// databaseDisk tells what SQL can see of the disk: what takes space, and what keeps it
// from being freed.
func databaseDisk(ctx context.Context, e *env, r *report) (string, error) {
	slots, err := e.rows(ctx, `SELECT slot_name::text, pg_size_pretty(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn))
		FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL`)
	if err != nil {
		return "", err
	}
	for _, slot := range slots {
		r.find("inactive_slot", slot[0], fmt.Sprintf("nobody reads the replication slot, which keeps %s of WAL, and more with time, until the disk is full", slot[1]))
	}
	var size string
	var age int64
	if err := e.db.DB.QueryRowContext(ctx, `SELECT pg_size_pretty(pg_database_size(oid)), age(datfrozenxid) FROM pg_database WHERE datname = current_database()`).Scan(&size, &age); err != nil {
		return "", err
	}
	if age > oldTransactions {
		r.find("wraparound", "", fmt.Sprintf("the oldest transaction id is %d old: at 2 billion PostgreSQL refuses writes", age))
	}
	return "the database takes " + size + "; the free space of the disks of PostgreSQL and Kafka cannot be seen from here", nil
}
