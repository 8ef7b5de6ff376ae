package e2e

import (
	"bytes"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// stagedOrders fills a schema with Orderhub's tables, from which the tables of another
// service are made.
const stagedOrders = `
	INSERT INTO orders SELECT 'order' || n || 'test', 'WBILMTESTTRACK', 'WBIL', 'en', '', 'test', 'meest', '9', n, timestamptz '2025-07-12T15:00:00Z' + n * interval '1 s', '1' FROM generate_series(1, 6000) n;
	INSERT INTO deliveries SELECT order_uid, 'Alexey Petrov', '+79161234567', '101000', 'Saint Petersburg', 'Nevsky Prospekt 20', 'Leningrad', 'alexey.petrov@example.com' FROM orders;
	INSERT INTO payments SELECT order_uid, order_uid, '', 'USD', 'wbpay', 1817, 1637907727 + sm_id, 'alpha', 1500, 317, 0 FROM orders;
	INSERT INTO items SELECT order_uid, p, 9934930 + p, 'WBILMTESTTRACK', 453, 'ab4219087a764ae0btest', 'Mascaras', 30, '0', 317, 2389212, 'Vivienne Sabo', 202 FROM orders, generate_series(0, 1) p`

// TestMovingOver has the other service and Orderhub side by side, and copies what was
// there before, with an import that is killed.
func TestMovingOver(t *testing.T) {
	p := newPipeline(t)
	old := postgres.ForTest(t)
	oldDB, err := sql.Open("pgx", old)
	require.NoError(t, err)
	t.Cleanup(func() { _ = oldDB.Close() })
	_, err = oldDB.Exec(`CREATE SCHEMA staging`)
	require.NoError(t, err)
	separator := "?"
	if strings.Contains(old, "?") {
		separator = "&"
	}
	staging, err := sql.Open("pgx", old+separator+"search_path=staging")
	require.NoError(t, err)
	t.Cleanup(func() { _ = staging.Close() })
	_, err = migrations.Up(p.ctx, staging)
	require.NoError(t, err)
	_, err = staging.Exec(stagedOrders)
	require.NoError(t, err)
	ddl, err := os.ReadFile("../../services/orderctl/testdata/otherdb/orderhub_l0.sql")
	require.NoError(t, err)
	_, err = oldDB.Exec(string(ddl))
	require.NoError(t, err)

	p.worker()
	folder := t.TempDir()
	orderctl := func(args ...string) (*exec.Cmd, *syncBuffer, *bytes.Buffer) {
		cmd := exec.CommandContext(p.ctx, filepath.Join(programs, "orderctl"), args...)
		var stdout bytes.Buffer
		stderr := new(syncBuffer)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, folder, &stdout, stderr
		return cmd, stderr, &stdout
	}
	// Both services get the next order from the topic.
	p.orderctl(sample(t, "order1001test.json"), "publish", "--file", "-")
	_, err = oldDB.Exec(`INSERT INTO orders VALUES ('order1001test2', 't', 'e', 'en', '', 'c', 'd', '9', 1, now(), '1')`)
	require.NoError(t, err)

	cmd, stderr, _ := orderctl("import", "--from", old, "--rate", "1000")
	require.NoError(t, cmd.Start())
	p.eventually("the import remembers how far it is", func() (bool, string) {
		_, err := os.Stat(filepath.Join(folder, "orderctl-import.json"))
		return err == nil, stderr.String()
	})
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed

	cmd, stderr, _ = orderctl("import", "--from", old)
	require.NoError(t, cmd.Run(), stderr)
	require.Contains(t, stderr.String(), "going on after order order")
	require.NoFileExists(t, filepath.Join(folder, "orderctl-import.json"))

	// The order without parts, and the one with another content than the topic's, are dead letters.
	want := "missing  order1001test2  delivery [wrong_type], payment [wrong_type], items [min]"
	p.eventually("both have the same orders", func() (bool, string) {
		cmd, stderr, stdout := orderctl("verify", "--against", old, "--settle", "10ms")
		_ = cmd.Run() // 1: something differs
		all := stdout.String() + stderr.String()
		return strings.Contains(all, want) && strings.Contains(all, "compared 6,001 orders") && strings.Contains(all, ": 1 missing, 0 extra, 1 different"), all
	})
	p.eventually("two dead letters", func() (bool, string) {
		stats := p.orderctl("", "dlq", "stats", "--output", "json")
		return strings.Contains(stats, `"open":2,`) && strings.Contains(stats, `"conflict":1`), stats
	})
}
