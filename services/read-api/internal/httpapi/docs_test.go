package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

func TestTheDescriptionIsServedAndShown(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	yaml := b.ask(t, "GET", "/openapi.yaml")
	require.Equal(t, 200, yaml.status)
	require.Equal(t, string(openapi), yaml.body)
	require.Equal(t, 304, b.ask(t, "GET", "/openapi.yaml", "If-None-Match", yaml.header.Get("ETag")).status)

	page := b.ask(t, "GET", "/docs")
	require.Equal(t, 200, page.status)
	for _, part := range []string{"/api/v1/orders/{order_uid}", "Orders, newest first", "created_from", `href="/openapi.yaml"`, `id="path-/api/v1/stats"`} {
		require.Contains(t, page.body, part)
	}
	for _, foreign := range []string{"<script", "http://", "https://", "@import", "ZgotmplZ"} {
		require.NotContains(t, page.body, foreign)
	}
	policy := page.header.Get("Content-Security-Policy")
	require.True(t, strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-"), policy)
	require.NotContains(t, policy, "unsafe")
}
