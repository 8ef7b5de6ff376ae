package cli

import (
	"bufio"
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/stan.go"
	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/orderfile"
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
	newSource := syntheticSource
	if f.file != "" {
		newSource = a.fileSource
	}
	src, err := newSource(f)
	if err != nil {
		return err
	}
	out := &published{app: a, Product: to.product, out: bufio.NewWriter(a.stdout), quiet: f.quiet, start: time.Now(), ByKind: map[string]int{}}
	broker, err := to.open(ctx)
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

type target struct {
	product string // Kafka or NATS
	name    string // the topic, or the subject's address
	subject string // of NATS
	open    func(context.Context) (publish.Broker, error)
	explain func(error) error // says what is wrong there, and what to do
}

func newTarget(f *publishFlags) (target, error) {
	if f.to == "" {
		return kafkaTarget(&f.kafka, &f.Kafka)
	}
	if len(f.kafka.brokers) > 0 || f.kafka.topic != "" {
		return target{}, usagef("--to publishes to NATS: --brokers and --topic do not go with it")
	}
	return natsTarget(f)
}

func kafkaTarget(flags *kafkaFlags, cfg *config.Kafka) (target, error) {
	options, err := flags.options(cfg)
	return target{
		product: "Kafka", name: cfg.Topic,
		open: func(ctx context.Context) (publish.Broker, error) {
			lookUp, cancel := context.WithTimeout(ctx, lookUpTimeout)
			defer cancel()
			return publish.Kafka(lookUp, options, cfg.Topic, giveUpAfter)
		},
		explain: func(err error) error { return explainKafka(cfg, err) },
	}, err
}

func natsTarget(f *publishFlags) (target, error) {
	address, err := url.Parse(f.to)
	if err != nil { // which may quote a password
		return target{}, usagef("--to: no address: use nats://host:4222/SUBJECT, or stan:// for NATS Streaming")
	}
	shown, streaming, subject := address.Redacted(), address.Scheme == "stan", strings.TrimPrefix(address.Path, "/")
	switch {
	case !streaming && address.Scheme != "nats" && address.Scheme != "tls", address.Hostname() == "":
		return target{}, usagef("--to: %q: use nats://host:4222/SUBJECT, or stan:// for NATS Streaming", shown)
	case subject == "" || strings.ContainsAny(subject, " \t\r\n*>") || strings.HasPrefix("."+subject+".", "..") || strings.Contains(subject+".", ".."):
		return target{}, usagef("--to: %q: %q is no subject to publish to: add one, such as /orders", shown, subject)
	}
	if streaming {
		address.Scheme = "nats"
	}
	address.Path = ""
	n := publish.NATS{URL: address.String(), Login: f.Login, Subject: subject, GiveUpAfter: giveUpAfter}
	return target{
		product: "NATS", name: shown, subject: subject,
		open: func(context.Context) (publish.Broker, error) {
			if streaming {
				return publish.Streaming(n, f.Streaming)
			}
			return publish.JetStream(n)
		},
		explain: func(err error) error { return explainNATS(address.Host, subject, f.Streaming, err) },
	}, nil
}

// explainNATS says what is wrong with the server, and what to do.
func explainNATS(host, subject string, who natsconn.Streaming, err error) error {
	if _, coded := errors.AsType[*errs.Error](err); err == nil || coded {
		return err
	}
	explain := func(format string, args ...any) error { return errs.Wrap(errs.Unavailable, err, format, args...) }
	var network *net.OpError
	var answer *jetstream.APIError
	switch {
	case errors.As(err, new(*fs.PathError)):
		return usage(err) // a file of the login
	case errors.Is(err, nats.ErrNoServers), errors.As(err, &network), errors.As(err, new(*net.DNSError)):
		return explain("cannot reach NATS at %s: %v: start it, or correct --to", host, err)
	case errors.Is(err, nats.ErrAuthorization):
		return explain("NATS at %s refuses the login: set NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_NKEY_FILE or NATS_CREDS_FILE", host)
	case errors.As(err, new(*x509.UnknownAuthorityError)), errors.As(err, new(x509.UnknownAuthorityError)):
		return explain("the certificate of NATS at %s is of an unknown authority: set NATS_TLS_CA_FILE", host)
	case errors.Is(err, nats.ErrPermissionViolation):
		return explain("NATS at %s: the user lacks the right: %v", host, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return explain("no stream of NATS at %s takes the subject %s: start the bridge with NATS_SUBJECT=%s, which creates one, or correct --to", host, subject, subject)
	case errors.Is(err, stan.ErrConnectReqTimeout):
		return explain("no NATS Streaming cluster %q answers at %s: set STAN_CLUSTER_ID, or use nats:// for JetStream", who.ClusterID, host)
	case strings.Contains(err.Error(), "clientID already registered"): // its type is lost on the way
		return explain("another program is the client %q of NATS Streaming: set STAN_CLIENT_ID to another name", who.ClientID)
	case errors.As(err, &answer):
		return explain("the stream that takes %s refuses: %s", subject, answer.Description)
	default:
		return explain("NATS at %s: %v", host, err)
	}
}

type source struct {
	next  func() (publish.Record, error)
	count int // how many there will be; -1 where that is not known
	what  string
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
		record := publish.Record{Key: r.Key, Value: r.Value, Info: info}
		if r.Kind != synth.KindDuplicate && r.Kind != synth.KindConflict {
			record.ID = r.UID
		}
		return record, err
	}
	return source{next: next, count: f.count}, nil
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
		return a.entriesSource(f.file, file, -1), nil
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
	return a.entriesSource(f.file, file, count), nil
}

func (a *app) entriesSource(name string, file io.ReadCloser, count int) source {
	a.ends = append(a.ends, func() { _ = file.Close() }) // it was only read
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
			record := publish.Record{Value: entry.Record, ID: entry.UID, Info: recordInfo{UID: entry.UID}}
			if entry.UID != "" {
				record.Key = []byte(entry.UID)
			}
			return record, nil
		}
	}
	return source{next: next, count: count, what: " of " + shownName(name)}
}

// checkFile checks all orders and returns how many there are, or shows what is
// wrong with them.
func (a *app) checkFile(f *publishFlags, file io.Reader) (int, error) {
	name := shownName(f.file)
	t, err := a.checkOrders(file, name, model.New(f.Rules.Options()), a.stderr, maxShownFailures)
	switch {
	case err != nil:
		return 0, err
	case t.Orders == 0:
		return 0, nothing("%s has no orders: nothing was sent", name)
	case t.Invalid > 0:
		if t.Failures > maxShownFailures {
			a.say("… and %s more: 'orderctl validate %s' shows all", dlqview.Plural(t.Failures-maxShownFailures, "failure"), f.file)
		}
		return 0, fmt.Errorf("%s: %s: nothing was sent; --no-validate sends them all as they are", name, t)
	case len(t.Unknown) > 0:
		a.say("%s: %s", name, t)
	}
	return t.Orders, nil
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
