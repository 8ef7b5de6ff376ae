package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/audit/kafkasink"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// changeSettings are those of commands that change letters or show personal data.
type changeSettings struct {
	Kafka    config.Kafka
	Audit    audit.Settings
	Erasures erasure.Settings
}

// kindUser is the kind of an actor who is a user of the operating system, or whom --actor
// names.
const kindUser = "user"

// audited writes an event to the audit log, which is open until the command ends. id is
// what the log calls a target, without personal data. After an error what the event is
// about must not happen.
func audited[T any](ctx context.Context, a *app, s *changeSettings, by dlq.By, action string, targets []T, id func(T) string) error {
	ids := make([]string, len(targets))
	for i, target := range targets {
		ids[i] = id(target)
	}
	if a.auditLog == nil {
		var err error
		if a.auditLog, err = openAudit(s, a.logger(zapcore.WarnLevel)); err != nil {
			return local(err)
		}
	}
	return local(a.auditLog.Write(ctx, audit.Event{Action: action, Targets: ids, Why: by.Why, Allowed: true, Actor: cmp.Or(by.Actor, currentUser()), ActorKind: kindUser}))
}

// auditedItems is audited for letters that were read.
func (a *app) auditedItems(ctx context.Context, s *changeSettings, by dlq.By, action string, items ...dlq.Item) error {
	return audited(ctx, a, s, by, action, items, func(item dlq.Item) string { return mask.ID(item.ID) })
}

// revealing records that somebody sees personal data of letters; nil: nobody does.
func (a *app) revealing(ctx context.Context, reveal bool, s *changeSettings, by dlq.By) func([]dlq.Item) error {
	if !reveal {
		return nil
	}
	return func(items []dlq.Item) error { return a.auditedItems(ctx, s, by, "reveal", items...) }
}

func openAudit(s *changeSettings, log *zap.Logger) (*audit.Log, error) {
	return audit.Open(s.Audit, audit.Options{Program: "orderctl", Version: buildinfo.Read().Version, Log: log, Kafka: kafkasink.New(s.Kafka.KafkaConn, log)})
}

// logger writes what is logged to stderr, as messages are.
func (a *app) logger(level zapcore.Level) *zap.Logger {
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "message", ConsoleSeparator: " "})
	return zap.New(zapcore.NewCore(encoder, zapcore.AddSync(a.stderr), level))
}

func (a *app) auditCommand() *cobra.Command {
	var s struct{ Audit audit.Settings }
	return a.parent("audit", a.command("audit verify", &s, cobra.ArbitraryArgs, func(_ *cobra.Command, files []string) (err error) {
		if len(files) == 0 {
			if files, err = s.Audit.Paths(); err != nil {
				return err
			}
		}
		return a.verifyAudit([]byte(s.Audit.Key.Reveal()), files)
	}))
}

func (a *app) verifyAudit(key []byte, files []string) error {
	if len(files) == 0 {
		return nothing("there is no audit log yet")
	}
	logs := make([]io.Reader, len(files))
	for i, name := range files {
		file, err := a.open(name)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // it was only read
		logs[i] = file
	}
	report, err := audit.Verify(key, logs...)
	if err != nil {
		return err
	}
	if err = a.show(report, "audit.txt"); err == nil && !report.OK() {
		err = failed()
	}
	return err
}

func (a *app) tokenCommand() *cobra.Command {
	var name, expires, file string
	var scopes []string
	cmd := a.command("token new", nil, nil, func(*cobra.Command, []string) error {
		granted, unknown := auth.ParseScopes(scopes)
		if len(unknown) > 0 || granted == 0 {
			return usagef("--scopes: %q: name some of %s, comma-separated", strings.Join(scopes, ","), strings.Join(auth.AllScopes.Names(), ", "))
		}
		var end time.Time
		if expires != "" {
			age, err := letter.ParseAge(expires)
			if err != nil || age == 0 {
				return usagef("--expires: a span of time such as 90d or 12h, not %q", expires)
			}
			end = time.Now().Add(age)
		}
		token, entry, err := auth.NewToken(name, granted, end)
		if err != nil {
			return usagef("--name: %w", err)
		}
		return a.printToken(token, entry, file)
	})
	cmd.Flags().StringVar(&name, "name", "", "who has the token, for the audit log")
	cmd.Flags().StringSliceVar(&scopes, "scopes", nil, "what it allows, comma-separated")
	cmd.Flags().StringVar(&expires, "expires", "", "for how long it is valid: 90d, 12h (default: until it is revoked)")
	cmd.Flags().StringVar(&file, "file", "", "file to add the entry to, which you alone can read (default: print it)")
	complete(cmd, "scopes", auth.AllScopes.Names()...)
	return a.parent("token", cmd)
}

// printToken prints a token, after its entry is in the file.
func (a *app) printToken(token string, entry []byte, file string) error {
	shown := struct {
		Token string `json:"token"`
		Entry string `json:"entry,omitempty"`
		File  string `json:"file,omitempty"`
	}{token, string(entry), file}
	if file == "" {
		return a.print(shown, fmt.Sprintf("%s\n\nIts entry for HTTP_TOKENS_FILE:\n\n%s", token, entry))
	}
	shown.Entry = ""
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	_, err = out.Write(entry)
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	a.say("the entry is in %s; the token is not shown again", file)
	return a.print(shown, token+"\n")
}
