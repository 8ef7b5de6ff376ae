package integration

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/certificates"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
)

// secretFile is a file with a secret as an editor or Kubernetes leaves it.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(content+"\n"), 0o600))
	return path
}

// The bridge logs in by each of its settings, and without them it says that it is
// not let in, until it is.
func TestLogins(t *testing.T) {
	kafka := broker.StartForTest(t, brokerOptions())
	ann := func(o *server.Options) { o.Users = []*server.User{{Username: "ann", Password: "s3cret"}} }
	token := func(o *server.Options) { o.Authorization = "t0ken" }
	seed, public := newKey(t, nkeys.CreateUser)
	operator, credentials := operatorMode(t)
	files, err := certificates.Make(t.TempDir())
	require.NoError(t, err)
	secure := func(o *server.Options) { o.TLSConfig = serverTLS(t, files) }

	const notAllowed = "Authorization Violation"
	for name, c := range map[string]struct {
		server  func(*server.Options)
		env     map[string]string
		without string // what a bridge says that has no login, or a wrong one
	}{
		"user":                 {ann, map[string]string{"NATS_USER": "ann", "NATS_PASSWORD": "s3cret"}, notAllowed},
		"password in a file":   {ann, map[string]string{"NATS_USER": "ann", "NATS_PASSWORD_FILE": secretFile(t, "s3cret")}, notAllowed},
		"token":                {token, map[string]string{"NATS_TOKEN": "t0ken"}, notAllowed},
		"token in a file":      {token, map[string]string{"NATS_TOKEN_FILE": secretFile(t, "t0ken")}, notAllowed},
		"nkey":                 {func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} }, map[string]string{"NATS_NKEY_FILE": secretFile(t, seed)}, notAllowed},
		"credentials":          {operator, map[string]string{"NATS_CREDS_FILE": secretFile(t, credentials)}, notAllowed},
		"client's certificate": {secure, map[string]string{"NATS_TLS_CA_FILE": files.Authority, "NATS_TLS_CERT_FILE": files.Client, "NATS_TLS_KEY_FILE": files.ClientKey}, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setupOn(t, nil, kafka)
			b.nats = natsserver.StartForTest(t, natsserver.Options{Set: c.server})
			stranger := b.start()
			stranger.untilWaiting("nats", c.without)
			stranger.stop()

			for name, value := range c.env {
				t.Setenv(name, value)
			}
			b.start().untilReady()
			conn, err := natsconn.Connect(b.settings().NATS, "test")
			require.NoError(t, err)
			t.Cleanup(conn.Close)
			b.js, err = jetstream.New(conn)
			require.NoError(t, err)
			b.publish(message(order(name, 1)))
			b.recordsUntil(ordersTopic, func(records []*kgo.Record) bool {
				return slices.ContainsFunc(records, func(r *kgo.Record) bool { return string(r.Key) == name })
			})
		})
	}
}

// A login is replaced while the bridge runs: it continues with what the files hold then.
func TestRotatedLogins(t *testing.T) {
	kafka := broker.StartForTest(t, brokerOptions())
	folder := t.TempDir()
	files, err := certificates.Make(folder)
	require.NoError(t, err)
	secret := "before"
	path := secretFile(t, secret)
	for name, c := range map[string]struct {
		server func(*server.Options) // by the present secret
		env    map[string]string
	}{
		"password":     {func(o *server.Options) { o.Users = []*server.User{{Username: "ann", Password: secret}} }, map[string]string{"NATS_USER": "ann", "NATS_PASSWORD_FILE": path}},
		"token":        {func(o *server.Options) { o.Authorization = secret }, map[string]string{"NATS_TOKEN_FILE": path}},
		"certificates": {func(o *server.Options) { o.TLSConfig = serverTLS(t, files) }, map[string]string{"NATS_TLS_CA_FILE": files.Authority, "NATS_TLS_CERT_FILE": files.Client, "NATS_TLS_KEY_FILE": files.ClientKey}},
	} {
		t.Run(name, func(t *testing.T) {
			b := setupOn(t, nil, kafka)
			options := natsserver.Options{DataDir: t.TempDir(), Set: c.server}
			b.nats = natsserver.StartForTest(t, options)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			bridge := b.start()
			bridge.untilReady()
			address, err := url.Parse(b.nats.URL())
			require.NoError(t, err)
			options.Port, err = strconv.Atoi(address.Port())
			require.NoError(t, err)
			b.nats.Stop()
			bridge.untilWaiting("nats", "not connected")
			secret += "-and-after"
			require.NoError(t, os.WriteFile(path, []byte(secret+"\n"), 0o600))
			_, err = certificates.Make(folder)
			require.NoError(t, err)
			b.nats = natsserver.StartForTest(t, options)
			bridge.untilReady()
		})
	}
}

func serverTLS(t *testing.T, files certificates.Files) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(files.Server, files.Server)
	require.NoError(t, err)
	authority, err := os.ReadFile(files.Authority)
	require.NoError(t, err)
	clients := x509.NewCertPool()
	require.True(t, clients.AppendCertsFromPEM(authority))
	return &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) (seed, public string) {
	t.Helper()
	pair, err := create()
	require.NoError(t, err)
	secret, err := pair.Seed()
	require.NoError(t, err)
	public, err = pair.PublicKey()
	require.NoError(t, err)
	return string(secret), public
}

// operatorMode is a server of an operator with one account, and the credentials of
// a user in it, as nsc makes them.
func operatorMode(t *testing.T) (set func(*server.Options), credentials string) {
	t.Helper()
	operatorSeed, operator := newKey(t, nkeys.CreateOperator)
	operatorKey, err := nkeys.FromSeed([]byte(operatorSeed))
	require.NoError(t, err)
	accounts := &server.MemAccResolver{}
	account := func(limits jwt.JetStreamLimits) (key nkeys.KeyPair, public string) {
		seed, public := newKey(t, nkeys.CreateAccount)
		claims := jwt.NewAccountClaims(public)
		claims.Limits.JetStreamLimits = limits
		signed, err := claims.Encode(operatorKey)
		require.NoError(t, err)
		require.NoError(t, accounts.Store(public, signed))
		key, err = nkeys.FromSeed([]byte(seed))
		require.NoError(t, err)
		return key, public
	}
	_, system := account(jwt.JetStreamLimits{})
	shop, _ := account(jwt.JetStreamLimits{MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit})
	seed, user := newKey(t, nkeys.CreateUser)
	signed, err := jwt.NewUserClaims(user).Encode(shop)
	require.NoError(t, err)
	text, err := jwt.FormatUserConfig(signed, []byte(seed))
	require.NoError(t, err)
	return func(o *server.Options) {
		o.TrustedKeys, o.AccountResolver, o.SystemAccount = []string{operator}, accounts, system
	}, string(text)
}
