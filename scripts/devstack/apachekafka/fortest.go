package apachekafka

import (
	"context"
	"errors"
	"os"
	"testing"
)

// TestVariable is the environment variable that turns on the tests that need a
// cluster; `make test-kafka` sets it. They take minutes and fetch Kafka.
const TestVariable = "ORDERHUB_TEST_KAFKA"

// StrictVariable is the environment variable that makes a test fail that lacks
// something on this machine, instead of skipping it.
const StrictVariable = "ORDERHUB_TEST_STRICT"

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
	switch {
	case errors.As(err, &missing) && os.Getenv(StrictVariable) == "":
		tb.Skipf("SKIPPED, NOTHING WAS TESTED: %v", err)
	case err != nil:
		tb.Fatalf("Apache Kafka for the test: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			for _, b := range cluster.Brokers {
				tb.Logf("broker %d: %s", b.ID, b.Tail())
			}
		}
		if err := cluster.Stop(); err != nil {
			tb.Errorf("stop Apache Kafka: %v", err)
		}
	})
	return cluster
}
