package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// The formats of dlq export.
const (
	exportLines = "jsonl"
	exportCSV   = "csv"
	exportRaw   = "raw"
)

type exportFlags struct {
	where  dlqFlags
	which  filterFlags
	status string
	format string
	to     string
	reveal bool
	actor  string
}

type exportSettings struct {
	Kafka config.Kafka
	Audit auditSettings
}

func (a *app) dlqExportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export [ID...]",
		Short: "Write letters to files: JSON lines, CSV, or their values as they are",
		Long: `Write letters to files, all of them or those that flags or ids name.

  jsonl  a line a letter, with its resolution, to the byte as they are in the topic:
         'orderctl dlq import' brings them back
  csv    the facts of each letter, without personal data
  raw    the value of each letter as a file in the folder --to

Personal data is masked in JSON lines, which cannot be imported then. With --reveal
nothing is masked, and who exported is written to the audit log; raw files are
written with --reveal alone. Files are readable by you alone.

Exit code 3: no letter matches.`,
		Example: `  orderctl dlq export --reveal --to letters.jsonl
  orderctl dlq export --format csv --since 30d > letters.csv
  orderctl dlq export orders/0/17 --format raw --reveal --to values/`,
		Args: func(cmd *cobra.Command, ids []string) error {
			switch {
			case len(ids) > 0 && f.which.set(cmd):
				return usagef("say which letters in one way: by ids or by filters")
			case f.format != exportLines && f.format != exportCSV && f.format != exportRaw:
				return usagef("--format: jsonl, csv or raw, not %q", f.format)
			case f.format == exportRaw && f.to == "":
				return usagef("--to: name a folder for the raw files")
			case f.format == exportRaw && !f.reveal:
				return usagef("raw files show personal data: add --reveal, which is written to the audit log")
			case f.format == exportCSV && f.to == "" && a.output == outputJSON:
				return usagef("CSV on stdout is no JSON: name a file with --to, or leave --output json out")
			}
			return nil
		},
		RunE: a.work(func(cmd *cobra.Command, ids []string) error {
			return a.export(cmd.Context(), &f, ids)
		}),
	}
	f.where.register(cmd)
	f.which.register(cmd)
	statusFlag(cmd, &f.status, letter.Any)
	cmd.Flags().StringVar(&f.format, "format", exportLines, "jsonl, csv or raw")
	cmd.Flags().StringVar(&f.to, "to", "", "file to write, or folder of raw files (default: stdout)")
	cmd.Flags().BoolVar(&f.reveal, "reveal", false, "mask nothing, and write that to the audit log")
	cmd.Flags().StringVar(&f.actor, "actor", defaultActor(), "who exports")
	cmd.Flag("actor").DefValue = "the user's name"
	mustRegister(cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{exportLines, exportCSV, exportRaw}, cobra.ShellCompDirectiveNoFileComp)))
	a.settings[cmd] = &exportSettings{}
	return cmd
}

func (a *app) export(ctx context.Context, f *exportFlags, ids []string) error {
	var s exportSettings
	if err := load(&s); err != nil {
		return err
	}
	status, err := parseStatus(f.status)
	if err != nil {
		return err
	}
	filter, err := f.which.filter(time.Now())
	if err != nil {
		return err
	}
	filter.IDs = ids
	box, err := f.where.open()
	if err != nil {
		return err
	}
	defer box.close()
	snap, err := box.Scan(ctx, filter)
	if err != nil {
		return explainLetters(box.cfg, err)
	}
	a.sayGaps(snap, box.cfg.DLQTopic)
	refs := snap.Select(status, 0)
	if len(refs) == 0 {
		a.say("no letter matches")
		return silent(exitNothing)
	}
	out, err := a.exportTo(f)
	if err != nil {
		return err
	}
	exported, err := a.exportAll(ctx, f, &s, box, refs, out)
	if err := out.end(err); err != nil {
		return err
	}
	a.say("%d of %s exported", exported, plural(len(refs), "letter"))
	if a.output == outputJSON && f.to != "" {
		return writeJSON(a.stdout, struct {
			Exported int    `json:"exported"`
			To       string `json:"to"`
		}{exported, f.to})
	}
	if exported < len(refs) {
		return silent(exitFailed) // some are gone since
	}
	return nil
}

func (a *app) exportAll(ctx context.Context, f *exportFlags, s *exportSettings, box *letters, refs []dlq.Ref, out exportSink) (exported int, err error) {
	for rest := refs; len(rest) > 0; {
		n := dlq.Chunk(rest, listChunk)
		items, err := box.Load(ctx, rest[:n])
		if err != nil && !errors.Is(err, dlq.ErrChanged) {
			return exported, explainLetters(box.cfg, err)
		}
		if f.reveal && f.format != exportCSV {
			if err := writeAudit(s.Audit.Log, f.actor, "export", idsOf(items)...); err != nil {
				return exported, err
			}
		}
		for i := range items {
			if err := out.write(&items[i]); err != nil {
				return exported, err
			}
			exported++
		}
		rest = rest[n:]
	}
	return exported, nil
}

// exportSink takes letters.
type exportSink interface {
	write(item *dlq.Item) error
	// end finishes what is written, or removes it if that failed.
	end(err error) error
}

func (a *app) exportTo(f *exportFlags) (exportSink, error) {
	if f.format == exportRaw {
		if err := os.MkdirAll(f.to, 0o700); err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
		return rawFiles(f.to), nil
	}
	out := &exportFile{w: a.stdout}
	if f.to != "" {
		file, err := os.CreateTemp(filepath.Dir(f.to), ".orderctl-export-*")
		if err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
		out.w, out.file, out.name = file, file, f.to
	}
	if f.format == exportCSV {
		facts := dlqview.NewFacts(out.w)
		out.letter, out.flush = facts.Write, facts.Flush
		return out, nil
	}
	out.flush = func() error { return nil }
	out.letter = func(item *dlq.Item) error {
		e := dlq.ArchiveEntryOf(item)
		if !f.reveal {
			maskEntry(&e)
		}
		return writeJSON(out.w, e)
	}
	return out, nil
}

// maskEntry masks personal data in an entry.
func maskEntry(e *dlq.ArchiveEntry) {
	e.Masked = true
	ours := e.ID == string(e.Letter.Key)
	e.ID = mask.ID(e.ID)
	e.Letter.Value = mask.Value(e.Letter.Value)
	if ours {
		e.Letter.Key = []byte(e.ID)
	} else {
		e.Letter.Key = mask.Key(e.Letter.Key) // the source's, as others write letters
	}
	for i, h := range e.Letter.Headers {
		e.Letter.Headers[i] = dlq.ArchiveHeader{Key: mask.HeaderName(h.Key), Value: mask.Header(h.Key, h.Value)}
	}
	if r := e.Resolution; r != nil && !strings.HasPrefix(string(r.Key), e.ID) {
		r.Key = []byte(mask.Hidden)
	}
}

// exportFile writes letters one after another. A file appears whole or not at
// all.
type exportFile struct {
	w      io.Writer
	file   *os.File // nil: stdout
	name   string
	letter func(*dlq.Item) error
	flush  func() error
}

func (e *exportFile) write(item *dlq.Item) error { return e.letter(item) }

func (e *exportFile) end(err error) error {
	err = errors.Join(err, e.flush())
	if e.file == nil {
		return err
	}
	if err = errors.Join(err, e.file.Close()); err == nil {
		err = os.Rename(e.file.Name(), e.name)
	}
	if err != nil {
		_ = os.Remove(e.file.Name())
	}
	return err
}

// rawFiles is a folder with a file a letter.
type rawFiles string

func (folder rawFiles) write(item *dlq.Item) error {
	return os.WriteFile(filepath.Join(string(folder), dlqview.FileName(&item.Letter)), item.Value, 0o600)
}

func (folder rawFiles) end(err error) error { return err }
