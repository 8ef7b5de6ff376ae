package health

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadyOnceAllComponentsAre(t *testing.T) {
	r := NewRegistry()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.now = func() time.Time { return now }
	a, b := r.Component("a"), r.Component("b")
	require.Equal(t, http.StatusServiceUnavailable, get(r.Readyz()).Code)
	require.True(t, a.Ready(""))
	require.False(t, a.Ready("again"), "no news")
	require.Equal(t, http.StatusServiceUnavailable, get(r.Readyz()).Code)
	b.Ready("")
	require.Equal(t, http.StatusOK, get(r.Readyz()).Code)

	now = now.Add(time.Hour)
	require.True(t, b.NotReady("gone"))
	failed := now
	now = now.Add(time.Hour)
	require.False(t, b.NotReady("still gone"))
	answer := get(r.Readyz())
	require.Equal(t, http.StatusServiceUnavailable, answer.Code)
	var body struct {
		Ready      bool
		Components []Status
	}
	require.NoError(t, json.Unmarshal(answer.Body.Bytes(), &body))
	require.Equal(t, Status{Name: "b", Ready: false, Detail: "still gone", Since: failed}, body.Components[1])
	require.Equal(t, http.StatusOK, get(r.Livez()).Code, "what waits must not be restarted")
}

func get(h http.Handler) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	return w
}
