package cli

import (
	"cmp"
	"context"
	"io"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/audit/kafkasink"
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
