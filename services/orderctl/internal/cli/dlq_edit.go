package cli

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
	"github.com/orderhub/orderhub/services/orderctl/internal/orderfile"
)

type editFlags struct {
	redriveFlags
	sets      []string
	patchFile string
	reveal    bool
}

func (a *app) dlqEditCommand() *cobra.Command {
	var f editFlags
	cmd := a.command("dlq edit", &f.lookSettings, f.checkRedrive, func(cmd *cobra.Command, ids []string) error {
		if len(f.sets) == 0 && f.patchFile == "" {
			if len(ids) != 1 || f.dryRun {
				return usagef("without --set or --patch name one letter by its id: it is opened in your editor")
			}
			return a.editTyping(cmd.Context(), &f.redriveFlags, ids)
		}
		edits, err := f.edits(a)
		if err != nil {
			return err
		}
		return a.redrive(cmd.Context(), &f.redriveFlags, ids, "edit and redrive", edits, a.revealing(cmd.Context(), f.reveal, &f.Letters, f.by))
	})
	f.registerRedrive(cmd, "edit")
	cmd.Flags().StringArrayVar(&f.sets, "set", nil, "path=value or path=function(.): put a value at a path; can be repeated")
	cmd.Flags().StringVar(&f.patchFile, "patch", "", "file with a JSON Patch (RFC 6902); - is stdin")
	cmd.Flags().BoolVar(&f.reveal, "reveal", false, "with --dry-run: show personal data too, and write that to the audit log")
	return cmd
}

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
	document, err := a.read(f.patchFile)
	if err != nil {
		return nil, fmt.Errorf("--patch: %w", err)
	}
	e, err := edit.ParsePatch(document)
	if err != nil {
		return nil, usagef("--patch: %s: %w", shownName(f.patchFile), err)
	}
	return append(edits, e), nil
}

func (a *app) editTyping(ctx context.Context, f *redriveFlags, ids []string) error {
	c, err := a.choose(ctx, &f.targetFlags, &f.Letters, ids, letter.Open, true, "edit %s")
	if err != nil {
		return err
	}
	items, err := c.queue.Load(ctx, c.refs)
	if err != nil {
		return err
	}
	item := &items[0]
	if err := dlq.Redrivable(&item.Letter, f.to.target(), f.maxRedrives); err != nil {
		return local(fmt.Errorf("%s %w", mask.ID(item.ID), err))
	}
	if err := a.auditedItems(ctx, &f.Letters, f.by, "edit", *item); err != nil {
		return err
	}
	value, err := a.typed(ctx, f, item)
	if err != nil {
		return local(err)
	}
	if err := a.auditedItems(ctx, &f.Letters, f.by, "redrive edited to "+f.to.target().String(), *item); err != nil {
		return err
	}
	return a.send(ctx, f, &c, func(*dlq.Item) ([]byte, error) { return value, nil })
}

func (a *app) typed(ctx context.Context, f *redriveFlags, item *dlq.Item) ([]byte, error) {
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
		if err := a.runEditor(ctx, name); err != nil {
			return nil, err
		}
		saved, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		value := back(saved)
		if bytes.Equal(value, item.Value) {
			a.say("the value is as it was: nothing was sent")
			return nil, failed()
		}
		_, reason, failures := orderfile.Check(model.New(f.Rules.Options()), value, saved)
		if len(failures) == 0 || !dryrun.HasRules(f.Letters.Kafka.Topic, &item.Letter, f.to.target()) {
			return value, nil
		}
		a.say("this would be refused: %s", reason)
		for _, failure := range failures {
			a.say("  line %d, column %d: %s [%s]", failure.Line, failure.Column, dlqview.Clean(failure.String()), dlqview.Clean(failure.Rule))
		}
		a.say("Edit on? [Y/n] ")
		switch answer, err := a.answer(); {
		case err == nil && (answer == "" || answer == "y" || answer == "yes" || answer == "e"):
		default: // no answer means giving up
			a.say("nothing was sent")
			return nil, failed()
		}
	}
}

// runEditor opens a file in the user's editor, and returns when that ends. The
// variable may have arguments, as in "code --wait".
func (a *app) runEditor(ctx context.Context, file string) error {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file) //nolint:gosec // the user's own choice
	if terminal, ok := a.stdin.(*os.File); ok {                             // what is piped in answers our questions
		cmd.Stdin = terminal
	}
	cmd.Stdout, cmd.Stderr = a.stdout, a.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the editor %q: %w: choose another in VISUAL or EDITOR, or use --set; nothing was sent", editor, err)
	}
	return nil
}
