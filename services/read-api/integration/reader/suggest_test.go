package reader_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

type suggested struct {
	Kind   string `json:"kind"`
	Value  string `json:"value"`
	Orders int    `json:"orders"`
}

func (r *reader) suggest(text string) []suggested {
	r.t.Helper()
	answer := r.get("/api/v1/suggest?q=" + url.QueryEscape(text))
	require.Equal(r.t, 200, answer.status, answer.body)
	var all struct {
		Suggestions []suggested `json:"suggestions"`
	}
	require.NoError(r.t, json.Unmarshal([]byte(answer.body), &all))
	require.NotNil(r.t, all.Suggestions, "an array even where it is empty")
	return all.Suggestions
}

// TestSuggestions types what an order, a track number and a customer begin with
// or are.
func TestSuggestions(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url)
	client.run(`BEGIN; INSERT INTO orders SELECT 'uid-'||lpad(i::text, 3, '0'), 'TRACK'||i%2, '', 'en', '', CASE WHEN i = 7 THEN 'uid-0' ELSE 'many' END, '', '', 1, now(), '1'
			FROM generate_series(0, 249) i;
		INSERT INTO orders SELECT u, u, '', 'en', '', 'Ünïcode "x"', '', '', 1, now(), '1' FROM unnest(ARRAY['z', 'zz', 'Z', 'z.', 'z-1', 'z_']) u; COMMIT`)
	r := start(t, url).synced()

	var uids []string
	for _, s := range r.suggest("uid-1") {
		require.Equal(t, "order", s.Kind)
		require.Zero(t, s.Orders)
		uids = append(uids, s.Value)
	}
	require.Equal(t, []string{"uid-100", "uid-101", "uid-102", "uid-103", "uid-104", "uid-105", "uid-106", "uid-107", "uid-108", "uid-109"}, uids)
	require.Equal(t, []suggested{{"order", "uid-249", 0}}, r.suggest("uid-249"))
	for _, pasted := range []string{"“uid-249”\u200b", "\ufeffuid-249\u00a0", "https://shop.example/orders/?uid=uid-249", "http://localhost:8081/order/uid-249?" + strings.Repeat("x", 200)} {
		require.Equal(t, []suggested{{"order", "uid-249", 0}}, r.suggest(pasted), "%q", pasted)
	}

	both := r.suggest("uid-0")
	require.Len(t, both, 10)
	require.Equal(t, suggested{"customer", "uid-0", 1}, both[0], "what it is comes before what it may become")
	require.Equal(t, suggested{"order", "uid-000", 0}, both[1])

	require.Equal(t, []suggested{{"track_number", "TRACK0", 100}}, r.suggest("TRACK0"), "no more are counted")
	require.Equal(t, []suggested{{"customer", "many", 100}}, r.suggest("many"))
	require.Equal(t, []suggested{{"customer", `Ünïcode "x"`, 6}}, r.suggest(`Ünïcode "x"`))
	require.Equal(t, []suggested{{"order", "z", 0}, {"track_number", "z", 1}, {"order", "z-1", 0}, {"order", "z.", 0}, {"order", "z_", 0}, {"order", "zz", 0}}, r.suggest("z"))
	for _, nothing := range []string{"nobody", "uid-2500", "UID", "uid-%", "uid_0", "' OR 1=1", strings.Repeat("x", 128), "TRAC", "\\", "z~"} {
		require.Empty(t, r.suggest(nothing), nothing)
	}
	for _, bad := range []string{"", "?q=", "?q=%00", "?q=%ff", "?q=" + strings.Repeat("x", 129), "?q=a&q=b", "?q=a&limit=5"} {
		answer := r.get("/api/v1/suggest" + bad)
		require.Equal(t, 400, answer.status, bad)
		require.Contains(t, answer.body, "invalid-parameter")
	}
	require.Equal(t, 200, r.ask("HEAD", "http://"+r.api.Addr()+"/api/v1/suggest?q=z").status)
}

// TestSuggestionsLookAtFewRows has PostgreSQL count the rows that it looked at,
// beside values that nearly all orders have.
func TestSuggestionsLookAtFewRows(t *testing.T) {
	client, lists, tracer := cruelOrders(t, 20_000)
	for _, statistics := range []string{"", "ANALYZE orders"} {
		client.run(statistics)
		for _, text := range []string{"u", "uid-1", "uid-19999", "big", "common", "rare", "track-7", "nothing", "~"} {
			tracer.searches = nil
			found, err := lists.Suggest(t.Context(), text, true, false)
			require.NoError(t, err)
			require.LessOrEqual(t, len(found), 10)
			require.Len(t, tracer.searches, 1)
			plan := client.explain(tracer.searches[0])
			require.LessOrEqual(t, plan.examined(), 210.0, "%q: %+v", text, plan)
		}
	}
}
