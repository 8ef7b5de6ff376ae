package page

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"

	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// The page that shows the API's description is our own. The viewers that npm has
// (RapiDoc 9.3, OpenAPI Explorer 2.4, Swagger UI 5.35) are 0.75 to 1.9 MB of script,
// show nothing without it, and need 'unsafe-inline' styles, which the pages' policy
// forbids.

// description is as much of openapi.yaml as the page shows besides its text.
type description struct {
	Info       struct{ Title, Version, Summary, Description string }
	Paths      map[string]pathItem
	Components struct {
		Parameters map[string]parameter
		Responses  map[string]response
	}
	Text string `yaml:"-"` // the whole file
}

type pathItem struct {
	Parameters []parameter
	Get, Head  *struct {
		OperationID          string `yaml:"operationId"`
		Summary, Description string
		Responses            map[string]response
	}
}

type parameter struct {
	Ref                   string `yaml:"$ref"`
	Name, In, Description string
	Required              bool
	Schema                struct{ Minimum, Default any }
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string
	Content     map[string]struct {
		Schema struct {
			Ref string `yaml:"$ref"`
		}
	}
}

// Parameter follows a parameter's $ref.
func (d *description) Parameter(p parameter) parameter {
	if p.Ref != "" {
		return d.Components.Parameters[path.Base(p.Ref)]
	}
	return p
}

// Response follows a response's $ref.
func (d *description) Response(r response) response {
	if r.Ref != "" {
		return d.Components.Responses[path.Base(r.Ref)]
	}
	return r
}

// Values says which values a number has.
func (p parameter) Values() string {
	var words string
	if p.Schema.Minimum != nil {
		words = fmt.Sprintf("From %v. ", p.Schema.Minimum)
	}
	if p.Schema.Default != nil {
		words += fmt.Sprintf("%v where it is not given.", p.Schema.Default)
	}
	return words
}

// Schema is the name of the body's schema, "" where it has none.
func (r response) Schema() string {
	for _, content := range r.Content { // there is one at most
		if content.Schema.Ref != "" {
			return path.Base(content.Schema.Ref)
		}
	}
	return ""
}

// line is a line of the file. Where a schema begins it has an anchor.
type line struct{ Text, Anchor string }

var schemaName = regexp.MustCompile(`^    (\w+):`)

// Lines are those of the file.
func (d *description) Lines() (all []line) {
	schemas := false
	for text := range strings.Lines(d.Text) {
		l := line{Text: text}
		if name := schemaName.FindStringSubmatch(text); schemas && name != nil {
			l.Anchor = name[1]
		}
		schemas = schemas || text == "  schemas:\n"
		all = append(all, l)
	}
	return all
}

var quoted = regexp.MustCompile("`([^`]*)`")

// prose shows a text of the description as paragraphs, parted by empty lines.
func prose(text string) template.HTML {
	return "<p>" + template.HTML(strings.ReplaceAll(string(inline(strings.TrimSpace(text))), "\n\n", "</p>\n<p>")) + "</p>" //nolint:gosec // inline escapes
}

// inline shows what is between backquotes as code.
func inline(text string) template.HTML {
	return template.HTML(quoted.ReplaceAllString(template.HTMLEscapeString(text), "<code>$1</code>")) //nolint:gosec // it is escaped
}

// Docs shows the API's description, which is given in YAML. An error in it is a defect
// of the build and panics.
func (p *Page) Docs(openapi []byte) gin.HandlerFunc {
	d := description{Text: string(openapi)}
	if err := yaml.Unmarshal(openapi, &d); err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	var body bytes.Buffer
	if err := p.look.Render(&body, "docs.html", &d); err != nil {
		panic(fmt.Sprintf("docs.html: %v", err))
	}
	kept := "no-cache"
	if p.Access.On() {
		kept = "private, no-cache"
	}
	return func(c *gin.Context) {
		web.Secure(c)
		c.Header("Cache-Control", kept)
		page := web.Rebase(c.Request, body.Bytes())
		web.Send(c, http.StatusOK, "text/html; charset=utf-8", cache.ETag(page), page)
	}
}
