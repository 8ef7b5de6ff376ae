package apachekafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What is missing is said by name, and does not fail a test that can do without.
func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv(CacheVariable, t.TempDir())
	_, err := Start(context.Background(), Options{})
	var missing *MissingError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "java", missing.Program)
}

// A cluster of three keeps what is acknowledged over the death of a broker, lets
// users in, and leaves neither processes nor files.
func TestClusterOfThree(t *testing.T) {
	c := ForTest(t, Options{Brokers: 3, Users: map[string]string{"bob": "secret"}})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs(Plain)...), kgo.DefaultProduceTopic("t"))
	require.NoError(t, err)
	defer client.Close()
	admin := kadm.NewClient(client)
	_, err = admin.CreateTopic(ctx, 3, -1, nil, "t")
	require.NoError(t, err)
	b := c.Brokers[1]
	require.NoError(t, client.ProduceSync(ctx, kgo.StringRecord("before")).FirstErr())
	require.NoError(t, b.Kill())
	require.False(t, b.Running())
	require.NoError(t, client.ProduceSync(ctx, kgo.StringRecord("without it")).FirstErr())
	require.NoError(t, b.Start(ctx))
	require.NoError(t, c.Brokers[0].Pause())
	require.NoError(t, c.Brokers[0].Resume())
	require.NoError(t, c.WaitReady(ctx))
	require.Equal(t, int64(2), count(ctx, t, client))

	// Through each of the other listeners.
	login := kgo.SASL(scram.Auth{User: "bob", Pass: "secret"}.AsSha256Mechanism())
	authority, err := os.ReadFile(c.Certificates.Authority)
	require.NoError(t, err)
	secure := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	secure.RootCAs.AppendCertsFromPEM(authority)
	withCertificate := secure.Clone()
	pair, err := tls.LoadX509KeyPair(c.Certificates.Client, c.Certificates.ClientKey)
	require.NoError(t, err)
	withCertificate.Certificates = []tls.Certificate{pair}
	for listener, options := range map[Listener][]kgo.Opt{
		SASL: {login}, TLS: {kgo.DialTLSConfig(withCertificate)}, SASLTLS: {login, kgo.DialTLSConfig(secure)}, Proxied: nil,
	} {
		other, err := kgo.NewClient(append(options, kgo.SeedBrokers(c.Addrs(listener)...))...)
		require.NoError(t, err)
		require.Equal(t, int64(2), count(ctx, t, other), listener)
		other.Close()
	}
	pids := []int{}
	for _, b := range c.Brokers {
		pids = append(pids, b.Daemon.Process().Pid())
	}
	require.NoError(t, c.Stop())
	require.NoDirExists(t, c.dir)
	for _, pid := range pids {
		require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
	}
}

func count(ctx context.Context, t *testing.T, client *kgo.Client) (n int64) {
	t.Helper()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, "t")
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}
