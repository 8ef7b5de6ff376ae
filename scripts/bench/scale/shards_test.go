package scale

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// TestReadersByShard has a reader for each of the shards that shards.sql makes.
// Together they know every order, each of them the orders of its own partition
// only, and they follow what becomes of these, also where an order moves into
// another shard. Their lists put together are the list of all orders.
func TestReadersByShard(t *testing.T) {
	p := newPartitioned(t)
	const stored, sent = 300, 100
	p.fill(stored)
	require.NoError(t, postgres.Execute(t.Context(), p.database, partitionSQL))
	require.NoError(t, postgres.Execute(t.Context(), p.database, shardsSQL))
	require.NoError(t, postgres.Execute(t.Context(), p.database, shardsSQL), "again, as after a migration")
	p.startWorker()
	s := sharded{partitioned: p}
	for n := range shards {
		s.readers = append(s.readers, p.startReader(addressOfShard(p.database, n)))
	}
	s.eachHasItsOwn()

	uids := p.send(sent, false)
	p.waitMetric(p.worker, rig.MetricStored, sent)
	s.eachHasItsOwn()
	for _, uid := range uids[:10] {
		s.served(uid, `"city":`)
	}
	p.execute("UPDATE payments SET amount = 4711 WHERE order_uid = $1", uids[0])
	s.served(uids[0], `"amount":4711`)
	for i, uid := range uids[1:9] {
		moved := fmt.Sprint("moved-", i)
		p.execute("UPDATE orders SET order_uid = $2 WHERE order_uid = $1", uid, moved)
		s.served(moved, `"city":`)
		s.served(uid, "")
	}
	p.execute("DELETE FROM orders WHERE order_uid = $1", uids[10])
	s.served(uids[10], "")
	s.eachHasItsOwn()
	s.listedAlike()
	p.execute("TRUNCATE orders CASCADE")
	s.eachHasItsOwn()
}

// sharded is a partitioned database with a reader for each shard.
type sharded struct {
	*partitioned
	readers []*rig.Reader
}

// eachHasItsOwn waits until each reader has as many orders as its partition.
func (s sharded) eachHasItsOwn() {
	s.Helper()
	for n, reader := range s.readers {
		s.waitMetric(reader.Service, rig.MetricCached, s.number(fmt.Sprint("SELECT count(*) FROM orders_", n)))
	}
}

// served waits until the reader of an order's shard serves it, with words, and
// the others know for sure that they do not have it; no words are for an order
// that is gone.
func (s sharded) served(uid, words string) {
	s.Helper()
	home := -1
	if words != "" {
		home = s.number("SELECT right(tableoid::regclass::text, 1)::int FROM orders WHERE order_uid = $1", uid)
	}
	require.EventuallyWithT(s, func(c *assert.CollectT) {
		for n, reader := range s.readers {
			status, body := get(c, reader, "/order/"+uid)
			if n == home {
				require.Equal(c, http.StatusOK, status)
				require.Contains(c, body, words)
			} else {
				require.Equal(c, http.StatusNotFound, status, "shard %d has %s, which is of shard %d", n, uid, home)
			}
		}
	}, patience, 10*time.Millisecond)
}

// listedAlike merges the readers' lists, which is what a router in front of them
// has to do, and compares them with the tables.
func (s sharded) listedAlike() {
	s.Helper()
	type order struct {
		UID     string    `json:"order_uid"`
		Created time.Time `json:"date_created"`
	}
	require.EventuallyWithT(s, func(c *assert.CollectT) {
		var merged []order
		for _, reader := range s.readers {
			status, body := get(s, reader, "/api/v1/orders?limit=100")
			require.Equal(c, http.StatusOK, status, body)
			var page struct {
				Orders []order `json:"orders"`
			}
			require.NoError(c, json.Unmarshal([]byte(body), &page))
			merged = append(merged, page.Orders...)
		}
		slices.SortFunc(merged, func(a, b order) int {
			return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(b.UID, a.UID))
		})
		var uids []string
		for _, o := range merged[:100] {
			uids = append(uids, o.UID)
		}
		newest := s.text(`SELECT string_agg(order_uid, ' ') FROM (SELECT order_uid FROM orders ORDER BY date_created DESC, order_uid DESC LIMIT 100) AS newest`)
		require.Equal(c, newest, strings.Join(uids, " "))
	}, patience, 10*time.Millisecond)
}
