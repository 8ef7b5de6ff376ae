package cli

import (
	"cmp"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
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
	settings changeSettings
	where    kafkaFlags
	which    filterFlags
	status   letter.Status
	format   string
	to       string
	reveal   bool
	actor    string
}

func (a *app) dlqExportCommand() *cobra.Command {
	var f exportFlags
	cmd := a.command("dlq export", &f.settings, cobra.ArbitraryArgs, func(cmd *cobra.Command, ids []string) error {
		switch {
		case len(ids) > 0 && f.which.set():
			return usagef("say which letters in one way: by ids or by filters")
		case f.format == exportRaw && f.to == "":
			return usagef("--to: name a folder for the raw files")
		case f.format == exportRaw && !f.reveal:
			return usagef("raw files show personal data: add --reveal, which is written to the audit log")
		case f.format == exportCSV && f.to == "" && a.output == outputJSON:
			return usagef("CSV on stdout is no JSON: name a file with --to, or leave --output json out")
		}
		return a.export(cmd.Context(), &f, ids)
	})
	f.where.registerLetters(cmd)
	f.which.register(cmd)
	choice(cmd, cmd.Flags(), &f.status, "status", "`status` of the letters: open, resolved or any", letter.Any, letter.Open, letter.Resolved)
	choice(cmd, cmd.Flags(), &f.format, "format", "`form` of the file: jsonl, csv or raw", exportLines, exportCSV, exportRaw)
	cmd.Flags().StringVar(&f.to, "to", "", "file to write, or folder of raw files (default: stdout)")
	cmd.Flags().BoolVar(&f.reveal, "reveal", false, "mask nothing, and write that to the audit log")
	actorFlag(cmd, &f.actor, "who exports")
	return cmd
}

func (a *app) export(ctx context.Context, f *exportFlags, ids []string) error {
	queue, err := a.letters(&f.where, &f.settings.Kafka)
	if err != nil {
		return err
	}
	filter := f.which.Filter
	filter.IDs = ids
	view, err := queue.Scan(ctx, filter)
	if err != nil {
		return err
	}
	a.sayGaps(view)
	refs := view.Select(f.status, 0)
	if len(refs) == 0 {
		return nothing("no letter matches")
	}
	write, end, err := a.exportTo(f)
	if err != nil {
		return local(fmt.Errorf("--to: %w", err))
	}
	exported := 0
	err = queue.InChunks(ctx, refs, func(items []dlq.Item) error {
		if f.reveal && f.format != exportCSV {
			if err := a.auditedItems(ctx, &f.settings, dlq.By{Actor: f.actor}, "export", items...); err != nil {
				return err
			}
		}
		for i := range items {
			if err := write(&items[i]); err != nil {
				return local(err)
			}
			exported++
		}
		return nil
	})
	if err := end(err); err != nil {
		return err
	}
	a.say("%d of %s exported", exported, dlqview.Plural(len(refs), "letter"))
	if a.output == outputJSON && f.to != "" {
		return writeJSON(a.stdout, struct {
			Exported int    `json:"exported"`
			To       string `json:"to"`
		}{exported, f.to})
	}
	if exported < len(refs) {
		return failed()
	}
	return nil
}

// exportTo gives what writes a letter, and what ends the writing: a file appears
// whole or, after an error, not at all.
func (a *app) exportTo(f *exportFlags) (write func(*dlq.Item) error, end func(error) error, err error) {
	if f.format == exportRaw {
		write = func(item *dlq.Item) error {
			return os.WriteFile(filepath.Join(f.to, dlqview.FileName(&item.Letter)), item.Value, 0o600)
		}
		return write, func(err error) error { return err }, os.MkdirAll(f.to, 0o700)
	}
	out, finish := a.stdout, func(err error) error { return err }
	if f.to != "" {
		file, err := os.CreateTemp(filepath.Dir(f.to), ".orderctl-export-*")
		if err != nil {
			return nil, nil, err
		}
		out, finish = file, func(err error) error {
			if err = errors.Join(err, file.Close()); err == nil {
				err = os.Rename(file.Name(), f.to)
			}
			if err != nil {
				_ = os.Remove(file.Name())
			}
			return err
		}
	}
	if f.format == exportCSV {
		w := csv.NewWriter(out)
		end = func(err error) error {
			w.Flush()
			return finish(errors.Join(err, w.Error()))
		}
		return func(item *dlq.Item) error { return w.Write(dlqview.Facts(item)) }, end, w.Write(dlqview.FactColumns)
	}
	return func(item *dlq.Item) error {
		e := dlq.ArchiveEntryOf(item)
		if !f.reveal {
			maskEntry(&e)
		}
		return writeJSON(out, e)
	}, finish, nil
}

func maskEntry(e *dlq.ArchiveEntry) {
	e.Masked = true
	ours := e.ID == string(e.Letter.Key)
	e.ID = mask.ID(e.ID)
	e.Letter.Value = mask.Value(e.Letter.Value)
	if ours {
		e.Letter.Key = []byte(e.ID)
	} else {
		e.Letter.Key = mask.All(e.Letter.Key) // the source's, as others write letters
	}
	for i, h := range e.Letter.Headers {
		e.Letter.Headers[i] = dlq.ArchiveHeader{Key: mask.HeaderName(h.Key), Value: mask.Header(h.Key, h.Value)}
	}
	if r := e.Resolution; r != nil && !strings.HasPrefix(string(r.Key), e.ID) {
		r.Key = []byte(mask.Hidden)
	}
}

func (a *app) dlqImportCommand() *cobra.Command {
	var s changeSettings
	var where kafkaFlags
	var to sendTo
	var by dlq.By
	cmd := a.command("dlq import", &s, oneArg("name one file, or - for stdin"), func(cmd *cobra.Command, args []string) error {
		if err := to.check(cmd); err != nil {
			return err
		}
		where.dlq = cmp.Or(to.topic, where.dlq)
		file, err := a.open(args[0])
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // it was only read
		queue, err := a.letters(&where, &s.Kafka)
		if err != nil {
			return err
		}
		return a.importLetters(cmd.Context(), &s, queue, file, to.target(), by)
	})
	where.registerOurs(cmd)
	to.register(cmd)
	byFlags(cmd, &by, "in the audit log")
	cmd.Flag("to-topic").Usage = "as --dlq-topic"
	cmd.Flag("to-partition").Usage = "put all letters into this partition"
	cmd.Flag("by-key").Usage = "let the letters' ids, which are their keys, decide on the partitions"
	return cmd
}

func (a *app) importLetters(ctx context.Context, s *changeSettings, queue *dlq.Queue, file io.Reader, to dlq.Target, by dlq.By) error {
	r, there, erased := &report{app: a}, 0, 0
	before := func(ids []string) error { return audited(ctx, a, s, by, "import", ids, mask.ID) }
	err := queue.Import(ctx, file, to, before, func(id string, why error) {
		switch {
		case why == nil:
			r.letter(id, "imported")
		case errors.Is(why, dlq.ErrErased):
			erased++
			a.say("%s: %v", mask.ID(id), why)
		default:
			if there++; a.output == outputJSON {
				r.write(a.stdout, dealt{ID: mask.ID(id), Done: "nothing"}, "")
			}
		}
	})
	a.say("%s imported, %d were there already", dlqview.Plural(r.done, "letter"), there)
	if erased > 0 {
		a.say("%s not imported, since their orders were erased", dlqview.Plural(erased, "letter"))
	}
	if errors.Is(err, dlq.ErrEntry) { // the file is wrong, not the broker
		err = local(err)
	}
	if err := errors.Join(err, r.writing); err != nil {
		return err
	}
	if r.done+there+erased == 0 {
		return nothing("")
	}
	return nil
}
