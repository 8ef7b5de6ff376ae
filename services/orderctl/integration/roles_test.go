package integration

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// insufficientPrivilege is PostgreSQL's SQLSTATE.
const insufficientPrivilege = "42501"

// asRole opens a database of the test as a role.
func asRole(t *testing.T, urls map[migrations.Role]string, role migrations.Role) *sql.DB {
	t.Helper()
	return openURL(t, urls[role]+"&default_query_exec_mode=exec")
}

// The statements whose rights a role does not have are refused, and those that it needs
// are not.
func TestEachRoleMayDoWhatItNeedsAndNothingElse(t *testing.T) {
	dsn := postgres.ForTest(t)
	owner := openURL(t, dsn)
	_, err := migrations.Up(t.Context(), owner)
	require.NoError(t, err)
	_, err = owner.ExecContext(t.Context(), `CREATE TABLE other (n int); CREATE TABLE goose_db_version (id int)`)
	require.NoError(t, err)
	urls := postgres.RolesForTest(t, dsn)

	const order = `INSERT INTO orders VALUES ('%s', 'TRACK', 'WBIL', 'en', '', 'test', 'meest', '9', 1, now(), '1')`
	tables := []string{"orders", "deliveries", "payments", "items", "order_deletions", "order_changes_state", "orderhub_db_version", "ingest_positions", "erasures", "ingest_pauses", "order_versions", "order_tombstones"}
	var ddl, all []string
	for _, table := range tables {
		ddl = append(ddl, `DROP TABLE `+table+` CASCADE`, `TRUNCATE `+table+` CASCADE`, `ALTER TABLE `+table+` ADD COLUMN extra int`,
			`ALTER TABLE `+table+` DISABLE TRIGGER ALL`, `ALTER TABLE `+table+` OWNER TO CURRENT_USER`,
			`CREATE TRIGGER own AFTER INSERT ON `+table+` EXECUTE FUNCTION orders_call_relist()`)
		all = append(all, `SELECT FROM `+table)
	}
	ddl = append(ddl, `CREATE TABLE own (n int)`, `CREATE FUNCTION own() RETURNS int LANGUAGE sql AS 'SELECT 1'`, `DROP FUNCTION orders_call_relist() CASCADE`,
		`SELECT order_triggers_enable()`, `CREATE ROLE own`, `SELECT FROM other`, `SELECT FROM goose_db_version`,
		`SELECT pg_read_file('PG_VERSION')`, `COPY orders TO PROGRAM 'true'`,
		`UPDATE orderhub_db_version SET is_applied = false`, `DELETE FROM orderhub_db_version`, `INSERT INTO order_changes_state DEFAULT VALUES`, `DELETE FROM order_changes_state`)
	changes := []string{fmt.Sprintf(order, "a"), `UPDATE orders SET entry = 'X'`, `DELETE FROM orders`}
	for _, part := range tables[1:4] {
		changes = append(changes, `INSERT INTO `+part+` SELECT * FROM `+part, `UPDATE `+part+` SET order_uid = order_uid`, `DELETE FROM `+part)
	}
	position := []string{`INSERT INTO ingest_positions VALUES ('g', gen_random_uuid(), 0, 't', 1)`, `UPDATE ingest_positions SET next_offset = 2`}
	erasing := []string{`INSERT INTO erasures VALUES ('\x00112233445566778899aabbccddeeff', 'k')`, `SELECT last_value FROM erasures_version`, `SELECT setval('erasures_version', 7)`}
	pruning := []string{changes[1], changes[2], `INSERT INTO order_deletions VALUES ('a')`} // of whole orders, which the triggers tell readers of
	replacing := []string{`UPDATE deliveries SET order_uid = order_uid`, `UPDATE payments SET order_uid = order_uid`, `UPDATE items SET order_uid = order_uid`, `DELETE FROM items`}
	versions := []string{`INSERT INTO order_versions VALUES ('a', 1, now(), 1, now(), 1, 1, '')`, `DELETE FROM order_versions`, `INSERT INTO order_tombstones VALUES ('a')`, `UPDATE order_tombstones SET deleted_at = now()`, `DELETE FROM order_tombstones`}
	pause := []string{`INSERT INTO ingest_pauses VALUES ('g', 'ann', now(), 'test')`, `UPDATE ingest_pauses SET why = ''`, `DELETE FROM ingest_pauses`}
	replica := []string{`SET LOCAL session_replication_role = replica`}
	var whole []string // inserts as the worker makes them: other inserts stamp the order
	for _, insert := range every(changes, "INSERT") {
		whole = append(whole, `SET LOCAL orderhub.whole_orders = 'on'; `+insert)
	}
	updates := append(every(changes, "UPDATE"), every(changes, "DELETE")...)
	for _, c := range []struct {
		role         migrations.Role
		may, refused [][]string
	}{
		{
			migrations.Writer,
			[][]string{all, whole, replica, {`DELETE FROM order_deletions`, `UPDATE order_changes_state SET horizon = horizon`}, position, {`DELETE FROM ingest_positions`}, erasing, pruning, replacing, versions, {`UPDATE erasures SET pending = false`}},
			[][]string{ddl, withoutAll(updates, append(replacing, pruning...)), pause, {`UPDATE order_versions SET version = 2`}, {`UPDATE order_deletions SET deleted_at = now()`, `DELETE FROM erasures`}},
		},
		{
			migrations.Reader,
			[][]string{withoutAll(all, []string{`SELECT FROM ingest_positions`, `SELECT FROM erasures`, `SELECT FROM ingest_pauses`}), {`LISTEN orders_changed`, `SELECT pg_export_snapshot()`}},
			[][]string{ddl, changes, whole, replica, position, erasing, pause, versions, {`SELECT FROM ingest_positions`, `SELECT FROM erasures`, `SELECT FROM ingest_pauses`}, {`DELETE FROM order_deletions`, `INSERT INTO order_deletions VALUES ('a')`, `UPDATE order_changes_state SET horizon = horizon`, `SELECT FROM orders FOR UPDATE`}},
		},
		{
			migrations.Operator,
			[][]string{withoutAll(all, []string{"SELECT FROM order_changes_state"}), changes, position, erasing, pause, versions},
			[][]string{ddl, replica, {`DELETE FROM ingest_positions`, `DELETE FROM erasures`, `UPDATE erasures SET pending = false`}, {`SELECT FROM order_changes_state`, `UPDATE order_changes_state SET horizon = horizon`, `DELETE FROM order_deletions`}},
		},
		{
			migrations.Migrate,
			[][]string{all, changes, {`CREATE TABLE own (n int)`, `ALTER TABLE orders ADD COLUMN extra int`, `DROP TABLE items`, `SELECT order_triggers_enable()`}},
			[][]string{replica, {`CREATE ROLE own`, `SELECT FROM other`, `SELECT pg_read_file('PG_VERSION')`, `COPY orders TO PROGRAM 'true'`}},
		},
	} {
		db := asRole(t, urls, c.role)
		try := func(statement string) error {
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			_, err = tx.ExecContext(t.Context(), statement)
			return err
		}
		for _, statements := range c.may {
			for _, s := range statements {
				require.NoError(t, try(s), "%s: %s", c.role, s)
			}
		}
		for _, statements := range c.refused {
			for _, s := range statements {
				var refused *pgconn.PgError
				require.ErrorAs(t, try(s), &refused, "%s: %s", c.role, s)
				require.Equal(t, insufficientPrivilege, refused.Code, "%s: %s", c.role, s)
			}
		}
		if c.role != migrations.Migrate {
			require.NoError(t, migrations.Check(t.Context(), db, c.role))
		}
	}
}

func every(statements []string, verb string) (some []string) {
	for _, s := range statements {
		if strings.HasPrefix(s, verb) {
			some = append(some, s)
		}
	}
	return some
}

func withoutAll(statements, some []string) (others []string) {
	for _, s := range statements {
		if !slices.Contains(some, s) {
			others = append(others, s)
		}
	}
	return others
}

// The document's list of rights is what the catalogue has.
func TestTheDocumentListsTheRights(t *testing.T) {
	dsn := postgres.ForTest(t)
	owner := openURL(t, dsn)
	_, err := migrations.Up(t.Context(), owner)
	require.NoError(t, err)
	urls := postgres.RolesForTest(t, dsn)
	names := map[string]string{}
	for role, dsn := range urls {
		u, err := url.Parse(dsn)
		require.NoError(t, err)
		names[u.User.Username()] = "orderhub_" + string(role)
	}

	document, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "roles.md"))
	require.NoError(t, err)
	_, list, found := strings.Cut(string(document), "<!-- rights:")
	require.True(t, found)
	lines := strings.Split(list, "\n")[2:]
	heads := cells(lines[0])
	documented := map[string]string{}
	for _, line := range lines[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		row := cells(line)
		for i, head := range heads[1:] {
			if row[i+1] != "none" {
				documented[strings.Split(row[0], "`")[1]+" "+head] = row[i+1]
			}
		}
	}

	rows, err := owner.QueryContext(t.Context(), `SELECT c.relname::text, pg_get_userbyid(a.grantee)::text, string_agg(a.privilege_type, ', '
			ORDER BY array_position(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE'], a.privilege_type))
		FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'public'::regnamespace AND a.grantee <> c.relowner GROUP BY 1, 2`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	catalogue := map[string]string{}
	for rows.Next() {
		var table, role, rights string
		require.NoError(t, rows.Scan(&table, &role, &rights))
		catalogue[table+" "+names[role]] = rights
	}
	require.NoError(t, rows.Err())
	require.Equal(t, documented, catalogue)

	var others []string
	for object, query := range map[string]string{
		"table":    `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND NOT pg_get_userbyid(relowner) = $1`,
		"function": `SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND NOT pg_get_userbyid(proowner) = $1`,
	} {
		var n int
		u, _ := url.Parse(urls[migrations.Migrate])
		require.NoError(t, owner.QueryRowContext(t.Context(), query, u.User.Username()).Scan(&n))
		if n > 0 {
			others = append(others, fmt.Sprint(n, " ", object))
		}
	}
	require.Empty(t, others, "owned by somebody else")
}

func cells(line string) []string {
	parts := strings.Split(strings.Trim(line, "|"), "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// rolesTest is a database, and users of some rights who run `orderctl migrate roles`.
type rolesTest struct {
	t      *testing.T
	url    *url.URL // of the owner
	admin  *sql.DB
	prefix string
}

func newRolesTest(t *testing.T) *rolesTest {
	t.Helper()
	dsn := postgres.ForTest(t)
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	return &rolesTest{t: t, url: u, admin: openURL(t, postgres.AdminForTest(t, dsn)+"&default_query_exec_mode=exec"), prefix: strings.TrimPrefix(u.Path, "/")}
}

func (r *rolesTest) exec(statement string) {
	r.t.Helper()
	_, err := r.admin.ExecContext(r.t.Context(), statement)
	require.NoError(r.t, err, statement)
}

// as is the database's URL of another user.
func (r *rolesTest) as(user, password string) string {
	u := *r.url
	u.User = url.UserPassword(user, password)
	return u.String()
}

// user makes a user whose rights are given, and returns its URL.
func (r *rolesTest) user(name, attributes string) string {
	r.t.Helper()
	name, password := r.prefix+"_"+name, rand.Text()
	r.exec(`CREATE ROLE ` + name + ` LOGIN PASSWORD '` + password + `' ` + attributes)
	return r.as(name, password)
}

func (r *rolesTest) orderctl(dsn string, args ...string) result {
	r.t.Helper()
	r.t.Setenv("DATABASE_URL", dsn)
	return orderctlRun(r.t.Context(), append([]string{"migrate"}, args...)...)
}

func (r *rolesTest) roles(dsn string, args ...string) result {
	r.t.Helper()
	return r.orderctl(dsn, append([]string{"roles", "--prefix", r.prefix}, args...)...)
}

// password writes a file with a password.
func (r *rolesTest) password(password string) string {
	r.t.Helper()
	name := filepath.Join(r.t.TempDir(), "password")
	require.NoError(r.t, os.WriteFile(name, []byte(password+"\r\n"), 0o600))
	return name
}

func (r *rolesTest) check(dsn string, role migrations.Role) error {
	r.t.Helper()
	return migrations.Check(r.t.Context(), openURL(r.t, dsn), role)
}

func TestRolesBeforeTheTables(t *testing.T) {
	r := newRolesTest(t)
	admin := postgres.AdminForTest(t, r.url.String())
	const password = `plan'ted" $ secret`
	got := r.roles(admin, "--dry-run", "--writer-password-file", r.password(password))
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, "CREATE ROLE "+r.prefix+"_migrate NOLOGIN;\nCREATE ROLE "+r.prefix+"_writer LOGIN;\n")
	require.Contains(t, got.stderr, "nothing was changed")
	var roles int
	require.NoError(t, r.admin.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_roles WHERE rolname LIKE $1`, r.prefix+"%").Scan(&roles))
	require.Zero(t, roles)

	args := []string{"--migrate-password-file", r.password("m"), "--writer-password-file", r.password(password)}
	done := r.roles(admin, args...)
	require.Equal(t, 0, done.code, done.stderr)
	require.Contains(t, done.stderr, r.prefix+"_reader cannot log in, for want of a password")
	for _, output := range []result{got, done} {
		require.NotContains(t, output.stdout+output.stderr, "secret")
		require.NotContains(t, output.stdout+output.stderr, "SCRAM")
	}
	var verifier string
	require.NoError(t, r.admin.QueryRowContext(t.Context(), `SELECT rolpassword FROM pg_authid WHERE rolname = $1`, r.prefix+"_writer").Scan(&verifier))
	require.True(t, strings.HasPrefix(verifier, "SCRAM-SHA-256$4096:"), "the server got the password itself")

	writer := r.as(r.prefix+"_writer", password)
	require.ErrorAs(t, r.check(writer, migrations.Writer), new(*migrations.VersionError))
	require.Error(t, openURL(t, r.as(r.prefix+"_writer", password+"x")).PingContext(t.Context()))
	got = r.orderctl(r.as(r.prefix+"_migrate", "m"))
	require.Equal(t, 0, got.code, got.stderr)
	require.NoError(t, r.check(writer, migrations.Writer), "migrate grants rights on what it created")

	got = r.roles(admin)
	require.Equal(t, result{0, "", "the roles " + r.prefix + "_… have all rights that they need: nothing to change\n"}, got)
	// Both directions of a difference are corrected.
	r.exec(`REVOKE INSERT ON items FROM ` + r.prefix + `_writer; GRANT TRUNCATE, UPDATE ON orders TO ` + r.prefix + `_reader`)
	got = r.roles(admin)
	require.Equal(t, "REVOKE TRUNCATE, UPDATE ON orders FROM "+r.prefix+"_reader;\nGRANT INSERT ON items TO "+r.prefix+"_writer;\n", got.stdout)
}

func TestRolesByTheOwnerWithCreaterole(t *testing.T) {
	r := newRolesTest(t)
	owner := r.user("boss", "CREATEROLE")
	r.exec(`ALTER DATABASE ` + r.prefix + ` OWNER TO ` + r.prefix + `_boss`)
	require.Equal(t, 0, r.orderctl(owner).code)
	got := r.roles(owner, "--reader-password-file", r.password("r"), "--writer-password-file", r.password("w"))
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stderr, r.prefix+"_boss is a member of "+r.prefix+"_migrate, so that programs that connect as it keep working")
	require.NoError(t, r.check(owner, migrations.Operator), "the former owner keeps its rights")
	require.NoError(t, r.check(r.as(r.prefix+"_reader", "r"), migrations.Reader))
	require.ErrorContains(t, r.check(r.as(r.prefix+"_reader", "r"), migrations.Writer), "GRANT INSERT, UPDATE, DELETE ON items TO "+r.prefix+"_reader")
	require.Empty(t, r.roles(owner).stdout, "a second time there is nothing to do")
	// It may change passwords of what it created.
	require.Equal(t, 0, r.roles(owner, "--reader-password-file", r.password("r2")).code)
	require.NoError(t, r.check(r.as(r.prefix+"_reader", "r2"), migrations.Reader))
}

func TestRolesByThoseWhoMayNot(t *testing.T) {
	r := newRolesTest(t)
	owner, stranger := r.user("boss", ""), r.user("stranger", "")
	r.exec(`ALTER DATABASE ` + r.prefix + ` OWNER TO ` + r.prefix + `_boss`)
	require.Equal(t, 0, r.orderctl(owner).code)
	for _, user := range []string{owner, stranger} {
		got := r.roles(user)
		require.Equal(t, 1, got.code)
		require.Contains(t, got.stderr, "nothing was changed: CREATE ROLE "+r.prefix+"_migrate NOLOGIN: ")
		require.Contains(t, got.stderr, "connect as a superuser")
		plan := r.roles(user, "--dry-run")
		require.Equal(t, 0, plan.code, plan.stderr)
		require.Contains(t, plan.stdout, "GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO "+r.prefix+"_writer;\n")
	}
	// An administrator runs what the owner printed.
	r.exec(`BEGIN; ` + r.roles(owner, "--dry-run").stdout + ` COMMIT`)
	require.Empty(t, r.roles(owner).stdout)
	// The owner, who is a member now, may correct rights; a stranger's grants do nothing.
	r.exec(`REVOKE INSERT ON items FROM ` + r.prefix + `_writer`)
	got := r.roles(stranger)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "GRANT INSERT ON items TO "+r.prefix+"_writer")
	got = r.roles(owner)
	require.Equal(t, 0, got.code, got.stderr)
	require.Equal(t, "GRANT INSERT ON items TO "+r.prefix+"_writer;\n", got.stdout)

	require.Equal(t, 2, r.orderctl(owner, "roles", "--reader-password-file", r.password("ä")).code)
	require.Equal(t, 2, r.orderctl(owner, "roles", "--reader-password-file", r.password("")).code)
	require.Equal(t, 2, r.orderctl(owner, "roles", "--reader-password-file", "/nowhere").code)
	for _, prefix := range []string{"", "pg_x", "a b", `a"`, "ä", strings.Repeat("x", 51)} {
		got := r.orderctl(owner, "roles", "--prefix", prefix)
		require.Equal(t, 1, got.code, prefix)
		require.Contains(t, got.stderr, "cannot be a prefix of roles")
	}
	r.exec(`ALTER ROLE ` + r.prefix + `_reader CREATEDB BYPASSRLS`)
	require.Contains(t, r.roles(owner).stderr, "_reader may do more than a program should (CREATEDB, BYPASSRLS)")
}

// Two databases share the roles of a cluster; a third one, with a prefix of its own, is
// closed to them.
func TestRolesInSeveralDatabases(t *testing.T) {
	r, second, third := newRolesTest(t), newRolesTest(t), newRolesTest(t)
	for _, one := range []*rolesTest{r, second, third} {
		require.Equal(t, 0, one.orderctl(one.url.String()).code)
		one.exec(`REVOKE CONNECT, TEMP ON DATABASE ` + one.prefix + ` FROM PUBLIC`)
	}
	require.Equal(t, 0, r.roles(postgres.AdminForTest(t, r.url.String()), "--reader-password-file", r.password("r")).code)
	got := second.orderctl(postgres.AdminForTest(t, second.url.String()), "roles", "--prefix", r.prefix)
	require.Equal(t, 0, got.code, got.stderr)
	require.NotContains(t, got.stdout, "CREATE ROLE")
	require.Equal(t, 0, third.roles(postgres.AdminForTest(t, third.url.String())).code)

	require.NoError(t, r.check(r.as(r.prefix+"_reader", "r"), migrations.Reader))
	require.NoError(t, r.check(second.as(r.prefix+"_reader", "r"), migrations.Reader))
	require.ErrorContains(t, r.check(third.as(r.prefix+"_reader", "r"), migrations.Reader), "permission denied for database")
}

// orderctl names what a user lacks, whatever hides the tables from it.
func TestOrderctlNamesMissingRights(t *testing.T) {
	r := newRolesTest(t)
	require.Equal(t, 0, r.orderctl(r.url.String()).code)
	poor := r.user("poor", "")
	r.t.Setenv("DATABASE_URL", poor)
	find := func() string {
		got := orderctlRun(context.Background(), "find", "uid")
		require.Equal(t, 1, got.code)
		return got.stderr
	}
	t.Setenv("KAFKA_BROKERS", newWorld(t).broker.Addr())
	got := find()
	require.Contains(t, got, "GRANT SELECT ON orders TO "+r.prefix+"_poor")
	require.NotContains(t, got, "create tables")
	require.NotContains(t, got, "GRANT INSERT")

	got = r.orderctl(poor).stderr
	require.Contains(t, got, "the user must own the tables")

	r.exec(`REVOKE USAGE ON SCHEMA public FROM PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA public TO ` + r.prefix + `_poor`)
	err := r.check(poor, migrations.Reader)
	require.ErrorAs(t, err, new(*migrations.RightsError))
	grant := regexp.MustCompile(`GRANT USAGE ON SCHEMA public TO \w+`).FindString(err.Error())
	r.exec(grant)
	require.NoError(t, r.check(poor, migrations.Reader))
}
