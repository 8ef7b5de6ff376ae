package integration

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
)

// cityOf is an order's record with another city.
func (w *world) cityOf(partition int32, uid, city string) *kgo.Record {
	r := w.order(partition, uid)
	r.Value = bytes.Replace(r.Value, []byte("Kiryat Mozkin"), []byte(city), 1)
	return r
}

// Conflicts become the newest versions of their orders, what they replace is kept, and undo
// restores it. Neither the accepted records nor those before are conflicts again.
func TestDLQAccept(t *testing.T) {
	w, db := replayWorld(t)
	operator := os.Getenv("DATABASE_URL")
	audit := t.TempDir() + "/audit.jsonl"
	t.Setenv("ORDERHUB_AUDIT_FILE", audit)
	w.produce(w.order(0, "a"), w.order(0, "b"), w.order(0, "c"))
	w.produce(w.cityOf(1, "a", "Haifa"), w.cityOf(1, "a", "Eilat"), w.cityOf(1, "b", "Haifa"), w.cityOf(1, "c", "Haifa"),
		&kgo.Record{Topic: orders, Partition: 1, Value: []byte("{")})
	w.replay(0, "--from", "earliest", "--to", "latest", "--partition", "0")
	w.replay(0, "--from", "earliest", "--to", "latest", "--partition", "1")
	require.Len(t, w.refs(letter.Open), 5)
	cities := func() string { return rows(t, db, `SELECT order_uid, city FROM deliveries ORDER BY 1`) }
	versions := func() string { return rows(t, db, `SELECT order_uid, version FROM order_versions ORDER BY 1, 2`) }
	before := `(a,"Kiryat Mozkin") (b,"Kiryat Mozkin") (c,"Kiryat Mozkin")`
	require.Equal(t, before, cities())

	// A dry run shows what would change, and changes nothing.
	got := w.orderctl("dlq", "accept", "--path", "delivery.city", "--dry-run")
	require.Zero(t, got.code, got.stderr)
	require.Regexp(t, `(?m)^orders/1/0/\S+  replaced\n    delivery.city\n      - "\*\*\*"\n      \+ "\*\*\*"\norders/1/1/`, got.stdout)
	require.Equal(t, "of 4 letters: 4 would replace the order, 0 are like it, 0 stay\n", got.stderr)
	got = w.orderctl("dlq", "accept", "orders/1/1", "--dry-run", "--reveal")
	require.Contains(t, got.stdout, `- "Kiryat Mozkin"`)
	require.Contains(t, got.stdout, `+ "Eilat"`)
	require.Equal(t, before, cities())
	require.Len(t, w.refs(letter.Open), 5)

	// Only conflicts, and only those that are meant.
	got = w.orderctl("dlq", "accept", "orders/1/4")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "is no conflict: only a letter of the reason conflict can be accepted")
	for _, wrong := range [][]string{{}, {"--reason", "invalid"}, {"--all", "--rate", "-1"}, {"--all", "--limit", "-1"}, {"--all"}} {
		require.Equal(t, 2, w.orderctl(append([]string{"dlq", "accept"}, wrong...)...).code, wrong)
	}
	require.Equal(t, before, cities())

	// In bulk, the last record of an order wins.
	got = w.orderctl("dlq", "accept", "--all", "--limit", "3", "--rate", "1000", "--why", "confirmed", "--actor", "ann", "--yes")
	require.Zero(t, got.code, got.stderr)
	require.Equal(t, "3 of 3 letters accepted\n", got.stderr)
	require.Equal(t, `(a,Eilat) (b,Haifa) (c,"Kiryat Mozkin")`, cities())
	require.Equal(t, "(a,1) (a,2) (b,1)", versions())
	require.Contains(t, w.orderctl("dlq", "show", "orders/1/1").stdout, "resolved: accepted by ann on ")
	require.Contains(t, w.orderctl("dlq", "list", "--status", "resolved").stdout, "resolved")
	lines, err := os.ReadFile(audit)
	require.NoError(t, err)
	require.Contains(t, string(lines), `"action":"accept","targets":["orders/1/`)
	require.Contains(t, string(lines), `"why":"confirmed"`)
	require.Equal(t, 3, w.orderctl("dlq", "accept", "orders/1/1").code, "it is resolved")

	// Every record of these orders is known now, in a dry run too.
	w.produce(w.cityOf(0, "a", "Haifa"), w.order(0, "a"))
	for _, dry := range [][]string{{"--dry-run"}, nil} {
		report, _ := w.replay(0, append([]string{"--from", "earliest", "--to", "latest"}, dry...)...)
		require.Equal(t, map[string]int{"stored": 0, "duplicate": 8, "dead_letter": 2}, report.Outcomes)
		require.Equal(t, map[string]int{"conflict": 1, "pretty_printed": 1}, report.Reasons)
	}
	require.Equal(t, `(a,Eilat) (b,Haifa) (c,"Kiryat Mozkin")`, cities())

	// Undone, an order is what it was, unless it has changed since.
	t.Setenv("DATABASE_URL", "")
	got = w.orderctl("dlq", "undo", "orders/1/2")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "name its database in DATABASE_URL")
	require.Contains(t, w.orderctl("dlq", "accept", "orders/1/3").stderr, "DATABASE_URL: name the database")
	t.Setenv("DATABASE_URL", operator)
	got = w.orderctl("dlq", "undo", "orders/1/0")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "its order has changed since it was accepted")
	got = w.orderctl("dlq", "undo", "orders/1/0", "orders/1/1")
	require.Zero(t, got.code, got.stderr)
	require.Equal(t, `(a,"Kiryat Mozkin") (b,Haifa) (c,"Kiryat Mozkin")`, cities())
	require.Equal(t, "(a,1) (a,2) (a,3) (a,4) (b,1)", versions())
	_, err = db.ExecContext(t.Context(), `DELETE FROM order_versions WHERE order_uid = 'b'`)
	require.NoError(t, err)
	require.Contains(t, w.orderctl("dlq", "undo", "orders/1/2").stderr, "is not kept any more")

	// The order is gone, or the letter is not valid any more.
	_, err = db.ExecContext(t.Context(), `DELETE FROM orders WHERE order_uid = 'c'`)
	require.NoError(t, err)
	got = w.orderctl("dlq", "accept", "orders/1/3")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "its order is not stored: redrive the letter instead")
	require.Contains(t, w.orderctl("dlq", "accept", "orders/1/3", "--dry-run").stdout, "stay: its order is not stored")
	rulesFile := t.TempDir() + "/rules.yaml"
	require.NoError(t, os.WriteFile(rulesFile, []byte("fields:\n  delivery.city: {rule: max=3}\n"), 0o600))
	t.Setenv("INGEST_RULES_FILE", rulesFile)
	require.Contains(t, w.orderctl("dlq", "accept", "orders/1/3").stderr, "is no valid order by today's rules: invalid, delivery.city")
}

// Undo restores what the letter replaced, not what another letter with its content did.
func TestDLQUndoOfWhatReplacedNothing(t *testing.T) {
	t.Setenv("INGEST_UNKNOWN_FIELDS", "keep")
	w, db := replayWorld(t)
	haifa := func() *kgo.Record {
		r := w.cityOf(1, "a", "Haifa")
		r.Value = bytes.Replace(r.Value, []byte("{"), []byte(`{"ivan_petrov":1,`), 1)
		return r
	}
	w.produce(w.order(0, "a"), haifa(), haifa())
	w.replay(0, "--from", "earliest", "--to", "latest", "--partition", "0")
	w.replay(0, "--from", "earliest", "--to", "latest", "--partition", "1")
	city := func() string { return rows(t, db, `SELECT city FROM deliveries`) }
	done := func(args ...string) string {
		t.Helper()
		got := w.orderctl(append([]string{"dlq"}, args...)...)
		require.Zero(t, got.code, got.stderr)
		return got.stdout
	}
	require.NotContains(t, done("accept", "--all", "--dry-run"), "ivan", "names of unknown fields may be personal")
	require.Contains(t, done("accept", "--all", "--dry-run", "--reveal"), "ivan_petrov")

	done("accept", "orders/1/0")
	done("accept", "orders/1/1")
	done("undo", "orders/1/1")
	require.Equal(t, "(Haifa)", city())
	// Killed between the order and the resolution.
	resolved := w.refs(letter.Resolved)
	require.Len(t, resolved, 1)
	w.produce(letter.UndoRecord(dlqTopic, resolved[0].Place.Partition, resolved[0].ID))
	done("accept", "orders/1/0")
	done("undo", "orders/1/0")
	require.Equal(t, `("Kiryat Mozkin")`, city())
}
