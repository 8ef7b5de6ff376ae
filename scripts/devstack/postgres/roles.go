package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// MakeRoles makes Orderhub's roles in a database, as its superuser, or corrects them, and
// returns the database's URL for each of them. Their passwords are new.
func MakeRoles(ctx context.Context, adminURL, prefix string) (map[migrations.Role]string, error) {
	passwords, urls := map[migrations.Role]string{}, map[migrations.Role]string{}
	for _, role := range []migrations.Role{migrations.Migrate, migrations.Writer, migrations.Reader, migrations.Operator} {
		passwords[role] = rand.Text()
		urls[role] = WithUser(adminURL, prefix+"_"+string(role), passwords[role])
	}
	return urls, must.Cause(func() {
		db := must.Get(sql.Open("pgx", adminURL))
		defer func() { _ = db.Close() }()
		must.Succeed(must.Get(migrations.PlanRoles(ctx, db, prefix, passwords)).Apply(ctx, db))
	})
}

// SetPassword gives a role a password, as the server's superuser, and reports whether there
// is that role. It asks first: the server logs a statement that fails, password included.
func SetPassword(ctx context.Context, adminURL, role, password string) (known bool, err error) {
	db, err := sql.Open("pgx", adminURL)
	if err != nil {
		return false, err
	}
	defer func() { _ = db.Close() }()
	err = db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&known)
	if err == nil && known {
		_, err = db.ExecContext(ctx, "ALTER ROLE "+role+" PASSWORD '"+password+"'")
	}
	return known, err
}

// WithUser is a database's URL for another user.
func WithUser(databaseURL, user, password string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		panic(err) // it is that of one of our servers
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}
