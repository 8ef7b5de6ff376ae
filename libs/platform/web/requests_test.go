package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestNoTwoRequestsHaveTheSameID(t *testing.T) {
	const askers, each = 8, 2000
	var seen sync.Map
	var all sync.WaitGroup
	for range askers {
		all.Go(func() {
			for range each {
				_, before := seen.LoadOrStore(nextID()[0], true)
				if before {
					t.Error("an id was given twice")
				}
			}
		})
	}
	all.Wait()
	require.LessOrEqual(t, testing.AllocsPerRun(10*len(idBlock{}.ids), func() { nextID() }), 0.5)
}

// Only a trusted proxy chooses the id, and only one that can do no harm in logs.
func TestAProxyChoosesTheID(t *testing.T) {
	engine := NewEngine(EngineOptions{})
	Get(engine, "/id", func(c *gin.Context) { c.String(http.StatusOK, RequestID(c)) })
	behind, err := Behind(Settings{TrustedProxies: []string{"192.0.2.1"}}, engine)
	require.NoError(t, err)
	for given, chosen := range map[string]bool{
		"": false, "abc-1.2_X": true, strings.Repeat("a", maxRequestID): true, strings.Repeat("a", maxRequestID+1): false,
		"a b": false, "a\"b": false, "a\nb": false, "ann@shop.example": false, "\u00e4": false,
	} {
		for _, proxy := range []bool{true, false} {
			r := httptest.NewRequest(http.MethodGet, "/id", nil)
			r.Header[requestIDHeader] = []string{given}
			r.RemoteAddr = map[bool]string{true: "192.0.2.1:1", false: "192.0.2.2:1"}[proxy]
			w := httptest.NewRecorder()
			behind.ServeHTTP(w, r)
			require.Equal(t, w.Body.String(), w.Header().Get(requestIDHeader))
			require.Equal(t, chosen && proxy, w.Body.String() == given, "%q", given)
			require.NotEmpty(t, w.Body.String())
		}
	}
}

// The access log has a bounded number of lines, and nothing that people have typed.
func TestTheAccessLog(t *testing.T) {
	synctest.Test(t, testTheAccessLog)
}

func testTheAccessLog(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	engine := NewEngine(EngineOptions{Log: zap.New(core), AccessLog: 5})
	Get(engine, "/order/:order_uid", func(c *gin.Context) { c.String(http.StatusAccepted, "four") })
	w := ask(engine, http.MethodGet, "/order/secret?city=secret")
	require.Len(t, logged.All(), 1)
	fields := logged.All()[0].ContextMap()
	delete(fields, "duration_seconds")
	require.Equal(t, map[string]any{
		"request_id": w.Header().Get(requestIDHeader), "method": "GET", "route": "/order/:order_uid", "status": int64(202), "bytes": int64(4),
	}, fields)
	ask(engine, http.MethodGet, "/secret?secret")
	for range 100 {
		ask(engine, http.MethodGet, "/order/x")
	}
	require.Equal(t, 5, logged.Len())
	time.Sleep(200 * time.Millisecond)
	ask(engine, http.MethodGet, "/order/x")
	require.Equal(t, 6, logged.Len())
	require.NotContains(t, fmt.Sprint(logged.All()), "secret")

	core, logged = observer.New(zap.DebugLevel)
	engine = NewEngine(EngineOptions{Log: zap.New(core)})
	ask(engine, http.MethodGet, "/order/x")
	require.Zero(t, logged.Len(), "it is off")
}
