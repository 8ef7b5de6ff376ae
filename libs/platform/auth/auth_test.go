package auth

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/web"
)

func TestScopes(t *testing.T) {
	scopes, unknown := ParseScopes([]string{"letters:act", "openid", "orders:read"})
	require.Equal(t, OrdersRead|LettersAct, scopes)
	require.Equal(t, []string{"openid"}, unknown)
	require.Equal(t, []string{"orders:read", "letters:act"}, scopes.Names())
	require.Equal(t, "orders:read letters:act", scopes.String())
	all, _ := ParseScopes(ScopeNames())
	require.Equal(t, AllScopes, all)
}

func TestWithoutAuthEverybodyMayDoEverything(t *testing.T) {
	for _, mode := range []string{"", "off"} {
		g, err := New(Settings{Auth: mode}, Options{Addr: "127.0.0.1:0"})
		require.NoError(t, err)
		require.False(t, g.On())
		engine := web.NewEngine(web.EngineOptions{})
		engine.Use(g.Identify())
		engine.POST("/", g.Require(AllScopes), func(c *gin.Context) { c.String(http.StatusOK, CallerOf(c).Kind) })
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
		require.Equal(t, 200, w.Code)
		require.Equal(t, KindOff, w.Body.String())
	}
}

func TestBeyondLoopbackAModeIsNeeded(t *testing.T) {
	for _, addr := range []string{":8081", "0.0.0.0:8081", "192.0.2.1:8081", "[::]:8081", "shop.example:8081"} {
		require.ErrorContains(t, (&Settings{}).Check(addr, false), "HTTP_AUTH: ")
		require.NoError(t, (&Settings{Auth: "off"}).Check(addr, false))
	}
	for _, addr := range []string{"127.0.0.1:8081", "localhost:8081", "[::1]:8081"} {
		require.NoError(t, (&Settings{}).Check(addr, false))
		require.ErrorContains(t, (&Settings{}).Check(addr, true), "HTTP_AUTH: ", "a proxy makes it reachable")
		require.NoError(t, (&Settings{Auth: "off"}).Check(addr, true))
	}
}

func TestACallerEnds(t *testing.T) {
	c := NewCaller(KindToken, "x", OrdersRead, time.Now().Add(10*time.Millisecond))
	<-c.Ended()
	c.end()
	forever := NewCaller(KindToken, "x", OrdersRead, time.Time{})
	select {
	case <-forever.Ended():
		t.Fatal("it does not expire")
	default:
	}
	require.True(t, c.May(0))
	require.False(t, c.May(OrdersRead|OrdersAct))
}
