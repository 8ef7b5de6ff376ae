package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/migrations"
)

// lastRelease is the version of the schema of release 0.1.0.
const lastRelease = 3

// A worker works on the last release's schema as that release did. While it runs the schema
// is migrated: from then on an erased order is refused, whether the worker has noticed the
// migration or not, and once it has, it records positions.
func TestAWorkerOnTheLastReleasesSchema(t *testing.T) {
	b := setup(t, 2)
	_, err := migrations.DownTo(b.ctx, b.db, lastRelease)
	require.NoError(t, err)
	positions := func() (text string) {
		require.NoError(t, b.db.QueryRow(`SELECT coalesce(string_agg(concat(partition, ':', next_offset), ' ' ORDER BY partition), '')
			FROM ingest_positions WHERE topic = $1`, ordersTopic).Scan(&text))
		return text
	}
	up := func() {
		_, err := migrations.Up(b.ctx, b.db)
		require.NoError(t, err)
	}
	w := b.startWorker("ERASURE_KEY="+erasureKey, "INGEST_LAG_INTERVAL=1h") // it does not notice
	b.produce(0, order(t, "gone", "a"), order(t, "kept", "a"), order(t, "kept", "b"), []byte("broken"))
	b.drained()
	require.Equal(t, 2, b.count("orders"))
	require.Len(t, b.letters(), 2)
	up()
	b.produce(0, order(t, "kept", "a"), order(t, "more", "a"))
	b.drained()
	b.erase("gone")
	b.removeOrder("gone")
	b.produce(0, order(t, "gone", "a"), order(t, "kept", "a"))
	b.drained()
	require.Equal(t, 1, w.metric("orderhub_ingest_records_total", "outcome=erased"))
	require.Equal(t, 2, b.count("orders"))
	require.Empty(t, positions())
	w.stop()

	b.exec(`DELETE FROM orders`)
	_, err = migrations.DownTo(b.ctx, b.db, lastRelease)
	require.NoError(t, err)
	w = b.startWorker("ERASURE_KEY="+erasureKey, "INGEST_LAG_INTERVAL=200ms")
	b.produce(1, order(t, "early", "a"))
	b.drained()
	up()
	b.eventually("the worker joins its group again, and has positions", func() (bool, string) {
		return positions() == "0:8 1:1", positions()
	})
	b.produce(0, order(t, "gone", "a"), order(t, "late", "a"))
	b.drained()
	require.Equal(t, 1, w.metric("orderhub_ingest_records_total", "outcome=erased"), "the note in the topic tells")
	require.Equal(t, 2, b.count("orders"), "early and late")
	require.Equal(t, "0:10 1:1", positions())
	require.Zero(t, w.metric("orderhub_ingest_positions_behind_records_total"))
}
