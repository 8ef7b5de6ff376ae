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

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

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
