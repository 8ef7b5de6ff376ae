package integration

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap/zapcore"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// progress looks at the committed offsets, which never go back unless the tables did, and
// says which partitions are not at their end, by their offset or in the tables, and which
// erasures are not done.
func (c *propertyCase) progress() (behind []string) {
	c.t.Helper()
	cluster := c.slot.broker.Cluster()
	group := cluster.GroupInfo(c.group)
	positions := c.positions()
	for _, p := range cluster.PartitionInfos(c.topic) {
		at := int64(0)
		if group != nil {
			at = group.Commits[c.topic][p.Partition].Offset
		}
		require.True(c.t, c.wentBack || at >= c.committed[p.Partition], "the committed offset of partition %d has gone back", p.Partition)
		require.LessOrEqual(c.t, at, p.HighWatermark, "the committed offset of partition %d is behind its end", p.Partition)
		c.committed[p.Partition] = at
		if position := positions[p.Partition]; at != p.HighWatermark || position != p.HighWatermark {
			behind = append(behind, fmt.Sprintf("partition %d: committed %d, in the tables %d, end %d", p.Partition, at, position, p.HighWatermark))
		}
	}
	return append(behind, c.erasuresLeft()...)
}

// positions are how far the partitions are in the tables.
func (c *propertyCase) positions() map[int32]int64 {
	c.t.Helper()
	rows, err := c.slot.db.QueryContext(c.ctx, `SELECT partition, next_offset FROM ingest_positions WHERE topic = $1`, c.topic)
	require.NoError(c.t, err)
	defer func() { _ = rows.Close() }()
	positions := map[int32]int64{}
	for rows.Next() {
		var partition int32
		var next int64
		require.NoError(c.t, rows.Scan(&partition, &next))
		positions[partition] = next
	}
	require.NoError(c.t, rows.Err())
	return positions
}

// drained waits until all of it is committed, for as long as it comes nearer.
func (c *propertyCase) drained() {
	c.t.Helper()
	var until, haunted time.Time
	var before []string
	for {
		behind := c.progress()
		if !slices.Equal(behind, before) {
			until, before = time.Now().Add(deadline), behind
		}
		if len(behind) == 0 {
			return
		}
		group := c.slot.broker.Cluster().GroupInfo(c.group)
		switch {
		case time.Now().After(until):
			c.t.Fatalf("stuck for %s: %s\nthe group: %+v\n%s%s", deadline, strings.Join(behind, "; "), group, c.warnings(), c.sessions())
		case group == nil || group.State != "Stable" || len(group.Members) <= len(c.members):
			haunted = time.Time{}
		case haunted.IsZero():
			haunted = time.Now()
		case time.Since(haunted) > 3*c.settings.SessionTimeout:
			// Of a member that dies while it joins, kfake does not watch the
			// session, so it stays until the next rebalance, which this brings.
			c.start()
			haunted = time.Time{}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// sessions is what the database's sessions do.
func (c *propertyCase) sessions() (all string) {
	err := c.slot.db.QueryRowContext(c.ctx, `SELECT coalesce(string_agg(concat_ws(' ', 'session', pid, application_name, state, wait_event_type, wait_event,
		clock_timestamp() - xact_start, clock_timestamp() - query_start, pg_blocking_pids(pid), left(query, 300)), E'\n'), '')
		FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`).Scan(&all)
	return fmt.Sprint(all, err)
}

// warnings is what the workers said last.
func (c *propertyCase) warnings() string {
	var b strings.Builder
	for _, m := range slices.Concat(c.members, c.stopped) {
		fmt.Fprintf(&b, "a worker (running: %t):\n", slices.Contains(c.members, m))
		all := m.log.All()
		for _, e := range all[max(0, len(all)-10):] {
			fmt.Fprintf(&b, "  %s %s %s %v\n", e.Time.Format("05.000"), e.Level, e.Message, e.ContextMap())
		}
	}
	return b.String()
}

// check compares what there is with what the model says there is to be.
func (c *propertyCase) check() {
	c.t.Helper()
	letters := c.letters()
	stored := c.stored()
	c.checkTables(stored)

	expected := map[string]bool{}
	firsts := map[string]map[string]bool{} // uid → the contents that may have won
	for _, ofPartition := range c.byPartition() {
		first := map[string]bool{}
		for _, r := range ofPartition {
			if r.kind == valid && !first[r.uid] && !slices.Contains(c.erased, r.uid) {
				first[r.uid] = true
				if firsts[r.uid] == nil {
					firsts[r.uid] = map[string]bool{}
				}
				firsts[r.uid][r.content] = true
			}
		}
	}
	newest := map[string]*sent{} // by uid
	if c.plan.newest {
		newest, firsts = c.newest(), nil
		c.checkNewest(newest, stored)
	} else {
		assert.Len(c.t, stored, len(firsts), "orders that are stored")
	}
	for uid, contents := range firsts {
		assert.True(c.t, contents[stored[uid]], "%s is stored as %q, and may be %q", uid, stored[uid], slices.Collect(maps.Keys(contents)))
	}
	for _, r := range c.sent {
		reasons, sure := r.reasons(stored), true
		if c.plan.newest {
			reasons, sure = r.reasonsBeside(newest[r.uid])
		}
		id := deadletter.ID(deadletter.Source{
			Topic: c.topic, Partition: int(r.record.Partition), Offset: r.record.Offset, Timestamp: r.record.Timestamp, Value: r.value,
		})
		if slices.Contains(c.erased, r.uid) {
			if copies := letters[id]; len(copies) > 0 {
				assert.Nil(c.t, copies[len(copies)-1].Value, "letter %s is of the erased order %s", id, r.uid)
			}
			delete(letters, id)
			continue
		}
		if len(reasons) == 0 || !sure && len(letters[id]) == 0 {
			continue
		}
		expected[id] = true
		c.checkLetter(id, r, letters[id], reasons)
	}
	for id := range letters {
		assert.True(c.t, expected[id] || strings.HasPrefix(id, "note:"+erasure.NotePrefix) || c.wentBack && c.plan.shared, "letter %s is of no record that deserves one", id)
	}
	for _, m := range slices.Concat(c.members, c.stopped) {
		for _, e := range m.log.FilterLevelExact(zapcore.ErrorLevel).All() {
			if c.wentBack && strings.Contains(e.Message, "went back to an earlier state") {
				continue
			}
			c.t.Errorf("a worker says that something is wrong: %s %v", e.Message, e.ContextMap())
		}
	}
}

// reasons are those for which the record may be a dead letter; none if it is to
// be none.
func (s *sent) reasons(stored map[string]string) []string {
	_, there := stored[s.uid]
	switch {
	case s.kind == broken:
		return []string{s.reason}
	case s.kind == forbidden && there:
		// Whether it was refused, or another of the uid was there by then, may
		// differ from one reading to the next.
		return []string{deadletter.ReasonRefused, deadletter.ReasonConflict}
	case s.kind == forbidden:
		return []string{deadletter.ReasonRefused}
	case stored[s.uid] != s.content:
		return []string{deadletter.ReasonConflict}
	default:
		return nil
	}
}

// reasonsBeside is reasons where the newest record decides. One that is refused, and older than
// another, is stale from when that is stored, so it need not have a letter.
func (s *sent) reasonsBeside(newest *sent) (reasons []string, sure bool) {
	switch s.kind {
	case broken:
		return []string{s.reason}, true
	case forbidden:
		return []string{deadletter.ReasonRefused}, newest == nil || s.stamp().NewerThan(newest.stamp())
	default:
		return nil, true
	}
}

func (s *sent) stamp() *model.Stamp {
	return &model.Stamp{Time: s.record.Timestamp, Partition: s.record.Partition, Offset: s.record.Offset}
}

// newest are the records that decide, by uid, but of erased orders.
func (c *propertyCase) newest() map[string]*sent {
	newest := map[string]*sent{}
	for i := range c.sent {
		s := &c.sent[i]
		if (s.kind == valid || s.kind == deletion) && !slices.Contains(c.erased, s.uid) {
			if before := newest[s.uid]; before == nil || s.stamp().NewerThan(before.stamp()) {
				newest[s.uid] = s
			}
		}
	}
	return newest
}

// checkNewest compares contents, stamps and remembered deletions with the newest records.
func (c *propertyCase) checkNewest(newest map[string]*sent, stored map[string]string) {
	c.t.Helper()
	want, got := map[string]string{}, map[string]string{}
	for uid, s := range newest {
		want[uid] = fmt.Sprint(s.content, " ", s.record.Timestamp.UnixMilli(), " ", s.record.Partition, " ", s.record.Offset)
	}
	rows, err := c.slot.db.QueryContext(c.ctx, `SELECT order_uid, record_time, record_partition, record_offset FROM orders
		UNION ALL SELECT order_uid, record_time, record_partition, record_offset FROM order_tombstones WHERE NOT order_uid = ANY (coalesce($1::text[], '{}'))`, c.erased)
	require.NoError(c.t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var uid string
		var at time.Time
		var partition, offset int64
		require.NoError(c.t, rows.Scan(&uid, &at, &partition, &offset))
		assert.NotContains(c.t, got, uid, "%s is stored, and deleted", uid)
		got[uid] = fmt.Sprint(stored[uid], " ", at.UnixMilli(), " ", partition, " ", offset)
	}
	require.NoError(c.t, rows.Err())
	assert.Equal(c.t, want, got)
}

func (c *propertyCase) byPartition() map[int32][]sent {
	by := map[int32][]sent{}
	for _, r := range c.sent {
		by[r.record.Partition] = append(by[r.record.Partition], r)
	}
	for _, records := range by {
		slices.SortFunc(records, func(a, b sent) int { return int(a.record.Offset - b.record.Offset) })
	}
	return by
}

func (c *propertyCase) checkLetter(id string, r sent, copies []*kgo.Record, reasons []string) {
	c.t.Helper()
	if !assert.NotEmpty(c.t, copies, "no dead letter %s of %s", id, r.about) {
		return
	}
	for _, l := range copies {
		var kept []string
		header := map[string]string{}
		for _, h := range l.Headers {
			header[h.Key] = string(h.Value)
			if h.Key == "trace" {
				kept = append(kept, string(h.Value))
			}
		}
		assert.Len(c.t, l.Value, len(r.value), id)
		assert.Equal(c.t, string(r.value), string(l.Value), id)
		assert.NotNil(c.t, l.Value, "a letter is no tombstone: %s", id)
		assert.Equal(c.t, r.value == nil, header[deadletter.HeaderValue] == "null", id)
		assert.Contains(c.t, reasons, header[deadletter.HeaderReason], "%s of %s", id, r.about)
		assert.Equal(c.t, string(r.record.Key), header[deadletter.HeaderSourceKey], id)
		if len(r.record.Headers) > 0 {
			assert.Equal(c.t, []string{string(r.record.Headers[0].Value)}, kept, id)
		}
	}
}

// stored are all orders in the tables, as canonical JSON by order_uid.
func (c *propertyCase) stored() map[string]string {
	c.t.Helper()
	var uids []string
	rows, err := c.slot.db.QueryContext(c.ctx, `SELECT order_uid FROM orders`)
	require.NoError(c.t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var uid string
		require.NoError(c.t, rows.Scan(&uid))
		uids = append(uids, uid)
	}
	require.NoError(c.t, rows.Err())
	found, err := orderdb.Read(c.ctx, c.slot.db, uids)
	require.NoError(c.t, err)
	stored := map[string]string{}
	for uid, row := range found {
		canonical := model.AppendCanonical(nil, row.Order)
		stored[uid] = string(canonical)
		hash := model.ContentHash(canonical)
		assert.Equal(c.t, hash[:], row.ContentHash, uid)
	}
	return stored
}

// checkTables looks for rows that belong to no order.
func (c *propertyCase) checkTables(stored map[string]string) {
	c.t.Helper()
	for _, table := range []string{"orders", "deliveries", "payments"} {
		var n int
		require.NoError(c.t, c.slot.db.QueryRowContext(c.ctx, "SELECT count(*) FROM "+table).Scan(&n))
		assert.Equal(c.t, len(stored), n, table)
	}
	assert.Zero(c.t, orphans(c.ctx, c.t, c.slot.db), "parts without an order")
}

// letters are the dead letters by their id, each as often as it was written.
func (c *propertyCase) letters() map[string][]*kgo.Record {
	c.t.Helper()
	from := map[int32]kgo.Offset{}
	left := int64(0)
	for _, p := range c.slot.broker.Cluster().PartitionInfos(c.dlq) {
		if p.HighWatermark > 0 {
			from[p.Partition] = kgo.NewOffset().AtStart()
			left += p.HighWatermark
		}
	}
	found := map[string][]*kgo.Record{}
	if left == 0 {
		return found
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.slot.broker.Addr()), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.dlq: from}))
	require.NoError(c.t, err)
	defer client.Close()
	for left > 0 {
		fetches := client.PollFetches(c.ctx)
		require.NoError(c.t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			found[string(r.Key)] = append(found[string(r.Key)], r)
		})
	}
	return found
}
