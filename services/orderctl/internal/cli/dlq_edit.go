package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

type editFlags struct {
	redriveFlags
	sets      []string
	patchFile string
	reveal    bool
}

// editSettings are those of dlq edit.
type editSettings struct {
	Kafka    config.Kafka
	Database optionalDatabase
	Rules    ruleSettings
	Audit    auditSettings
}

func (a *app) dlqEditCommand() *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:   "edit ID...",
		Short: "Mend letters' values and send them back",
		Long: `Mend the values of open letters and send them back, as 'orderctl dlq redrive' does.
The copies bear headers that say who edited them and which letter has the value as
it was (dlq-edited-by, dlq-edited-from).

With an id alone the value is opened in $VISUAL or $EDITOR. Saved, it is checked by
today's rules; what fails is shown, and you edit on or give up. Saved as it was, it
isn't sent. That you saw the value is written to the audit log.

With --set or --patch values are changed without an editor, those of one letter or
of many: only what is named changes, every other byte stays. What the rules would
still refuse isn't sent. With --dry-run nothing is sent: each letter's changes are
shown, people's data masked, and what would become of it.

--set takes path=value, the path as failures name it; items[].price is that of each
item. The value is JSON, or else a text: amount=1817 is a number, zip='"02138"' a
text. --patch takes a JSON Patch (RFC 6902).

Exit code 1: some letters were not sent (or would fail), or you gave up; 3: no open
letter matches.`,
		Example: `  orderctl dlq edit orders/0/17
  orderctl dlq edit orders/0/17 --set payment.currency=EUR --why 'asked the shop'
  orderctl dlq edit --reason invalid --path locale --set locale=en --dry-run
  orderctl dlq edit --reason invalid --path items[].price --patch mend.json --yes`,
		Args: func(cmd *cobra.Command, ids []string) error {
			if err := f.check(cmd, ids); err != nil {
				return err
			}
			if err := f.checkRedrive(); err != nil {
				return err
			}
			if f.inEditor() && (len(ids) != 1 || f.dryRun) {
				return usagef("without --set or --patch name one letter by its id: it is opened in your editor")
			}
			return nil
		},
		RunE: a.work(func(cmd *cobra.Command, ids []string) error {
			return a.edit(cmd.Context(), &f, ids)
		}),
	}
	f.register(cmd, "edit")
	f.registerBy(cmd)
	f.rules.register(cmd)
	f.registerRedrive(cmd)
	cmd.Flags().StringArrayVar(&f.sets, "set", nil, "path=value: put a value at a path; can be repeated")
	cmd.Flags().StringVar(&f.patchFile, "patch", "", "file with a JSON Patch (RFC 6902); - is stdin")
	cmd.Flags().BoolVar(&f.reveal, "reveal", false, "with --dry-run: show people's data too, and write that to the audit log")
	a.settings[cmd] = &editSettings{}
	return cmd
}

func (f *editFlags) inEditor() bool { return len(f.sets) == 0 && f.patchFile == "" }

// edits are what the flags say, in the order sets, patch.
func (f *editFlags) edits(a *app) ([]edit.Edit, error) {
	var edits []edit.Edit
	for _, assignment := range f.sets {
		e, err := edit.ParseSet(assignment)
		if err != nil {
			return nil, usagef("--set: %w", err)
		}
		edits = append(edits, e)
	}
	if f.patchFile == "" {
		return edits, nil
	}
	file, err := a.open(f.patchFile)
	if err != nil {
		return nil, err
	}
	document, err := io.ReadAll(file)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, fmt.Errorf("--patch: %w", err)
	}
	e, err := edit.ParsePatch(document)
	if err != nil {
		return nil, usagef("--patch: %s: %w", shownName(f.patchFile), err)
	}
	return append(edits, e), nil
}

func (a *app) edit(ctx context.Context, f *editFlags, ids []string) error {
	var s editSettings
	if err := load(&s); err != nil {
		return err
	}
	edits, err := f.edits(a)
	if err != nil {
		return err
	}
	codec, err := f.rules.codec()
	if err != nil {
		return err
	}
	box, err := f.where.open()
	if err != nil {
		return err
	}
	defer box.close()
	snap, refs, err := f.find(ctx, a, box, ids, letter.Open)
	if err != nil {
		return err
	}
	work := editing{a: a, f: f, s: &s, box: box, codec: codec, edits: edits}
	switch {
	case f.inEditor():
		return work.inEditor(ctx, snap, refs)
	case f.dryRun:
		return work.dryRun(ctx, refs)
	}
	if err := a.confirm(f.yes || len(ids) > 0, "edit and redrive "+plural(len(refs), "letter")); err != nil {
		return err
	}
	return a.sendBack(ctx, &f.redriveFlags, box, snap, refs, func(item *dlq.Item) ([]byte, error) {
		value, err := edit.Apply(item.Value, edits...)
		if err != nil {
			return nil, err
		}
		if refused := work.refused(item, value); refused != nil {
			refused.Errors = mask.Errors(refused.Errors)
			return nil, fmt.Errorf("edited, it would be refused: %w", refused)
		}
		return value, nil
	})
}

// editing is one run of dlq edit.
type editing struct {
	a     *app
	f     *editFlags
	s     *editSettings
	box   *letters
	codec *model.Codec
	edits []edit.Edit
}

// refused says why a value is no valid order; nil where it is, and of letters of
// topics that have no orders.
func (e *editing) refused(item *dlq.Item, value []byte) *model.RecordError {
	if item.Source.Topic != e.box.cfg.Topic {
		return nil
	}
	_, err := e.codec.Decode(value)
	refused, _ := errors.AsType[*model.RecordError](err)
	return refused
}

// editVerdict is what a dry run says of a letter.
type editVerdict struct {
	dryrun.Verdict
	Changes []edit.Change `json:"changes"`
}

func (e *editing) dryRun(ctx context.Context, refs []dlq.Ref) error {
	compare := e.s.Database.URL != ""
	orders, closing, err := storedOrders(compare)
	if err != nil {
		return err
	}
	defer closing()
	run := dryrun.New(e.codec, orders, e.box.cfg.Topic, e.f.maxRedrives)
	counts := map[string]int{}
	err = e.a.inSourceOrder(ctx, e.box, refs, func(items []dlq.Item) error {
		if e.f.reveal {
			if err := writeAudit(e.s.Audit.Log, e.f.by.Actor, "reveal", idsOf(items)...); err != nil {
				return err
			}
		}
		verdicts, err := e.judge(ctx, run, items)
		for _, v := range verdicts {
			counts[v.Would]++
			if err := e.a.writeEditVerdict(v); err != nil {
				return err
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	return e.a.dryRunEnded(len(refs), counts, compare)
}

func idsOf(items []dlq.Item) []string {
	ids := make([]string, len(items))
	for i := range items {
		ids[i] = mask.ID(items[i].ID)
	}
	return ids
}

// judge makes the edits, and tells what would become of the letters.
func (e *editing) judge(ctx context.Context, run *dryrun.Run, items []dlq.Item) ([]editVerdict, error) {
	said := make([]editVerdict, len(items))
	var edited []dlq.Item
	var at []int
	for i, item := range items {
		value, err := edit.Apply(item.Value, e.edits...)
		if err != nil {
			said[i].Verdict = dryrun.Verdict{ID: mask.ID(item.ID), Would: dryrun.Stay, Reason: err.Error()}
			said[i].Changes = []edit.Change{}
			continue
		}
		said[i].Changes = edit.Diff(item.Value, value, e.f.reveal)
		item.Value = value
		edited, at = append(edited, item), append(at, i)
	}
	verdicts, err := run.Judge(ctx, edited)
	if err != nil {
		return nil, err
	}
	for i, v := range verdicts {
		said[at[i]].Verdict = v
	}
	return said, nil
}

func (a *app) writeEditVerdict(v editVerdict) error {
	if a.output == outputJSON {
		return writeJSON(a.stdout, v)
	}
	if err := a.writeVerdict(v.Verdict); err != nil {
		return err
	}
	return dlqview.ShowChanges(a.stdout, a.style(), v.Changes)
}

// inEditor has somebody edit one letter.
func (e *editing) inEditor(ctx context.Context, snap *dlq.View, refs []dlq.Ref) error {
	items, err := e.box.Load(ctx, refs)
	if err != nil {
		return explainLetters(e.box.cfg, err)
	}
	item := &items[0]
	if err := dlq.Redrivable(&item.Letter, e.f.maxRedrives); err != nil {
		return fmt.Errorf("%s %w", mask.ID(item.ID), err)
	}
	if err := writeAudit(e.s.Audit.Log, e.f.by.Actor, "edit", mask.ID(item.ID)); err != nil {
		return err
	}
	value, err := e.typed(ctx, item)
	if err != nil {
		return err
	}
	return e.a.sendBack(ctx, &e.f.redriveFlags, e.box, snap, refs, func(*dlq.Item) ([]byte, error) { return value, nil })
}

// typed gives the value that somebody made of a letter's in the editor.
func (e *editing) typed(ctx context.Context, item *dlq.Item) ([]byte, error) {
	folder, err := os.MkdirTemp("", "orderctl-edit-") // for the user alone
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	shown, back := edit.ForEditor(item.Value)
	name := folder + "/letter.json"
	if err := os.WriteFile(name, shown, 0o600); err != nil {
		return nil, err
	}
	for {
		if err := e.a.runEditor(ctx, name); err != nil {
			return nil, err
		}
		saved, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		value := back(saved)
		if string(value) == string(item.Value) {
			e.a.say("the value is as it was: nothing was sent")
			return nil, silent(exitFailed)
		}
		refused := e.refused(item, value)
		if refused == nil {
			return value, nil
		}
		e.a.say("this would be refused: %s", refused.Reason)
		for i, place := range model.Locate(saved, refused.Errors) {
			if refused.Errors[i].Path == "" {
				place = -1
				if bytes.HasPrefix(saved, value) {
					place = refused.Offset
				}
			}
			e.a.say("  %s%s [%s]", lineOf(saved, place), dlqview.Clean(refused.Errors[i].String()), dlqview.Clean(refused.Errors[i].Rule))
		}
		if !e.a.editOn() {
			e.a.say("nothing was sent")
			return nil, silent(exitFailed)
		}
	}
}

// lineOf names a place in a text; negative: none.
func lineOf(text []byte, place int64) string {
	if place < 0 {
		return ""
	}
	line, column := model.LineColumn(text, place)
	return fmt.Sprintf("line %d, column %d: ", line, column)
}
