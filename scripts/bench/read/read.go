// Package read measures how fast the API answers from memory, compared with a bare gin
// server that answers constant bytes of the same size to the very same requests.
//
// Each measurement has one of the bare server right beside it, so that the ratios hold
// on a noisy machine.
package read

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Benchmark has the flags.
type Benchmark struct {
	Orders      int           `default:"100000" smoke:"2000" help:"Orders in memory."`
	Others      []int         `default:"10000,3000000" smoke:"1000" help:"Measure hits with so many orders too, to compare (empty: none)."`
	Items       int           `default:"1" help:"Items of an order."`
	Rounds      int           `default:"7" smoke:"1" help:"How often each measurement is made; the table has medians."`
	Duration    time.Duration `default:"2s" smoke:"1s" help:"Length of a measurement, whole seconds."`
	Connections int           `default:"64" smoke:"8" help:"Connections of wrk."`
	Threads     int           `default:"2" help:"Threads of wrk."`
	Zstd        bool          `default:"true" help:"Measure with CACHE_COMPRESSION=zstd too."`
	Callers     bool          `default:"true" help:"Measure a reader with authentication too, which holds all orders as well."`
	IngestRate  int           `default:"5000" smoke:"200" help:"Measure again while so many orders a second are ingested, for both servers (0: not measured)."`

	site     *rig.Site
	stored   *rig.Orders
	wrk      *rig.Wrk
	bare     *rig.Child
	alike    *rig.Child // the bare server with the headers of the API's answers
	main     *subject   // of Orders
	others   []*subject // of Others
	zstd     *subject   // nil: not wanted
	database string     // of main
}

// goal is the rate of every kind of request, × bare gin's.
const goal = 0.95

// clients are who asks: a program with nothing but a Host header, a browser, and an
// ingress that passes requests on.
var clients = []struct {
	name    string // after the name of what is asked
	headers []string
}{
	{"", nil},
	{", browser with a cookie", []string{
		"Connection: keep-alive",
		"Cache-Control: max-age=0",
		`sec-ch-ua: "Chromium";v="140", "Not=A?Brand";v="24"`,
		"sec-ch-ua-mobile: ?0",
		`sec-ch-ua-platform: "Linux"`,
		"Upgrade-Insecure-Requests: 1",
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
		"Sec-Fetch-Site: none",
		"Sec-Fetch-Mode: navigate",
		"Sec-Fetch-User: ?1",
		"Sec-Fetch-Dest: document",
		"Accept-Encoding: gzip, deflate, br, zstd",
		"Accept-Language: en-US,en;q=0.9",
		"Cookie: session=4f6c1b2a9d8e7f60; theme=dark",
	}},
	{", through an ingress", []string{
		"X-Request-ID: 5e4d6f1c2b3a49788796a5b4c3d2e1f0",
		"X-Real-IP: 203.0.113.7",
		"X-Forwarded-For: 203.0.113.7",
		"X-Forwarded-Host: orders.example",
		"X-Forwarded-Port: 443",
		"X-Forwarded-Proto: https",
		"X-Forwarded-Scheme: https",
		"X-Scheme: https",
		"User-Agent: curl/8.5.0",
		"Accept: */*",
	}},
}

// asked is how many different orders wrk chooses from.
const asked = 100_000

// Measure makes both tables.
func (b *Benchmark) Measure(ctx context.Context, flags *rig.Flags) {
	b.site = rig.OpenSite(ctx, flags, nil)
	defer b.site.Close()
	b.wrk = b.site.NewWrk(b.Threads, b.Connections)
	b.prepare(ctx)
	var callers []target
	if b.Callers {
		issuer, token := startIssuer()
		defer issuer.Close()
		callers = b.callers(ctx, issuer.URL, token)
	}
	b.quiet(ctx, callers)
	if b.IngestRate > 0 {
		b.underIngest(ctx)
	}
}

// subject is a reader that is ready, and what to ask it.
type subject struct {
	*rig.Reader
	orders   int
	how      string // it holds them, for the text
	requests rig.Requests
}

// prepare fills the databases, each continuing the one before, and starts the servers.
func (b *Benchmark) prepare(ctx context.Context) {
	counts := slices.Compact(slices.Sorted(slices.Values(append([]int{b.Orders}, b.Others...))))
	b.stored = b.site.Store(ctx, counts[0], b.Items, nil)
	for _, count := range counts {
		b.site.Server.Preload(ctx, b.stored, count)
		database, _ := b.site.Server.Fresh(ctx)
		started := b.start(ctx, database, count, "off")
		if count != b.Orders {
			b.others = append(b.others, started)
			continue
		}
		b.main, b.database = started, database
		b.main.requests.Ask(ctx, b.main.Reader)
		if b.Zstd {
			b.zstd = b.start(ctx, database, count, "zstd")
			b.zstd.how = ", compressed"
		}
	}
	size := strconv.Itoa(b.main.requests.Size)
	b.bare = bareRole.Serve(ctx, size)
	b.alike = bareRole.Serve(ctx, size+` {"Cache-Control":["no-cache"],"Etag":["\"0123456789abcdefABCDEF\""],"X-Content-Type-Options":["nosniff"],"X-Request-Id":["ABCDEFGHIJ-1y2p0ij"]}`)
}

func (b *Benchmark) start(ctx context.Context, database string, orders int, compression string) *subject {
	reader := b.site.StartReader(ctx, database, "CACHE_COMPRESSION="+compression)
	reader.AwaitLists(ctx) // which takes a core until then
	rig.Progress("%d orders restored in %v, %d MiB resident, compression %s", orders, reader.Restore.Round(time.Millisecond), reader.Memory>>20, compression)
	return &subject{Reader: reader, orders: orders, requests: b.site.ChooseRequests(ctx, database, asked)}
}

func (b *Benchmark) subjects() []*subject {
	all := []*subject{b.main}
	if b.zstd != nil {
		all = append(all, b.zstd)
	}
	return append(all, b.others...)
}

func hits(name string, s *subject, goal float64) target {
	return target{rig.Target{Name: name, Addr: s.Addr, Pid: s.Pid(), Requests: s.requests.Hits}, goal}
}

// quiet makes the table of requests answered while nothing is written.
func (b *Benchmark) quiet(ctx context.Context, callers []target) {
	m := b.main
	var targets []target
	for _, c := range clients {
		for _, kind := range []struct {
			name, requests string
			refusals       int64
		}{
			{"hits (200)", m.requests.Hits, 0}, {"not modified (304)", m.requests.NotModified, 0}, {"not found (404)", m.requests.NotFound, 1},
		} {
			targets = append(targets, target{rig.Target{
				Name: kind.name + c.name, Addr: m.Addr, Pid: m.Pid(), Requests: kind.requests, Headers: c.headers, Refusals: kind.refusals,
			}, goal})
		}
	}
	targets = append(targets, target{Target: rig.Target{Name: "bare gin, as many headers", Addr: b.alike.Addr, Pid: b.alike.Pid(), Requests: m.requests.Hits}})
	targets = append(targets, callers...)
	if b.zstd != nil {
		targets = append(targets, hits("hits, CACHE_COMPRESSION=zstd", b.zstd, 0.80))
	}
	for _, s := range b.others {
		targets = append(targets, hits(fmt.Sprintf("hits among %s orders", report.Thousands(s.orders)), s, 0))
	}
	measured := b.rounds(ctx, targets)
	title := fmt.Sprintf("%s orders in memory, answers of %d bytes, %d connections", report.Thousands(m.orders), m.requests.Size, b.Connections)
	b.site.Save("read", table(title, targets, measured)+"\n"+goals(targets, measured)+b.sizes(targets, measured)+b.memory())
}

// underIngest makes the table of requests answered while orders are ingested, which
// slows down the bare server as well. The other readers are stopped: they would read
// these orders, too.
func (b *Benchmark) underIngest(ctx context.Context) {
	for _, s := range b.subjects()[1:] {
		s.Stop()
	}
	const topic = "ingested"
	b.site.Broker.CreateTopic(ctx, topic, 4, "delete")
	b.site.StartWorker(ctx, topic, b.database)
	load := rig.StartLoad(ctx, b.site.Broker, topic, b.stored, 1)
	defer load.Stop()
	load.SetRate(float64(b.IngestRate))
	targets := []target{hits("hits (200)", b.main, 0.90)}
	measured := b.rounds(ctx, targets)
	title := fmt.Sprintf("%s orders in memory, while %s orders/s are ingested", report.Thousands(b.main.orders), report.Thousands(b.IngestRate))
	b.site.Save("read-ingest", table(title, targets, measured)+"\n"+goals(targets, measured))
}

// audience of the tokens that the benchmark's issuer signs.
const audience = "read-api"

// startIssuer stands for an OpenID Connect issuer: it serves its description and its
// key. token is of a caller who sees masked orders.
func startIssuer() (issuer *httptest.Server, token string) {
	key := must.Get(rsa.GenerateKey(rand.Reader, 2048))
	signer := must.Get(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "bench"}}, nil))
	answers := map[string]any{"/keys": jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "bench", Algorithm: "RS256", Use: "sig"}}}}
	issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answers[r.URL.Path])
	}))
	answers["/.well-known/openid-configuration"] = map[string]any{
		"issuer": issuer.URL, "jwks_uri": issuer.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
	}
	return issuer, must.Get(jwt.Signed(signer).Claims(map[string]any{
		"iss": issuer.URL, "aud": audience, "sub": "bench", "scope": auth.OrdersRead.String(),
		"iat": time.Now().Unix(), "exp": time.Now().Add(24 * time.Hour).Unix(),
	}).Serialize())
}

// callers measures hits with a credential on each request: of a reader with
// authentication, without limits, and with its audit log in a file.
func (b *Benchmark) callers(ctx context.Context, issuer, jwt string) (targets []target) {
	masked, one, err := auth.NewToken("masked", auth.OrdersRead, time.Time{})
	must.Succeed(err)
	personal, other, err := auth.NewToken("personal", auth.OrdersRead|auth.OrdersPersonal, time.Time{})
	must.Succeed(err)
	tokens := filepath.Join(b.site.Folder, "tokens.yaml")
	must.Succeed(os.WriteFile(tokens, append(one, other...), 0o600))
	reader := b.site.StartReader(ctx, b.database, "HTTP_AUTH=on", "HTTP_TOKENS_FILE="+tokens, "HTTP_RATE=0",
		"OIDC_ISSUER="+issuer, "OIDC_AUDIENCE="+audience, "ORDERHUB_AUDIT_FILE="+filepath.Join(b.site.Folder, "audit.jsonl"))
	for _, c := range []struct {
		name, token string
		goal        float64
	}{
		{"masked hits with a JWT", jwt, 0.8},
		{"masked hits with a static token", masked, 0.85},
		{"personal hits, each with its audit record", personal, 0.5},
	} {
		targets = append(targets, target{rig.Target{
			Name: c.name, Addr: reader.Addr, Pid: reader.Pid(), Requests: b.main.requests.Hits, Headers: []string{"Authorization: Bearer " + c.token},
		}, c.goal})
	}
	return targets
}
