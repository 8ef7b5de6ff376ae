package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

type publishSettings struct {
	Kafka     config.Kafka
	Login     natsconn.Login
	Streaming natsconn.Streaming `STAN_CLIENT_ID:"orderctl"`
	Rules     rules.Settings
}

type publishFlags struct {
	publishSettings
	kafka kafkaFlags
	to    string

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
	cmd := a.command("publish", &f.publishSettings, noArgs(": to publish a file, use --file"), func(cmd *cobra.Command, _ []string) error {
		f.seeded = cmd.Flags().Changed("seed")
		if f.file != "" {
			for _, name := range synthetic {
				if cmd.Flags().Changed(name) {
					return usagef("--%s is for synthetic orders and does not go with --file", name)
				}
			}
		}
		return a.publish(cmd.Context(), &f)
	})
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
	f.kafka.registerOrders(cmd)
	flags.StringVar(&f.to, "to", "", "publish to NATS, nats://host:4222/SUBJECT, or to\nNATS Streaming, stan://host:4222/CHANNEL")
	var names []string
	for _, f := range synth.Faults() {
		names = append(names, f.Name)
	}
	complete(cmd, "faults", names...)
	return cmd
}

const (
	lookUpTimeout = 10 * time.Second // of the topic
	giveUpAfter   = 30 * time.Second // how long a batch is tried while brokers are away
)

func (a *app) publish(ctx context.Context, f *publishFlags) error {
	if !(f.rate >= 0) { // refuses NaN too
		return usagef("--rate: 0 or more, not %v", f.rate)
	}
	to, err := newTarget(f)
	if err != nil {
		return err
	}
	src, err := a.source(f)
	if err != nil {
		return err
	}
	defer func() { _ = src.close() }() // it was only read

	out := &published{app: a, Product: to.product, out: bufio.NewWriter(a.stdout), quiet: f.quiet, start: time.Now(), ByKind: map[string]int{}}
	lookUp, cancel := context.WithTimeout(ctx, lookUpTimeout)
	defer cancel()
	broker, err := to.open(lookUp)
	if err != nil {
		return to.explain(err)
	}
	defer broker.Close()
	options := publish.Options{Rate: f.rate, Acked: out.acked, Refused: out.refused, Retrying: out.retrying}
	if tracing.On() {
		options.Trace = to.trace
	}
	publisher := publish.New(broker, options)
	out.bar = a.newBar(src.count, "publishing", "records")
	err = publisher.Run(ctx, src.next)
	out.bar.end()
	outcome := ""
	switch {
	case err != nil && ctx.Err() != nil:
		outcome, err = "interrupted: ", errs.New(errs.Interrupted, "")
	case err != nil:
		outcome, err = "stopped: ", to.explain(err)
	case out.Refusals > 0:
		err = failed()
	}
	a.say("%s%s to %s", outcome, out.summary(src.what), to.name)
	return err
}

type recordInfo struct {
	UID string `json:"order_uid,omitempty"`
	publish.Place
	Kind  string `json:"kind,omitempty"`
	Fault string `json:"fault,omitempty"`
}

// local marks an error of reading the source or writing to stdout, which has
// nothing to do with the brokers.
func local(err error) error {
	if _, coded := errors.AsType[*errs.Error](err); coded {
		return err
	}
	return errs.Wrap(errs.Internal, err, "")
}

// published counts and prints what was sent. Its calls come one at a time.
type published struct {
	app     *app
	Product string // Kafka or NATS
	out     *bufio.Writer
	quiet   bool
	start   time.Time
	bar     bar

	Records  int
	ByKind   map[string]int
	Repeats  int // that a stream had already
	Refusals int
	away     bool // the last attempt failed
}

// acked prints records as they are acknowledged, so that the list is right
// whenever it ends.
func (p *published) acked(acks []publish.Ack) error {
	p.Records += len(acks)
	p.away = false
	p.bar.line()
	for _, ack := range acks {
		info, _ := ack.Info.(recordInfo)
		p.ByKind[info.Kind]++
		info.Place = ack.Place
		if ack.StreamPlace != nil && ack.Duplicate {
			p.Repeats++
		}
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

const maxShownRefusals = 10

func (p *published) refused(r publish.Record, err error) {
	p.Refusals++
	info, _ := r.Info.(recordInfo)
	name := "a record without order_uid"
	if info.UID != "" {
		name = "order " + info.UID
	}
	if p.Refusals <= maxShownRefusals {
		p.bar.line()
		p.app.say("orderctl publish: %s refuses %s (%d bytes): %v", p.Product, name, len(r.Value), err)
	}
}

// retrying says once that the broker is away, until it is back.
func (p *published) retrying(err error) {
	if p.away {
		return
	}
	p.away = true
	p.bar.line()
	p.app.say("trying to reach %s for %s: %v", p.Product, giveUpAfter, cmp.Or(err, errors.New("it does not answer")))
}

func (p *published) summary(what string) string {
	return summary("published", struct {
		*published
		What string
		Took time.Duration
	}{p, what, time.Since(p.start).Round(time.Millisecond)})
}
