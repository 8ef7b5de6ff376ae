package integration

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/proxy"
)

// injection is a fault that a plan can inject. One that lasts ends with heal.
type injection struct {
	name   string
	inject func(c *propertyCase)
}

// families of injections come equally often, however many each has.
var families = allInjections()

func allInjections() (families [][]injection) {
	family := func() { families = append(families, nil) }
	add := func(name string, inject func(c *propertyCase)) {
		last := &families[len(families)-1]
		*last = append(*last, injection{name, inject})
	}

	family() // between a worker and the database
	database := func(name string, do func(p *proxy.Proxy)) {
		add("database connections: "+name, func(c *propertyCase) {
			for _, m := range c.members {
				do(m.database)
			}
		})
	}
	database("cut", (*proxy.Proxy).Cut)
	database("half-open", (*proxy.Proxy).Silence)
	database("refused", func(p *proxy.Proxy) { p.Refuse(true); p.Cut() })
	database("slow", func(p *proxy.Proxy) { p.Delay(20 * time.Millisecond) })
	for range 2 { // what hurts most comes more often
		database("cut before a COMMIT", func(p *proxy.Proxy) { p.Set(proxy.Trap{Match: proxy.PostgresCommit}) })
		database("cut between a COMMIT and its answer", func(p *proxy.Proxy) { p.Set(proxy.Trap{Match: proxy.PostgresCommit, Effect: proxy.LoseAnswer}) })
	}
	// The server keeps such a transaction, and its rows locked.
	database("half-open from a COMMIT on", func(p *proxy.Proxy) {
		p.Set(proxy.Trap{Match: proxy.PostgresCommit, Effect: proxy.FallSilent})
	})
	database("half-open within COPY", func(p *proxy.Proxy) {
		p.Set(proxy.Trap{Match: proxy.PostgresData, Effect: proxy.FallSilent})
	})
	database("cut within COPY", func(p *proxy.Proxy) { p.Set(proxy.Trap{Match: proxy.PostgresData}) })

	family() // in the database
	add("database: sessions terminated", func(c *propertyCase) {
		c.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'ingest-worker'`)
	})
	add("database: items locked", (*propertyCase).lockItems)
	for _, code := range []string{"40001", "40P01", "53100", "53200", "55P03", "57014", "57P03", "58030", "25006", "08006", "XX000"} {
		add("database: inserts fail with "+code, func(c *propertyCase) { c.failInserts(code, "insert", c.few()) })
	}
	for _, code := range []string{"40001", "53100", "57014"} {
		add("database: commits fail with "+code, func(c *propertyCase) { c.failInserts(code, "commit", c.few()) })
	}

	family() // between a worker and the broker
	broker := func(name string, do func(p *proxy.Proxy)) {
		add("broker connections: "+name, func(c *propertyCase) {
			for _, m := range c.members {
				do(m.broker)
			}
		})
	}
	broker("cut", (*proxy.Proxy).Cut)
	broker("refused", func(p *proxy.Proxy) { p.Refuse(true); p.Cut() })
	broker("slow", func(p *proxy.Proxy) { p.Delay(10 * time.Millisecond) })
	for _, key := range []kmsg.Key{kmsg.Produce, kmsg.OffsetCommit, kmsg.Fetch, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat, kmsg.OffsetFetch, kmsg.Metadata} {
		broker("cut before "+key.Name(), func(p *proxy.Proxy) { p.Set(proxy.Trap{Match: proxy.KafkaKey(int16(key))}) })
		broker("cut between "+key.Name()+" and its answer", func(p *proxy.Proxy) {
			p.Set(proxy.Trap{Match: proxy.KafkaKey(int16(key)), Effect: proxy.LoseAnswer})
		})
	}

	family() // what the broker answers
	answers := map[kmsg.Key][]*kerr.Error{
		kmsg.Produce: {
			kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.RequestTimedOut, kerr.NotLeaderForPartition, kerr.UnknownTopicOrPartition,
			kerr.TopicAuthorizationFailed, kerr.KafkaStorageError,
		},
		kmsg.OffsetCommit: {
			kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.NotCoordinator,
			kerr.CoordinatorNotAvailable, kerr.CoordinatorLoadInProgress, kerr.RequestTimedOut, kerr.UnknownServerError,
		},
		kmsg.Heartbeat:       {kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.RebalanceInProgress, kerr.NotCoordinator},
		kmsg.JoinGroup:       {kerr.NotCoordinator, kerr.CoordinatorNotAvailable, kerr.UnknownMemberID, kerr.RebalanceInProgress},
		kmsg.SyncGroup:       {kerr.NotCoordinator, kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID},
		kmsg.OffsetFetch:     {kerr.NotCoordinator, kerr.CoordinatorLoadInProgress},
		kmsg.FindCoordinator: {kerr.CoordinatorNotAvailable},
		kmsg.Fetch:           {kerr.NotLeaderForPartition, kerr.KafkaStorageError, kerr.UnknownTopicOrPartition, kerr.FencedLeaderEpoch},
		kmsg.ListOffsets:     {kerr.NotLeaderForPartition},
	}
	for key := range kmsg.MaxKey {
		for _, err := range answers[kmsg.Key(key)] {
			add(fmt.Sprintf("broker: %s answers %s", kmsg.Key(key).Name(), err.Message), func(c *propertyCase) { c.answer(kmsg.Key(key), err, c.few()) })
		}
	}
	family() // what does not pass by itself
	add("dead-letter topic: refuses until healed", func(c *propertyCase) { c.answer(kmsg.Produce, kerr.NotEnoughReplicas, -1) })
	add("dead-letter topic: appends but refuses until healed", func(c *propertyCase) { c.answer(kmsg.Produce, kerr.NotEnoughReplicasAfterAppend, -1) })
	add("commits of offsets: refused until healed", func(c *propertyCase) { c.answer(kmsg.OffsetCommit, kerr.CoordinatorLoadInProgress, -1) })
	add("database: inserts fail until healed", func(c *propertyCase) { c.failInserts("53100", "insert", 1_000_000) })
	add("database: commits fail until healed", func(c *propertyCase) { c.failInserts("58030", "commit", 1_000_000) })
	return families
}

func (c *propertyCase) few() int { return 1 + c.random.IntN(3) }

// answer has the broker answer the next requests of a kind with an error, so many
// of them, or until heal where times is -1.
func (c *propertyCase) answer(key kmsg.Key, err *kerr.Error, times int) {
	fault := kfake.Fault{Keys: []kmsg.Key{key}, Err: err, Count: times}
	switch key {
	case kmsg.Produce:
		fault.Topic = c.dlq
	case kmsg.Fetch, kmsg.ListOffsets:
		fault.Topic = c.topic
	default:
		fault.Group = c.group
	}
	c.faults = append(c.faults, c.slot.broker.Cluster().Fault(fault))
}

// failInserts has the database refuse so many of the next transactions with an
// SQLSTATE, at their inserts or at their commits.
func (c *propertyCase) failInserts(code, at string, times int) {
	c.exec(`SELECT setval('planned_fault_calls', 1, false)`)
	c.exec(`UPDATE planned_fault SET code = $1, at = $2, calls = $3`, code, at, times)
}

// plannedFaults are what failInserts needs. The calls are counted by a sequence
// since that outlives a rolled back transaction.
const plannedFaults = `
	ALTER TABLE payments ADD CONSTRAINT forbidden_bank CHECK (bank <> '` + forbiddenBank + `');
	CREATE SEQUENCE planned_fault_calls;
	CREATE TABLE planned_fault (code text, at text, calls bigint);
	INSERT INTO planned_fault VALUES (NULL, NULL, 0);
	CREATE FUNCTION fail_as_planned() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE plan record;
	BEGIN
		SELECT * INTO plan FROM planned_fault;
		IF plan.at = TG_ARGV[0] AND nextval('planned_fault_calls') <= plan.calls THEN
			RAISE EXCEPTION 'a planned fault' USING ERRCODE = plan.code;
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER at_insert AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION fail_as_planned('insert');
	CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON payments DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION fail_as_planned('commit');`

// lockItems keeps everybody else from inserting until heal.
func (c *propertyCase) lockItems() {
	if c.lock != nil {
		return
	}
	tx, err := c.slot.db.BeginTx(c.ctx, nil)
	require.NoError(c.t, err)
	c.lock = tx
	// A worker may be in the way for a moment.
	_, err = tx.ExecContext(c.ctx, `LOCK TABLE items IN SHARE ROW EXCLUSIVE MODE`)
	require.NoError(c.t, err)
}

// heal ends the faults that last.
func (c *propertyCase) heal() {
	for _, f := range c.faults {
		f.Remove()
	}
	c.faults = nil
	for _, m := range c.members {
		for _, p := range []*proxy.Proxy{m.database, m.broker} {
			p.Refuse(false)
			p.Delay(0)
		}
	}
	c.exec(`UPDATE planned_fault SET code = NULL, at = NULL`)
	if c.lock != nil {
		require.NoError(c.t, c.lock.Rollback())
		c.lock = nil
	}
}
