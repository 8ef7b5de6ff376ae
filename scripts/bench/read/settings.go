package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"time"
)

// settings are the flags.
type settings struct {
	orders      int
	items       int
	rounds      int
	duration    time.Duration
	connections int
	threads     int
	compression string
	ingestRate  int
	binaries    string
	document    string
	section     string
	smoke       bool
}

// fullSize is from how many orders on the result goes into the document without
// being asked for.
const fullSize = 100_000

func parseFlags(args []string, output io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench-read", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.IntVar(&s.orders, "orders", fullSize, "orders in memory; also 10000 and 3000000 are of interest")
	flags.IntVar(&s.items, "items", 1, "items of an order")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each measurement is made; the table has medians")
	flags.DurationVar(&s.duration, "duration", 5*time.Second, "length of a measurement, whole seconds")
	flags.IntVar(&s.connections, "connections", 64, "connections of wrk")
	flags.IntVar(&s.threads, "threads", 2, "threads of wrk")
	flags.StringVar(&s.compression, "compression", "off", "CACHE_COMPRESSION of read-api: off or zstd")
	flags.IntVar(&s.ingestRate, "ingest-rate", 0, "orders a second that are ingested meanwhile, for both servers (0: none)")
	flags.StringVar(&s.binaries, "bin", "bin", "folder with read-api, ingest-worker and orderctl, as make build fills it")
	flags.StringVar(&s.document, "document", "docs/benchmarks.md",
		fmt.Sprintf("Markdown file whose table is replaced; by default only with --orders from %d on (empty: none)", fullSize))
	flags.BoolVar(&s.smoke, "smoke", false, "only see that the benchmark works: few orders, one round, no document")
	flags.Usage = func() {
		_, _ = fmt.Fprint(output, "bench-read: requests a second of read-api against a bare gin server that answers\n"+
			"constant bytes of the same size. It needs wrk. Run it from the repository's root\nafter `make build`, on a quiet machine.\n\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	if flags.NArg() > 0 {
		return s, fmt.Errorf("unknown argument %q; see --help", flags.Arg(0))
	}
	chosen := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { chosen[f.Name] = true })
	if s.smoke {
		s.shrink(chosen)
	}
	if !chosen["document"] && s.orders < fullSize {
		s.document = ""
	}
	s.section = sectionName(s)
	return s, s.validate()
}

// sectionName keeps the tables of different settings apart in the document.
func sectionName(s settings) string {
	name := fmt.Sprintf("read-%d", s.orders)
	if s.compression != "off" {
		name += "-" + s.compression
	}
	if s.ingestRate > 0 {
		name += fmt.Sprintf("-ingest-%d", s.ingestRate)
	}
	return name
}

// shrink sets what was not chosen by hand to what takes seconds.
func (s *settings) shrink(chosen map[string]bool) {
	for name, shrink := range map[string]func(){
		"orders":      func() { s.orders = 2000 },
		"rounds":      func() { s.rounds = 1 },
		"duration":    func() { s.duration = time.Second },
		"connections": func() { s.connections = 8 },
	} {
		if !chosen[name] {
			shrink()
		}
	}
}

func (s *settings) validate() error {
	var errs []error
	for name, value := range map[string]int{
		"orders": s.orders, "items": s.items, "rounds": s.rounds, "threads": s.threads,
	} {
		if value < 1 {
			errs = append(errs, fmt.Errorf("--%s: at least 1, not %d", name, value))
		}
	}
	if s.connections < s.threads {
		errs = append(errs, fmt.Errorf("--connections: at least one for each of %d threads, not %d", s.threads, s.connections))
	}
	if s.duration < time.Second {
		errs = append(errs, fmt.Errorf("--duration: at least 1s, not %v", s.duration))
	}
	if s.ingestRate < 0 {
		errs = append(errs, fmt.Errorf("--ingest-rate: at least 0, not %d", s.ingestRate))
	}
	return errors.Join(errs...)
}
