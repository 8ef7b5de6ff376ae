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
	style               string // hash of the page's style
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
	d.style = "sha256-" + base64.StdEncoding.EncodeToString(style[:])
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
	secureDocument(c.Writer.Header(), d.style)
	sendTagged(c, htmlType, d.pageTag, d.page)
}

func (d *docs) serveOpenAPI(c *gin.Context) { sendTagged(c, yamlType, d.openapiTag, openapi) }

var (
	htmlType = []string{"text/html; charset=utf-8"}
	yamlType = []string{"application/yaml"}
)

// secureDocument has a browser show a document and nothing else: no script, no
// other resource but a style of this hash, if any.
func secureDocument(h http.Header, styleHash string) {
	policy := "default-src 'none'; "
	if styleHash != "" {
		policy += "style-src '" + styleHash + "'; "
	}
	h.Set("Content-Security-Policy", policy+"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
}
