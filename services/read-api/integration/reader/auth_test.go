package reader_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/services/read-api/internal/app"
)

// credentials are static tokens, the file that has them, and the audit log.
type credentials struct {
	file, log             string
	read, personal, other string
}

// withTokens turns authentication on.
func withTokens(t *testing.T) (c *credentials, on func(*app.Settings)) {
	t.Helper()
	c = &credentials{file: filepath.Join(t.TempDir(), "tokens"), log: filepath.Join(t.TempDir(), "audit.jsonl")}
	var lines []byte
	for name, token := range map[string]struct {
		to     *string
		scopes auth.Scope
	}{
		"reader": {&c.read, auth.OrdersRead}, "support": {&c.personal, auth.OrdersRead | auth.OrdersPersonal}, "stranger": {&c.other, auth.LettersRead | auth.OrdersAct},
	} {
		text, line, err := auth.NewToken(name, token.scopes, time.Time{})
		require.NoError(t, err)
		*token.to = "Bearer " + text
		lines = append(lines, line...)
	}
	require.NoError(t, os.WriteFile(c.file, lines, 0o600))
	return c, func(s *app.Settings) {
		s.Auth = auth.Settings{Auth: "on", TokensFile: c.file, Rate: 1_000_000, Burst: 1_000_000, RefusedRate: 0, Streams: 2}
		s.Audit = audit.Settings{To: audit.ToFile, File: c.log, FileBytes: 1 << 30, Key: "0123456789abcdef"}
	}
}

// audited are the records of an action.
func (c *credentials) audited(t *testing.T, action string) (all []audit.Event) {
	t.Helper()
	lines, err := os.ReadFile(c.log)
	require.NoError(t, err)
	for line := range strings.Lines(string(lines)) {
		var e audit.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		if e.Action == action {
			all = append(all, e)
		}
	}
	return all
}

// public are the routes that need no credential, with why.
var public = map[string]string{
	"/problems/:name": "explains errors", "/assets/:name": "the page's look", "/signin": "to get a credential",
	"/signin/callback": "likewise", "/signout": "likewise",
}

// TestEveryRouteNeedsItsScope asks for every route of the program without a credential,
// with others' scopes, and with its own. What openapi.yaml says about it is compared.
func TestEveryRouteNeedsItsScope(t *testing.T) {
	address := newDatabase(t)
	connect(t, address).withVersions().insert("whole")
	tokens, on := withTokens(t)
	r := start(t, address, on)
	r.synced()
	loadDescription(t)
	for _, route := range r.engine.Routes() {
		if _, open := public[route.Path]; open {
			continue
		}
		t.Run(route.Method+" "+route.Path, func(t *testing.T) {
			path := strings.NewReplacer(":order_uid", "whole", ":version", "1").Replace(route.Path)
			require.NotContains(t, path, ":", "what is a value of the parameter?")
			if path == "/api/v1/suggest" {
				path += "?q=whole"
			}
			if path != "/" {
				item := description.doc.Paths.Find(strings.NewReplacer(":order_uid", "{order_uid}", ":version", "{version}").Replace(route.Path))
				require.NotNil(t, item, "openapi.yaml does not describe it")
				require.Nil(t, item.GetOperation(route.Method).Security, "openapi.yaml must ask for orders:read")
			}
			none := r.status(route.Method, path, "")
			require.Equal(t, 401, none.status)
			require.Contains(t, none.header.Get("WWW-Authenticate"), `scope="orders:read"`)
			for _, wrong := range []string{"Bearer none", "Bearer " + strings.Repeat("x", 40)} {
				require.Equal(t, 401, r.status(route.Method, path, wrong).status)
			}
			require.Equal(t, 403, r.status(route.Method, path, tokens.other).status)
			for _, right := range []string{tokens.read, tokens.personal} {
				got := r.status(route.Method, path, right)
				require.Equal(t, 200, got.status)
				require.Contains(t, got.header.Values("Vary"), "Authorization, Cookie")
				require.Regexp(t, "private|no-store", got.header.Get("Cache-Control"))
			}
		})
	}
	require.Equal(t, 200, r.status(http.MethodGet, "/problems/forbidden", "").status)
	// A flood of others neither hides nor is counted as what a known caller was refused.
	for range 30 {
		r.status(http.MethodGet, "/order/whole", "")
	}
	named := func() (all []audit.Event) {
		return slices.DeleteFunc(tokens.audited(t, "refuse"), func(e audit.Event) bool { return e.Actor != "stranger" })
	}
	before := len(named())
	require.Equal(t, 403, r.status(http.MethodGet, "/order/whole", tokens.other).status)
	require.Len(t, named(), before+1)
	require.Equal(t, 1, named()[before].Count)
}

// status asks without reading a body, which may be a stream.
func (r *reader) status(method, path, credential string) answer {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.api.Addr()+path, nil)
	require.NoError(r.t, err)
	if credential != "" {
		request.Header.Set("Authorization", credential)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(r.t, err)
	require.NoError(r.t, response.Body.Close())
	return answer{status: response.StatusCode, header: response.Header}
}

// planted are the personal values of an order.
var planted = map[string]string{
	"name": "Plantedname", "phone": "+4912345678901", "zip": "PLZ98765", "city": "Plantedcity", "address": "Plantedstreet", "region": "Plantedregion",
	"email": "planted@mail.example", "transaction": "plantedtransaction", "customer_id": "plantedcustomer",
	"name of an unknown field": "plantedfield", "unknown field": "plantedunknown",
}

// TestPersonalDataIsMaskedEverywhere plants a value of each kind, and looks for it in
// everything that is answered to a caller without orders:personal. The caller who has it
// sees all of them, and each look is on record.
func TestPersonalDataIsMaskedEverywhere(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address).withVersions()
	client.insert("whole")
	client.run(`UPDATE deliveries SET name = 'Plantedname', phone = '+4912345678901', zip = 'PLZ98765', city = 'Plantedcity', address = 'Plantedstreet',
		region = 'Plantedregion', email = 'planted@mail.example'; UPDATE payments SET transaction = 'plantedtransaction'; UPDATE orders SET customer_id = 'plantedcustomer'`)
	for _, table := range orderdb.Tables {
		client.run(`UPDATE ` + table.Name + ` SET unknown_fields = '{"plantedfield": {"order_uid": ["plantedunknown"], "customer_id": "x"}}'`)
	}
	tokens, on := withTokens(t)
	r := start(t, address, on).synced()

	known := "plantedcustomer"
	pages := []string{"/", "/?uid=whole", "/?uid=whole&view=json", "/?q=whole", "/?q=" + known, "/?q=" + known + "&by=customer", "/?uid=whole&fragment=1", "/docs"}
	paths := append([]string{
		"/order/whole", "/api/v1/orders/whole", "/api/v1/orders/whole/versions", "/api/v1/orders/whole/versions/1", "/api/v1/orders", "/api/v1/orders?limit=1&track_number=TRACK", "/api/v1/export", "/api/v1/export?format=csv", "/api/v1/suggest?q=whole", "/api/v1/suggest?q=" + known,
		"/api/v1/stats", "/openapi.yaml", "/order/none", "/api/v1/orders?limit=x", "/api/v1/orders?cursor=x", "/problems/forbidden",
	}, pages...)
	seen := ""
	for _, fresh := range []string{"max-age=0", "no-cache"} {
		for _, path := range paths {
			masked := r.get(path, "Authorization", tokens.read, "Cache-Control", fresh)
			for kind, value := range planted {
				if strings.Contains(path, value) {
					masked.body = strings.ReplaceAll(masked.body, value, "") // what was asked
				}
				require.NotContains(t, masked.body, value, "%s of %s", kind, path)
				require.NotContains(t, masked.header.Get("Location")+masked.header.Get("ETag"), value)
			}
			require.NotContains(t, masked.body, `"kind":"customer"`)
			seen += r.get(path, "Authorization", tokens.personal, "Cache-Control", fresh).body
		}
	}
	for kind, value := range planted {
		require.Contains(t, seen, value, "%s is shown to who may see it", kind)
	}

	// A search that finds a customer shows that one is there, so it is on record, too.
	for _, path := range []string{"/api/v1/suggest?q=" + known, "/?q=" + known, "/?q=" + known + "&by=customer"} {
		r.get(path, "Authorization", tokens.read)
		before := len(tokens.audited(t, "search"))
		r.get(path, "Authorization", tokens.personal)
		require.Greater(t, len(tokens.audited(t, "search")), before, path)
	}
	for _, e := range tokens.audited(t, "search") {
		require.Equal(t, "support", e.Actor)
	}
	home := r.get("/", "Authorization", tokens.read)
	require.Equal(t, "Authorization, Cookie", r.get("/", "Authorization", tokens.read, "If-None-Match", home.header.Get("ETag")).header.Get("Vary"))

	// Nor do sizes tell how long values are.
	stats := r.get("/api/v1/stats", "Authorization", tokens.read).body
	require.Contains(t, stats, `"json_bytes":0,`)
	require.Contains(t, stats, `"bytes":0,`)
	require.NotContains(t, r.get("/api/v1/stats", "Authorization", tokens.personal).body, `"json_bytes":0,`)

	// Neither filters nor tags tell whether a guess is right.
	for _, path := range []string{
		"/api/v1/orders?customer_id=", "/api/v1/export?customer_id=", "/api/v1/orders/stream?customer_id=", "/?customer_id=",
		"/api/v1/orders?email=", "/api/v1/export?name_prefix=", "/api/v1/orders/stream?phone_prefix=", "/api/v1/orders?status=1&name=",
		"/api/v1/orders?email_prefix=", "/api/v1/orders?phone=",
	} {
		for _, guess := range []string{known, "wrong"} {
			refused := r.get(path+url.QueryEscape(guess), "Authorization", tokens.read)
			require.Equal(t, 403, refused.status, path)
			require.Contains(t, refused.body, "orders:personal")
		}
	}
	require.Equal(t, 200, r.get("/api/v1/orders?customer_id="+known, "Authorization", tokens.personal).status)
	masked, whole := r.get("/order/whole", "Authorization", tokens.read), r.get("/order/whole", "Authorization", tokens.personal)
	require.NotEqual(t, masked.header.Get("ETag"), whole.header.Get("ETag"))
	require.Equal(t, 200, r.get("/order/whole", "Authorization", tokens.read, "If-None-Match", whole.header.Get("ETag")).status)
	require.Equal(t, 304, r.get("/order/whole", "Authorization", tokens.read, "If-None-Match", masked.header.Get("ETag")).status)
	client.run(`UPDATE deliveries SET name = 'Somebody else'`)
	eventually(t, "the change has arrived", func() bool {
		return strings.Contains(r.get("/order/whole", "Authorization", tokens.personal).body, "Somebody else")
	})
	require.Equal(t, masked.header.Get("ETag"), r.get("/order/whole", "Authorization", tokens.read).header.Get("ETag"), "a mask does not change with the value")

	for _, e := range tokens.audited(t, "show") {
		require.Equal(t, "support", e.Actor, "who sees masks is not recorded")
		require.Equal(t, []string{"whole"}, e.Targets[:1])
		require.True(t, e.Allowed)
		require.Equal(t, "127.0.0.1", e.From)
	}
	require.Greater(t, len(tokens.audited(t, "show")), 2*len(pages))
}

// openStream opens the stream and returns its lines.
func (r *reader) openStream(credential string) (lines *bufio.Scanner, end func()) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.api.Addr()+"/api/v1/orders/stream", nil)
	require.NoError(r.t, err)
	request.Header.Set("Authorization", credential)
	response, err := http.DefaultClient.Do(request) //nolint:bodyclose // end does
	require.NoError(r.t, err)
	require.Equal(r.t, 200, response.StatusCode)
	return bufio.NewScanner(response.Body), func() { _ = response.Body.Close() }
}

// TestAStreamIsMaskedAndEndsWithItsCredential revokes tokens while streams are open.
func TestAStreamIsMaskedAndEndsWithItsCredential(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address).withVersions()
	tokens, on := withTokens(t)
	r := start(t, address, on).synced()
	// What a stream with personal data is sent is on record, so it is the last one.
	for _, one := range [][2]string{{tokens.read, `"name":"***"`}, {tokens.personal, `"name":"Test Testov"`}} {
		credential, want := one[0], one[1]
		lines, end := r.openStream(credential)
		defer end()
		second, endSecond := r.openStream(credential)
		defer endSecond()
		require.True(t, second.Scan())
		require.Equal(t, 429, r.status(http.MethodGet, "/api/v1/orders/stream", credential).status, "a caller has two at most")
		client.run("DELETE FROM orders")
		client.insert("streamed")
		for lines.Scan() && !strings.Contains(lines.Text(), "track_number") {
		}
		require.Contains(t, lines.Text(), want)
	}
	shown := tokens.audited(t, "show") // before the order was sent
	require.NotEmpty(t, shown)
	require.Equal(t, []string{"streamed"}, shown[0].Targets)
	eventually(t, "the other stream's is on record", func() bool { return len(tokens.audited(t, "show")) == 2 })
	follow := tokens.audited(t, "follow")
	require.Len(t, follow, 2)
	require.Equal(t, "support", follow[0].Actor)

	reader, endReader := r.openStreamAnew(tokens)
	defer endReader()
	require.NoError(t, os.WriteFile(tokens.file, nil, 0o600))
	ended := false
	for reader.Scan() {
		ended = ended || reader.Text() == "event: end"
		if ended && strings.HasPrefix(reader.Text(), "data:") {
			require.Contains(t, reader.Text(), "expired or was revoked")
		}
	}
	require.True(t, ended, "it says why it ends")
	eventually(t, "the end is on record", func() bool { return len(tokens.audited(t, "unfollow")) == 2 })
	require.Equal(t, 401, r.status(http.MethodGet, "/order/streamed", tokens.read).status)
}

// openStreamAnew adds a token, and opens a stream with it.
func (r *reader) openStreamAnew(tokens *credentials) (lines *bufio.Scanner, end func()) {
	text, line, err := auth.NewToken("another", auth.OrdersRead, time.Time{})
	require.NoError(r.t, err)
	before, err := os.ReadFile(tokens.file)
	require.NoError(r.t, err)
	require.NoError(r.t, os.WriteFile(tokens.file, append(before, line...), 0o600))
	eventually(r.t, "the file was read again", func() bool {
		return r.status(http.MethodGet, "/api/v1/stats", "Bearer "+text).status == 200
	})
	return r.openStream("Bearer " + text)
}

// TestWhatCannotBeRecordedIsNotShown closes the audit log below the running program.
func TestWhatCannotBeRecordedIsNotShown(t *testing.T) {
	address := newDatabase(t)
	client := connect(t, address).withVersions()
	client.insert("whole")
	client.run(`UPDATE orders SET customer_id = 'shopper'`)
	tokens, on := withTokens(t)
	r := start(t, address, on).synced()
	require.Equal(t, 200, r.get("/order/whole", "Authorization", tokens.personal).status)
	lines, end := r.openStream(tokens.personal)
	defer end()
	require.True(t, lines.Scan(), "the stream is open")
	require.NoError(t, r.records.Close())
	for _, path := range []string{"/order/whole", "/api/v1/orders", "/api/v1/export", "/api/v1/orders/stream", "/?uid=whole", "/api/v1/suggest?q=shopper", "/?q=shopper&by=customer"} {
		refused := r.get(path, "Authorization", tokens.personal)
		require.Equal(t, 503, refused.status, path)
		require.NotContains(t, refused.body, "Testov")
		require.NotEmpty(t, refused.header.Get("Retry-After"))
	}
	require.Equal(t, 200, r.get("/order/whole", "Authorization", tokens.read).status, "masks need no record")
	client.insert("changed")
	for lines.Scan() {
		require.NotContains(t, lines.Text(), "Testov", "the open stream ends instead")
	}
}
