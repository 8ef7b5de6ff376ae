package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// The test binary plays all programs, by the name that it's called: stack is the
// real one, and the others do just enough to be told apart.
func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case "stack":
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	case "ingest-worker":
		playService("ADMIN_ADDR")
	case "read-api":
		playService("ADMIN_ADDR", "HTTP_ADDR")
	case "orderctl":
		if slices.Equal(os.Args[1:], []string{"dlq", "ui"}) {
			playService("ADMIN_ADDR", "HTTP_ADDR")
		}
		playOrderctl()
	default:
		goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
			if built.dir != "" {
				_ = os.RemoveAll(built.dir)
			}
			os.Exit(code)
		}))
	}
}

// faultVariable makes a service misbehave: "worker dies" when asked on /die,
// "api deaf" ignores SIGTERM.
const faultVariable = "STACK_TEST_FAULT"

func playService(variables ...string) {
	program := filepath.Base(os.Args[0])
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/die", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	for _, variable := range variables {
		listener, err := net.Listen("tcp", os.Getenv(variable))
		exitOn(err)
		go func() { exitOn(http.Serve(listener, nil)) }()
	}
	fmt.Printf("%s says hello\n", program)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	<-signals
	if os.Getenv(faultVariable) == program+" deaf" {
		select {}
	}
	fmt.Printf("%s says goodbye\n", program)
	os.Exit(0)
}

func playOrderctl() {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
	exitOn(err)
	// Whoever migrates first makes the table, and each of orderctl's roles uses it.
	_, err = conn.Exec(ctx, `DO $$ BEGIN IF to_regclass('calls') IS NULL THEN
		CREATE TABLE calls (name text); GRANT ALL ON calls TO PUBLIC; END IF; END $$`)
	exitOn(err)
	_, err = conn.Exec(ctx, `INSERT INTO calls VALUES ($1)`, os.Args[1])
	exitOn(err)
	var publications int
	exitOn(conn.QueryRow(ctx, `SELECT count(*) FROM calls WHERE name = 'publish'`).Scan(&publications))
	fmt.Fprintf(os.Stderr, "%d publications so far\n", publications)
	os.Exit(0)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
