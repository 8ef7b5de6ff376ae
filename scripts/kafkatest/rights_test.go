package kafkatest

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
)

// right is an entry of the authorizer's list: an operation on a topic, group or
// transactional id.
type right struct {
	operation kadm.ACLOperation
	kind      string
	name      string
}

func (r right) String() string {
	words := strings.Split(strings.ToLower(r.operation.String()), "_")
	for i, word := range words {
		words[i] = strings.ToUpper(word[:1]) + word[1:]
	}
	return fmt.Sprintf("%s on %s %s", strings.Join(words, ""), r.kind, r.name)
}

func (r right) of(user string) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:" + user).AllowHosts("*").Operations(r.operation).ResourcePatternType(kadm.ACLPatternLiteral)
	switch r.kind {
	case "topic":
		return b.Topics(r.name)
	case "group":
		return b.Groups(r.name)
	default:
		return b.TransactionalIDs(r.name)
	}
}

// may gives a user exactly these rights.
func (s *stage) may(user string, rights ...right) {
	s.t.Helper()
	for _, r := range rights {
		created, err := s.progress.Admin().CreateACLs(bounded(s.t), r.of(user))
		require.NoError(s.t, err)
		for _, c := range created {
			require.NoError(s.t, c.Err, r)
		}
	}
}

// mayNot takes a right away.
func (s *stage) mayNot(user string, r right) {
	s.t.Helper()
	deleted, err := s.progress.Admin().DeleteACLs(bounded(s.t), r.of(user))
	require.NoError(s.t, err)
	require.Len(s.t, deleted, 1)
	require.NoError(s.t, deleted[0].Err)
	require.Len(s.t, deleted[0].Deleted, 1)
}

// as has programs started from now on log in as a user.
func (s *stage) as(user string) {
	s.env = append(s.env, "KAFKA_BROKERS="+strings.Join(s.cluster.Addrs(apachekafka.SASL), ","),
		"KAFKA_SASL_MECHANISM=SCRAM-SHA-256", "KAFKA_SASL_USERNAME="+user, "KAFKA_SASL_PASSWORD="+users[user])
}

// The rights that docs/kafka.md lists, with the names of a stage's topics and group.
func (s *stage) documented() map[string][]right {
	s.t.Helper()
	content, err := os.ReadFile("../../docs/kafka.md")
	require.NoError(s.t, err)
	_, section, found := strings.Cut(string(content), "<!-- rights: checked by scripts/kafkatest -->")
	require.True(s.t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	names := strings.NewReplacer("orders.dlq", s.world.DLQ, "`orders`", "`"+s.world.Topic+"`", "`orderhub`", "`"+s.world.Group+"`")
	rights := map[string][]right{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([a-z][^|]*) \| ([^|]*) \|`).FindAllStringSubmatch(section, -1) {
		for _, entry := range regexp.MustCompile("([A-Z][A-Za-z, ]*) on (topic|group|transactional id) `([^`]+)`").FindAllStringSubmatch(names.Replace(row[2]), -1) {
			for operation := range strings.SplitSeq(entry[1], ", ") {
				parsed, err := kmsg.ParseACLOperation(operation)
				require.NoError(s.t, err, row[0])
				rights[row[1]] = append(rights[row[1]], right{parsed, entry[2], entry[3]})
			}
		}
	}
	return rights
}

// testRights runs the whole pipeline with exactly the rights that are documented, and
// checks that a program that lacks one says which.
func testRights(on site) {
	on.t.Run("exactly", func(t *testing.T) { testExactRights(site{t, on.cluster}) })
	on.t.Run("follow", func(t *testing.T) { testRightsFollowed(site{t, on.cluster}) })
	on.t.Run("revoked", func(t *testing.T) { testRightsRevoked(site{t, on.cluster}) })
	on.t.Run("orderctl", func(t *testing.T) { testRightsOfOrderctl(site{t, on.cluster}) })
}

func testExactRights(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	rights := s.documented()
	s.may("worker", rights["worker"]...)
	s.as("worker")
	w := s.worker()
	require.NotContains(t, w.tail(), "grant ")

	s.may("bridge", rights["nats-bridge"]...)
	s.as("bridge")
	nats := natsserver.StartForTest(t, natsserver.Options{})
	b := s.start("nats-bridge", "NATS_URL="+nats.URL(), "NATS_SUBJECT=rights")
	eventually(t, "the bridge is ready", b.ready)
	s.orderctl("publish", "--to", nats.URL()+"/rights", "--count", "10", "--seed", "1")

	s.as("operator")
	before := []right{}
	allow := func(command string) { // the rights of one command, and no others
		for _, r := range before {
			s.mayNot("operator", r)
		}
		before = rights[command]
		require.NotEmpty(t, before, command)
		s.may("operator", before...)
	}
	allow("orderctl publish")
	s.orderctl("publish", "--count", "20", "--invalid", "0.2", "--seed", "3")
	require.NoError(t, s.progress.Drain(bounded(t)))
	eventually(t, "all is stored", func() error {
		if n := s.stored(); n != 26 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	allow("orderctl dlq list, show, stats, export, find")
	open := slices.Sorted(maps.Keys(s.letters("open")))
	require.Len(t, open, 4)
	s.orderctl("dlq", "stats")
	s.orderctl("dlq", "show", open[0])
	allow("orderctl dlq redrive, edit")
	s.orderctl("dlq", "redrive", open[0])
	require.NoError(t, s.progress.Drain(bounded(t)))
	allow("orderctl dlq accept, discard")
	s.orderctl("dlq", "discard", "--why", "test", open[1])
	allow("orderctl fields")
	s.orderctl("fields")
	allow("orderctl replay")
	s.orderctl("replay", "--from", "earliest", "--to", "committed")
	allow("orderctl dlq undo, purge")
	s.orderctl("dlq", "undo", open[1])
	allow("orderctl dlq ui")
	waiting := s.letters("open")
	require.NotEmpty(t, waiting)
	ui := s.startWith("orderctl", []string{"dlq", "ui"}, "ORDERHUB_AUDIT_LOG="+filepath.Join(t.TempDir(), "audit.jsonl"))
	eventually(t, "the console shows the letters", func() error {
		status, body := get("http://" + ui.addr + "/")
		for _, letter := range waiting {
			if !strings.Contains(body, letter.Reason) {
				return fmt.Errorf("%d, no %s: %s", status, letter.Reason, body)
			}
		}
		return nil
	})
	allow("orderctl dlq ui, webhook")
	told := make(chan struct{}, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told <- struct{}{} }))
	defer hook.Close()
	s.startWith("orderctl", []string{"dlq", "ui"}, "ORDERHUB_AUDIT_LOG="+filepath.Join(t.TempDir(), "audit.jsonl"), "LETTERS_WEBHOOK_URL="+hook.URL)
	select {
	case <-told:
	case <-bounded(t).Done():
		require.Fail(t, "nobody was told about the letters")
	}
	allow("orderctl topics")
	s.orderctl("topics")
	allow("orderctl doctor")
	said, _, _ := s.tryOrderctl("doctor", "--api", "", "--output", "json")
	var found []string
	for _, finding := range regexp.MustCompile(`"check":"(kafka\.\w+)","finding":"(\w+)"`).FindAllStringSubmatch(said, -1) {
		found = append(found, finding[1]+"."+finding[2])
	}
	require.Equal(t, []string{"kafka.rights.missing"}, slices.Compact(slices.Sorted(slices.Values(found))), said)
}

// grant is how programs name a missing right.
var grant = regexp.MustCompile(`grant (Describe|Create|Read|Write)[^:]*? on (topic|group) ([^ ;:"]+) to this program's Kafka user`)

// An operator who grants what the worker asks for, one after another, ends with a worker
// that works. Nothing becomes a dead letter meanwhile that isn't one.
func testRightsFollowed(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, 0)
	// With Create alone kafka-go waits for 20 s until it sees the topic that it created.
	s.may("worker", right{kadm.OpDescribe, "topic", s.world.Topic}, right{kadm.OpDescribe, "topic", s.world.DLQ})
	s.as("worker")
	w := s.start("ingest-worker")
	granted := map[string]bool{}
	follow := func() error {
		_, body := get("http://" + w.admin + "/readyz")
		found := grant.FindStringSubmatch(body)
		if found == nil || granted[found[0]] {
			return errors.New(body)
		}
		granted[found[0]] = true
		operation, err := kmsg.ParseACLOperation(found[1])
		require.NoError(t, err)
		s.may("worker", right{operation, found[2], found[3]})
		return errors.New("more may be missing")
	}
	asked := func(r right) error {
		if text := "grant " + r.String() + " to this program's Kafka user"; !granted[text] {
			return fmt.Errorf("%w, and there was no %s", follow(), text)
		}
		return nil
	}
	eventually(t, "the worker asks for the right to read orders", func() error { return asked(right{kadm.OpRead, "topic", s.world.Topic}) })
	s.broken(0, 3)
	eventually(t, "the worker asks for the right to write letters", func() error { return asked(right{kadm.OpWrite, "topic", s.world.DLQ}) })
	require.NoError(t, s.progress.Drain(bounded(t)))
	s.exact()
	require.Contains(t, w.whole(), "grant Create on topic "+s.world.Topic, "the log says it too")
	names := slices.Collect(maps.Keys(granted))
	require.Contains(t, names, "grant Create on topic "+s.world.Topic+" to this program's Kafka user")
	require.Contains(t, names, "grant Read on group "+s.world.Group+" to this program's Kafka user")
}

// Each right is taken from a running worker: it says which one is missing, waits for it,
// and goes on. Those it needs at the start only are missing at the start.
func testRightsRevoked(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	rights := s.documented()["worker"]
	var needed []right
	for _, r := range rights {
		if r.operation != kadm.OpDescribeConfigs {
			needed = append(needed, r)
		}
	}
	require.Len(t, needed, 4)
	s.may("worker", needed...)
	s.as("worker")
	w := s.worker()
	for _, r := range rights {
		if r.operation == kadm.OpDescribeConfigs {
			require.Contains(t, w.whole(), "grant "+r.String())
		}
	}
	finish := s.underLoad(50)
	for _, r := range needed {
		s.mayNot("worker", r)
		if r.operation == kadm.OpRead && r.name == s.world.DLQ { // letters are read for erased orders, when there are new ones
			s.broken(0, 1)
		}
		eventually(t, "the worker asks for "+r.String(), func() error {
			_, body := get("http://" + w.admin + "/readyz")
			if !strings.Contains(body, "grant "+r.String()) {
				return fmt.Errorf("%s", body)
			}
			return nil
		})
		require.Contains(t, w.whole(), "grant "+r.String())
		s.may("worker", r)
		eventually(t, "the worker goes on", w.ready)
	}
	finish()
	s.exact()

	s.may("bridge", s.documented()["nats-bridge"]...)
	write := right{kadm.OpWrite, "topic", s.world.Topic}
	s.mayNot("bridge", write)
	s.as("bridge")
	nats := natsserver.StartForTest(t, natsserver.Options{})
	b := s.start("nats-bridge", "NATS_URL="+nats.URL(), "NATS_SUBJECT=rights")
	eventually(t, "the bridge asks for its right", func() error {
		_, body := get("http://" + b.admin + "/readyz")
		if !strings.Contains(body, " on topic "+s.world.Topic+" to this program's Kafka user") {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
	s.may("bridge", write)
	eventually(t, "the bridge is ready", b.ready)
}

// Without one of its rights a command of orderctl names what it needs.
func testRightsOfOrderctl(on site) {
	t, cluster := on.t, on.cluster
	s := newStage(t, cluster, partitions)
	s.may("worker", s.documented()["worker"]...)
	s.as("worker")
	s.worker()
	s.broken(0, 3)
	require.NoError(t, s.progress.Drain(bounded(t)))
	s.as("alice")
	ids := slices.Sorted(maps.Keys(s.letters("open")))
	id, discarded := ids[0], ids[1]
	s.orderctl("dlq", "discard", "--why", "test", discarded)
	s.as("operator")
	for command, arguments := range map[string][]string{
		"orderctl publish": {"publish", "--count", "1"},
		"orderctl dlq list, show, stats, export, find": {"dlq", "list"},
		"orderctl dlq redrive, edit":                   {"dlq", "redrive", id},
		"orderctl dlq accept, discard":                 {"dlq", "discard", "--why", "test", id},
		"orderctl dlq undo, purge":                     {"dlq", "undo", discarded},
	} {
		rights := s.documented()[command]
		for _, missing := range rights {
			s.may("operator", rights...)
			s.mayNot("operator", missing)
			_, stderr, code := s.tryOrderctl(arguments...)
			require.NotZero(t, code, "%s without %s", command, missing)
			require.Contains(t, stderr, missing.name, "%s without %s", command, missing)
			require.Regexp(t, `lacks the right`, stderr, "%s without %s", command, missing)
			for _, r := range rights {
				if r != missing {
					s.mayNot("operator", r)
				}
			}
		}
	}
}
