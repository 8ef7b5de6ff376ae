package kafkaconn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
)

// An imported letter must land in the partition of its original, whichever client
// writes it.
func TestBothClientsChooseTheSamePartition(t *testing.T) {
	const partitions = 12
	all := make([]int, partitions)
	for i := range all {
		all[i] = i
	}
	franzGo := kgo.StickyKeyPartitioner(nil).ForTopic("orders") // kgo's default
	used := map[int]bool{}
	for i := range 1000 {
		key := fmt.Appendf(nil, "%064x", i*2654435761)[63-i%60:]
		chosen := kafkago.Balancer.Balance(kafka.Message{Key: key}, all...)
		require.Equal(t, franzGo.Partition(&kgo.Record{Key: key}, partitions), chosen, "%s", key)
		used[chosen] = true
	}
	require.Len(t, used, partitions)
	// From Kafka's UtilsTest: murmur2("foobar") is -790332482.
	require.Equal(t, (-790332482&0x7fffffff)%partitions, kafkago.Balancer.Balance(kafka.Message{Key: []byte("foobar")}, all...))
}

func TestBothClientsLogInWithTheSameMechanism(t *testing.T) {
	for mechanism, onWire := range map[string]string{
		"": "", "PLAIN": "PLAIN", "SCRAM-SHA-256": "SCRAM-SHA-256", "SCRAM-SHA-512": "SCRAM-SHA-512",
		"OAUTHBEARER": "OAUTHBEARER", "AWS_MSK_IAM": "OAUTHBEARER",
	} {
		cfg := config.KafkaConn{Brokers: []string{"a:1"}, SASLMechanism: mechanism, SASLUsername: "u", SASLPassword: "p"}
		options, err := franz.Options(cfg)
		require.NoError(t, err)
		client, err := kgo.NewClient(options...)
		require.NoError(t, err)
		login, _ := client.OptValue(kgo.SASL).([]sasl.Mechanism)
		client.Close()
		dialer, err := kafkago.Dialer(cfg)
		require.NoError(t, err)
		transport, err := kafkago.Transport(cfg)
		require.NoError(t, err)
		if mechanism == "" {
			require.Empty(t, login)
			require.Nil(t, dialer.SASLMechanism)
			require.Nil(t, transport.SASL)
			continue
		}
		require.Equal(t, onWire, login[0].Name())
		require.Equal(t, onWire, dialer.SASLMechanism.Name())
		require.Equal(t, onWire, transport.SASL.Name())
	}
}

func TestUnusableTLSFilesAreReportedByVariable(t *testing.T) {
	for variable, cfg := range map[string]config.KafkaConn{
		"KAFKA_TLS_CA_FILE":   {Brokers: []string{"a:1"}, TLS: true, TLSCAFile: "/absent"},
		"KAFKA_TLS_CERT_FILE": {Brokers: []string{"a:1"}, TLS: true, TLSCertFile: "/absent", TLSKeyFile: "/absent"},
	} {
		_, err := franz.Options(cfg)
		require.ErrorContains(t, err, variable)
		_, err = kafkago.Dialer(cfg)
		require.ErrorContains(t, err, variable)
		_, err = kafkago.Transport(cfg)
		require.ErrorContains(t, err, variable)
	}
}

// Each broker has a certificate for its own host alone, the bootstrap broker too.
func TestEachBrokersCertificateIsVerifiedAgainstItsOwnHost(t *testing.T) {
	authority := newAuthority(t)
	bootstrap, other := authority.broker(t, "localhost"), authority.broker(t, "127.0.0.1")
	impostor := authority.broker(t, "broker.example")
	impostor.addr = net.JoinHostPort("localhost", impostor.port)

	cfg := config.KafkaConn{Brokers: []string{bootstrap.addr}, TLS: true, TLSCAFile: authority.file}
	for name, dial := range clients(t) {
		t.Run(name, func(t *testing.T) {
			handshake := func(cfg config.KafkaConn, b *tlsBroker) error {
				return b.handshake(t, func(ctx context.Context) error { return dial(cfg)(ctx, b.addr) })
			}
			require.NoError(t, handshake(cfg, bootstrap))
			require.NoError(t, handshake(cfg, other))
			require.Error(t, handshake(cfg, impostor))
			named := cfg
			named.TLSServerName = "broker.example"
			require.NoError(t, handshake(named, impostor), "KAFKA_TLS_SERVER_NAME")
		})
	}
}

// A certificate, its key and the authority are replaced in place while a program runs:
// its next connection uses them. The broker demands a client's certificate.
func TestTheNextConnectionUsesRotatedCertificates(t *testing.T) {
	for name, connect := range clients(t) {
		t.Run(name, func(t *testing.T) {
			old, replaced := newAuthority(t), newAuthority(t)
			files := filepath.Join(t.TempDir(), "client.pem")
			old.issueClient(t, files)
			cfg := config.KafkaConn{Brokers: []string{"a:1"}, TLS: true, TLSCAFile: old.file, TLSCertFile: files, TLSKeyFile: files}
			dial := connect(cfg)
			before, after := old.broker(t, "localhost"), replaced.broker(t, "localhost")
			handshake := func(b *tlsBroker) error {
				return b.handshake(t, func(ctx context.Context) error { return dial(ctx, b.addr) })
			}
			require.NoError(t, handshake(before))
			require.Error(t, handshake(after))
			replaced.issueClient(t, files)
			content, err := os.ReadFile(replaced.file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(old.file, content, 0o600))
			require.NoError(t, handshake(after))
			require.Error(t, handshake(before))
		})
	}
}

// dial connects to a broker, and does something with it or not.
type dial = func(ctx context.Context, addr string) error

// clients are the programs' ways to a broker.
func clients(t *testing.T) map[string]func(config.KafkaConn) dial {
	t.Helper()
	return map[string]func(config.KafkaConn) dial{
		"kafka-go": func(cfg config.KafkaConn) dial {
			dialer, err := kafkago.Dialer(cfg)
			require.NoError(t, err)
			return func(ctx context.Context, addr string) error {
				conn, err := dialer.DialContext(ctx, "tcp", addr)
				if err == nil {
					_ = conn.Close()
				}
				return err
			}
		},
		"kafka-go transport": func(cfg config.KafkaConn) dial {
			transport, err := kafkago.Transport(cfg)
			require.NoError(t, err)
			return func(ctx context.Context, addr string) error {
				defer transport.CloseIdleConnections()
				_, err := kafkago.Client(cfg, transport).Metadata(ctx, &kafka.MetadataRequest{Addr: kafka.TCP(addr)})
				return err
			}
		},
		"franz-go": func(cfg config.KafkaConn) dial {
			options, err := franz.Options(cfg)
			require.NoError(t, err)
			return func(ctx context.Context, addr string) error {
				client, err := kgo.NewClient(append(options, kgo.SeedBrokers(addr), kgo.RequestRetries(0))...)
				require.NoError(t, err)
				defer client.Close()
				return client.Ping(ctx)
			}
		},
	}
}

// handshake returns the outcome of the handshake that dialing begins.
func (b *tlsBroker) handshake(t *testing.T, dial func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- dial(ctx) }()
	select {
	case err := <-b.handshakes: // the broker answers nothing more, so dial's error says little
		cancel()
		<-failed
		return err
	case <-ctx.Done():
		return fmt.Errorf("no handshake: %w", <-failed)
	}
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	file        string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem"), certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.certificate, a.certificate, &key.PublicKey, key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return a
}

// issueClient writes a client's key and certificate to file.
func (a *authority) issueClient(t *testing.T, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(3), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.certificate, &key.PublicKey, a.key)
	require.NoError(t, err)
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	require.NoError(t, os.WriteFile(file, text, 0o600))
}

// tlsBroker shakes hands and closes; handshakes has the outcome of each.
type tlsBroker struct {
	addr, port string
	handshakes chan error
}

func (a *authority) pool(t *testing.T) *x509.CertPool {
	t.Helper()
	content, err := os.ReadFile(a.file)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(content))
	return pool
}

// broker listens on loopback with a certificate for host.
func (a *authority) broker(t *testing.T, host string) *tlsBroker {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	certificate := &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour)}
	if ip := net.ParseIP(host); ip != nil {
		certificate.IPAddresses = []net.IP{ip}
	} else {
		certificate.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, certificate, a.certificate, &key.PublicKey, a.key)
	require.NoError(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, // with 1.3 the server finishes before the client has verified
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: a.pool(t),
	})
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	b := &tlsBroker{addr: net.JoinHostPort(host, port), port: port, handshakes: make(chan error, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			b.handshakes <- conn.(*tls.Conn).HandshakeContext(t.Context())
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close(); <-done })
	return b
}
