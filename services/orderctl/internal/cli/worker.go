package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// workerSettings are those of commands about the workers' group.
type workerSettings struct {
	Changes  changeSettings
	Database config.Database
	Workers  groupSettings
}

type groupSettings struct {
	Group string `env:"KAFKA_GROUP" envDefault:"orderhub" help:"consumer group of the workers"`
}

func (a *app) workerCommand() *cobra.Command {
	return a.parent("worker", a.workerStatusCommand(), a.workerSeekCommand())
}

func (a *app) workerStatusCommand() *cobra.Command {
	var s workerSettings
	var flags kafkaFlags
	cmd := a.command("worker status", &s, nil, func(cmd *cobra.Command, _ []string) error {
		return a.withGroup(cmd.Context(), &s, &flags, func(g *workerGroup) error { return a.printStatus(g.partitions) })
	})
	flags.registerOrders(cmd)
	return cmd
}

func (a *app) workerSeekCommand() *cobra.Command {
	var s workerSettings
	var flags kafkaFlags
	var to, why string
	var only []int32
	var dryRun bool
	cmd := a.command("worker seek", &s, nil, func(cmd *cobra.Command, _ []string) error {
		if to == "" || why == "" && !dryRun {
			return usagef("--to and --why: say where to continue, and why")
		}
		return a.withGroup(cmd.Context(), &s, &flags, func(g *workerGroup) error {
			if err := g.aim(cmd.Context(), to, only); err != nil || dryRun {
				return a.seekDone(g, err)
			}
			if g.state != "Empty" && g.state != "Dead" {
				return fmt.Errorf("group %s is %s: its workers would write positions of their own; stop them first", s.Workers.Group, strings.ToLower(g.state))
			}
			place := func(p partitionStatus) string { return fmt.Sprintf("%s/%d", g.topic, p.Partition) }
			if err := audited(cmd.Context(), a, &s.Changes, dlq.By{Why: why}, "worker seek to "+to, g.moving(), place); err != nil {
				return err
			}
			return a.seekDone(g, g.move(cmd.Context()))
		})
	})
	flags.registerOrders(cmd)
	cmd.Flags().StringVar(&to, "to", "", "where to continue: an offset, a time (RFC 3339), earliest, latest, or committed")
	cmd.Flags().StringVar(&why, "why", "", "why, for the audit log")
	cmd.Flags().Int32SliceVar(&only, "partition", nil, "only these `partitions`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	return cmd
}

// seekDone prints where the partitions are read from now.
func (a *app) seekDone(g *workerGroup, err error) error {
	if err != nil {
		return err
	}
	return a.printStatus(g.moving())
}

// partitionStatus is how far a partition is. A nil offset does not exist.
type partitionStatus struct {
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"`
	Position  *int64 `json:"position"` // in the tables
	First     int64  `json:"first"`
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"` // records from where reading starts to the end
	To        *int64 `json:"to,omitempty"`
}

// next is where reading starts.
func (p *partitionStatus) next() int64 {
	next := p.First
	if p.Committed != nil {
		next = *p.Committed
		if p.Position != nil {
			next = min(next, *p.Position)
		}
	}
	return max(next, p.First)
}

func (a *app) printStatus(partitions []partitionStatus) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "PARTITION\tCOMMITTED\tIN TABLES\tFIRST\tEND\tLAG\tSEEK")
	text := func(n *int64) string {
		if n == nil {
			return "-"
		}
		return strconv.FormatInt(*n, 10)
	}
	for _, p := range partitions {
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d\t%s\n", p.Partition, text(p.Committed), text(p.Position), p.First, p.End, p.Lag, text(p.To))
		if a.output == outputJSON {
			if err := writeJSON(a.stdout, p); err != nil {
				return err
			}
		}
	}
	if a.output == outputJSON {
		return nil
	}
	_ = w.Flush() // into memory
	_, err := fmt.Fprint(a.stdout, b.String())
	return err
}

// workerGroup is the workers' group in the topic of the orders.
type workerGroup struct {
	admin      *kadm.Client
	db         *bun.DB
	group      string
	topic      string
	topicID    string
	state      string
	partitions []partitionStatus
}

// withGroup looks at the group as it is now.
func (a *app) withGroup(ctx context.Context, s *workerSettings, flags *kafkaFlags, use func(*workerGroup) error) error {
	cfg := &s.Changes.Kafka
	options, err := flags.options(cfg)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return usage(err)
	}
	defer client.Close()
	db, err := openDatabase(s.Database)
	if err != nil {
		return err
	}
	defer func() { _ = db.pool.Close() }() // what was written is committed
	g := &workerGroup{admin: kadm.NewClient(client), db: db.pool, group: s.Workers.Group, topic: cfg.Topic}
	if err := g.askKafka(ctx); err != nil {
		return explainKafka(cfg, err)
	}
	if err := g.askDatabase(ctx); err != nil {
		return db.explain(err)
	}
	return use(g)
}

func (g *workerGroup) askKafka(ctx context.Context) error {
	topics, err := g.admin.ListTopics(ctx, g.topic)
	if err != nil {
		return err
	}
	detail, there := topics[g.topic]
	if !there || detail.Err != nil {
		return fmt.Errorf("topic %s: %w", g.topic, kafkaconn.ErrNoTopic)
	}
	id := detail.ID
	g.topicID = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	groups, err := g.admin.DescribeGroups(ctx, g.group)
	if err != nil {
		return err
	}
	g.state = groups[g.group].State
	committed, err := g.admin.FetchOffsets(ctx, g.group)
	if err != nil && g.state != "Dead" {
		return err
	}
	firsts, err := g.admin.ListStartOffsets(ctx, g.topic)
	if err != nil {
		return err
	}
	ends, err := g.admin.ListCommittedOffsets(ctx, g.topic)
	if err != nil {
		return err
	}
	for _, partition := range detail.Partitions.Sorted() {
		p := partitionStatus{Partition: partition.Partition, First: firsts[g.topic][partition.Partition].Offset, End: ends[g.topic][partition.Partition].Offset}
		if at, ok := committed.Lookup(g.topic, p.Partition); ok && at.At >= 0 {
			p.Committed = &at.At
		}
		g.partitions = append(g.partitions, p)
	}
	return nil
}

func (g *workerGroup) askDatabase(ctx context.Context) error {
	var rows []orderdb.IngestPosition
	err := g.db.NewSelect().Model(&rows).Where("consumer_group = ?", g.group).Where("topic_id = ?::uuid", g.topicID).Scan(ctx)
	if err != nil {
		return err
	}
	for i := range g.partitions {
		p := &g.partitions[i]
		for _, row := range rows {
			if row.Partition == int(p.Partition) {
				p.Position = &row.NextOffset
			}
		}
		p.Lag = max(0, p.End-p.next())
	}
	return nil
}

// aim sets where the partitions are to go.
func (g *workerGroup) aim(ctx context.Context, to string, only []int32) error {
	offset, numberErr := strconv.ParseInt(to, 10, 64)
	at, timeErr := time.Parse(time.RFC3339, to)
	var after kadm.ListedOffsets
	if timeErr == nil {
		var err error
		if after, err = g.admin.ListOffsetsAfterMilli(ctx, at.UnixMilli(), g.topic); err != nil {
			return err
		}
	}
	for i := range g.partitions {
		p := &g.partitions[i]
		if len(only) > 0 && !slices.Contains(only, p.Partition) {
			continue
		}
		switch {
		case to == "earliest":
			p.To = &p.First
		case to == "latest":
			p.To = &p.End
		case to == "committed":
			p.To = p.Committed
		case timeErr == nil:
			p.To = new(after[g.topic][p.Partition].Offset)
		case numberErr == nil && offset >= p.First && offset <= p.End:
			p.To = &offset
		case numberErr == nil:
			return usagef("--to: partition %d has the offsets %d to %d", p.Partition, p.First, p.End)
		default:
			return usagef("--to: %q is no offset, no time such as 2026-11-29T12:00:00Z, and none of earliest, latest and committed", to)
		}
	}
	if len(g.moving()) == 0 {
		return nothing("no such partition, or none has a committed offset")
	}
	return nil
}

// moving are the partitions that go somewhere.
func (g *workerGroup) moving() []partitionStatus {
	return slices.DeleteFunc(slices.Clone(g.partitions), func(p partitionStatus) bool { return p.To == nil })
}

// move moves the positions in the tables, then the committed offsets. Reading starts at
// the smaller of the two, so after an error between them nothing is skipped.
func (g *workerGroup) move(ctx context.Context) error {
	offsets := kadm.Offsets{}
	err := g.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for _, p := range g.partitions {
			row := orderdb.IngestPosition{Group: g.group, TopicID: g.topicID, Partition: int(p.Partition), Topic: g.topic}
			insert := tx.NewInsert().Model(&row)
			switch {
			case p.To != nil:
				row.NextOffset = *p.To
				insert.On("CONFLICT (consumer_group, topic_id, partition) DO UPDATE").Set("next_offset = EXCLUDED.next_offset").Set("updated_at = now()")
				offsets.AddOffset(g.topic, p.Partition, *p.To, -1)
			case p.Committed != nil: // with a row of any partition, one that has none counts as not read
				row.NextOffset = *p.Committed
				insert.On("CONFLICT DO NOTHING")
			default:
				continue
			}
			if _, err := insert.Exec(ctx); err != nil {
				return fmt.Errorf("move the position of partition %d: %w", p.Partition, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	answer, err := g.admin.CommitOffsets(ctx, g.group, offsets)
	if err == nil {
		err = answer.Error()
	}
	if err != nil {
		return fmt.Errorf("the positions are moved, the committed offsets are not: run the command again: %w", err)
	}
	return nil
}
