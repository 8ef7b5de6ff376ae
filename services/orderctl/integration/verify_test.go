package integration

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver pgx
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
)

// playedAPI answers as a read API does, with what it is told to.
type playedAPI struct {
	orders map[string]string
	status int    // of all answers; 0: as it should be
	token  string // that it asks for; "": none
	masked bool
	busy   atomic.Int64 // answers that are 429 yet
}

func (a *playedAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, known := a.orders[strings.TrimPrefix(r.URL.Path, "/order/")]
	switch {
	case a.status != 0:
		w.WriteHeader(a.status)
	case a.token != "" && r.Header.Get("Authorization") != "Bearer "+a.token:
		w.WriteHeader(http.StatusUnauthorized)
	case a.busy.Add(-1) >= 0:
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	case r.URL.Path == "/api/v1/stats":
		_, _ = fmt.Fprintf(w, `{"orders":%d,"synced":true,"complete":true}`, len(a.orders))
	case known && a.masked:
		_, _ = w.Write(model.AppendMasked(nil, []byte(body)))
	case known:
		_, _ = fmt.Fprint(w, body)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestVerify(t *testing.T) {
	url := postgres.ForTest(t)
	t.Setenv("DATABASE_URL", url)
	db, err := sql.Open("pgx", url)
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	_, err = migrations.Up(t.Context(), db)
	require.NoError(t, err)
	for _, statement := range []string{
		`INSERT INTO orders SELECT 'uid-' || i, 'TRACK', 'WBIL', 'en', '', 'Test Testov', 'meest', '9', i, now(), '1' FROM generate_series(1, 450) i`,
		`DELETE FROM orders WHERE order_uid = 'uid-450'`,
	} {
		_, err = db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	var uids []string
	for i := range 450 {
		uids = append(uids, fmt.Sprintf("uid-%d", i))
	}
	stored, err := orderdb.Read(t.Context(), db, uids)
	require.NoError(t, err)
	api := &playedAPI{orders: map[string]string{}}
	for uid, s := range stored {
		api.orders[uid] = string(model.AppendCanonical(nil, s.Order))
	}
	server := httptest.NewServer(api)
	defer server.Close()
	verify := func(args ...string) result {
		var stdout, stderr bytes.Buffer
		code := cli.Main(append([]string{"verify", "--api", server.URL + "/", "--settle", "10ms"}, args...), nil, &stdout, &stderr)
		return result{code, stdout.String(), stderr.String()}
	}

	got := verify()
	require.Equal(t, 0, got.code, got.stderr)
	require.Empty(t, got.stdout)
	require.Regexp(t, `^compared 450 orders in .*: no difference\n$`, got.stderr)

	api.token = "a-token-of-the-api"
	got = verify()
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "it answers 401 Unauthorized: set ORDERHUB_API_TOKEN to a token with the scopes")
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte(api.token+"\n"), 0o600))
	t.Setenv("ORDERHUB_API_TOKEN_FILE", token)
	api.busy.Store(3)
	got = verify()
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stderr, "no difference", "it waits where it asks too often")
	api.masked = true
	got = verify()
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "it answers with personal data masked: set ORDERHUB_API_TOKEN")
	require.NotContains(t, got.stderr, api.token)
	api.masked = false

	delete(api.orders, "uid-7")
	api.orders["uid-8"] = strings.Replace(api.orders["uid-8"], "Testov", "Other", 1)
	api.orders["uid-450"] = api.orders["uid-9"]
	got = verify()
	require.Equal(t, 1, got.code)
	require.Equal(t, "missing  uid-7\nstale    uid-8  customer_id\nextra    uid-450\n", got.stdout)
	require.Contains(t, got.stderr, "1 missing, 1 extra, 1 stale")
	require.NotContains(t, got.stdout+got.stderr, "Testov", "no values are told")

	got = verify("--output", "json")
	require.Equal(t, 1, got.code)
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	require.Equal(t, `{"order_uid":"uid-8","kind":"stale","paths":["customer_id"]}`, lines[1])
	require.True(t, strings.HasPrefix(lines[3], `{"checked":450,"missing":1,"extra":1,"stale":1,`), lines[3])
	require.Contains(t, lines[3], `"equal":false`)

	api.orders["unknown"] = api.orders["uid-9"] // as many orders as in the tables: one is missing
	got = verify()
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "the API holds 1 order more than the tables have")
	delete(api.orders, "unknown")

	got = verify("--sample", "1")
	require.Contains(t, []int{0, 1}, got.code)
	require.Contains(t, got.stderr, "compared 2 orders", "one order and one deletion")

	api.status = http.StatusServiceUnavailable
	got = verify()
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "is answered with 503 Service Unavailable")
	server.Close()
	got = verify()
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "ask the API at "+server.URL)
	require.Contains(t, got.stderr, "say where it is with --api")
	for _, wrong := range [][]string{{"--api", "8081"}, {"--sample", "-1"}, {"--settle", "0s"}, {"--workers", "0"}, {"more"}} {
		require.Equal(t, 2, verify(wrong...).code, wrong)
	}
}
