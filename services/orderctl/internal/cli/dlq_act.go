package cli

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/accept"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// defaultMaxRedrives keeps a letter from being redriven without end.
const defaultMaxRedrives = 3

type redriveFlags struct {
	lookSettings
	targetFlags
	to          sendTo
	dryRun      bool
	rate        float64
	maxRedrives int
}

type sendTo struct {
	topic     string
	partition int
	byKey     bool
}

func (f *sendTo) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.topic, "to-topic", "", "send to this topic, by key (default: the source's topic)")
	cmd.Flags().IntVar(&f.partition, "to-partition", -1, "send to this partition (default: the source's partition)")
	cmd.Flags().BoolVar(&f.byKey, "by-key", false, "let the source record's key decide on the partition")
	cmd.Flag("to-partition").DefValue = "0" // which --help leaves out
}

func (f *sendTo) check(cmd *cobra.Command) error {
	switch {
	case cmd.Flags().Changed("to-partition") && (f.partition < 0 || f.partition > math.MaxInt32):
		return usagef("--to-partition: a number such as 0, not %d", f.partition)
	case f.partition >= 0 && f.byKey:
		return usagef("--to-partition, --by-key: one of them")
	}
	return nil
}

func (f *sendTo) target() dlq.Target {
	return dlq.NewTarget(f.topic, int32(f.partition), f.byKey)
}

func (a *app) dlqRedriveCommand() *cobra.Command {
	var f redriveFlags
	cmd := a.command("dlq redrive", &f.lookSettings, f.checkRedrive, func(cmd *cobra.Command, ids []string) error {
		return a.redrive(cmd.Context(), &f, ids, "redrive", nil, nil)
	})
	f.registerRedrive(cmd, "redrive")
	return cmd
}

func (f *redriveFlags) registerRedrive(cmd *cobra.Command, what string) {
	f.register(cmd, what)
	byFlags(cmd, &f.by, "with the letters")
	f.to.register(cmd)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say which letters would pass now, and why the others would not")
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "letters a second; 0: as fast as possible")
	cmd.Flags().IntVar(&f.maxRedrives, "max-redrives", defaultMaxRedrives, "skip letters that were redriven so often")
}

func (f *redriveFlags) checkRedrive(cmd *cobra.Command, ids []string) error {
	switch err := f.check(cmd, ids); {
	case err != nil:
		return err
	case f.maxRedrives < 1:
		return usagef("--max-redrives: at least 1, not %d", f.maxRedrives)
	}
	return cmp.Or(checkRate(f.rate), f.to.check(cmd))
}

func checkRate(perSecond float64) error {
	if perSecond < 0 || math.IsNaN(perSecond) || math.IsInf(perSecond, 0) {
		return usagef("--rate: letters a second, 0 for as fast as possible, not %v", perSecond)
	}
	return nil
}

// redrive sends letters back, or with --dry-run says what would become of them.
// With edits they are edited first. audit, which may be nil, is called before personal
// data of letters is shown.
func (a *app) redrive(ctx context.Context, f *redriveFlags, ids []string, verb string, edits []edit.Edit, audit func([]dlq.Item) error) error {
	what := verb + " %s"
	if target := f.to.target(); !target.IsSource() {
		what += " to " + target.String()
	}
	c, err := a.choose(ctx, &f.targetFlags, &f.Letters, ids, letter.Open, f.dryRun, what)
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.dryRun(ctx, f, &c, edits, audit)
	}
	var change func(*dlq.Item) ([]byte, error)
	if len(edits) > 0 {
		change = dryrun.Mend(model.New(f.Rules.Options()), f.Letters.Kafka.Topic, f.to.target(), edits)
	}
	return a.send(ctx, f, &c, change)
}

// send redrives letters, as they are or with the values that change gives, and reports
// each: where it was sent on stdout, why it was not on stderr.
func (a *app) send(ctx context.Context, f *redriveFlags, c *chosen, change func(*dlq.Item) ([]byte, error)) error {
	r := &report{app: a, did: "redriven", of: len(c.refs), bar: a.newBar(len(c.refs), "redriving", "letters")}
	how := dlq.Redrive{By: f.by, Target: f.to.target(), MaxRedrives: f.maxRedrives, Rate: f.rate, Edit: change, Done: r.outcome}
	return r.end(ctx, c.queue.Redrive(ctx, c.view, c.refs, how))
}

// dryRun says what would become of letters, in the order in which they would be
// sent.
func (a *app) dryRun(ctx context.Context, f *redriveFlags, c *chosen, edits []edit.Edit, audit func([]dlq.Item) error) error {
	orders, err := a.orders(f.Database)
	if err != nil {
		return err
	}
	router, err := c.queue.Router(ctx, f.to.target(), f.maxRedrives)
	if err != nil {
		return err
	}
	run := dryrun.New(dryrun.Options{Codec: model.New(f.Rules.Options()), Versions: f.Rules.Versions(), Orders: orders, Topic: f.Letters.Kafka.Topic, Router: router, Edits: edits, Reveal: audit != nil})
	counts, err := a.judge(ctx, c, audit, run)
	if err != nil {
		return err
	}
	a.say("of %s: %d would be stored, %d duplicates, %d pass, %d fail, %d stay, %d unknown", dlqview.Plural(len(c.refs), "letter"),
		counts[dryrun.Stored], counts[dryrun.Duplicate], counts[dryrun.Pass], counts[dryrun.Fail], counts[dryrun.Stay], counts[dryrun.Unknown])
	if n := counts[dryrun.Stale]; n > 0 {
		a.say("%d would be stale: a newer record is stored", n)
	}
	if orders == nil {
		a.say("DATABASE_URL is not set: nothing was compared with the stored orders")
	}
	if counts[dryrun.Fail]+counts[dryrun.Stay] > 0 {
		return failed()
	}
	return nil
}

// judge shows what would become of letters, in the order in which they would be dealt
// with, and counts the verdicts. audit, if not nil, is called before it shows any.
func (a *app) judge(ctx context.Context, c *chosen, audit func([]dlq.Item) error, by interface {
	Judge(context.Context, []dlq.Item) ([]dryrun.Verdict, error)
},
) (counts map[string]int, err error) {
	counts = map[string]int{}
	dlq.InSourceOrder(c.refs)
	return counts, c.queue.InChunks(ctx, c.refs, func(items []dlq.Item) error {
		if audit != nil {
			if err := audit(items); err != nil {
				return err
			}
		}
		verdicts, err := by.Judge(ctx, items)
		for _, v := range verdicts {
			counts[v.Would]++
			err = errors.Join(err, a.show(v, "verdict.txt"))
		}
		return err
	})
}

func (a *app) dlqDiscardCommand() *cobra.Command {
	var s changeSettings
	var f targetFlags
	cmd := a.command("dlq discard", &s, f.check, func(cmd *cobra.Command, ids []string) error {
		if strings.TrimSpace(f.by.Why) == "" {
			return usagef("--why: say why they are not wanted")
		}
		c, err := a.choose(cmd.Context(), &f, &s, ids, letter.Open, false, "discard %s")
		if err != nil {
			return err
		}
		r := &report{app: a, did: "discarded", of: len(c.refs)}
		return r.end(cmd.Context(), c.queue.Discard(cmd.Context(), c.view, c.refs, f.by, r.outcome))
	})
	f.register(cmd, "discard")
	byFlags(cmd, &f.by, "with the letters")
	return cmd
}

func (a *app) dlqUndoCommand() *cobra.Command {
	var s lookSettings
	var f targetFlags
	cmd := a.command("dlq undo", &s, f.check, func(cmd *cobra.Command, ids []string) error {
		c, err := a.choose(cmd.Context(), &f, &s.Letters, ids, letter.Resolved, false, "open again %s")
		if err != nil {
			return err
		}
		acceptor, err := a.acceptor(c.queue, &s)
		if err != nil {
			return err
		}
		r := &report{app: a, did: "opened", of: len(c.refs)}
		return r.end(cmd.Context(), c.queue.Undo(cmd.Context(), c.view, c.refs, acceptor.Restore, r.outcome))
	})
	f.register(cmd, "open")
	return cmd
}

func (a *app) dlqPurgeCommand() *cobra.Command {
	var s changeSettings
	var where kafkaFlags
	var resolved, dryRun, yes bool
	var olderThan string
	cmd := a.command("dlq purge", &s, noArgs(": purge goes by age"), func(cmd *cobra.Command, _ []string) error {
		if !resolved {
			return usagef("--resolved: only resolved letters are removed; say so")
		}
		age, err := letter.ParseAge(olderThan)
		if err != nil || olderThan == "" {
			return usagef("--older-than: an age such as 30d or 12h, not %q", olderThan)
		}
		queue, err := a.letters(&where, &s.Kafka)
		if err != nil {
			return err
		}
		return a.purge(cmd.Context(), &s, queue, dlq.PurgeOptions{Before: time.Now().Add(-age), Source: s.Kafka.Topic}, dryRun, yes)
	})
	where.registerOurs(cmd)
	cmd.Flags().BoolVar(&resolved, "resolved", false, "remove resolved letters; open ones are never removed")
	cmd.Flags().StringVar(&olderThan, "older-than", "", "only what was resolved so long ago: 30d, 12h")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be removed")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it without asking")
	return cmd
}

func (a *app) purge(ctx context.Context, s *changeSettings, queue *dlq.Queue, options dlq.PurgeOptions, dryRun, yes bool) error {
	ids, err := queue.Purgeable(ctx, options)
	switch {
	case err != nil:
		return err
	case len(ids) == 0:
		return nothing("no letter was resolved before %s", options.Before.UTC().Format(time.RFC3339))
	case dryRun:
		r := &report{app: a}
		for _, id := range ids {
			r.letter(id, "nothing")
		}
		a.say("%s would be removed", dlqview.Plural(len(ids), "letter"))
		return r.writing
	}
	if err := a.confirm(yes, "remove "+dlqview.Plural(len(ids), "letter")+" for good"); err != nil {
		return err
	}
	if err := audited(ctx, a, s, dlq.By{}, "purge", ids, mask.ID); err != nil {
		return err
	}
	r := &report{app: a, did: "removed", of: len(ids)}
	return r.end(ctx, queue.Purge(ctx, options, func(id string) { r.letter(id, r.did) }))
}

// report says what becomes of letters, one at a time, and counts them.
type report struct {
	*app
	did      string // with a letter that was dealt with
	of, done int
	bar      bar
	writing  error // of writing to stdout
}

type dealt struct {
	ID     string `json:"id"`
	Done   string `json:"done"`
	Became string `json:"became,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (r *report) write(w io.Writer, d dealt, text string) {
	r.bar.line()
	r.writing = errors.Join(r.writing, r.printTo(w, d, d.ID+dlqview.Clean(text)+"\n"))
	r.bar.add(1)
}

func (r *report) letter(id, did string) {
	r.done++
	r.write(r.stdout, dealt{ID: mask.ID(id), Done: did}, "")
}

// outcome reports what became of a letter: on stderr, for people, why nothing was done.
func (r *report) outcome(o dlq.Outcome) {
	d := dealt{ID: mask.ID(o.Item.ID), Done: r.did}
	switch {
	case o.Err != nil && r.output == outputText:
		r.write(r.stderr, d, " "+o.Err.Error())
	case o.Err != nil:
		d.Done, d.Error = "nothing", o.Err.Error()
		r.write(r.stdout, d, "")
	case o.Copy.Topic == "":
		r.letter(o.Item.ID, r.did)
	default:
		r.done++
		d.Became = o.Copy.String()
		r.write(r.stdout, d, " -> "+d.Became)
	}
}

// end says how far the work got, and what its error means.
func (r *report) end(ctx context.Context, err error) error {
	r.bar.end()
	letters := dlqview.Plural(r.of, "letter")
	switch {
	case err != nil && ctx.Err() != nil:
		r.say("interrupted: %d of %s %s; run the command again for the rest", r.done, letters, r.did)
		err = errs.New(errs.Interrupted, "")
	case err != nil:
		r.say("stopped: %d of %s %s", r.done, letters, r.did)
	default:
		if r.say("%d of %s %s", r.done, letters, r.did); r.done < r.of {
			err = failed()
		}
	}
	return errors.Join(err, r.writing)
}

type acceptFlags struct {
	lookSettings
	targetFlags
	dryRun, reveal bool
	rate           float64
}

func (a *app) dlqAcceptCommand() *cobra.Command {
	var f acceptFlags
	cmd := a.command("dlq accept", &f.lookSettings, f.check, func(cmd *cobra.Command, ids []string) error {
		if f.Database.URL == "" {
			return usagef("DATABASE_URL: name the database with the orders")
		}
		return a.accept(cmd.Context(), &f, ids)
	})
	f.register(cmd, "accept")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "at most so many letters, those of the first records; 0: all")
	byFlags(cmd, &f.by, "with the letters")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only show how the letters differ from the stored orders")
	cmd.Flags().BoolVar(&f.reveal, "reveal", false, "with --dry-run: show personal data too, and write that to the audit log")
	cmd.Flags().Float64Var(&f.rate, "rate", 0, "letters a second; 0: as fast as possible")
	return cmd
}

// check refuses arguments, and chooses conflicts alone among letters that are not named.
func (f *acceptFlags) check(cmd *cobra.Command, ids []string) error {
	const conflict = deadletter.ReasonConflict
	switch err := f.targetFlags.check(cmd, ids); {
	case err != nil:
		return err
	case f.limit < 0:
		return usagef("--limit: at least 0, which means all, not %d", f.limit)
	case slices.ContainsFunc(f.which.Reasons, func(reason string) bool { return reason != conflict }):
		return usagef("--reason: only letters of the reason %s can be accepted", conflict)
	}
	f.which.Reasons = []string{conflict}
	return checkRate(f.rate)
}

// acceptor opens the database, if the settings name one.
func (a *app) acceptor(queue *dlq.Queue, s *lookSettings) (*accept.Acceptor, error) {
	db, err := a.openIfNamed(s.Database)
	if db == nil {
		return nil, err
	}
	return db.acceptor(queue, &s.Rules, s.Letters.Erasures.NewKey()), nil
}

// accept makes the contents of letters the newest versions of their orders, or with --dry-run
// shows the differences.
func (a *app) accept(ctx context.Context, f *acceptFlags, ids []string) error {
	c, err := a.choose(ctx, &f.targetFlags, &f.Letters, ids, letter.Open, f.dryRun, "accept %s")
	if err != nil {
		return err
	}
	acceptor, err := a.acceptor(c.queue, &f.lookSettings)
	if err != nil {
		return err
	}
	if !f.dryRun {
		r := &report{app: a, did: "accepted", of: len(c.refs), bar: a.newBar(len(c.refs), "accepting", "letters")}
		how := dlq.Acceptance{By: f.by, Rate: f.rate, Store: acceptor.Store, Done: r.outcome}
		return r.end(ctx, c.queue.Accept(ctx, c.view, c.refs, how))
	}
	counts, err := a.judge(ctx, &c, a.revealing(ctx, f.reveal, &f.Letters, f.by), acceptor.Try(f.reveal))
	if err != nil {
		return err
	}
	a.say("of %s: %d would replace the order, %d are like it, %d stay", dlqview.Plural(len(c.refs), "letter"),
		counts[dryrun.Replaced], counts[dryrun.Duplicate], counts[dryrun.Stay])
	if counts[dryrun.Stay] > 0 {
		return failed()
	}
	return nil
}
