package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

type replayFlags struct {
	settings struct {
		Workers workerSettings
		Rules   rules.Settings
	}
	kafka    kafkaFlags
	from, to string
	only     []int32
	rate     float64
	dryRun   bool
	by       dlq.By
}

func (a *app) replayCommand() *cobra.Command {
	var f replayFlags
	cmd := a.command("replay", &f.settings, noArgs(": name the records with --from and --to"), func(cmd *cobra.Command, _ []string) error {
		switch {
		case f.from == "" || f.to == "":
			return usagef("--from and --to: say which records")
		case !(f.rate >= 0): // refuses NaN too
			return usagef("--rate: 0 or more, not %v", f.rate)
		}
		g, err := a.group(cmd.Context(), &f.settings.Workers, &f.kafka, roleTo(f.dryRun))
		if err != nil {
			return err
		}
		return a.replay(cmd.Context(), &f, g)
	})
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "the first record: an offset, a time (RFC 3339), earliest, latest, committed,\nor offsets of partitions, 0:120,3:99")
	flags.StringVar(&f.to, "to", "", "the record after the last one: as --from")
	flags.Int32SliceVar(&f.only, "partition", nil, "only these `partitions`")
	flags.Float64Var(&f.rate, "rate", 0, "records a second; 0: as fast as possible")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would become of the records, and write nothing")
	byFlags(cmd, &f.by, "in the audit log")
	f.kafka.registerOrders(cmd)
	return cmd
}

// replayReport is what a replay ends with. The records up to each partition's Next are
// done: those that Outcomes counts, whose letters are acknowledged.
type replayReport struct {
	Topic      string             `json:"topic"`
	Partitions []*replayPartition `json:"partitions"`
	DryRun     bool               `json:"dry_run,omitempty"`
	Read       int                `json:"read"`
	// Outcomes and Reasons count records; Reasons those that are dead letters.
	Outcomes map[ingest.Outcome]int `json:"outcomes"`
	Reasons  map[string]int         `json:"reasons"`
	// NewLetters are the dead letters that their topic did not have, open or resolved.
	NewLetters int     `json:"new_letters"`
	Removed    int64   `json:"removed"` // offsets that the broker removed before they were read
	Seconds    float64 `json:"seconds"`
	// Continue are the flags for the rest; empty if there is none.
	Continue string `json:"continue,omitempty"`

	Took time.Duration `json:"-"`
}

type replayPartition struct {
	Partition int32 `json:"partition"`
	From      int64 `json:"from"`
	To        int64 `json:"to"`
	Next      int64 `json:"next"`
}

// replayRun reads partitions in parallel, and decides a page of records after the other.
type replayRun struct {
	f      *replayFlags
	g      *workerGroup
	client *dlq.Client
	queue  *dlq.Queue
	known  *dlq.View // the letters that are there
	codec  *model.Codec
	writer ingest.Writer
	erased ingest.Erasures // as the writer knows them
	pace   *rate.Limiter
	most   int // records of a page

	mu       sync.Mutex
	report   replayReport
	progress *progress
}

func (a *app) replay(ctx context.Context, f *replayFlags, g *workerGroup) error {
	r := &replayRun{f: f, g: g, codec: model.New(f.settings.Rules.Options()), pace: rate.NewLimiter(rate.Inf, 0), most: pageRecords}
	r.report = replayReport{Topic: g.topic, DryRun: f.dryRun, Outcomes: map[ingest.Outcome]int{ingest.Stored: 0, ingest.Duplicate: 0, ingest.DeadLetter: 0}, Reasons: map[string]int{}}
	total, err := r.choose(ctx)
	if err != nil {
		return err
	}
	if r.client, err = a.client(&f.kafka, g.cfg); err != nil {
		return err
	}
	key := f.settings.Workers.Changes.Erasures.NewKey()
	r.queue = dlq.New(r.client, dlq.Options{Topic: g.cfg.DLQTopic, Orders: g.topic, Erasures: key})
	var only []int32
	for _, p := range r.report.Partitions {
		only = append(only, p.Partition)
	}
	if r.known, err = r.queue.Scan(ctx, letter.Filter{Partitions: only}); err != nil {
		return explainKafka(g.cfg, err)
	}
	parallel := maxConns
	if f.dryRun {
		comparer, err := g.db.comparer(ctx, r.codec, key, f.settings.Rules.Versions())
		if err != nil {
			return err
		}
		r.writer, r.erased, parallel = comparer, comparer, 1 // it is for one goroutine
	} else {
		writer := g.db.writer(r.codec, key, f.settings.Rules.Versions())
		r.writer, r.erased = writer, writer
		place := func(p *replayPartition) string {
			return fmt.Sprintf("%s/%d/%d-%d", g.topic, p.Partition, p.From, p.To-1)
		}
		if err := audited(ctx, a, &f.settings.Workers.Changes, f.by, "replay from "+f.from+" to "+f.to, r.report.Partitions, place); err != nil {
			return err
		}
	}
	if f.rate > 0 {
		r.most = max(1, int(min(f.rate, pageRecords)))
		r.pace = rate.NewLimiter(rate.Limit(f.rate), r.most)
	}
	began := time.Now()
	r.progress = a.newProgress(0, total, "replaying", "offsets")
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, p := range r.report.Partitions {
		group.Go(func() error { return r.partition(reading, p) })
	}
	err = group.Wait()
	r.progress.end()
	r.report.Took = time.Since(began).Round(time.Millisecond)
	r.report.Seconds, r.report.Continue = r.report.Took.Seconds(), r.rest()
	if failure := a.print(r.report, summary("replayed", r.report)+"\n"); failure != nil {
		return local(failure)
	}
	switch {
	case ctx.Err() != nil && r.report.Continue != "":
		return errs.New(errs.Interrupted, "")
	case err == nil && r.report.Removed > 0:
		return failed()
	}
	return err
}

// choose resolves the flags to offsets, and returns how many these are.
func (r *replayRun) choose(ctx context.Context) (total int64, err error) {
	from, err := r.g.offsets(ctx, "--from", r.f.from, r.f.only)
	if err != nil {
		return 0, err
	}
	to, err := r.g.offsets(ctx, "--to", r.f.to, r.f.only)
	if err != nil {
		return 0, err
	}
	for _, p := range r.g.partitions {
		begin, begins := from[p.Partition]
		end, ends := to[p.Partition]
		begin = max(begin, p.First) // a committed offset may be gone
		switch {
		case begins && ends && begin > end:
			return 0, usagef("--to: partition %d would end at offset %d, before it begins at %d", p.Partition, end, begin)
		case begins && ends && begin < end:
			r.report.Partitions = append(r.report.Partitions, &replayPartition{p.Partition, begin, end, begin})
			total += end - begin
		}
	}
	if total == 0 {
		return 0, nothing("there is no record from %s to %s", r.f.from, r.f.to)
	}
	return total, nil
}

func (r *replayRun) partition(ctx context.Context, p *replayPartition) error {
	decoder := ingest.NewDecoder(r.codec, nil)
	var page []*ingest.Record
	size := 0
	var failure error // of anything but reading
	done := func(next int64) error {
		failure = r.write(ctx, p, page, next)
		page, size = nil, 0
		return failure
	}
	gaps, err := r.client.Read(ctx, r.g.topic, map[int32][]dlq.Span{p.Partition: {{From: p.From, To: p.To}}}, func(record *kgo.Record) error {
		page = append(page, decoder.Decode(r.source(record)))
		if size += len(record.Value); len(page) < r.most && size < pageBytes {
			return nil
		}
		return done(record.Offset + 1)
	})
	r.mu.Lock()
	for _, gap := range gaps {
		r.report.Removed += gap.To - gap.From
	}
	r.mu.Unlock()
	switch {
	case failure != nil:
		return failure
	case err != nil:
		return explainKafka(r.g.cfg, err)
	}
	return done(p.To)
}

func (r *replayRun) source(record *kgo.Record) deadletter.Source {
	s := deadletter.Source{Topic: record.Topic, Partition: int(record.Partition), Offset: record.Offset, Key: record.Key, Value: record.Value}
	if record.Timestamp.UnixMilli() >= 0 { // else it has none
		s.Timestamp = record.Timestamp
	}
	for _, h := range record.Headers {
		s.Headers = append(s.Headers, deadletter.Header(h))
	}
	s.Cut(r.codec.MaxRecordBytes())
	return s
}

// write decides a page, as the worker does: the tables first, then the letters. A letter
// that is there stays as it is, with its time and its resolution.
func (r *replayRun) write(ctx context.Context, p *replayPartition, page []*ingest.Record, next int64) error {
	if err := r.pace.WaitN(ctx, len(page)); err != nil {
		return err
	}
	if err := r.g.db.decide(ctx, r.writer, page); err != nil {
		return err
	}
	created := 0
	_, err := ingest.SendLetters(context.WithoutCancel(ctx), page, r.erased, r.g.group, func(ctx context.Context, letters []deadletter.Letter) error {
		letters = slices.DeleteFunc(letters, func(l deadletter.Letter) bool {
			_, there := r.known.Current(l.ID)
			return there && !l.IsTombstone()
		})
		created = 0
		for _, l := range letters {
			if !l.IsTombstone() {
				created++
			}
		}
		if r.f.dryRun {
			return nil
		}
		return r.queue.Write(ctx, letters)
	})
	if err != nil {
		return explainKafka(r.g.cfg, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range page {
		r.report.Outcomes[record.Outcome()]++
		if cause := record.Cause(); cause != nil {
			r.report.Reasons[cause.Reason]++
		}
	}
	r.report.Read += len(page)
	r.report.NewLetters += created
	r.progress.did(next - p.Next)
	p.Next = next
	return nil
}

func (r *replayRun) rest() string {
	var from, to []string
	for _, p := range r.report.Partitions {
		if p.Next < p.To {
			from = append(from, fmt.Sprintf("%d:%d", p.Partition, p.Next))
			to = append(to, fmt.Sprintf("%d:%d", p.Partition, p.To))
		}
	}
	if from == nil {
		return ""
	}
	return "--from " + strings.Join(from, ",") + " --to " + strings.Join(to, ",")
}

func (a *app) fieldsCommand() *cobra.Command {
	var s struct {
		Kafka   config.Kafka
		Workers groupSettings
		Rules   rules.Settings
	}
	var f replayFlags
	var most int64
	cmd := a.command("fields", &s, nil, func(cmd *cobra.Command, _ []string) error {
		if most < 1 {
			return usagef("--most: 1 or more, not %d", most)
		}
		g, err := a.topic(cmd.Context(), &s.Kafka, &f.kafka, s.Workers.Group)
		if err != nil {
			return err
		}
		return a.fields(cmd.Context(), &f, g, s.Rules.Options(), most)
	})
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "earliest", "the first record: as replay's --from")
	flags.StringVar(&f.to, "to", "latest", "the record after the last one: as --from")
	flags.Int32SliceVar(&f.only, "partition", nil, "only these `partitions`")
	flags.Int64Var(&most, "most", 100_000, "at most so many of the newest records of each partition")
	f.kafka.registerOrders(cmd)
	return cmd
}

// unknownField is how often a field occurs that an order does not have.
type unknownField struct {
	Field   string    `json:"field"`
	Records int       `json:"records"`
	First   time.Time `json:"first"` // timestamp of the earliest record that has it
	Last    time.Time `json:"last"`
}

type fieldsReport struct {
	Read   int             `json:"read"`
	Fields []*unknownField `json:"fields"` // the most frequent first
}

// fields reads a part of the topic and counts the fields that orders do not have.
func (a *app) fields(ctx context.Context, f *replayFlags, g *workerGroup, options model.Options, most int64) error {
	options.RejectUnknown, options.KeepUnknown = false, false // only to be named
	r := &replayRun{f: f, g: g, codec: model.New(options)}
	if _, err := r.choose(ctx); err != nil {
		return err
	}
	client, err := a.client(&f.kafka, g.cfg)
	if err != nil {
		return err
	}
	spans := map[int32][]dlq.Span{}
	for _, p := range r.report.Partitions {
		spans[p.Partition] = []dlq.Span{{From: max(p.From, p.To-most), To: p.To}}
	}
	var mu sync.Mutex
	report, byName := fieldsReport{}, map[string]*unknownField{}
	_, err = client.Read(ctx, g.topic, spans, func(record *kgo.Record) error {
		source := r.source(record)
		decoded, _ := r.codec.Decode(source.Value) // a record that is refused has fields, too
		mu.Lock()
		defer mu.Unlock()
		report.Read++
		for _, name := range decoded.Unknown {
			field := byName[name]
			if field == nil {
				field = &unknownField{Field: name, First: source.Timestamp}
				byName[name] = field
			}
			field.Records++
			if source.Timestamp.Before(field.First) {
				field.First = source.Timestamp
			}
			if source.Timestamp.After(field.Last) {
				field.Last = source.Timestamp
			}
		}
		return nil
	})
	if err != nil {
		return explainKafka(g.cfg, err)
	}
	report.Fields = slices.SortedFunc(maps.Values(byName), func(a, b *unknownField) int {
		return cmp.Or(cmp.Compare(b.Records, a.Records), cmp.Compare(a.Field, b.Field))
	})
	return a.print(report, report.text())
}

func (r fieldsReport) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s read, %s that orders do not have\n", dlqview.Plural(r.Read, "record"), dlqview.Plural(len(r.Fields), "field"))
	for _, f := range r.Fields {
		fmt.Fprintf(&b, "%8d  %s to %s  %s\n", f.Records, f.First.UTC().Format(time.RFC3339), f.Last.UTC().Format(time.RFC3339), f.Field)
	}
	return b.String()
}
