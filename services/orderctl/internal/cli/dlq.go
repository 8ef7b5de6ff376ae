package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

func (a *app) dlqCommand() *cobra.Command {
	return a.parent("dlq", a.dlqListCommand(), a.dlqShowCommand(), a.dlqStatsCommand(),
		a.dlqRedriveCommand(), a.dlqEditCommand(), a.dlqAcceptCommand(), a.dlqDiscardCommand(), a.dlqUndoCommand(), a.dlqPurgeCommand(),
		a.dlqExportCommand(), a.dlqImportCommand(), a.dlqUICommand())
}

// lookSettings are those of commands that judge letters by today's rules.
type lookSettings struct {
	Letters  changeSettings
	Database optionalDatabase
	Rules    rules.Settings
}

// optionalDatabase has no default: letters are compared with a database only if it
// is named.
type optionalDatabase struct {
	URL     config.Secret `env:"DATABASE_URL" help:"PostgreSQL with the orders, to compare letters with (default: none)"`
	URLFile string        `env:"DATABASE_URL_FILE"`
}

// orders gives what letters are compared with: nothing without a database.
func (a *app) orders(d optionalDatabase) (dryrun.Orders, error) {
	db, err := a.openIfNamed(d)
	if db == nil {
		return nil, err
	}
	return db.stored, nil
}

// openIfNamed returns nil without a database.
func (a *app) openIfNamed(d optionalDatabase) (*database, error) {
	if d.URL == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	var s databaseSettings
	if err := load(&s); err != nil {
		return nil, err
	}
	return a.openDatabase(s.Database)
}

// letters opens the queue of letters that settings and flags name, and has the command's
// error explained as one of it.
func (a *app) letters(flags *kafkaFlags, cfg *config.Kafka) (*dlq.Queue, error) {
	var erasures erasure.Settings
	client, err := a.client(flags, cfg)
	if err := cmp.Or(err, load(&erasures)); err != nil {
		return nil, err
	}
	a.explain = func(err error) error { return explainKafka(cfg, err) }
	return dlq.New(client, dlq.Options{Topic: cfg.DLQTopic, Orders: cfg.Topic, Foreign: flags.foreign, Erasures: erasures.NewKey()}), nil
}

// client has connections until the command ends.
func (a *app) client(f *kafkaFlags, cfg *config.Kafka) (*dlq.Client, error) {
	options, err := f.options(cfg)
	if err != nil {
		return nil, err
	}
	client, err := dlq.NewClient(options...)
	if err == nil {
		a.ends = append(a.ends, client.Close)
	}
	return client, usage(err)
}

type filterFlags struct {
	letter.Filter
	flags *pflag.FlagSet
}

func (f *filterFlags) register(cmd *cobra.Command) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.StringSliceVar(&f.Reasons, "reason", nil, "only letters with one of these reasons, such as invalid or conflict")
	flags.StringSliceVar(&f.Stages, "stage", nil, "only letters that failed in one of these: decode, validate, conflict, write")
	flags.StringSliceVar(&f.Rules, "rule", nil, "only letters that broke one of these rules")
	flags.StringSliceVar(&f.Paths, "path", nil, "only letters that failed at one of these, such as payment.amount or items[].price")
	flags.StringSliceVar(&f.Keys, "key", nil, "only letters whose source record has one of these keys")
	flags.Int32SliceVar(&f.Partitions, "partition", nil, "only letters from these `partitions` of the source")
	flags.Lookup("partition").DefValue = "" // else --help shows []
	flags.Func("offsets", "only letters from these `offsets` of the source: 100-200, 100- or -200", func(text string) (err error) {
		f.MinOffset, f.MaxOffset, err = letter.ParseOffsets(text)
		return err
	})
	when := func(text string) (time.Time, error) { return letter.ParseWhen(text, time.Now()) }
	flags.Func("since", "only letters that failed since this `time`: 2h, 30d, 2026-01-31, or RFC 3339", parsed(&f.Since, when))
	flags.Func("until", "only letters that failed before this `time`: as --since", parsed(&f.Until, when))
	flags.StringVar(&f.Text, "text", "", "only letters with this text in their value")
	f.flags = flags
	cmd.Flags().AddFlagSet(flags)
	complete(cmd, "stage", "decode", "validate", "conflict", "write")
	complete(cmd, "reason", slices.Sorted(slices.Values(deadletter.Reasons()))...)
}

// parsed is a flag's function, which reads its text with another function.
func parsed[T any](to *T, parse func(string) (T, error)) func(string) error {
	return func(text string) (err error) {
		*to, err = parse(text)
		return err
	}
}

func (f *filterFlags) set() (given bool) {
	f.flags.VisitAll(func(flag *pflag.Flag) { given = given || flag.Changed })
	return given
}

func actorFlag(cmd *cobra.Command, actor *string, what string) {
	cmd.Flags().StringVar(actor, "actor", currentUser(), what)
	cmd.Flag("actor").DefValue = "the user's name"
}

func currentUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}

type targetFlags struct {
	where kafkaFlags
	which filterFlags
	all   bool
	yes   bool
	limit int // at most so many letters, those of the first records; 0: all
	by    dlq.By
}

// register adds the flags; what is the verb of the help.
func (f *targetFlags) register(cmd *cobra.Command, what string) {
	f.where.registerLetters(cmd)
	f.which.register(cmd)
	cmd.Flags().BoolVar(&f.all, "all", false, what+" all of them")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do it without asking; letters named by id are not asked about")
}

// byFlags say who changes letters, and why; kept is where that is kept.
func byFlags(cmd *cobra.Command, by *dlq.By, kept string) {
	actorFlag(cmd, &by.Actor, "who does it, to be kept "+kept)
	cmd.Flags().StringVar(&by.Why, "why", "", "why, to be kept "+kept)
}

// check refuses arguments that do not say which letters are meant.
func (f *targetFlags) check(_ *cobra.Command, ids []string) error {
	given := 0
	for _, is := range []bool{len(ids) > 0, f.which.set(), f.all} {
		if is {
			given++
		}
	}
	switch given {
	case 1:
		return nil
	case 0:
		return usagef("say which letters: by their ids, by filters such as --reason, or --all")
	}
	return usagef("say which letters in one way: by ids, by filters, or --all")
}

func (f *targetFlags) find(ctx context.Context, a *app, queue *dlq.Queue, ids []string, status letter.Status) (*dlq.View, []dlq.Ref, error) {
	var refs []dlq.Ref
	var view *dlq.View
	if len(ids) == 0 {
		var err error
		if view, err = queue.Scan(ctx, f.which.Filter); err != nil {
			return nil, nil, err
		}
		a.sayGaps(view)
		refs = view.Select(status, 0)
	} else {
		items, found, err := queue.Find(ctx, ids...)
		if err != nil {
			return nil, nil, err
		}
		view = found
		for _, item := range items {
			if item.Ref.Status != status {
				a.say("%s is %s", mask.ID(item.ID), item.Ref.Status)
				continue
			}
			refs = append(refs, item.Ref)
		}
	}
	if len(refs) == 0 {
		return nil, nil, nothing("no %s letter matches", status)
	}
	if f.limit > 0 && len(refs) > f.limit {
		dlq.InSourceOrder(refs)
		refs = refs[:f.limit]
	}
	return view, refs, nil
}

// chosen are letters to be dealt with.
type chosen struct {
	queue *dlq.Queue
	view  *dlq.View
	refs  []dlq.Ref
}

// choose finds letters with a status, asks whether they are meant unless that is clear, and
// writes to the audit log unless it is harmless. what is the question, with %s for how many letters.
func (a *app) choose(ctx context.Context, f *targetFlags, s *changeSettings, ids []string, status letter.Status, harmless bool, what string) (c chosen, err error) {
	if c.queue, err = a.letters(&f.where, &s.Kafka); err != nil {
		return c, err
	}
	if c.view, c.refs, err = f.find(ctx, a, c.queue, ids, status); err != nil {
		return c, err
	}
	if err := a.confirm(f.yes || harmless || len(ids) > 0, fmt.Sprintf(what, dlqview.Plural(len(c.refs), "letter"))); err != nil || harmless {
		return c, err
	}
	return c, audited(ctx, a, s, f.by, strings.Replace(what, " %s", "", 1), c.refs, func(ref dlq.Ref) string { return mask.ID(ref.ID) })
}

// confirm asks on a terminal, and demands --yes elsewhere.
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
	if answer, _ := a.answer(); answer != "y" && answer != "yes" { // no answer is a no
		a.say("nothing was done")
		return failed()
	}
	return nil
}

func (a *app) answer() (string, error) {
	line, err := bufio.NewReader(a.stdin).ReadString('\n')
	return strings.ToLower(strings.TrimSpace(line)), err
}

// style is how stdout is written.
func (a *app) style() dlqview.Style {
	s := dlqview.Style{TraceURL: a.traces.Link.URL}
	if f, ok := a.stdout.(*os.File); ok && isTerminal(f) {
		columns, _, _ := term.GetSize(int(f.Fd())) // below 0 where it is not known
		s.Width, s.Color = max(columns, 0), os.Getenv("NO_COLOR") == ""
	}
	return s
}

// sayGaps reports letters that were gone before they could be read.
func (a *app) sayGaps(view *dlq.View) {
	for _, gap := range view.Gaps() {
		a.say("%s, partition %d: offsets %d to %d were removed while the topic was read: its retention.ms should be -1", gap.Topic, gap.Partition, gap.From, gap.To-1)
	}
}
