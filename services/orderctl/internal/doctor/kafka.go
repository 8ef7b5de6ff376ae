package doctor

import (
	"context"
	"crypto/tls"
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

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
)

const (
	maxSkew        = 3 * time.Second     // between two clocks; the API's has whole seconds
	renewBefore    = 14 * 24 * time.Hour // as OrderhubCertificateExpires
	maxLag         = 5 * time.Minute     // as OrderhubIngestLags
	leastRetention = 24 * time.Hour      // of orders: no backup would be younger
	slack          = 4 << 10             // of a record batch beside a record
	replicasWanted = 3
)

// brokers connects to each broker, those of the settings and those that the cluster
// names, and logs in at the latter.
func brokers(ctx context.Context, e *env, r *report) (string, error) {
	dial, err := kafkaconn.Dialer(e.Kafka.KafkaConn)
	if err != nil {
		return "", err
	}
	metadata, err := e.admin.BrokerMetadata(ctx)
	if err != nil {
		return "", err
	}
	type broker struct {
		address string
		id      int32
	}
	var all []broker
	for _, b := range metadata.Brokers {
		all = append(all, broker{net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), b.NodeID})
	}
	for _, address := range kafkaconn.Brokers(e.Kafka.KafkaConn) {
		if !slices.ContainsFunc(all, func(b broker) bool { return b.address == address }) {
			all = append(all, broker{address, -1})
		}
	}
	errs, expires := make([]error, len(all)), make([]time.Time, len(all))
	var asking sync.WaitGroup
	for i, b := range all {
		asking.Go(func() {
			conn, err := dial(ctx, "tcp", b.address)
			if err != nil {
				errs[i] = err
				return
			}
			if secure, ok := conn.(*tls.Conn); ok {
				expires[i] = secure.ConnectionState().PeerCertificates[0].NotAfter
			}
			_ = conn.Close() // nothing was sent
			if b.id >= 0 {
				_, errs[i] = e.client.Broker(int(b.id)).Request(ctx, kmsg.NewPtrMetadataRequest())
			}
		})
	}
	asking.Wait()
	for i, b := range all {
		if errs[i] != nil {
			r.find("unreachable", b.address, r.explain(errs[i]))
			continue
		}
		r.expires(b.address, expires[i])
		if host, _, _ := net.SplitHostPort(b.address); !e.Kafka.TLS && !config.IsLoopbackHost(host) {
			r.find("unencrypted", b.address, "orders and logins cross the network unencrypted")
		}
	}
	return fmt.Sprintf("%d answer", len(all)), nil
}

// expires reports a certificate that ends soon. A zero time means that there is none.
func (r *report) expires(of string, at time.Time) {
	if left := time.Until(at); !at.IsZero() && left < renewBefore {
		r.find("certificate", of, fmt.Sprintf("the certificate expires at %s, in %d days", at.UTC().Format(time.RFC3339), int(left.Hours()/24)))
	}
}

// topics compares the settings of both topics with what Orderhub needs.
func topics(ctx context.Context, e *env, r *report) (string, error) {
	metadata, err := e.admin.Metadata(ctx, e.Kafka.Topic, e.Kafka.DLQTopic)
	if err != nil {
		return "", err
	}
	var seen []string
	for _, spec := range kafkaconn.OrderTopics(e.Kafka, 0, 0) {
		topic := metadata.Topics[spec.Name]
		if errors.Is(topic.Err, kerr.UnknownTopicOrPartition) {
			r.find("missing", spec.Name, "the topic does not exist, or is hidden for lack of the right "+kafkaconn.Describe)
			continue
		}
		if topic.Err != nil {
			return "", topic.Err
		}
		settings, err := franz.Settings(ctx, e.client, spec.Name)
		if err != nil { // without DescribeConfigs the partitions still tell something
			r.find(notChecked, spec.Name, r.explain(err))
		}
		minISR := number(settings, "min.insync.replicas")
		replicas := r.partitions(topic, minISR, len(metadata.Brokers))
		for _, problem := range spec.Check(settings) {
			if err != nil {
				break
			}
			// Such as: max.message.bytes is 1: a larger letter is cut; set it to 2.
			setting, _, _ := strings.Cut(problem, " ")
			evidence, fix, _ := strings.Cut(problem, "; ")
			r.find(strings.ReplaceAll(setting, ".", "_"), spec.Name, evidence, fix)
		}
		if spec.Name == e.Kafka.Topic && err == nil {
			r.ordersTopic(settings, len(topic.Partitions))
		}
		seen = append(seen, fmt.Sprintf("%s: %d partitions, %d replicas, min.insync.replicas %d", spec.Name, len(topic.Partitions), replicas, minISR))
	}
	return strings.Join(seen, "; "), nil
}

// partitions reports on the replicas of a topic, and returns the least number of them.
func (r *report) partitions(topic kadm.TopicDetail, minISR, brokers int) (replicas int) {
	numbers := map[string][]int32{}
	for i, p := range topic.Partitions.Sorted() {
		if replicas = len(p.Replicas); i > 0 {
			replicas = min(replicas, len(p.Replicas))
		}
		switch {
		case p.Leader < 0 || p.Err != nil:
			numbers["no_leader"] = append(numbers["no_leader"], p.Partition)
		case len(p.ISR) < minISR:
			numbers["unwritable"] = append(numbers["unwritable"], p.Partition)
		case len(p.ISR) < len(p.Replicas):
			numbers["under_replicated"] = append(numbers["under_replicated"], p.Partition)
		}
	}
	for _, kind := range []struct{ name, means string }{
		{"no_leader", "have no leader: nobody can read or write them"},
		{"unwritable", fmt.Sprintf("have fewer than %d replicas in sync (min.insync.replicas): writes are refused", minISR)},
		{"under_replicated", "have replicas that are not in sync"},
	} {
		if ps := numbers[kind.name]; len(ps) > 0 {
			r.find(kind.name, topic.Topic, fmt.Sprintf("partitions %v %s", ps, kind.means))
		}
	}
	if wanted := min(brokers, replicasWanted); replicas < wanted {
		r.find("replicas", topic.Topic, fmt.Sprintf("partitions have %d replicas, with %d brokers: the loss of a broker loses records, or stops writes", replicas, brokers))
	} else if replicas >= replicasWanted && minISR > 0 && (minISR < 2 || minISR >= replicas) {
		r.find("min_insync_replicas", topic.Topic, fmt.Sprintf("min.insync.replicas is %d of %d: with 1, a record may be lost with its broker; with all, one broker away stops writes", minISR, replicas), strconv.Itoa(replicas-1))
	}
	return replicas
}

// ordersTopic reports on what holds for the topic of the orders alone.
func (r *report) ordersTopic(settings map[string]string, partitions int) {
	topic, limit := r.env.Kafka.Topic, r.env.MaxRecordBytes
	if kept := time.Duration(number(settings, "retention.ms")) * time.Millisecond; kept >= 0 && kept < leastRetention && settings["retention.ms"] != "" {
		r.find("retention", topic, fmt.Sprintf("records are kept for %s: after a restore of the database from an older backup, orders are missing", kept))
	}
	if bytes := number(settings, "retention.bytes"); bytes > 0 {
		r.find("retention_bytes", topic, fmt.Sprintf("retention.bytes is %d: under load records are kept for a shorter time than retention.ms says", bytes))
	}
	switch size := number(settings, "max.message.bytes"); {
	case size > limit+slack:
		r.find("record_size", topic, fmt.Sprintf("max.message.bytes is %d: records above INGEST_MAX_RECORD_BYTES (%d) are accepted, and become dead letters that are cut", size, limit))
	case size > 0 && size < limit:
		r.find("record_size", topic, fmt.Sprintf("max.message.bytes is %d: larger records are refused, although workers take %d", size, limit))
	}
	if partitions == 1 {
		r.find("one_partition", topic, "there is one partition: a second worker has nothing to do")
	}
}

func number(settings map[string]string, name string) int {
	n, _ := strconv.Atoi(settings[name]) // brokers have no other
	return n
}

// workers is the workers' group in the topic of the orders.
type workers struct {
	kadm.DescribedGroup
	topic       kadm.TopicDetail
	first, ends kadm.ListedOffsets
	committed   kadm.OffsetResponses
}

func (e *env) workers(ctx context.Context) (*workers, error) {
	topic := e.Kafka.Topic
	listed, err := e.admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	w := &workers{topic: listed[topic]}
	if w.topic.Err != nil || len(w.topic.Partitions) == 0 {
		return nil, unknown("topic " + topic + " does not exist")
	}
	groups, err := e.admin.DescribeGroups(ctx, e.Group)
	if err != nil {
		return nil, err
	}
	w.DescribedGroup = groups[e.Group]
	if w.Err != nil && !errors.Is(w.Err, kerr.GroupIDNotFound) {
		return nil, w.Err
	}
	if w.committed, err = e.admin.FetchOffsets(ctx, e.Group); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, err
	}
	if w.first, err = e.admin.ListStartOffsets(ctx, topic); err != nil {
		return nil, err
	}
	w.ends, err = e.admin.ListEndOffsets(ctx, topic)
	return w, err
}

// commit is a partition's committed offset, or -1.
func (w *workers) commit(p int32) int64 {
	if at, ok := w.committed.Lookup(w.topic.Topic, p); ok {
		return at.At
	}
	return -1
}

// group looks at the members and at how far they are.
func group(ctx context.Context, e *env, r *report) (string, error) {
	w, err := e.workers(ctx)
	if err != nil {
		return "", err
	}
	recent, err := e.admin.ListOffsetsAfterMilli(ctx, time.Now().Add(-maxLag).UnixMilli(), w.topic.Topic)
	if err != nil {
		return "", err
	}
	var lag int64
	assigned := w.AssignedPartitions()
	for _, p := range w.topic.Partitions.Numbers() {
		at, first, end := w.commit(p), w.first[w.topic.Topic][p].Offset, w.ends[w.topic.Topic][p].Offset
		name := fmt.Sprintf("%s/%d", w.topic.Topic, p)
		if w.State == "Stable" && !assigned.Lookup(w.topic.Topic, p) {
			r.find("unassigned", e.Group, name+" is read by no member, although there are some")
		}
		switch {
		case at > end:
			r.find("past_end", name, fmt.Sprintf("the committed offset is %d, the topic ends at %d", at, end))
		case at >= 0 && at < first:
			r.find("records_gone", name, fmt.Sprintf("the committed offset is %d, the topic begins at %d: retention removed %d records before they were read", at, first, first-at))
		case max(at, first) < recent[w.topic.Topic][p].Offset:
			r.find("behind", name, fmt.Sprintf("%d records are not done, the first of them older than %s", end-max(at, first), maxLag))
		}
		lag += max(0, end-max(at, first))
	}
	switch n := len(w.topic.Partitions); {
	case len(w.Members) == 0:
		r.find("no_workers", e.Group, "the group has no members: orders are not stored")
	case w.State != "Stable":
		r.find("rebalancing", e.Group, "the group is in state "+w.State)
	case len(w.Members) > n:
		r.find("idle_members", e.Group, fmt.Sprintf("%d members share %d partitions", len(w.Members), n))
	}
	return fmt.Sprintf("%s is %s with %d members, %d records behind", e.Group, strings.ToLower(w.State), len(w.Members), lag), nil
}

// needed are a worker's rights beside Read on its group, and those of an operator.
var needed = []struct {
	operation         kadm.ACLOperation
	dlq               bool
	worker, operators bool
}{
	{kadm.OpRead, false, true, false},
	{kadm.OpWrite, false, false, true},
	{kadm.OpRead, true, false, true},
	{kadm.OpWrite, true, true, true},
}

// kafkaRights asks what this user may do, and, as far as it may see that, whether
// anybody has the rights of a worker.
func kafkaRights(ctx context.Context, e *env, r *report) (string, error) {
	metadata, err := e.admin.Metadata(kadm.WithAuthorizedOps(ctx), e.Kafka.Topic, e.Kafka.DLQTopic)
	if err != nil {
		return "", err
	}
	grant := func(user string, operation kadm.ACLOperation, topic string) string {
		return fmt.Sprintf("kafka-acls.sh --bootstrap-server %s --add --allow-principal %s --operation %s --topic %s", strings.Join(e.Kafka.Brokers, ","), user, operation, topic)
	}
	topicOf := func(dlq bool) string {
		if dlq {
			return e.Kafka.DLQTopic
		}
		return e.Kafka.Topic
	}
	for _, n := range needed {
		topic := topicOf(n.dlq)
		may := metadata.Topics[topic].AuthorizedOperations // empty: an old broker does not tell
		if n.operators && len(may) > 0 && !slices.Contains(may, n.operation) {
			r.find("own", topic, fmt.Sprintf("user %q lacks %s on topic %s: commands that read or change letters are refused", e.Kafka.SASLUsername, n.operation, topic),
				grant("User:"+e.Kafka.SASLUsername, n.operation, topic))
		}
	}
	// allowed are the operations of each user on the group and the topics.
	allowed := map[string]map[string][]kadm.ACLOperation{}
	listed, err := e.admin.DescribeACLs(ctx, kadm.NewACLs().Topics(e.Kafka.Topic, e.Kafka.DLQTopic).Groups(e.Group).
		Allow().AllowHosts().Operations(kadm.OpAny).ResourcePatternType(kadm.ACLPatternMatch))
	if err != nil {
		return "", err
	}
	for _, filter := range listed {
		if errors.Is(filter.Err, kerr.SecurityDisabled) {
			return "the brokers have no authorizer", nil
		}
		if errors.Is(filter.Err, kerr.ClusterAuthorizationFailed) {
			return "", unknown("the rights of others are not shown: that needs Describe on the cluster")
		}
		if filter.Err != nil {
			return "", filter.Err
		}
		for _, acl := range filter.Described {
			user := allowed[acl.Principal]
			if user == nil {
				user = map[string][]kadm.ACLOperation{}
				allowed[acl.Principal] = user
			}
			user[*filter.Name] = append(user[*filter.Name], acl.Operation)
		}
	}
	var lack, fixes []string
	for user, may := range allowed {
		has := func(resource string, operation kadm.ACLOperation) bool {
			return slices.Contains(may[resource], operation) || slices.Contains(may[resource], kadm.OpAll)
		}
		if !has(e.Group, kadm.OpRead) {
			continue
		}
		complete := true
		for _, n := range needed {
			if topic := topicOf(n.dlq); n.worker && !has(topic, n.operation) {
				complete = false
				lack = append(lack, fmt.Sprintf("%s lacks %s on topic %s", user, n.operation, topic))
				fixes = append(fixes, grant(user, n.operation, topic))
			}
		}
		if complete {
			return user + " has the rights of a worker", nil
		}
	}
	if len(lack) > 0 {
		slices.Sort(lack)
		slices.Sort(fixes)
		r.find("workers", e.Group, "nobody who may read as the group has all rights of a worker, unless it is a super user: "+strings.Join(lack, ", "), strings.Join(fixes, "; "))
	}
	return "no list of rights names the group", nil
}

// kafkaClock looks for records from the future, dated by brokers (LogAppendTime) or by
// producers.
func kafkaClock(ctx context.Context, e *env, r *report) (string, error) {
	asked := time.Now()
	latest, err := e.admin.ListMaxTimestampOffsets(ctx, e.Kafka.Topic, e.Kafka.DLQTopic)
	if err != nil { // brokers before 3.0 do not know it
		return "", unknown("the brokers do not tell the time of their last records: " + err.Error())
	}
	var last time.Time
	latest.Each(func(o kadm.ListedOffset) {
		at := time.UnixMilli(o.Timestamp)
		if ahead := at.Sub(asked); o.Err == nil && ahead > maxSkew {
			r.find("ahead", fmt.Sprintf("%s/%d", o.Topic, o.Partition), fmt.Sprintf("a record is dated %s ahead of this machine's clock", ahead.Round(time.Second)))
		}
		if o.Err == nil && at.After(last) {
			last = at
		}
	})
	if last.Unix() <= 0 {
		return "there are no records that would tell", nil
	}
	return "the latest record is of " + last.UTC().Format(time.RFC3339), nil
}
