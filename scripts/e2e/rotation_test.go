package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/certificates"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// secretFile is replaced in one step.
type secretFile struct {
	t    *testing.T
	path string
}

func newSecretFile(t *testing.T, content string) secretFile {
	t.Helper()
	f := secretFile{t, filepath.Join(t.TempDir(), "secret")}
	f.replace(content)
	return f
}

func (f secretFile) replace(content string) {
	f.t.Helper()
	require.NoError(f.t, os.WriteFile(f.path+".new", []byte(content+"\n"), 0o600))
	require.NoError(f.t, os.Rename(f.path+".new", f.path))
}

// publishing publishes orders until the function that it returns is called, which returns
// once all are stored and none is a dead letter.
func (p *pipeline) publishing(seed int) (finish func()) {
	p.t.Helper()
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		sent := 0
		for n := 0; ; n++ {
			select {
			case <-stop:
				done <- sent
				return
			default:
				p.orderctl("", "publish", "--count", "50", "--seed", fmt.Sprint(seed+n))
				sent += 50
			}
		}
	}()
	return func() {
		p.t.Helper()
		close(stop)
		sent := <-done
		p.t.Logf("%d orders", sent)
		p.eventually("all orders are stored", func() (bool, string) {
			var stored int
			require.NoError(p.t, p.db.QueryRowContext(p.ctx, "SELECT count(*) FROM orders").Scan(&stored))
			return stored == sent, fmt.Sprint(stored, " of ", sent)
		})
		require.Contains(p.t, p.orderctl("", "dlq", "stats", "--output", "json"), `"open":0`)
	}
}

// The password of worker and reader changes while they work: neither notices, although
// all their connections are ended each time.
func TestTheDatabasesPasswordIsRotatedUnderLoad(t *testing.T) {
	server := postgres.ServerForTest(t, postgres.Options{Unsafe: true})
	p := newPipelineOn(t, server.URL())
	password := func(n int) string { return fmt.Sprint("rotated-", n) }
	address := func(n int) string {
		return fmt.Sprintf("postgres://app:%s@127.0.0.1:%d/orders?sslmode=disable", password(n), server.Port())
	}
	require.NoError(t, server.Admin(p.ctx, "CREATE ROLE app LOGIN PASSWORD '"+password(0)+"'; GRANT orders, pg_monitor TO app"))
	file := newSecretFile(t, address(0))
	own := p.env
	p.env = append(p.env, "DATABASE_URL=", "DATABASE_URL_FILE="+file.path)
	worker, reader := p.worker(), p.reader()
	p.env = own
	finish := p.publishing(1)
	for n := 1; n <= 3; n++ {
		require.NoError(t, server.Admin(p.ctx, "ALTER ROLE app PASSWORD '"+password(n)+"'"))
		file.replace(address(n))
		require.NoError(t, server.Admin(p.ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"))
		p.eventually("both are connected again", func() (bool, string) {
			var programs int
			require.NoError(t, p.db.QueryRowContext(p.ctx,
				"SELECT count(DISTINCT application_name) FROM pg_stat_activity WHERE usename = 'app' AND application_name IN ('ingest-worker', 'read-api tail', 'read-api doorbell')").Scan(&programs))
			return programs == 3, fmt.Sprint(programs)
		})
	}
	finish()
	for _, service := range []*process{worker, reader} {
		p.eventually("it is ready", func() (bool, string) {
			status, _, body := fetch(t, http.MethodGet, "http://"+service.admin+"/readyz", nil)
			return status == http.StatusOK, body
		})
		require.NotContains(t, service.log.String(), "password authentication failed")
		require.NotContains(t, service.log.String(), "unclassified")
	}
}

// cuttable is a listener whose connections can be ended.
type cuttable struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cuttable) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.mu.Lock()
		c.conns = append(c.conns, conn)
		c.mu.Unlock()
	}
	return conn, err
}

func (c *cuttable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// The broker's authority and certificate, the worker's certificate and its password change
// while it works: it continues with the present ones.
func TestKafkasSecretsAreRotatedUnderLoad(t *testing.T) {
	live := t.TempDir()
	files, err := certificates.Make(live)
	require.NoError(t, err)
	present := func(*tls.ClientHelloInfo) (*tls.Config, error) {
		pair, err := tls.LoadX509KeyPair(files.Server, files.Server)
		if err != nil {
			return nil, err
		}
		authority, err := os.ReadFile(files.Authority)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(authority)
		return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}, err
	}
	const method, user = "SCRAM-SHA-256", "worker"
	password := func(n int) string { return fmt.Sprint("rotated-", n) }
	var clients cuttable
	kafka := broker.StartForTest(t, broker.Options{Extra: []kfake.Opt{
		kfake.EnableSASL(), kfake.Superuser(method, user, password(0)), kfake.Superuser("PLAIN", "admin", "admin"),
		kfake.TLS(&tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: present}),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			listener, err := net.Listen(network, address)
			clients.Listener = listener
			return &clients, err
		}),
	}})
	file := newSecretFile(t, password(0))
	p := newPipeline(t)
	p.env = append(p.env, "KAFKA_BROKERS="+kafka.Addr(), "KAFKA_TLS=true", "KAFKA_TLS_CA_FILE="+files.Authority,
		"KAFKA_TLS_CERT_FILE="+files.Client, "KAFKA_TLS_KEY_FILE="+files.ClientKey,
		"KAFKA_SASL_MECHANISM="+method, "KAFKA_SASL_USERNAME="+user, "KAFKA_SASL_PASSWORD_FILE="+file.path)
	worker := p.worker()
	options, err := franz.Options(config.KafkaConn{
		Brokers: []string{kafka.Addr()}, TLS: true, TLSCAFile: files.Authority, TLSCertFile: files.Client, TLSKeyFile: files.ClientKey,
		SASLMechanism: "PLAIN", SASLUsername: "admin", SASLPassword: "admin",
	})
	require.NoError(t, err)
	client, err := kgo.NewClient(options...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	for n := 1; n <= 3; n++ {
		p.orderctl("", "publish", "--count", "200", "--seed", fmt.Sprint(n))
		next, err := certificates.Make(t.TempDir())
		require.NoError(t, err)
		altered, err := kadm.NewClient(client).AlterUserSCRAMs(context.Background(), nil, []kadm.UpsertSCRAM{{User: user, Mechanism: kadm.ScramSha256, Iterations: 4096, Password: password(n)}})
		require.NoError(t, err)
		require.NoError(t, altered.Error())
		file.replace(password(n))
		require.NoError(t, os.Rename(next.Server, files.Server))
		require.NoError(t, os.Rename(next.Client, files.Client))
		require.NoError(t, os.Rename(next.Authority, files.Authority))
		clients.cut()
		p.orderctl("", "publish", "--count", "100", "--seed", fmt.Sprint(100+n))
		p.eventually("all orders are stored", func() (bool, string) {
			var stored int
			require.NoError(t, p.db.QueryRowContext(p.ctx, "SELECT count(*) FROM orders").Scan(&stored))
			return stored == 300*n, fmt.Sprint(stored) + worker.log.String()
		})
	}
	require.Contains(t, p.orderctl("", "dlq", "stats", "--output", "json"), `"open":0`)
	for _, trouble := range []string{"SASL Authentication Failed", "x509", "certificate", "KAFKA_TLS"} {
		require.NotContains(t, strings.ReplaceAll(worker.log.String(), files.Authority, ""), trouble)
	}
}
