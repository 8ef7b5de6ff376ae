package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

func TestTheDescriptionIsServed(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	yaml := b.ask(t, "GET", "/openapi.yaml")
	require.Equal(t, 200, yaml.status)
	require.Equal(t, string(OpenAPI), yaml.body)
	require.Equal(t, 304, b.ask(t, "GET", "/openapi.yaml", "If-None-Match", yaml.header.Get("ETag")).status)

}

// TestEveryRouteIsDescribed compares what the router knows with the description.
func TestEveryRouteIsDescribed(t *testing.T) {
	b := setupWith(t, time.Hour, cache.StoreOptions{}, func(o *Options) {
		o.Pages, o.Docs = nil, func(*gin.Context) {}
	})
	var description struct {
		Paths map[string]map[string]any
	}
	require.NoError(t, yaml.Unmarshal(OpenAPI, &description))
	var described, routed []string
	for path, operations := range description.Paths {
		for method := range operations {
			if method != "parameters" {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for _, route := range b.handler.Routes() {
		parts := strings.Split(route.Path, "/")
		for i, part := range parts {
			if name, is := strings.CutPrefix(part, ":"); is {
				parts[i] = "{" + name + "}"
			}
		}
		routed = append(routed, route.Method+" "+strings.Join(parts, "/"))
	}
	require.ElementsMatch(t, routed, described)
}
