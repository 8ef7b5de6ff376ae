package doctor

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
)

const (
	maxSkew        = 3 * time.Second // between two clocks; the API's has whole seconds
	maxLag         = 5 * time.Minute // as OrderhubIngestLags
	leastRetention = 24 * time.Hour  // of orders: few backups are younger
	replicasWanted = 3
)

// brokers connects and logs in to each broker: those of the settings, and those that the
// cluster names.
func brokers(ctx context.Context, r *report) (string, error) {
	metadata, err := r.admin.BrokerMetadata(ctx)
	if err != nil {
		return "", err
	}
	addresses, all := kafkaconn.Brokers(r.Kafka.KafkaConn), r.Client.SeedBrokers()
	for _, b := range metadata.Brokers {
		if address := net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))); !slices.Contains(addresses, address) {
			addresses, all = append(addresses, address), append(all, r.Client.Broker(int(b.NodeID)))
		}
	}
	errs := make([]error, len(all))
	var asking sync.WaitGroup
	for i, b := range all {
		asking.Go(func() { _, errs[i] = b.Request(ctx, kmsg.NewPtrMetadataRequest()) })
	}
	asking.Wait()
	var alive []string
	for i, address := range addresses {
		if errs[i] != nil {
			r.find("unreachable", address, r.explain(errs[i]))
			continue
		}
		alive = append(alive, address)
		if host, _, _ := net.SplitHostPort(address); !r.Kafka.TLS && !config.IsLoopbackHost(host) {
			r.find("unencrypted", address, "orders and logins cross the network unencrypted")
		}
	}
	return fmt.Sprintf("%d answer", len(all)), r.Client.UpdateSeedBrokers(alive...) // for the other checks
}

// topics compares both topics with what Orderhub needs.
func topics(ctx context.Context, r *report) (string, error) {
	metadata, err := r.admin.Metadata(ctx, r.Kafka.Topic, r.Kafka.DLQTopic)
	if err != nil {
		return "", err
	}
	for _, spec := range kafkaconn.OrderTopics(r.Kafka, 0, 0) {
		topic := metadata.Topics[spec.Name]
		if errors.Is(topic.Err, kerr.UnknownTopicOrPartition) {
			r.find("missing", spec.Name, "the topic does not exist, or is hidden for lack of the right "+kafkaconn.Describe)
			continue
		}
		settings, err := franz.Settings(ctx, r.Client, spec.Name)
		if err = errors.Join(topic.Err, err); err != nil {
			r.find(notChecked, spec.Name, r.explain(err))
			continue
		}
		for _, problem := range spec.Check(settings) {
			// Such as: max.message.bytes is 1: a larger letter is cut; set it to 2.
			setting, _, _ := strings.Cut(problem, " ")
			evidence, fix, _ := strings.Cut(problem, "; ")
			r.find(strings.ReplaceAll(setting, ".", "_"), spec.Name, evidence, fix)
		}
		number := func(name string) int { n, _ := strconv.Atoi(settings[name]); return n } // brokers have nothing else here
		r.replicas(topic, number("min.insync.replicas"), len(metadata.Brokers))
		if spec.Name != r.Kafka.Topic {
			continue
		}
		if kept := time.Duration(number("retention.ms")) * time.Millisecond; kept >= 0 && kept < leastRetention {
			r.find("retention", spec.Name, fmt.Sprintf("records are kept for %s: after a restore of the database from an older backup, orders are missing", kept))
		}
		if size, limit := number("max.message.bytes"), r.Rules.MaxRecordBytes; size > limit+(4<<10) || size < limit {
			r.find("record_size", spec.Name, fmt.Sprintf("max.message.bytes is %d, INGEST_MAX_RECORD_BYTES %d: what is larger is refused, or a dead letter that is cut", size, limit))
		}
	}
	return "partitions, replicas and settings suit", nil
}

func (r *report) replicas(topic kadm.TopicDetail, least, brokers int) {
	n := 0
	for _, p := range topic.Partitions.Sorted() {
		n = max(n, len(p.Replicas)) // one without a leader may be listed without replicas
		switch name := fmt.Sprintf("%s/%d", topic.Topic, p.Partition); {
		case p.Leader < 0 || p.Err != nil:
			r.find("no_leader", name, "without a leader: nobody can read or write it", topic.Topic)
		case len(p.ISR) < least:
			r.find("unwritable", name, fmt.Sprintf("fewer than %d replicas are in sync (min.insync.replicas): writes are refused", least), topic.Topic)
		case len(p.ISR) < len(p.Replicas):
			r.find("under_replicated", name, "replicas are not in sync", topic.Topic)
		}
	}
	switch {
	case n < min(brokers, replicasWanted):
		r.find("replicas", topic.Topic, fmt.Sprintf("partitions have %d replicas, with %d brokers: the loss of a broker loses records, or stops writes", n, brokers))
	case n >= replicasWanted && (least < 2 || least >= n):
		r.find("min_insync_replicas", topic.Topic, fmt.Sprintf("min.insync.replicas is %d of %d: with 1, a record may be lost with its broker; with all, one broker away stops writes", least, n), strconv.Itoa(n-1))
	}
}

// workers returns the workers' group, and how far it is in the topic of the orders.
func (r *report) workers(ctx context.Context) (kadm.DescribedGroupLag, error) {
	groups, err := r.admin.Lag(ctx, r.Group)
	g := groups[r.Group]
	if err = errors.Join(err, g.Error()); errors.Is(err, kerr.GroupIDNotFound) {
		err = nil
	}
	return g, err
}

// group looks at the members and at how far they are.
func group(ctx context.Context, r *report) (string, error) {
	g, err := r.workers(ctx)
	if err != nil {
		return "", err
	}
	recent, err := r.admin.ListOffsetsAfterMilli(ctx, time.Now().Add(-maxLag).UnixMilli(), r.Kafka.Topic)
	if err != nil {
		return "", err
	}
	for p, after := range recent[r.Kafka.Topic] {
		name := fmt.Sprintf("%s/%d", r.Kafka.Topic, p)
		l, known := g.Lag.Lookup(r.Kafka.Topic, p)
		if g.State == "Stable" && l.Member == nil {
			r.find("unassigned", name, "no member reads it, although there are some", r.Group)
		}
		switch at, first, end := l.Commit.At, l.Start.Offset, l.End.Offset; {
		case !known:
		case at > end:
			r.find("past_end", name, fmt.Sprintf("the committed offset is %d, the topic ends at %d", at, end))
		case at >= 0 && at < first:
			r.find("records_gone", name, fmt.Sprintf("the committed offset is %d, the topic begins at %d: retention removed records before they were read", at, first))
		case max(at, first) < after.Offset:
			r.find("behind", name, fmt.Sprintf("%d records are not done, the first of them older than %s", end-max(at, first), maxLag))
		}
	}
	switch members, partitions := len(g.Members), len(recent[r.Kafka.Topic]); {
	case members == 0:
		r.find("no_workers", r.Group, "the group has no members: orders are not stored")
	case g.State != "Stable":
		r.find("rebalancing", r.Group, "the group is in state "+g.State)
	case members > partitions:
		r.find("idle_members", r.Group, fmt.Sprintf("%d members share %d partitions", members, partitions))
	}
	return fmt.Sprintf("%d members, none is behind", len(g.Members)), nil
}

// positions compares how far the tables are with the offsets that the group committed.
func positions(ctx context.Context, r *report) (string, error) {
	topics, err := r.admin.ListTopics(ctx, r.Kafka.Topic)
	g, groupErr := r.workers(ctx)
	if err = cmp.Or(err, groupErr); err != nil {
		return "", r.Explain["kafka"](err)
	}
	if has, err := orderdb.Has(ctx, r.DB, "ingest_positions"); err != nil || !has {
		return "the schema has no positions yet: the committed offsets count", err
	}
	var rows []orderdb.IngestPosition
	id := topics[r.Kafka.Topic].ID
	err = r.DB.NewSelect().Model(&rows).Where("consumer_group = ?", r.Group).Where("topic_id = ?::uuid", hex.EncodeToString(id[:])).Scan(ctx)
	for p, l := range g.Lag[r.Kafka.Topic] {
		name := fmt.Sprintf("%s/%d", l.Topic, p)
		switch i := slices.IndexFunc(rows, func(row orderdb.IngestPosition) bool { return row.Partition == int(p) }); {
		case i < 0 && l.Commit.At > 0:
			r.find("missing", name, "an offset is committed, the tables do not say how far they are: a restore of the database would not be noticed")
		case i >= 0 && rows[i].NextOffset < l.Commit.At:
			r.find("behind", name, fmt.Sprintf("offset %d is committed, the tables are at %d: the database lost records, which the workers read again", l.Commit.At, rows[i].NextOffset))
		}
	}
	return "the tables are as far as the committed offsets", err
}

// kafkaRights asks what this user may do. What others may do is not shown to it.
func kafkaRights(ctx context.Context, r *report) (string, error) {
	metadata, err := r.admin.Metadata(kadm.WithAuthorizedOps(ctx), r.Kafka.Topic, r.Kafka.DLQTopic)
	if err != nil {
		return "", err
	}
	for _, topic := range []string{r.Kafka.Topic, r.Kafka.DLQTopic} {
		for _, operation := range []kadm.ACLOperation{kadm.OpRead, kadm.OpWrite} {
			if may := metadata.Topics[topic].AuthorizedOperations; len(may) > 0 && !slices.Contains(may, operation) { // brokers before 2.3 tell nothing
				r.find("missing", topic, fmt.Sprintf("user %q lacks %s", r.Kafka.SASLUsername, operation), r.Kafka.SASLUsername, "--operation", operation.String())
			}
		}
	}
	return "this user has all rights on both topics", nil
}

// kafkaClock looks for records from the future, dated by brokers (LogAppendTime) or by
// producers.
func kafkaClock(ctx context.Context, r *report) (string, error) {
	latest, err := r.admin.ListMaxTimestampOffsets(ctx, r.Kafka.Topic, r.Kafka.DLQTopic)
	if err != nil { // brokers before 3.0 do not know it
		return "", unknown("the brokers do not tell the time of their last records: " + err.Error())
	}
	latest.Each(func(o kadm.ListedOffset) {
		if ahead := time.Until(time.UnixMilli(o.Timestamp)); o.Err == nil && ahead > maxSkew {
			r.find("ahead", fmt.Sprintf("%s/%d", o.Topic, o.Partition), fmt.Sprintf("a record is dated %s ahead of this machine's clock", ahead.Round(time.Second)))
		}
	})
	return "no record is dated in the future", nil
}
