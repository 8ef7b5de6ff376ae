package cli

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/migrations"
)

func (a *app) migrateRolesCommand(wait *time.Duration) *cobra.Command {
	var s databaseSettings
	var prefix string
	var dryRun bool
	files := map[migrations.Role]*string{} // of passwords
	cmd := a.command("migrate roles", &s, nil, func(cmd *cobra.Command, _ []string) error {
		verifiers := map[migrations.Role]string{}
		for role, file := range files {
			if *file == "" {
				continue
			}
			password, err := os.ReadFile(*file)
			if err == nil {
				verifiers[role], err = scramVerifier(strings.TrimRight(string(password), "\r\n"))
			}
			if err != nil {
				return usagef("--%s-password-file %s: %w", role, *file, err)
			}
		}
		return a.withDatabase(cmd.Context(), s.Database, *wait, func(ctx context.Context, db *sql.DB) error {
			plan, err := migrations.PlanRoles(ctx, db, prefix, verifiers)
			if err != nil {
				return err
			}
			return a.migrateRoles(ctx, db, prefix, plan, dryRun)
		})
	})
	cmd.Flags().StringVar(&prefix, "prefix", "orderhub", "what the names of the roles begin with")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the SQL, and change nothing")
	for _, role := range []migrations.Role{migrations.Migrate, migrations.Writer, migrations.Reader, migrations.Operator} {
		files[role] = cmd.Flags().String(string(role)+"-password-file", "", fmt.Sprintf("file with the password of PREFIX_%s; without one, a new role cannot log in", role))
	}
	return cmd
}

func (a *app) migrateRoles(ctx context.Context, db *sql.DB, prefix string, plan *migrations.Plan, dryRun bool) error {
	if !dryRun {
		if err := plan.Apply(ctx, db); err != nil {
			return errs.Wrap(errs.Unavailable, err, "nothing was changed: %v: connect as a superuser, or as the owner of database and tables with CREATEROLE, or have an administrator run what --dry-run prints", err)
		}
	}
	for _, statement := range plan.Statements {
		if err := a.print(map[string]string{"sql": statement}, statement+";\n"); err != nil {
			return err
		}
	}
	switch {
	case len(plan.Statements) == 0:
		a.say("the roles %s_… have all rights that they need: nothing to change", prefix)
	case dryRun:
		a.say("nothing was changed: run it in one transaction; passwords are not shown")
	}
	for _, note := range plan.Notes {
		a.say("%s", note)
	}
	return nil
}

// scramVerifier returns what PostgreSQL stores of a password (RFC 5803), so that the
// password itself reaches neither the server nor its log.
func scramVerifier(password string) (string, error) {
	if password == "" || strings.ContainsFunc(password, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", errors.New("a password is one line of printable ASCII characters")
	}
	const iterations = 4096 // PostgreSQL's default
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	sum := func(text string) []byte {
		mac := hmac.New(sha256.New, salted)
		_, _ = mac.Write([]byte(text)) // never fails
		return mac.Sum(nil)
	}
	stored, base := sha256.Sum256(sum("Client Key")), base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, base(salt), base(stored[:]), base(sum("Server Key"))), nil
}
