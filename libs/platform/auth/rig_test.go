package auth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// rig is a guard with a program behind it.
type rig struct {
	*Guard
	handler http.Handler
	logged  *observer.ObservedLogs
	health  *health.Registry
}

func defaults() Settings {
	return Settings{Auth: "on", ScopesClaim: "scope", SignInScopes: []string{"openid"}, SessionLife: time.Hour, ClockSkew: clockSkew, Burst: 1000}
}

func newRig(t testing.TB, s Settings, change ...func(*Options)) *rig {
	t.Helper()
	core, logged := observer.New(zap.DebugLevel)
	o := Options{Addr: "127.0.0.1:8081", Log: zap.New(core), Health: health.NewRegistry(), Metrics: prometheus.NewRegistry()}
	for _, one := range change {
		one(&o)
	}
	require.NoError(t, s.Validate())
	g, err := New(s, o)
	require.NoError(t, err)
	require.NoError(t, g.Start(context.Background()))
	t.Cleanup(g.Stop)
	engine := web.NewEngine(web.EngineOptions{})
	engine.Use(g.Identify())
	g.Register(engine)
	who := func(c *gin.Context) {
		caller := CallerOf(c)
		c.String(http.StatusOK, "%s|%s|%s|%s", caller.Kind, caller.Name, caller.Scopes, caller.CSRF)
	}
	engine.Match([]string{"GET", "HEAD", "POST"}, "/read", g.Require(OrdersRead), who)
	engine.Match([]string{"GET", "POST"}, "/act", g.Require(OrdersRead|LettersAct), who)
	engine.GET("/list", g.RequireCost(OrdersRead, 10), who)
	engine.GET("/public", who)
	engine.GET("/stream", g.Require(OrdersRead), g.Stream(), func(c *gin.Context) {
		c.Writer.WriteHeaderNow()
		c.Writer.Flush()
		select {
		case <-CallerOf(c).Ended():
		case <-c.Request.Context().Done():
		}
	})
	h, err := web.Behind(o.Web, engine)
	require.NoError(t, err)
	r := &rig{Guard: g, handler: h, logged: logged, health: o.Health}
	if g.issuer != nil && !strings.Contains(t.Name(), "Away") {
		require.Eventually(t, func() bool { return g.issuer.provider.Load() != nil }, 20*time.Second, time.Millisecond)
	}
	return r
}

// ask sends a request; headers are pairs.
func (r *rig) ask(method, path string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(method, "http://127.0.0.1:8081"+path, nil)
	request.RemoteAddr = "192.0.2.7:1234"
	for n := 0; n < len(headers); n += 2 {
		switch headers[n] {
		case "Host":
			request.Host = headers[n+1]
		case "Remote":
			request.RemoteAddr = headers[n+1]
		default:
			request.Header.Add(headers[n], headers[n+1])
		}
	}
	w := httptest.NewRecorder()
	r.handler.ServeHTTP(w, request)
	return w
}

func (r *rig) bearer(path, token string, headers ...string) *httptest.ResponseRecorder {
	return r.ask("GET", path, append(headers, "Authorization", "Bearer "+token)...)
}

func withIssuer(i *testIssuer) Settings {
	s := defaults()
	s.Issuer, s.Audience, s.ClientID, s.SessionKey = i.URL, audience, clientID, config.Secret(keyOne)
	return s
}
