package cli

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

type workerSettings struct {
	Changes  changeSettings
	Database config.Database
	Workers  groupSettings
}

type groupSettings struct {
	Group string `env:"KAFKA_GROUP" envDefault:"orderhub" help:"consumer group of the workers"`
}

func (a *app) workerCommand() *cobra.Command {
	return a.parent("worker", a.workerStatusCommand(), a.workerSeekCommand(),
		a.pauseCommand("worker pause", pauseGroup), a.pauseCommand("worker resume", resumeGroup))
}

func (a *app) workerStatusCommand() *cobra.Command {
	var s workerSettings
	var flags kafkaFlags
	cmd := a.command("worker status", &s, nil, func(cmd *cobra.Command, _ []string) error {
		g, err := a.group(cmd.Context(), &s, &flags, migrations.Viewer)
		if err != nil {
			return err
		}
		return a.printStatus(g.partitions)
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
		g, err := a.group(cmd.Context(), &s, &flags, roleTo(dryRun))
		if err != nil {
			return err
		}
		offsets, err := g.offsets(cmd.Context(), "--to", to, only)
		if err != nil {
			return err
		}
		for i, p := range g.partitions {
			if at, there := offsets[p.Partition]; there {
				g.partitions[i].To = &at
			}
		}
		if dryRun {
			return a.printStatus(g.moving())
		}
		if g.state != "Empty" && g.state != "Dead" {
			return fmt.Errorf("group %s is %s: its workers would write positions of their own; stop them first", s.Workers.Group, strings.ToLower(g.state))
		}
		place := func(p partitionStatus) string { return fmt.Sprintf("%s/%d", g.topic, p.Partition) }
		if err := audited(cmd.Context(), a, &s.Changes, dlq.By{Why: why}, "worker seek to "+to, g.moving(), place); err != nil {
			return err
		}
		if err := g.move(cmd.Context()); err != nil {
			return err
		}
		return a.printStatus(g.moving())
	})
	flags.registerOrders(cmd)
	cmd.Flags().StringVar(&to, "to", "", "where to continue: an offset, a time (RFC 3339), earliest, latest, or committed")
	cmd.Flags().StringVar(&why, "why", "", "why, for the audit log")
	cmd.Flags().Int32SliceVar(&only, "partition", nil, "only these `partitions`")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would change")
	return cmd
}

// pauseCommand changes the pause of a group, in the database alone: the brokers may be away.
func (a *app) pauseCommand(path string, change func(ctx context.Context, db *bun.DB, group string, by dlq.By) (pause *orderdb.IngestPause, text string, err error)) *cobra.Command {
	var s workerSettings
	var by dlq.By
	cmd := a.command(path, &s, nil, func(cmd *cobra.Command, _ []string) error {
		if by.Why == "" {
			return usagef("--why: say why")
		}
		db, err := a.openDatabase(s.Database)
		if err != nil {
			return err
		}
		if err := migrations.Check(cmd.Context(), db.pool.DB, migrations.Operator); err != nil {
			return db.explain(err)
		}
		group := s.Workers.Group
		if err := audited(cmd.Context(), a, &s.Changes, by, path, []string{group}, func(group string) string { return group }); err != nil {
			return err
		}
		pause, text, err := change(cmd.Context(), db.pool, group, by)
		if err != nil {
			return db.explain(err)
		}
		a.say("group %s: %s", group, text)
		return a.print(struct {
			Group  string               `json:"group"`
			Paused *orderdb.IngestPause `json:"paused"`
		}{group, pause}, "")
	})
	byFlags(cmd, &by, "in the audit log and, of a pause, in the database")
	return cmd
}

func pauseGroup(ctx context.Context, db *bun.DB, group string, by dlq.By) (*orderdb.IngestPause, string, error) {
	pause := &orderdb.IngestPause{Group: group, By: by.Actor, Why: by.Why}
	_, err := db.NewInsert().Model(pause).On("CONFLICT (consumer_group) DO UPDATE").
		Set("paused_by = EXCLUDED.paused_by").Set("why = EXCLUDED.why").Returning("paused_at").Exec(ctx)
	return pause, "the workers pause within INGEST_LAG_INTERVAL (5s by default), after their present batches; 'orderctl worker resume' ends it", err
}

func resumeGroup(ctx context.Context, db *bun.DB, group string, _ dlq.By) (*orderdb.IngestPause, string, error) {
	result, err := db.NewDelete().Model(&orderdb.IngestPause{Group: group}).WherePK().Exec(ctx)
	if err != nil {
		return nil, "", err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return nil, "", cmp.Or(err, nothing("group %s: the workers are not paused", group))
	}
	return nil, "the workers go on within INGEST_LAG_INTERVAL (5s by default)", nil
}

// roleTo is the role that a command needs which only looks on a dry run.
func roleTo(dryRun bool) migrations.Role {
	if dryRun {
		return migrations.Viewer
	}
	return migrations.Operator
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
	// Paused says who has paused the group, if anybody.
	Paused *orderdb.IngestPause `json:"paused,omitempty"`
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
	if len(partitions) > 0 && partitions[0].Paused != nil {
		pause := partitions[0].Paused
		fmt.Fprintf(&b, "paused since %s by %s: %s\n", pause.Since.UTC().Format(time.RFC3339), dlqview.Clean(pause.By), dlqview.Clean(pause.Why))
	}
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

type workerGroup struct {
	admin      *kadm.Client
	cfg        *config.Kafka
	db         *database
	group      string
	topic      string
	topicID    string
	state      string
	partitions []partitionStatus
	older      bool // the schema may have neither positions nor pauses
}

// group looks at the group as it is now, with the rights that a role needs.
func (a *app) group(ctx context.Context, s *workerSettings, flags *kafkaFlags, role migrations.Role) (*workerGroup, error) {
	g, err := a.topic(ctx, &s.Changes.Kafka, flags, s.Workers.Group)
	if err != nil {
		return nil, err
	}
	if g.db, err = a.openDatabase(s.Database); err != nil {
		return nil, err
	}
	older, err := migrations.CheckUsable(ctx, g.db.pool.DB, role)
	if older != nil && role != migrations.Viewer {
		err = older
	}
	if err != nil {
		return nil, g.db.explain(err)
	}
	if older != nil {
		a.say("%s", older)
		g.older = true
	}
	return g, g.db.explain(g.askDatabase(ctx))
}

// topic asks Kafka alone.
func (a *app) topic(ctx context.Context, cfg *config.Kafka, flags *kafkaFlags, group string) (*workerGroup, error) {
	client, err := a.brokers(flags, cfg)
	if err != nil {
		return nil, err
	}
	g := &workerGroup{admin: kadm.NewClient(client), cfg: cfg, group: group, topic: cfg.Topic}
	return g, explainKafka(cfg, g.askKafka(ctx))
}

func (g *workerGroup) askKafka(ctx context.Context) error {
	topics, err := g.admin.ListTopics(ctx, g.topic)
	if err != nil {
		return err
	}
	detail, there := topics[g.topic]
	switch {
	case !there || errors.Is(detail.Err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %s: %w", g.topic, kafkaconn.ErrNoTopic)
	case detail.Err != nil:
		return fmt.Errorf("topic %s: %w", g.topic, detail.Err)
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
	var pause *orderdb.IngestPause
	if !g.older {
		err := g.db.pool.NewSelect().Model(&rows).Where("consumer_group = ?", g.group).Where("topic_id = ?::uuid", g.topicID).Scan(ctx)
		if err != nil {
			return err
		}
		pause = &orderdb.IngestPause{Group: g.group}
		if err := g.db.pool.NewSelect().Model(pause).WherePK().Scan(ctx); errors.Is(err, sql.ErrNoRows) {
			pause = nil
		} else if err != nil {
			return err
		}
	}
	for i := range g.partitions {
		p := &g.partitions[i]
		p.Paused = pause
		for _, row := range rows {
			if row.Partition == int(p.Partition) {
				p.Position = &row.NextOffset
			}
		}
		p.Lag = max(0, p.End-p.next())
	}
	return nil
}

// offsets are what the place that a flag names is in each partition, or in those that it
// names.
func (g *workerGroup) offsets(ctx context.Context, flag, place string, only []int32) (map[int32]int64, error) {
	var of func(*partitionStatus) *int64
	named := false
	switch at, timeErr := time.Parse(time.RFC3339, place); {
	case place == "earliest":
		of = func(p *partitionStatus) *int64 { return &p.First }
	case place == "latest":
		of = func(p *partitionStatus) *int64 { return &p.End }
	case place == "committed":
		of = func(p *partitionStatus) *int64 { return p.Committed }
	case timeErr == nil:
		after, err := g.admin.ListOffsetsAfterMilli(ctx, at.UnixMilli(), g.topic)
		if err != nil {
			return nil, explainKafka(g.cfg, err)
		}
		// Before an open transaction: its records cannot be read yet.
		of = func(p *partitionStatus) *int64 { return new(min(after[g.topic][p.Partition].Offset, p.End)) }
	default:
		offsets, err := g.named(flag, place)
		if err != nil {
			return nil, err
		}
		named, of = true, func(p *partitionStatus) *int64 { return cmp.Or(offsets[p.Partition], offsets[anyPartition]) }
	}
	found := map[int32]int64{}
	for i := range g.partitions {
		p := &g.partitions[i]
		if len(only) > 0 && !slices.Contains(only, p.Partition) {
			continue
		}
		if offset := of(p); offset != nil {
			if named && (*offset < p.First || *offset > p.End) {
				return nil, usagef("%s: partition %d has the offsets %d to %d", flag, p.Partition, p.First, p.End)
			}
			found[p.Partition] = *offset
		}
	}
	if len(found) == 0 {
		return nil, nothing("no such partition, or none has a committed offset")
	}
	return found, nil
}

const anyPartition = -1

// named reads an offset, 120, or one for each of several partitions, 0:120,3:99.
func (g *workerGroup) named(flag, place string) (map[int32]*int64, error) {
	offsets := map[int32]*int64{}
	for one := range strings.SplitSeq(place, ",") {
		of, number, named := strings.Cut(one, ":")
		if !named {
			of, number = strconv.Itoa(anyPartition), of
		}
		id, wrong := strconv.ParseInt(of, 10, 32)
		offset, err := strconv.ParseInt(number, 10, 64)
		switch {
		case cmp.Or(wrong, err) != nil:
			return nil, usagef("%s: %q is no offset, no time such as 2026-11-29T12:00:00Z, and none of earliest, latest and committed", flag, place)
		case named && !slices.ContainsFunc(g.partitions, func(p partitionStatus) bool { return p.Partition == int32(id) }):
			return nil, usagef("%s: topic %s has no partition %s", flag, g.topic, of)
		}
		offsets[int32(id)] = &offset
	}
	return offsets, nil
}

// moving are the partitions that go somewhere.
func (g *workerGroup) moving() []partitionStatus {
	return slices.DeleteFunc(slices.Clone(g.partitions), func(p partitionStatus) bool { return p.To == nil })
}

// move moves the positions in the tables, then the committed offsets. Reading starts at
// the smaller of the two, so after an error between them nothing is skipped.
func (g *workerGroup) move(ctx context.Context) error {
	offsets := kadm.Offsets{}
	err := g.db.pool.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
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
	if err := cmp.Or(err, answer.Error()); err != nil {
		return fmt.Errorf("the positions are moved, the committed offsets are not: run the command again: %w", err)
	}
	return nil
}
