package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/binaries"
)

// programs is the folder of the binaries under test, built once.
var programs string

func TestMain(m *testing.M) {
	if os.Getenv(apachekafka.TestVariable) != "" {
		if err := build(); err != nil {
			fmt.Fprintln(os.Stderr, "the binaries cannot be built:", err)
			os.Exit(1)
		}
	}
	goleak.VerifyTestMain(postgres.Shared(m), goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(programs)
		os.Exit(code)
	}))
}

func build() (err error) {
	if programs, err = os.MkdirTemp("", "orderhub-kafkatest-"); err != nil {
		return err
	}
	return binaries.Build(programs)
}

// site is where a test runs that others share.
type site struct {
	t       *testing.T
	cluster *apachekafka.Cluster
}

// users may log in at the single broker. alice may do everything there, the others what
// a test allows them.
var users = map[string]string{"alice": "alices-secret", "worker": "workers-secret", "bridge": "bridges-secret", "operator": "operators-secret"}

// guarded are the settings of a broker with an authorizer, which also lets in whoever has a
// token for alice, and ends connections that do not renew it every few seconds.
var guarded = map[string]string{
	"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
	"super.users":           "User:ANONYMOUS;User:alice;User:CN=client.pem,O=Orderhub's tests",
	"listener.name.sasl.sasl.enabled.mechanisms":                  "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
	oauth + "sasl.jaas.config":                                    `org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="alice";`,
	oauth + "connections.max.reauth.ms":                           "4000",
	"transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
}

const oauth = "listener.name.sasl.oauthbearer."

func TestOneBroker(t *testing.T) {
	cluster := apachekafka.ForTest(t, apachekafka.Options{Users: users, Settings: guarded})
	t.Run("Outcomes", func(t *testing.T) { testOutcomes(site{t, cluster}) })
	t.Run("Rebalance", func(t *testing.T) { testRebalance(site{t, cluster}) })
	t.Run("Offsets", func(t *testing.T) { testOffsets(site{t, cluster}) })
	t.Run("LargeLetters", func(t *testing.T) { testLargeLetters(site{t, cluster}) })
	t.Run("Letters", func(t *testing.T) { testLetters(site{t, cluster}) })
	t.Run("Exclusive", func(t *testing.T) { testExclusive(site{t, cluster}) })
	t.Run("Compaction", func(t *testing.T) { testCompaction(site{t, cluster}) })
	t.Run("ForeignProducers", func(t *testing.T) { testForeignProducers(site{t, cluster}) })
	t.Run("Listeners", func(t *testing.T) { testListeners(site{t, cluster}) })
	t.Run("Tokens", func(t *testing.T) { testTokens(site{t, cluster}) })
	t.Run("Rights", func(t *testing.T) { testRights(site{t, cluster}) })
	t.Run("BrokerRestarts", func(t *testing.T) { testBrokerRestarts(site{t, cluster}) })
}

func TestThreeBrokers(t *testing.T) {
	cluster := apachekafka.ForTest(t, apachekafka.Options{Brokers: 3})
	t.Run("Outcomes", func(t *testing.T) { testOutcomes(site{t, cluster}) })
	t.Run("Rebalance", func(t *testing.T) { testRebalance(site{t, cluster}) })
	t.Run("Offsets", func(t *testing.T) { testOffsets(site{t, cluster}) })
	t.Run("LargeLetters", func(t *testing.T) { testLargeLetters(site{t, cluster}) })
	t.Run("Letters", func(t *testing.T) { testLetters(site{t, cluster}) })
	t.Run("Exclusive", func(t *testing.T) { testExclusive(site{t, cluster}) })
	t.Run("BrokersDie", func(t *testing.T) { testBrokersDie(site{t, cluster}) })
	t.Run("LeadersMove", func(t *testing.T) { testLeadersMove(site{t, cluster}) })
}

// deadline bounds every wait; nothing is expected to take long.
const deadline = 3 * time.Minute

// eventually waits until holds does.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	until := time.Now().Add(deadline)
	err := errors.New("never tried")
	for time.Now().Before(until) {
		if err = holds(); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	require.NoError(t, err, "waited %s in vain: %s", deadline, what)
}

// bounded is a context for one wait.
func bounded(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}
