package app

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"
	"go.uber.org/fx"
	"go.uber.org/fx/fxtest"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	goleak.VerifyTestMain(m)
}

// settings of a reader whose database is not there.
func settings(t *testing.T) *Settings {
	t.Helper()
	for name, value := range map[string]string{
		"DATABASE_URL": "postgres://nobody@127.0.0.1:1/none?sslmode=disable", "HTTP_ADDR": "127.0.0.1:0", "ADMIN_ADDR": "127.0.0.1:0",
		"LOG_LEVEL": "error",
	} {
		t.Setenv(name, value)
	}
	s := &Settings{}
	require.NoError(t, config.Load(s))
	return s
}

func TestThePartsFitTogether(t *testing.T) {
	require.NoError(t, fx.ValidateApp(Options(settings(t))))
}

func TestStartsAndStopsWithoutItsDatabase(t *testing.T) {
	var api *httpserver.Server
	var port *admin.Server
	app := fxtest.New(t, Options(settings(t)), fx.Populate(&api, &port))
	app.RequireStart()
	defer http.DefaultClient.CloseIdleConnections()

	get := func(url string) (int, map[string]any) {
		response, err := http.Get(url)
		require.NoError(t, err)
		defer func() { require.NoError(t, response.Body.Close()) }()
		var body map[string]any
		require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
		return response.StatusCode, body
	}
	status, problem := get("http://" + api.Addr() + "/order/b563feb7b2b84b6test")
	require.Equal(t, 503, status, problem)
	require.Eventually(t, func() bool {
		status, body := get("http://" + port.Addr() + "/readyz")
		detail := body["components"].([]any)[0].(map[string]any)["detail"].(string)
		return status == 503 && strings.Contains(detail, "connection refused")
	}, 20*time.Second, 5*time.Millisecond, "/readyz says what is missing")
	status, _ = get("http://" + port.Addr() + "/livez")
	require.Equal(t, 200, status)
	status, stats := get("http://" + api.Addr() + "/api/v1/stats")
	require.Equal(t, 200, status)
	require.Equal(t, false, stats["synced"])
	app.RequireStop()
}

func TestATakenPortIsSaidWithItsVariable(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, taken.Close()) }()
	for _, name := range []string{"HTTP_ADDR", "ADMIN_ADDR"} {
		t.Run(name, func(t *testing.T) {
			s := settings(t)
			if name == "HTTP_ADDR" {
				s.HTTPAddr = taken.Addr().String()
			} else {
				s.AdminAddr = taken.Addr().String()
			}
			var db *bun.DB
			app := fx.New(Options(s), fx.Populate(&db))
			err := app.Start(context.Background())
			require.ErrorContains(t, err, name+": cannot listen on "+taken.Addr().String())
			require.NoError(t, app.Stop(context.Background()))
			require.NoError(t, db.Close()) // stopping undoes only what had started
		})
	}
}

func TestWrongSettingsAreRefusedByName(t *testing.T) {
	for name, value := range map[string]string{
		"HTTP_ADDR": "8081", "ADMIN_ADDR": "x", "CACHE_BYTES": "-1", "CACHE_COMPRESSION": "gzip", "CACHE_MAX_STALENESS": "1ms",
		"LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "CONSOLE_URL": "javascript:alert(1)", "STOP_TIMEOUT": "0s",
		"STREAM_CLIENTS": "0", "CORS_ORIGINS": "https://shop.example/path",
	} {
		t.Run(name, func(t *testing.T) {
			settings(t)
			t.Setenv(name, value)
			var stderr bytes.Buffer
			require.Equal(t, 2, Main(nil, &stderr, &stderr))
			require.Contains(t, stderr.String(), name+":")
		})
	}
	t.Run("DATABASE_URL", func(t *testing.T) {
		settings(t)
		t.Setenv("DATABASE_URL", "postgres://user:hidden@host:port/x")
		var stderr bytes.Buffer
		require.Equal(t, 2, Main(nil, &stderr, &stderr))
		require.Contains(t, stderr.String(), "DATABASE_URL: not a PostgreSQL address")
		require.Less(t, stderr.Len(), 300, "it is short")
		require.NotContains(t, stderr.String(), "hidden")
	})
}

func TestAWrongListenURLIsRefusedByName(t *testing.T) {
	settings(t)
	t.Setenv("DATABASE_LISTEN_URL", "postgres://user:hidden@host:port/x")
	var stderr bytes.Buffer
	require.Equal(t, 2, Main(nil, &stderr, &stderr))
	require.Contains(t, stderr.String(), "DATABASE_LISTEN_URL: not a PostgreSQL address")
	require.NotContains(t, stderr.String(), "hidden")
}

func TestHelpAndVersion(t *testing.T) {
	settings(t)
	t.Setenv("DATABASE_URL", "postgres://user:hidden@host/x")
	var out bytes.Buffer
	require.Zero(t, Main([]string{"--help"}, &out, &out))
	for _, name := range []string{"DATABASE_URL", "HTTP_ADDR", "ADMIN_ADDR", "CACHE_BYTES", "CACHE_COMPRESSION", "CACHE_MAX_STALENESS", "LOG_LEVEL", "LOG_FORMAT"} {
		require.Contains(t, out.String(), name)
	}
	require.NotContains(t, out.String(), "hidden")
	out.Reset()
	require.Zero(t, Main([]string{"--version"}, &out, &out))
	require.Contains(t, out.String(), "read-api ")
	require.Equal(t, 2, Main([]string{"--what"}, &out, &out))
}
