// Command chaos kills, stops, freezes and cuts off workers, readers, PostgreSQL and
// Kafka's brokers under load, and then accounts for every record: each must be
// stored as it was sent, a duplicate, a dead letter with its bytes unchanged, or of an
// order that was erased, of which nothing may be left. Of a second topic, the newest record
// of each order must have changed or deleted it.
// Every reader must serve what the tables have, and the committed offsets must be
// the partitions' ends. Otherwise it exits with 1 and prints what the logs say
// about the records in question.
//
// It starts Apache Kafka with three brokers, a private PostgreSQL and several
// processes of the real worker and reader.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// options are the flags.
type options struct {
	Kills    int    `default:"100" help:"How many times to strike."`
	Seed     uint64 `help:"Seed of the load and the strikes (0: a random one)."`
	Workers  int    `default:"3" help:"Worker processes; two more are for orders that change."`
	Readers  int    `default:"2" help:"Reader processes."`
	Brokers  int    `default:"3" help:"Brokers of Apache Kafka."`
	Rate     int    `default:"400" help:"Records a second, about; a quarter more are of orders that change."`
	Kafka    string `default:"auto" enum:"apache,embedded,auto" help:"apache; embedded: a broker in this process, which stays up; auto: embedded only where Java or Maven is missing."`
	NATS     bool   `help:"Strike the bridge and NATS too, while orders come through them."`
	Only     string `help:"Only strikes whose name has this in it, such as worker or SIGKILL."`
	Binaries string `default:"bin" help:"Folder with the services' binaries; make build makes them."`
}

// The values of --kafka.
const (
	kafkaApache   = "apache"
	kafkaEmbedded = "embedded"
)

// Validate is called by kong.
func (o *options) Validate() error {
	switch {
	case o.Kills < 0 || min(o.Workers, o.Readers, o.Brokers, o.Rate) < 1:
		return errors.New("--kills takes numbers from 0, --workers, --readers, --brokers and --rate from 1")
	case len(possible(o.Only, o.Kafka == kafkaApache, o.NATS, true)) == 0:
		return fmt.Errorf("--only: no strike has %q in its name (those of brokers need --kafka apache, those of the bridge --nats)", o.Only)
	}
	return nil
}

func run(args []string, stdout, stderr io.Writer) int {
	var o options
	parser, err := kong.New(&o, kong.Name("chaos"), kong.Writers(stdout, stderr))
	if err == nil {
		_, err = parser.Parse(args)
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "chaos: %v\n", err)
		return 2
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exact := false
	err = must.Try(func() { exact = chaos(ctx, o, stdout, stderr) })
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "chaos: %v (to repeat: --seed %d)\n", err, o.Seed)
	}
	if !exact {
		return 1
	}
	return 0
}

// chaos strikes as often as asked, and accounts for all records. It returns true if
// nothing is lost, extra, wrong or stale.
func chaos(ctx context.Context, o options, stdout, stderr io.Writer) (exact bool) {
	began := time.Now()
	s := &site{say: func(format string, args ...any) {
		_, _ = fmt.Fprintf(stderr, "%7.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}}
	s.say("seed %d: %d strikes, %d workers, %d readers, %d records/s", o.Seed, o.Kills, o.Workers, o.Readers, o.Rate)
	s.life, s.end = context.WithCancelCause(ctx)
	defer func() { s.stop(exact) }()
	s.start(ctx, o)
	hits := s.underLoad(ctx, o, s.strike)
	s.say("last strike done")
	if s.nats != nil {
		s.nats.drain(ctx)
	}
	return s.account(ctx, stdout, hits)
}

// underLoad strikes while records are sent and orders changed by hand.
func (s *site) underLoad(ctx context.Context, o options, strike func(context.Context, *rand.Rand, options) []*hit) (hits []*hit) {
	busy, rest := context.WithCancel(ctx)
	defer rest()
	parts := []func(context.Context){
		func(context.Context) { s.hand.run(busy, rand.New(rand.NewPCG(o.Seed, 3))) },
		func(ctx context.Context) {
			defer rest()
			hits = strike(ctx, rand.New(rand.NewPCG(o.Seed, 2)), o)
		},
	}
	for i, f := range s.feeds {
		client := must.Get(ledger.Client(s.brokers()))
		defer client.Close()
		f.load = ledger.NewLoad(client, rand.New(rand.NewPCG(o.Seed, 1)), f.topic, f.partitions, f.uids)
		f.load.Changing = i > 0
		parts = append(parts, func(context.Context) { must.Succeed(f.load.Run(busy, max(1, o.Rate>>(2*i)), patience)) })
	}
	if s.previous == "" { // earlier releases may not know erased orders
		s.eraser = eraser{random: rand.New(rand.NewPCG(o.Seed, 4)), there: map[string]bool{}}
		s.watching.Go(func() { s.follow(s.life) })
		parts = append(parts, func(ctx context.Context) {
			for retry.Sleep(busy, erasePause) == nil {
				must.Succeed(s.erase(ctx))
			}
		})
	}
	if s.nats != nil {
		parts = append(parts, func(context.Context) { s.nats.publish(busy) })
	}
	must.Together(ctx, parts...)
	return hits
}

// account waits until all records are processed, stops the workers, compares, and tells
// about it. It returns true if nothing is lost, extra, wrong or stale.
func (s *site) account(ctx context.Context, w io.Writer, hits []*hit) (exact bool) {
	s.settle(ctx)
	terminate(ctx, s.workers)
	s.say("all records processed; comparing")
	tell(w, hits)
	exact = true
	for i, f := range s.feeds {
		expected := must.Get(f.expect(ctx, s.brokers(), f.topic, s.eraser.uids...))
		world := ledger.World{
			Brokers: s.brokers(), Topic: f.topic, DLQ: dlq, Group: f.group, Database: s.database.URL(), Elsewhere: f.elsewhere,
		}
		for _, r := range s.readers {
			if i == 0 { // with all tables
				world.Readers = append(world.Readers, r.addr)
			}
		}
		found := must.Get(ledger.Account(ctx, world, expected))
		if i == 0 {
			s.compareStream(ctx, found)
		}
		_, _ = fmt.Fprintf(w, "%s\n%s\n", expected, found)
		if exact = exact && found.Exact(); !found.Exact() {
			s.stories(w, hits, found)
		}
		if sent := f.load.Sent(); expected.Records < sent {
			_, _ = fmt.Fprintf(w, "the topic has fewer records than the %d that were acknowledged: the brokers lost some\n", sent)
			exact = false
		}
		if i == 0 && s.nats != nil {
			missing := s.nats.missing(expected)
			_, _ = fmt.Fprintf(w, "%d orders came through NATS, %d of them lost %v\n", s.nats.sent, len(missing), missing)
			exact = exact && len(missing) == 0
		}
	}
	terminate(ctx, s.readers)
	return exact
}

// compareStream finds erased orders that the stream has not told to be gone.
func (s *site) compareStream(ctx context.Context, found *ledger.Findings) {
	telling, cancel := context.WithTimeout(ctx, agreement)
	defer cancel()
	untold, told := s.eraser.untold()
	for len(untold) > 0 && retry.Sleep(telling, watchPolling) == nil {
		untold, told = s.eraser.untold()
	}
	s.say("the stream told of %d orders; %d were erased", told, len(s.eraser.uids))
	for _, uid := range untold {
		found.Stale++
		found.First = append(found.First, ledger.Finding{What: "the stream told of order " + uid + ", and not that it was erased", Place: ledger.Place{Offset: -1}, UID: uid})
	}
}
