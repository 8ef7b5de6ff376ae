package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// targetFlags say which letters are to be dealt with, and by whom.
type targetFlags struct {
	where dlqFlags
	which filterFlags
	all   bool
	yes   bool
	by    dlq.By
}

// register adds the flags; what is the verb of the help.
func (f *targetFlags) register(cmd *cobra.Command, what string) {
	f.where.register(cmd)
	f.which.register(cmd)
	cmd.Flags().BoolVar(&f.all, "all", false, what+" all of them")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do it without asking; letters named by id are not asked about")
}

func (f *targetFlags) registerBy(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.by.Actor, "actor", defaultActor(), "who does it, to be kept with the letters")
	cmd.Flag("actor").DefValue = "the user's name"
	cmd.Flags().StringVar(&f.by.Why, "why", "", "why, to be kept with the letters")
}

// check refuses arguments that do not say which letters are meant.
func (f *targetFlags) check(cmd *cobra.Command, ids []string) error {
	ways := 0
	for _, given := range []bool{len(ids) > 0, f.which.set(cmd), f.all} {
		if given {
			ways++
		}
	}
	switch ways {
	case 1:
		return nil
	case 0:
		return usagef("say which letters: by their ids, by filters such as --reason, or --all")
	}
	return usagef("say which letters in one way: by ids, by filters, or --all")
}

// find gives the letters with a status that are meant.
func (f *targetFlags) find(ctx context.Context, a *app, box *letters, ids []string, status letter.Status) (*dlq.View, []dlq.Ref, error) {
	var refs []dlq.Ref
	var snap *dlq.View
	if len(ids) == 0 {
		filter, err := f.which.filter(time.Now())
		if err != nil {
			return nil, nil, err
		}
		if snap, err = box.Scan(ctx, filter); err != nil {
			return nil, nil, explainLetters(box.cfg, err)
		}
		a.sayGaps(snap, box.cfg.DLQTopic)
		refs = snap.Select(status, 0)
	} else {
		items, found, err := box.Find(ctx, ids...)
		if errors.Is(err, dlq.ErrNotFound) {
			a.say("%v", err)
			return nil, nil, silent(exitNothing)
		}
		if err != nil {
			return nil, nil, explainLetters(box.cfg, err)
		}
		snap = found
		for _, item := range items {
			if item.Ref.Status != status {
				a.say("%s is %s", mask.ID(item.ID), item.Ref.Status)
				continue
			}
			refs = append(refs, item.Ref)
		}
	}
	if len(refs) == 0 {
		a.say("no %s letter matches", status)
		return nil, nil, silent(exitNothing)
	}
	return snap, refs, nil
}

// confirm asks where somebody can answer, and demands --yes where nobody can.
func (a *app) confirm(yes bool, what string) error {
	if yes {
		return nil
	}
	stdin, ok := a.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(stdin.Fd())) {
		return usagef("this would %s; add --yes to do it", what)
	}
	return a.ask(what)
}

// ask reads an answer; anything but yes is no.
func (a *app) ask(what string) error {
	a.say("This will %s. Go on? [y/N] ", what)
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n') // no answer is a no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	a.say("nothing was done")
	return silent(exitFailed)
}

// ended says how far the work got, and what its end means.
func (a *app) ended(ctx context.Context, box *letters, done, of int, verb string, err error) error {
	summary := plural(of, "letter")
	switch {
	case err != nil && ctx.Err() != nil:
		a.say("interrupted: %d of %s %s; run the command again for the rest", done, summary, verb)
		return silent(exitInterrupted)
	case err != nil:
		a.say("stopped: %d of %s %s", done, summary, verb)
		return explainLetters(box.cfg, err)
	}
	a.say("%d of %s %s", done, summary, verb)
	if done < of {
		return silent(exitFailed)
	}
	return nil
}

// writeID tells of a letter that was dealt with.
func (a *app) writeID(id, did string) error {
	if a.output == outputJSON {
		return writeJSON(a.stdout, struct {
			ID   string `json:"id"`
			Done string `json:"done"`
		}{mask.ID(id), did})
	}
	_, err := fmt.Fprintln(a.stdout, mask.ID(id))
	return err
}
