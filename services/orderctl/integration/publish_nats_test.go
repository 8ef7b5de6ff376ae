package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/stanserver"
	"github.com/orderhub/orderhub/services/orderctl/internal/cli"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
)

// orderctl runs a command that needs no world.
func orderctl(ctx context.Context, stdin string, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := cli.Run(ctx, args, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// subject is the subject of a new stream.
type subject struct {
	t      *testing.T
	url    string
	stream jetstream.Stream
}

func newSubject(t *testing.T, s *natsserver.Server, cfg jetstream.StreamConfig) *subject {
	t.Helper()
	conn, err := nats.Connect(s.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	cfg.Name, cfg.Subjects = "ORDERS", []string{"orders"}
	stream, err := js.CreateStream(t.Context(), cfg)
	require.NoError(t, err)
	return &subject{t, s.URL() + "/orders", stream}
}

func (s *subject) count() int {
	s.t.Helper()
	info, err := s.stream.Info(s.t.Context())
	require.NoError(s.t, err)
	return int(info.State.Msgs)
}

func TestPublishToJetStream(t *testing.T) {
	s := newSubject(t, natsserver.StartForTest(t, natsserver.Options{}), jetstream.StreamConfig{})
	got := orderctl(t.Context(), "", "publish", "--to", s.url, "--count", "50", "--rate", "1000", "--output", "json")
	require.Equal(t, errs.ExitDone, got.code, got.stderr)
	require.Regexp(t, `^published 50 records in .* to nats://127.0.0.1:\d+/orders\n$`, got.stderr)
	decoder := json.NewDecoder(strings.NewReader(got.stdout))
	for sequence := uint64(1); sequence <= 50; sequence++ {
		var line struct {
			UID      string `json:"order_uid"`
			Stream   string `json:"stream"`
			Sequence uint64 `json:"sequence"`
			Kind     string `json:"kind"`
			Offset   *int64 `json:"offset"`
		}
		require.NoError(t, decoder.Decode(&line))
		require.Equal(t, "ORDERS", line.Stream)
		require.Equal(t, "order", line.Kind)
		require.Nil(t, line.Offset)
		m, err := s.stream.GetMsg(t.Context(), line.Sequence)
		require.NoError(t, err)
		require.Equal(t, line.UID, m.Header.Get(nats.MsgIdHdr))
		require.Contains(t, string(m.Data), line.UID)
	}

	// What is bad on purpose arrives, uids that come again included.
	got = orderctl(t.Context(), "", "publish", "--to", s.url, "--count", "100", "--invalid", "0.2", "--duplicates", "0.1", "--conflicts", "0.1")
	require.Equal(t, errs.ExitDone, got.code, got.stderr)
	require.Equal(t, 150, s.count())

	for range 2 {
		got = orderctl(t.Context(), sample(t, "model.json"), "publish", "--to", s.url, "--file", "-")
		require.Equal(t, errs.ExitDone, got.code, got.stderr)
		require.Equal(t, "b563feb7b2b84b6test\n", got.stdout)
	}
	require.Contains(t, got.stderr, "1 of them sent before")
	require.Equal(t, 151, s.count())
}

func TestPublishToJetStreamTellsOfRefusedRecords(t *testing.T) {
	s := newSubject(t, natsserver.StartForTest(t, natsserver.Options{Set: func(o *server.Options) { o.MaxPayload = 50_000 }}), jetstream.StreamConfig{MaxMsgSize: 3000})
	large := func(bytes int) string {
		return strings.Replace(sample(t, "order1001test.json"), `"entry"`, `"note": "`+strings.Repeat("x", bytes)+`", "entry"`, 1)
	}
	got := orderctl(t.Context(), large(5000)+sample(t, "model.json")+large(100_000), "publish", "--to", s.url, "--file", "-")
	require.Equal(t, errs.ExitFailed, got.code)
	require.Equal(t, "b563feb7b2b84b6test\n", got.stdout)
	require.Contains(t, got.stderr, "NATS refuses order order1001test")
	require.Contains(t, got.stderr, "2 refused by NATS")
}

func TestPublishGoesOnWhenTheServerComesBack(t *testing.T) {
	port, err := ports.Free()
	require.NoError(t, err)
	options := natsserver.Options{DataDir: t.TempDir(), Port: port}
	first, err := natsserver.Start(options)
	require.NoError(t, err)
	s := newSubject(t, first, jetstream.StreamConfig{})
	broker, err := publish.JetStream(publish.NATS{URL: first.URL(), Subject: "orders", GiveUpAfter: time.Minute})
	require.NoError(t, err)
	defer broker.Close()
	const count = 50_000
	var a account
	opts := a.options()
	stopped, back := false, false
	a.onAck = func() error {
		if !stopped {
			stopped = true
			first.Stop()
		}
		return nil
	}
	opts.Retrying = func(err error) {
		if stopped && !back {
			back = true
			require.ErrorContains(t, err, "not connected")
			natsserver.StartForTest(t, options)
		}
	}
	i := 0
	require.NoError(t, publish.New(broker, opts).Run(t.Context(), func() (publish.Record, error) {
		if i++; i > count {
			return publish.Record{}, io.EOF
		}
		return publish.Record{ID: fmt.Sprint("id", i), Value: []byte("v")}, nil
	}))
	require.Len(t, a.acks, count)
	require.Equal(t, count, s.count(), "each once")
	require.True(t, back)
}

func TestPublishToNATSStreaming(t *testing.T) {
	port, err := ports.Free()
	require.NoError(t, err)
	s := stanserver.StartForTest(t, port, t.TempDir())
	address := "stan" + strings.TrimPrefix(s.URL(), "nats") + "/orders"
	got := orderctl(t.Context(), "", "publish", "--to", address, "--count", "200", "--duplicates", "0.1")
	require.Equal(t, errs.ExitDone, got.code, got.stderr)
	uids := strings.Fields(got.stdout)
	require.Len(t, uids, 200)

	conn, err := stan.Connect(stanserver.ClusterID, "orderctl", stan.NatsURL(s.URL()))
	require.NoError(t, err)
	defer conn.Close()
	messages := make(chan *stan.Msg, 1000)
	_, err = conn.Subscribe("orders", func(m *stan.Msg) { messages <- m }, stan.DeliverAllAvailable())
	require.NoError(t, err)
	for _, uid := range uids {
		require.Contains(t, string((<-messages).Data), uid)
	}

	got = orderctl(t.Context(), "", "publish", "--to", address)
	require.Contains(t, got.stderr, `another program is the client "orderctl" of NATS Streaming: set STAN_CLIENT_ID`)
	t.Setenv("STAN_CLUSTER_ID", "elsewhere")
	got = orderctl(t.Context(), "", "publish", "--to", address)
	require.Contains(t, got.stderr, `no NATS Streaming cluster "elsewhere" answers`)
}

func TestPublishLogsIn(t *testing.T) {
	s := natsserver.StartForTest(t, natsserver.Options{Set: func(o *server.Options) { o.Users = []*server.User{{Username: "ann", Password: "hunter2"}} }})
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("hunter2\n"), 0o600))
	t.Setenv("NATS_USER", "ann")
	t.Setenv("NATS_PASSWORD_FILE", password)
	require.Contains(t, orderctl(t.Context(), "", "publish", "--to", s.URL()+"/orders").stderr, "no stream of NATS")
	t.Setenv("NATS_PASSWORD_FILE", filepath.Join(t.TempDir(), "absent"))
	got := orderctl(t.Context(), "", "publish", "--to", s.URL()+"/orders")
	require.Equal(t, errs.ExitUsage, got.code)
	require.Contains(t, got.stderr, "NATS_PASSWORD_FILE")
}

func TestPublishSaysWhatIsWrongWithNATS(t *testing.T) {
	free, err := ports.Free()
	require.NoError(t, err)
	plain := natsserver.StartForTest(t, natsserver.Options{}).URL()
	guarded := natsserver.StartForTest(t, natsserver.Options{Set: func(o *server.Options) {
		o.Users = []*server.User{{Username: "ann", Password: "hunter2"}, {Username: "bob", Password: "hunter2",
			Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"orders"}}}}}
	}}).URL()
	as := func(user, address string) string { return strings.Replace(address, "//", "//"+user+":hunter2@", 1) }
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no server":      {[]string{"--to", "nats://" + ports.Loopback(free) + "/orders"}, errs.ExitFailed, "cannot reach NATS at 127.0.0.1"},
		"no stream":      {[]string{"--to", plain + "/orders"}, errs.ExitFailed, "takes the subject orders: start the bridge with NATS_SUBJECT=orders"},
		"no login":       {[]string{"--to", guarded + "/orders"}, errs.ExitFailed, "refuses the login: set NATS_USER"},
		"with a login":   {[]string{"--to", as("ann", guarded) + "/orders"}, errs.ExitFailed, "takes the subject orders"},
		"no right":       {[]string{"--to", as("bob", guarded) + "/orders"}, errs.ExitFailed, "the user lacks the right"},
		"no cluster":     {[]string{"--to", "stan" + strings.TrimPrefix(plain, "nats") + "/orders"}, errs.ExitFailed, `no NATS Streaming cluster "test-cluster" answers`},
		"no subject":     {[]string{"--to", plain}, errs.ExitUsage, `"" is no subject to publish to`},
		"a wildcard":     {[]string{"--to", plain + "/orders.*"}, errs.ExitUsage, "is no subject to publish to"},
		"no scheme":      {[]string{"--to", "localhost:4222/orders"}, errs.ExitUsage, "use nats://host:4222/SUBJECT"},
		"other scheme":   {[]string{"--to", "http://localhost:4222/orders"}, errs.ExitUsage, "use nats://host:4222/SUBJECT"},
		"no address":     {[]string{"--to", "nats://ann:hunter2@[/orders"}, errs.ExitUsage, "use nats://host:4222/SUBJECT"},
		"Kafka's topic":  {[]string{"--to", plain + "/orders", "--topic", "orders"}, errs.ExitUsage, "--brokers and --topic do not go with it"},
		"Kafka's broker": {[]string{"--to", plain + "/orders", "--brokers", "a:1"}, errs.ExitUsage, "--brokers and --topic do not go with it"},
	} {
		t.Run(name, func(t *testing.T) {
			got := orderctl(t.Context(), "", append([]string{"publish"}, c.args...)...)
			require.Equal(t, c.code, got.code, got.stderr)
			require.Contains(t, got.stderr, c.says)
			require.NotContains(t, got.stderr, "hunter2")
		})
	}
}
