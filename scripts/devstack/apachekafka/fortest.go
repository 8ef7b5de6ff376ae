package apachekafka

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// TestVariable is the environment variable that turns on the tests that need a
// cluster; `make test-kafka` sets it. They take minutes and fetch Kafka.
const TestVariable = "ORDERHUB_TEST_KAFKA"

// ForTest runs a cluster until the end of the test. The test is skipped where
// it is not asked for, or where Java or Maven is missing.
func ForTest(tb testing.TB, options Options) *Cluster {
	tb.Helper()
	if os.Getenv(TestVariable) == "" {
		tb.Skip("runs Apache Kafka: `make test-kafka` does")
	}
	options.Log = os.Stderr
	cluster, err := Start(context.Background(), options)
	var missing *MissingError
	if errors.As(err, &missing) {
		process.SkipForTest(tb, err.Error())
	}
	require.NoError(tb, err)
	tb.Cleanup(func() {
		if tb.Failed() {
			for _, b := range cluster.Brokers {
				tb.Logf("broker %d: %s", b.ID, b.Tail())
			}
		}
		assert.NoError(tb, cluster.Stop())
	})
	return cluster
}
