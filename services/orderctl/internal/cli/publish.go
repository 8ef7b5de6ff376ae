package cli

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

// publishFlags are those of orderctl publish.
type publishFlags struct {
	kafka kafkaFlags
	rules ruleFlags

	file       string
	noValidate bool

	count                          int
	items                          string
	invalid, duplicates, conflicts float64
	faults                         []string
	seed                           uint64
	seeded                         bool

	rate  float64
	quiet bool
}

// synthetic are the flags that say nothing about a file.
var synthetic = []string{"count", "items", "invalid", "duplicates", "conflicts", "faults", "seed"}

func (a *app) publishCommand() *cobra.Command {
	var f publishFlags
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Publish synthetic orders, or those of a file",
		Long: `Publish synthetic orders, or those of a file, to the topic of the orders.

Synthetic orders are unique, valid, and made on the model of the sample. Some can
be spoiled on purpose: --invalid, --duplicates and --conflicts are shares of
--count. With --seed the bytes are the same each time, if the other flags are;
without it orders are new and dated now.

A file (- is stdin) holds one order, an array of orders, or one order after
another (JSON lines), pretty-printed or not. Each becomes a record on one line and
is otherwise untouched. If one of them is invalid, none is sent.

stdout has the uid of each record that has one, a line each, once all replicas
have the record. With --output json it has an object for each record, with
partition and offset: {"order_uid":"…","partition":0,"offset":7,"kind":"order"}.

Faults of invalid records, taken in turn:
` + faultTable(),
		Example: `  orderctl publish --count 1000 --rate 50
  orderctl publish --count 1000 --invalid 0.1 --duplicates 0.05 --conflicts 0.05
  orderctl publish --invalid 1 --faults tombstone,bad_email --count 2
  orderctl publish --count 400000 --items 1 --seed 1 --quiet
  orderctl publish --file order.json
  cat orders.jsonl | orderctl publish --file -`,
		Args: noArgs(": to publish a file, use --file"),
		RunE: a.work(func(cmd *cobra.Command, _ []string) error {
			f.seeded = cmd.Flags().Changed("seed")
			if f.file != "" {
				for _, name := range synthetic {
					if cmd.Flags().Changed(name) {
						return usagef("--%s is for synthetic orders and does not go with --file", name)
					}
				}
			}
			return a.publish(cmd.Context(), &f)
		}),
	}
	flags := cmd.Flags()
	flags.IntVar(&f.count, "count", 1, "records to publish, of all kinds")
	flags.Float64Var(&f.rate, "rate", 0, "records a second; 0: as fast as possible")
	flags.StringVar(&f.items, "items", "1-"+strconv.Itoa(synth.DefaultMaxItems), "items of an order: a number, or a range")
	flags.Float64Var(&f.invalid, "invalid", 0, "share of records that are no valid order, 0 to 1")
	flags.Float64Var(&f.duplicates, "duplicates", 0, "share of records that repeat an earlier order, 0 to 1")
	flags.Float64Var(&f.conflicts, "conflicts", 0, "share of records with an earlier uid and other content, 0 to 1")
	flags.StringSliceVar(&f.faults, "faults", nil, "faults of invalid records, by name (default: all)")
	flags.Uint64Var(&f.seed, "seed", 0, "make the same records each time")
	flags.StringVar(&f.file, "file", "", "publish the orders of this file; -: of stdin")
	flags.BoolVar(&f.noValidate, "no-validate", false, "send what is in the file without checking it")
	flags.BoolVar(&f.quiet, "quiet", false, "print no uids")
	f.rules.register(cmd)
	f.kafka.register(cmd)
	mustRegister(cmd.RegisterFlagCompletionFunc("faults", cobra.FixedCompletions(faultNames(), cobra.ShellCompDirectiveNoFileComp)))
	a.settings[cmd] = &publishSettings{}
	return cmd
}

func faultNames() (names []string) {
	for _, f := range synth.Faults() {
		names = append(names, f.Name)
	}
	return names
}

func faultTable() string {
	var b strings.Builder
	for _, f := range synth.Faults() {
		fmt.Fprintf(&b, "  %-17s%s\n", f.Name, f.About)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

const (
	lookUpTimeout = 10 * time.Second // of the topic
	giveUpAfter   = 30 * time.Second // how long a batch is tried while brokers are away
)

// source gives records until io.EOF.
type source struct {
	next  func() (publish.Record, error)
	count int // how many there will be; -1 where that is not known
	what  string
	close func() error
}

// localError is an error on this side, of reading the source or writing to
// stdout.
type localError struct{ error }

func (e localError) Unwrap() error { return e.error }

func (a *app) publish(ctx context.Context, f *publishFlags) error {
	if !(f.rate >= 0) { // refuses NaN too
		return usagef("--rate: 0 or more, not %v", f.rate)
	}
	cfg, err := f.kafka.settings()
	if err != nil {
		return err
	}
	var src source
	if f.file == "" {
		src, err = syntheticSource(f)
	} else {
		src, err = a.fileSource(f)
	}
	if err != nil {
		return err
	}
	defer func() { _ = src.close() }() // it was only read

	client, disconnect, err := a.connect(cfg)
	if err != nil {
		return err
	}
	defer disconnect()
	out := newPublished(a, f, src.count)
	lookUp, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	publisher, err := publish.New(lookUp, client, publish.Options{
		Topic: cfg.Topic, Rate: f.rate, GiveUpAfter: giveUpAfter, Acked: out.acked, Refused: out.refused, Retrying: out.retrying,
	})
	if errors.Is(err, publish.ErrNoTopic) {
		return fmt.Errorf("topic %s does not exist: start the worker, which creates it, or run 'orderctl topics'", cfg.Topic)
	}
	if err != nil {
		return explainKafka(cfg, err)
	}
	err = publisher.Run(ctx, src.next)
	out.finish()
	switch {
	case err != nil && ctx.Err() != nil:
		a.say("interrupted: %s to %s", out.summary(src.what), cfg.Topic)
		return silent(exitInterrupted)
	case err != nil:
		a.say("stopped: %s to %s", out.summary(src.what), cfg.Topic)
		if local, ok := errors.AsType[localError](err); ok {
			return local
		}
		return explainKafka(cfg, err)
	}
	a.say("%s to %s", out.summary(src.what), cfg.Topic)
	if out.refusals > 0 {
		return silent(exitFailed)
	}
	return nil
}

// recordInfo is what stdout says about a record.
type recordInfo struct {
	UID       string `json:"order_uid,omitempty"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
	Kind      string `json:"kind,omitempty"`
	Fault     string `json:"fault,omitempty"`
}

func syntheticSource(f *publishFlags) (source, error) {
	if f.count < 1 {
		return source{}, usagef("--count: at least 1, not %d", f.count)
	}
	if len(f.faults) > 0 && f.invalid == 0 {
		return source{}, usagef("--faults: add --invalid, the share of records that have them")
	}
	opts := synth.Options{Count: f.count, Invalid: f.invalid, Duplicates: f.duplicates, Conflicts: f.conflicts, Faults: f.faults, Seed: f.seed}
	var err error
	if opts.MinItems, opts.MaxItems, err = parseRange(f.items); err != nil {
		return source{}, err
	}
	if !f.seeded {
		opts.Seed, opts.Now = rand.Uint64(), time.Now
	}
	generator, err := synth.New(opts)
	if err != nil {
		return source{}, usage(fmt.Errorf("--%w", err))
	}
	next := func() (publish.Record, error) {
		r, err := generator.Next()
		info := recordInfo{UID: r.UID, Kind: string(r.Kind), Fault: r.Fault}
		return publish.Record{Key: r.Key, Value: r.Value, Info: info}, err
	}
	return source{next: next, count: f.count, close: func() error { return nil }}, nil
}

// parseRange reads 3 or 1-10.
func parseRange(s string) (low, high int, err error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	low, err = strconv.Atoi(first)
	if err == nil {
		high, err = strconv.Atoi(last)
	}
	if err != nil {
		return 0, 0, usagef("--items: a number such as 3, or a range such as 1-10, not %q", s)
	}
	return low, high, nil
}
