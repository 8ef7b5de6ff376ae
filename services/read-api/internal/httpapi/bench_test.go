package httpapi

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// BenchmarkAnswers asks one question after the other on one connection, of the
// API and of a bare gin server, and says what CPU time that takes, which other
// work on the machine changes little. It is for looking into a path: how fast they
// are beside each other, make bench-read measures.
func BenchmarkAnswers(b *testing.B) {
	api := setupWith(b, time.Hour, cache.StoreOptions{}, func(*Options) {})
	engine := gin.New()
	body := []byte(canonical)
	engine.GET("/order/:order_uid", func(c *gin.Context) { c.Data(http.StatusOK, "application/json", body) })
	const request = "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n"
	tag := "If-None-Match: " + cache.ETag(body) + "\r\n"
	for _, one := range []struct {
		name    string
		handler http.Handler
		address string
		header  string
	}{
		{"bare on net/http", engine, sampleAddress, ""}, {"bare", engine, sampleAddress, ""}, {"200", api.handler, sampleAddress, ""},
		{"bare with If-None-Match", engine, sampleAddress, tag}, {"304", api.handler, sampleAddress, tag}, {"404", api.handler, "/order/none", ""},
	} {
		b.Run(one.name, func(b *testing.B) {
			var addr string
			if one.name == "bare on net/http" {
				server := httptest.NewServer(one.handler)
				defer server.Close()
				addr = server.Listener.Addr().String()
			} else {
				server := httpserver.New(httpserver.Options{Name: "API", Addr: "127.0.0.1:0", Handler: one.handler, ConnContext: ConnContext})
				if err := server.Start(b.Context()); err != nil {
					b.Fatal(err)
				}
				defer server.Stop()
				addr = server.Addr()
			}
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			from := bufio.NewReader(conn)
			question := fmt.Sprintf(request, one.address, one.header)
			before := cpuTime(b)
			for b.Loop() {
				if _, err := io.WriteString(conn, question); err != nil {
					b.Fatal(err)
				}
				if err := skipAnswer(from); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what the process has used, in nanoseconds.
func cpuTime(b *testing.B) int64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return used.Utime.Nano() + used.Stime.Nano()
}

// skipAnswer reads an answer with as little work as there can be.
func skipAnswer(from *bufio.Reader) error {
	length := 0
	for {
		line, err := from.ReadSlice('\n')
		if err != nil {
			return err
		}
		if text, is := bytes.CutPrefix(line, []byte("Content-Length: ")); is {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(text))); err != nil {
				return err
			}
		}
		if len(line) <= len("\r\n") {
			_, err := from.Discard(length)
			return err
		}
	}
}
