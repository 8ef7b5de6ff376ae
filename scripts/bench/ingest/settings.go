package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// settings are the flags.
type settings struct {
	orders     int
	items      list
	rounds     int
	partitions int
	batch      int
	single     int
	latency    int
	preload    int
	workers    list
	schema     bool
	binaries   string
	compare    string
	document   string
	profiles   string
	postgres   pairs
	smoke      bool
}

// fullSize is from how many orders on the result goes into the document without
// being asked for.
const fullSize = 400_000

const document = "docs/benchmarks.md"

func parseFlags(args []string, output io.Writer) (settings, error) {
	s := settings{items: list{1, 3, 10}, postgres: pairs{}}
	flags := flag.NewFlagSet("bench-ingest", flag.ContinueOnError)
	flags.SetOutput(output)
	flags.IntVar(&s.orders, "orders", fullSize, "orders in the topic")
	flags.Var(&s.items, "items", "items of an order: a table for each number")
	flags.IntVar(&s.rounds, "rounds", 3, "how often each measurement is made; the table has medians")
	flags.IntVar(&s.partitions, "partitions", 4, "partitions of the topic")
	flags.IntVar(&s.batch, "batch", 2000, "orders in a transaction of raw COPY")
	flags.IntVar(&s.single, "single", 3000, "orders stored with a transaction each, to tell that rate (0: not measured)")
	flags.IntVar(&s.latency, "latency", 1000, "single orders whose way through the idle worker is timed (0: not measured)")
	flags.IntVar(&s.preload, "preload", 0, "measure again with so many orders stored already, such as 3000000")
	flags.Var(&s.workers, "workers", "measure so many workers on 8 partitions, such as 1,2,4")
	flags.BoolVar(&s.schema, "schema", false, "measure what keys, indexes, foreign keys and triggers cost raw COPY")
	flags.StringVar(&s.binaries, "bin", "bin", "folder with ingest-worker and orderctl, as make build fills it")
	flags.StringVar(&s.compare, "compare", "", "folder with another build of ingest-worker, to be measured in turn with the first")
	flags.StringVar(&s.document, "document", document,
		fmt.Sprintf("Markdown file whose tables are replaced; by default only with --orders from %d on (empty: none)", fullSize))
	flags.StringVar(&s.profiles, "profiles", "", "folder to put CPU and allocation profiles of the worker into (they cost a little speed)")
	flags.Var(s.postgres, "postgres", "setting of the server, name=value; can be repeated")
	flags.BoolVar(&s.smoke, "smoke", false, "only see that the benchmark works: few orders, one round, no document")
	flags.Usage = func() {
		_, _ = fmt.Fprint(output, "bench-ingest: the rate and cost of ingest-worker against raw COPY, on a private\n"+
			"PostgreSQL and broker. Run it from the repository's root after `make build`, on a\nquiet machine.\n\n")
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
	return s, s.validate()
}

// shrink sets what was not chosen by hand to what takes seconds.
func (s *settings) shrink(chosen map[string]bool) {
	for name, shrink := range map[string]func(){
		"orders":  func() { s.orders = 2000 },
		"items":   func() { s.items = list{1, 3} },
		"rounds":  func() { s.rounds = 1 },
		"batch":   func() { s.batch = 500 },
		"single":  func() { s.single = 100 },
		"latency": func() { s.latency = 20 },
		"preload": func() { s.preload = 5000 },
		"workers": func() { s.workers = list{1, 2} },
	} {
		if !chosen[name] {
			shrink()
		}
	}
	s.postgres.setDefault("min_wal_size", "128MB")
	s.postgres.setDefault("shared_buffers", "128MB")
}

func (s *settings) validate() error {
	var errs []error
	for name, value := range map[string]int{"orders": s.orders, "rounds": s.rounds, "partitions": s.partitions, "batch": s.batch} {
		if value < 1 {
			errs = append(errs, fmt.Errorf("--%s: at least 1, not %d", name, value))
		}
	}
	for name, value := range map[string]int{"single": s.single, "latency": s.latency, "preload": s.preload} {
		if value < 0 {
			errs = append(errs, fmt.Errorf("--%s: at least 0, not %d", name, value))
		}
	}
	if len(s.items) == 0 {
		errs = append(errs, errors.New("--items: at least one number"))
	}
	return errors.Join(errs...)
}

// list is a flag of positive numbers, such as 1,3,10.
type list []int

func (l *list) String() string {
	texts := make([]string, len(*l))
	for i, n := range *l {
		texts[i] = strconv.Itoa(n)
	}
	return strings.Join(texts, ",")
}

func (l *list) Set(text string) error {
	*l = nil
	if text == "" {
		return nil
	}
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no list of positive numbers such as 1,3,10", text)
		}
		*l = append(*l, n)
	}
	return nil
}

// pairs is a flag name=value that can be repeated.
type pairs map[string]string

func (p pairs) String() string {
	texts := make([]string, 0, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		texts = append(texts, name+"="+p[name])
	}
	return strings.Join(texts, " ")
}

func (p pairs) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found || name == "" {
		return fmt.Errorf("%q is not name=value", text)
	}
	p[name] = value
	return nil
}

func (p pairs) setDefault(name, value string) {
	if _, chosen := p[name]; !chosen {
		p[name] = value
	}
}
