package httpapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the description and its page
	"encoding/base64"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// openapi describes the API. It is written by hand; tests hold the answers
// against it.
//
//go:embed openapi.yaml
var openapi []byte

//go:embed docs.html
var docsTemplate string

//go:embed docs.css
var docsStyle string

// docs are the description and the page that shows it.
type docs struct {
	page                []byte
	policy              string
	pageTag, openapiTag string
}

// operation is what the page shows of one, besides the whole description.
type operation struct {
	Method, Path         string
	Summary, Description string
	Anchor               string // of its lines in the description
}

// newDocs renders the page. An error is a fault of the build, which every test
// of the package shows.
func newDocs() *docs {
	var description struct {
		Info  struct{ Title, Version, Summary, Description string }
		Paths map[string]struct{ Get, Head *operation }
	}
	if err := yaml.Unmarshal(openapi, &description); err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	var operations []operation
	for _, path := range slices.Sorted(maps.Keys(description.Paths)) {
		methods := description.Paths[path]
		o := *methods.Get
		o.Method, o.Path, o.Anchor = http.MethodGet, path, "#path-"+path
		if methods.Head != nil {
			o.Method += ", " + http.MethodHead
		}
		operations = append(operations, o)
	}
	d := &docs{openapiTag: cache.ETag(openapi)}
	var page bytes.Buffer
	data := map[string]any{
		"Info": description.Info, "Operations": operations, "Lines": lines(string(openapi)),
		"Style": template.CSS(docsStyle), //nolint:gosec // it is embedded
	}
	if err := template.Must(template.New("docs").Parse(docsTemplate)).Execute(&page, data); err != nil {
		panic(fmt.Sprintf("docs.html: %v", err))
	}
	d.page, d.pageTag = page.Bytes(), cache.ETag(page.Bytes())
	style := sha256.Sum256([]byte(docsStyle))
	d.policy = "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(style[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return d
}

// line is one of the description's; an anchor is where a path begins.
type line struct{ Text, Anchor string }

func lines(text string) (all []line) {
	for one := range strings.Lines(text) {
		l := line{Text: one}
		if strings.HasPrefix(one, "  /") {
			l.Anchor = "path-" + strings.TrimSuffix(strings.TrimSpace(one), ":")
		}
		all = append(all, l)
	}
	return all
}

func (d *docs) servePage(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", d.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	d.serve(c, "text/html; charset=utf-8", d.pageTag, d.page)
}

func (d *docs) serveOpenAPI(c *gin.Context) {
	d.serve(c, "application/yaml", d.openapiTag, openapi)
}

func (d *docs) serve(c *gin.Context, contentType, etag string, body []byte) {
	h := c.Writer.Header()
	h["Cache-Control"] = revalidate
	h["X-Content-Type-Options"] = nosniff
	h["Etag"] = []string{etag}
	if matches(c.Request.Header["If-None-Match"], etag) {
		c.Status(http.StatusNotModified)
		return
	}
	c.Data(http.StatusOK, contentType, body)
}
