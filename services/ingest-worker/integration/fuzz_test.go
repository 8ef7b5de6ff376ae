package integration

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// FuzzRecord takes a record to its outcome with a real database behind it. What
// decoding lets through PostgreSQL takes as well, and gives back the same; a
// second time it is a duplicate, and with another content a conflict. What is
// refused is refused with a reason.
func FuzzRecord(f *testing.F) {
	for _, r := range append(acceptedRecords(f), brokenRecords(f)...) {
		if len(r.value) < 50_000 {
			f.Add(r.value)
		}
	}
	f.Add(sample(f))
	// The fuzzing engine's workers are processes of their own, each with a server.
	url := fuzzDatabase(f)
	db, err := bundb.Open(config.Database{URL: config.Secret(url)}, bundb.Options{MaxConns: 1, ApplicationName: "fuzz"})
	require.NoError(f, err)
	f.Cleanup(func() { _ = db.Close() })
	s, codec := newWriter(db, 1000), model.New(model.Options{})

	f.Fuzz(func(t *testing.T, record []byte) {
		decoded, err := codec.Decode(record)
		if err != nil {
			var refused *model.RecordError
			require.ErrorAs(t, err, &refused)
			require.NotEmpty(t, refused.Reason)
			require.NotEmpty(t, refused.Errors)
			return
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = db.ExecContext(ctx, `DELETE FROM orders`)
		require.NoError(t, err)
		content := model.AppendCanonical(nil, decoded.Order)
		require.Equal(t, orderwrite.Stored, write(ctx, t, s, decoded.Order).Outcome)
		stored, err := orderdb.Read(ctx, db.DB, []string{decoded.Order.OrderUID})
		require.NoError(t, err)
		require.Contains(t, stored, decoded.Order.OrderUID)
		require.Equal(t, string(content), string(model.AppendCanonical(nil, stored[decoded.Order.OrderUID].Order)))

		again, err := codec.Decode(content)
		require.NoError(t, err, "canonical JSON is an order")
		require.Equal(t, orderwrite.Duplicate, write(ctx, t, s, again.Order).Outcome)
		_, err = db.ExecContext(ctx, `UPDATE orders SET content_hash = NULL`)
		require.NoError(t, err)
		require.Equal(t, orderwrite.Duplicate, write(ctx, t, s, again.Order).Outcome, "compared by its rows")
		again.Order.SmID ^= 1
		other := write(ctx, t, s, again.Order)
		require.Equal(t, orderwrite.Conflict, other.Outcome)
		require.Equal(t, []string{"sm_id"}, other.Differs)
	})
}

func fuzzDatabase(f *testing.F) string {
	f.Helper()
	url := postgres.ForTest(f)
	db, err := sql.Open("pgx", url)
	require.NoError(f, err)
	defer func() { _ = db.Close() }()
	_, err = migrations.Up(f.Context(), db)
	require.NoError(f, err)
	return url
}

// write gives the outcome of one order.
func write(ctx context.Context, t *testing.T, s *orderwrite.Writer, o *model.Order) *orderwrite.Entry {
	t.Helper()
	entry := &orderwrite.Entry{Order: o, Hash: model.ContentHash(model.AppendCanonical(nil, o))}
	require.NoError(t, s.Write(ctx, []*orderwrite.Entry{entry}))
	return entry
}
