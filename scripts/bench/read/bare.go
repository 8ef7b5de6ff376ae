package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// bareVariable marks the process that is the bare server; its value is the length of
// the answers in bytes.
const bareVariable = "ORDERHUB_BENCH_BARE"

// runBare serves in the process that startBare starts, and returns false in any other.
func runBare() bool {
	size, marked := os.LookupEnv(bareVariable)
	if !marked {
		return false
	}
	if err := serveBare(size, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bare gin:", err)
		os.Exit(1)
	}
	return true
}

// serveBare answers every request for an order with the same bytes, with gin alone,
// until in ends.
func serveBare(size string, in io.Reader, out io.Writer) error {
	length, err := strconv.Atoi(size)
	if err != nil {
		return fmt.Errorf("%s: %w", bareVariable, err)
	}
	body := bytes.Repeat([]byte("x"), length)
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/order/:order_uid", func(c *gin.Context) { c.Data(http.StatusOK, "application/json", body) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// Every public server has such time-outs, so read-api is not compared without.
	server := &http.Server{
		Handler: engine, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
	}
	if _, err := fmt.Fprintln(out, listener.Addr()); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		_ = server.Shutdown(context.Background())
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func startBare(size int) (*rig.Child, error) { return rig.StartChild(bareVariable, strconv.Itoa(size)) }
