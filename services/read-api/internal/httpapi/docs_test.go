package httpapi

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

var anchors = regexp.MustCompile(`href="#([^"]+)"`)

func TestTheDescriptionIsServedAndShown(t *testing.T) {
	b := setup(t, time.Hour, cache.StoreOptions{})
	yaml := b.ask(t, "GET", "/openapi.yaml")
	require.Equal(t, 200, yaml.status)
	require.Equal(t, string(openapi), yaml.body)
	require.Equal(t, 304, b.ask(t, "GET", "/openapi.yaml", "If-None-Match", yaml.header.Get("ETag")).status)

	page := b.ask(t, "GET", "/docs")
	require.Equal(t, 200, page.status)
	for _, part := range []string{
		"<code>/api/v1/orders/{order_uid}</code>", "Orders, newest first", `href="/openapi.yaml"`,
		`<a href="#getStats"><code>/api/v1/stats</code></a>`, `<section id="getStats"`, // the index leads to the operation
		"<code>created_from</code> <span class=\"quiet\">query</span>", "<code>order_uid</code> <span class=\"quiet\">path, required</span>",
		"From 1 to 100. 20 where it is not given.",                                                                               // parameters, those of $ref too
		`<code>200</code> <a href="#Order">`, `<span id="Order">`, `<code>503</code> <a href="#Problem">`, `<span id="Problem">`, // answers and their schemas
	} {
		require.Contains(t, page.body, part)
	}
	shown, _, found := strings.Cut(page.body, "<pre")
	require.True(t, found)
	require.NotContains(t, shown, "`", "code is shown as code")
	for _, anchor := range anchors.FindAllStringSubmatch(shown, -1) {
		require.Contains(t, page.body, `id="`+anchor[1]+`"`, "a link that leads nowhere")
	}
	for _, foreign := range []string{"<script", "http://", "https://", "@import", "ZgotmplZ"} {
		require.NotContains(t, page.body, foreign)
	}
	policy := page.header.Get("Content-Security-Policy")
	require.True(t, strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-"), policy)
	require.NotContains(t, policy, "unsafe")
}

// TestEveryRouteIsDescribed compares what the router knows with the description.
func TestEveryRouteIsDescribed(t *testing.T) {
	b := setupWith(t, time.Hour, cache.StoreOptions{}, func(o *Options) { o.Page = nil })
	var description struct {
		Paths map[string]map[string]any
	}
	require.NoError(t, yaml.Unmarshal(openapi, &description))
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
