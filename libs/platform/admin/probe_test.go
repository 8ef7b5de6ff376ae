package admin

import (
	"context"
	"net"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
)

func TestProbeFollowsReadiness(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", ":0", "0.0.0.0:0"} {
		t.Run(listen, func(t *testing.T) {
			registry := health.NewRegistry()
			database := registry.Component("database")
			addr := serve(t, listen, registry)

			err := Probe(context.Background(), addr)
			if err == nil || !strings.Contains(err.Error(), "database") {
				t.Fatalf("a starting service: got %v, want an error that names the component", err)
			}
			database.Ready("")
			if err := Probe(context.Background(), addr); err != nil {
				t.Fatalf("a ready service: %v", err)
			}
			database.NotReady("gone")
			if err := Probe(context.Background(), addr); err == nil {
				t.Fatal("a service that is no longer ready passes")
			}
		})
	}
}

func TestProbeOfNothing(t *testing.T) {
	if err := Probe(context.Background(), "127.0.0.1:1"); err == nil {
		t.Error("a port where nobody listens passes")
	}
	if err := Probe(context.Background(), "9080"); err == nil || !strings.Contains(err.Error(), "ADMIN_ADDR") {
		t.Errorf("got %v, want an error that names the variable", err)
	}
}

func TestProbeAsksTheLoopback(t *testing.T) {
	for addr, want := range map[string]string{
		":9080":          "http://127.0.0.1:9080/readyz",
		"0.0.0.0:9080":   "http://127.0.0.1:9080/readyz",
		"[::]:9080":      "http://[::1]:9080/readyz",
		"10.1.2.3:9080":  "http://10.1.2.3:9080/readyz",
		"localhost:9080": "http://localhost:9080/readyz",
	} {
		if got, err := readyzURL(addr); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", addr, got, err, want)
		}
	}
}

// serve starts an admin port and returns addr with the port it got.
func serve(t *testing.T, addr string, registry *health.Registry) string {
	t.Helper()
	server := New(&config.Service{AdminAddr: addr}, registry, prometheus.NewRegistry(), zap.NewNop(), zap.NewAtomicLevel())
	if err := server.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	host, _, _ := net.SplitHostPort(addr)
	_, port, err := net.SplitHostPort(server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(host, port)
}
