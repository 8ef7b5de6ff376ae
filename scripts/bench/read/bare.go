package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
)

// bareRole is the process of the bare server. Its argument is the length of the
// answers in bytes.
var bareRole = program.Role{Name: "bare gin", Run: serveBare}

// serveBare answers every request for an order with the same bytes, with gin alone,
// until in ends.
func serveBare(size string, in io.Reader, out io.Writer) error {
	length, err := strconv.Atoi(size)
	if err != nil {
		return fmt.Errorf("length of the answers: %w", err)
	}
	body := bytes.Repeat([]byte("x"), length)
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/order/:order_uid", func(c *gin.Context) { c.Data(http.StatusOK, "application/json", body) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// The time-outs of every public server, read-api's too.
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
