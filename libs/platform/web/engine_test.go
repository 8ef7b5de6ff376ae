package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/problem"
)

func ask(engine *gin.Engine, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestAnEngineAnswersErrorsWithProblems(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zap.ErrorLevel)
	var seen []int
	engine := NewEngine(EngineOptions{
		First: []gin.HandlerFunc{func(c *gin.Context) {
			c.Next()
			seen = append(seen, c.Writer.Status())
		}},
		Log: zap.New(core),
	})
	Get(engine, "/boom", func(c *gin.Context) {
		c.Header("ETag", `"x"`)
		panic("secret reason")
	})
	Get(engine, "/away", func(c *gin.Context) {
		kind := &problem.Kind{Name: "away", Code: errs.Unavailable, Title: "Away"}
		Problem(c, kind.Wrap(errors.New("secret reason"), "Not now."))
	})
	for _, one := range []struct {
		method, target string
		status         int
	}{{"GET", "/boom", 500}, {"GET", "/nowhere", 404}, {"POST", "/boom", 405}, {"GET", "/away", 503}, {"GET", "/away/", 404}} {
		w := ask(engine, one.method, one.target)
		require.Equal(t, one.status, w.Code, one.target)
		require.Equal(t, problem.ContentType, w.Header().Get("Content-Type"))
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.Empty(t, w.Header().Get("ETag"))
		require.NotContains(t, w.Body.String(), "secret")
		require.NotEmpty(t, w.Header().Get(requestIDHeader))
		require.Contains(t, w.Body.String(), `"request_id":"`+w.Header().Get(requestIDHeader)+`"`)
		if one.status == 500 {
			lines := logged.FilterMessage("handler panicked").TakeAll()
			require.Len(t, lines, 1)
			fields := lines[0].ContextMap()
			require.Equal(t, "/boom", fields["route"])
			require.Equal(t, "secret reason", fields["panic"])
			require.Contains(t, fields["stack"], "engine_test.go")
			require.Equal(t, w.Header().Get(requestIDHeader), fields["request_id"])
		}
		require.Equal(t, one.status == 503, w.Header().Get("Retry-After") != "")
		require.Equal(t, one.status, seen[len(seen)-1], "what measures sees the status")
	}
	require.Equal(t, "GET, HEAD", ask(engine, "POST", "/boom").Header().Get("Allow"))
}

func TestHalfAnAnswerIsCutOff(t *testing.T) {
	t.Parallel()
	engine := NewEngine(EngineOptions{})
	Get(engine, "/half", func(c *gin.Context) {
		c.String(http.StatusOK, "half of it")
		panic("too late")
	})
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { ask(engine, http.MethodGet, "/half") })
}
