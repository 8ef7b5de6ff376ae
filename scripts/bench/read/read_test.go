package read

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

func measurement(requests, bare int64) sample {
	beside := rig.Answered{Requests: bare, Microseconds: 1e6, P50: 500, P99: 2000, CPU: time.Second}
	found := beside
	found.Requests = requests
	return sample{found, beside}
}

func TestRatiosAreToTheBareServerBeside(t *testing.T) {
	// The machine was four times slower in the second round.
	measured := report.Samples[sample]{"hits": {measurement(900, 1000), measurement(225, 250)}}
	targets := []target{{rig.Target{Name: "hits"}, 0.95}}
	require.Contains(t, table("Title", targets, measured), "| hits                     |        562 |       0.90 |   0.50 |   2.00 |       1.00 |")
	require.Contains(t, goals(targets, measured), "hits: 0.90 × bare gin (goal: at least 0.95), p99 1.00 ×")
}

func TestMain(m *testing.M) {
	rig.Play()
	m.Run()
}

func TestBareServerAnswersItsBytes(t *testing.T) {
	server := bareRole.Serve(t.Context(), "17")
	defer func() { require.NoError(t, server.Kill()) }()
	response, err := http.Get("http://" + server.Addr + "/order/any")
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Len(t, body, 17)
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
}
