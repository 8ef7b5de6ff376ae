package postgres

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"

	"github.com/orderhub/orderhub/migrations"
)

// MakeRoles makes Orderhub's roles in a database, as its superuser, or corrects them, and
// returns the database's URL for each of them. Their passwords are new.
func MakeRoles(ctx context.Context, adminURL, prefix string) (map[migrations.Role]string, error) {
	db, err := sql.Open("pgx", adminURL)
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }()
	passwords, urls := map[migrations.Role]string{}, map[migrations.Role]string{}
	for _, role := range []migrations.Role{migrations.Migrate, migrations.Writer, migrations.Reader, migrations.Operator} {
		passwords[role] = rand.Text()
		urls[role] = WithUser(adminURL, prefix+"_"+string(role), passwords[role])
	}
	plan, err := migrations.PlanRoles(ctx, db, prefix, passwords)
	if err != nil {
		return nil, err
	}
	return urls, plan.Apply(ctx, db)
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
