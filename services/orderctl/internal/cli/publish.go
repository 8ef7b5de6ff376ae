package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/services/orderctl/internal/orderfile"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

type publishSettings struct {
	Kafka config.Kafka
	Rules ruleSettings
}

// publishFlags are those of orderctl publish.
type publishFlags struct {
	publishSettings
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
	cmd := a.command(&cobra.Command{
		Use:   "publish",
		Short: "Publish synthetic orders, or those of a file",
		Long: `Publish synthetic orders, or those of a file, to the topic of the orders.

Synthetic orders are unique and valid, and resemble the sample. Some records can be
bad on purpose: --invalid, --duplicates and --conflicts are shares of --count. With
the same --seed and other flags the bytes are the same each time; without it orders
are new and dated now.

A file (- is stdin) holds one order, an array of orders, or one order after
another (JSON lines), pretty-printed or not. Each becomes a record on one line and
is otherwise untouched. If one of them is invalid, none is sent.

The uid of each record that has one is printed, one a line, once all replicas have
the record. With --output json there is an object for each record, with partition
and offset: {"order_uid":"…","partition":0,"offset":7,"kind":"order"}.

Faults of invalid records, taken in turn:
` + faultTable(),
		Example: `  orderctl publish --count 1000 --rate 50
  orderctl publish --count 1000 --invalid 0.1 --duplicates 0.05 --conflicts 0.05
  orderctl publish --invalid 1 --faults tombstone,bad_email --count 2
  orderctl publish --count 400000 --items 1 --seed 1 --quiet
  orderctl publish --file order.json
  cat orders.jsonl | orderctl publish --file -`,
		Args: noArgs(": to publish a file, use --file"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.seeded = cmd.Flags().Changed("seed")
			if f.file != "" {
				for _, name := range synthetic {
					if cmd.Flags().Changed(name) {
						return usagef("--%s is for synthetic orders and does not go with --file", name)
					}
				}
			}
			return a.publish(cmd.Context(), &f)
		},
	}, &f.publishSettings)
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
	f.kafka.registerOrders(cmd)
	var names []string
	for _, f := range synth.Faults() {
		names = append(names, f.Name)
	}
	complete(cmd, "faults", names...)
	return cmd
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

func (a *app) publish(ctx context.Context, f *publishFlags) error {
	if !(f.rate >= 0) { // refuses NaN too
		return usagef("--rate: 0 or more, not %v", f.rate)
	}
	options, err := f.kafka.options(&f.Kafka)
	if err != nil {
		return err
	}
	src, err := a.source(f)
	if err != nil {
		return err
	}
	defer func() { _ = src.close() }() // it was only read

	out := &published{app: a, out: bufio.NewWriter(a.stdout), quiet: f.quiet, start: time.Now(), byKind: map[string]int{}}
	lookUp, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	publisher, err := publish.New(lookUp, options, publish.Options{
		Topic: f.Kafka.Topic, Rate: f.rate, GiveUpAfter: giveUpAfter, Acked: out.acked, Refused: out.refused, Retrying: out.retrying,
	})
	if errors.Is(err, kafkaconn.ErrNoTopic) {
		return fmt.Errorf("topic %s does not exist: start the worker, which creates it, or run 'orderctl topics'", f.Kafka.Topic)
	}
	if err != nil {
		return explainKafka(&f.Kafka, err)
	}
	defer publisher.Close()
	out.bar = a.newBar(src.count, "publishing", "records")
	err = publisher.Run(ctx, src.next)
	out.bar.end()
	outcome := ""
	switch {
	case err != nil && ctx.Err() != nil:
		outcome, err = "interrupted: ", errs.New(errs.Interrupted, "")
	case err != nil:
		outcome, err = "stopped: ", explainKafka(&f.Kafka, err)
	case out.refusals > 0:
		err = failed()
	}
	a.say("%s%s to %s", outcome, out.summary(src.what), f.Kafka.Topic)
	return err
}

// local marks an error of reading the source or writing to stdout, which has
// nothing to do with the brokers.
func local(err error) error {
	if _, coded := errors.AsType[*errs.Error](err); coded {
		return err
	}
	return errs.Wrap(errs.Internal, err, "")
}

// recordInfo is what stdout says about a record.
type recordInfo struct {
	UID       string `json:"order_uid,omitempty"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Kind      string `json:"kind,omitempty"`
	Fault     string `json:"fault,omitempty"`
}

func (a *app) source(f *publishFlags) (source, error) {
	if f.file != "" {
		return a.fileSource(f)
	}
	return syntheticSource(f)
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
		return source{}, usagef("--%w", err)
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

// maxShownFailures is how many failures publish shows; validate shows all.
const maxShownFailures = 20

// fileSource gives the orders of a file, once all of them are known to be valid
// where that is asked for.
func (a *app) fileSource(f *publishFlags) (source, error) {
	if f.noValidate {
		file, err := a.open(f.file)
		if err != nil {
			return source{}, err
		}
		return entriesSource(f.file, file, -1), nil
	}
	file, err := a.openTwice(f.file)
	if err != nil {
		return source{}, err
	}
	count, err := a.checkFile(f, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return source{}, errors.Join(err, file.Close())
	}
	return entriesSource(f.file, file, count), nil
}

func entriesSource(name string, file io.ReadCloser, count int) source {
	reader := orderfile.NewReader(file, nil)
	next := func() (publish.Record, error) {
		for {
			entry, err := reader.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					err = local(fmt.Errorf("%s: %w", shownName(name), err))
				}
				return publish.Record{}, err
			}
			if len(entry.Record) == 0 {
				continue // the end of an array that is missing
			}
			record := publish.Record{Value: entry.Record, Info: recordInfo{UID: entry.UID}}
			if entry.UID != "" {
				record.Key = []byte(entry.UID)
			}
			return record, nil
		}
	}
	return source{next: next, count: count, what: " of " + shownName(name), close: file.Close}
}

// checkFile checks all orders and returns how many there are, or shows what is
// wrong with them.
func (a *app) checkFile(f *publishFlags, file io.Reader) (int, error) {
	name := shownName(f.file)
	t := &tally{}
	err := eachEntry(file, f.rules.codec(f.Rules), func(e orderfile.Entry) error {
		for i, failure := range e.Failures {
			if t.failures+i >= maxShownFailures {
				break
			}
			if err := a.writeFailure(a.stderr, name, e.UID, failure); err != nil {
				return err
			}
		}
		t.count(e)
		return nil
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s: %w", name, err)
	case t.orders == 0:
		return 0, nothing("%s has no orders: nothing was sent", name)
	case t.invalid > 0:
		if t.failures > maxShownFailures {
			a.say("… and %s more: 'orderctl validate %s' shows all", plural(t.failures-maxShownFailures, "failure"), f.file)
		}
		return 0, fmt.Errorf("%s: %s: nothing was sent; --no-validate sends them all as they are", name, t)
	case len(t.unknown) > 0:
		a.say("%s: %s", name, t)
	}
	return t.orders, nil
}

// openTwice opens a file that can be read twice. What comes through a pipe is
// kept in a file of its own for that.
func (a *app) openTwice(name string) (*os.File, error) {
	input := a.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
		defer func() { _ = file.Close() }()
		input = file
	}
	spool, err := os.CreateTemp("", "orderctl-*.json")
	if err != nil {
		return nil, err
	}
	// Only this process can read it, and it goes when this process ends.
	_ = os.Remove(spool.Name())
	if _, err := io.Copy(spool, input); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", shownName(name), err), spool.Close())
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return spool, nil
}

// published counts and prints what was sent. Its calls come one at a time.
type published struct {
	app   *app
	out   *bufio.Writer
	quiet bool
	start time.Time
	bar   bar

	records  int
	byKind   map[string]int
	refusals int
	away     bool // the last attempt failed
}

// acked prints records as they are acknowledged, so that the list is right
// whenever it ends.
func (p *published) acked(acks []publish.Ack) error {
	p.records += len(acks)
	p.away = false
	p.bar.line()
	for _, ack := range acks {
		info, _ := ack.Info.(recordInfo)
		p.byKind[info.Kind]++
		info.Partition, info.Offset = ack.Partition, ack.Offset
		p.print(info)
	}
	if err := p.out.Flush(); err != nil {
		return local(fmt.Errorf("write to stdout: %w", err))
	}
	p.bar.add(len(acks))
	return nil
}

func (p *published) print(info recordInfo) {
	switch {
	case p.quiet:
	case p.app.output == outputJSON:
		_ = writeJSON(p.out, info) // Flush returns the error
	case info.UID != "":
		_, _ = p.out.WriteString(info.UID)
		_ = p.out.WriteByte('\n')
	}
}

// maxShownRefusals is how many refusals are printed.
const maxShownRefusals = 10

func (p *published) refused(r publish.Record, err error) {
	p.refusals++
	info, _ := r.Info.(recordInfo)
	name := "a record without order_uid"
	if info.UID != "" {
		name = "order " + info.UID
	}
	if p.refusals <= maxShownRefusals {
		p.bar.line()
		p.app.say("orderctl publish: the broker refuses %s (%d bytes): %v", name, len(r.Value), err)
	}
}

// retrying says once that the brokers are away, until they are back.
func (p *published) retrying(err error) {
	if p.away {
		return
	}
	p.away = true
	p.bar.line()
	if err == nil {
		err = errors.New("they do not answer")
	}
	p.app.say("trying to reach the brokers for %s: %v", giveUpAfter, err)
}

// summary is one line on what was done.
func (p *published) summary(what string) string {
	took := time.Since(p.start)
	var b strings.Builder
	fmt.Fprintf(&b, "published %s%s in %s", plural(p.records, "record"), what, took.Round(time.Millisecond))
	if p.records > 1 && took > 0 {
		fmt.Fprintf(&b, " (%.0f/s)", float64(p.records)/took.Seconds())
	}
	var kinds []string
	for _, k := range []struct {
		kind synth.Kind
		noun string
	}{{synth.KindOrder, "order"}, {synth.KindInvalid, "invalid record"}, {synth.KindDuplicate, "duplicate"}, {synth.KindConflict, "conflict"}} {
		if n := p.byKind[string(k.kind)]; n > 0 {
			kinds = append(kinds, plural(n, k.noun))
		}
	}
	if len(kinds) > 0 && p.byKind[string(synth.KindOrder)] != p.records {
		fmt.Fprintf(&b, ": %s", strings.Join(kinds, ", "))
	}
	if p.refusals > 0 {
		fmt.Fprintf(&b, ", %d refused by the broker", p.refusals)
	}
	return b.String()
}
