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
	"path"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/goccy/go-yaml"

	"github.com/orderhub/orderhub/libs/platform/web"
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

// description is as much of openapi.yaml as the page shows besides its text.
type description struct {
	Info       struct{ Title, Version, Summary, Description string }
	Paths      map[string]pathItem
	Components struct {
		Parameters map[string]parameter
		Responses  map[string]response
	}
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
	Schema                struct{ Minimum, Maximum, Default any }
}

// Values says which values a number has.
func (p parameter) Values() string {
	var words string
	if p.Schema.Maximum != nil {
		words = fmt.Sprintf("From %v to %v. ", p.Schema.Minimum, p.Schema.Maximum)
	}
	if p.Schema.Default != nil {
		words += fmt.Sprintf("%v where it is not given.", p.Schema.Default)
	}
	return words
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

// operation is what the page shows of an address.
type operation struct {
	Methods, Path, Anchor string
	Summary, Description  string
	Parameters            []parameter
	Answers               []answered
}

// answered is one of an operation's answers.
type answered struct{ Status, Description, Schema string }

// newDocs renders the page. An error is a fault of the build, which every test
// of the package shows.
func newDocs() *docs {
	var described description
	if err := yaml.Unmarshal(openapi, &described); err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	d := &docs{openapiTag: cache.ETag(openapi)}
	var page bytes.Buffer
	data := map[string]any{
		"Info": described.Info, "Operations": described.operations(), "Lines": lines(string(openapi)),
		"Style": template.CSS(docsStyle), //nolint:gosec // it is embedded
	}
	functions := template.FuncMap{"paragraphs": paragraphs, "spans": spans}
	if err := template.Must(template.New("docs").Funcs(functions).Parse(docsTemplate)).Execute(&page, data); err != nil {
		panic(fmt.Sprintf("docs.html: %v", err))
	}
	d.page, d.pageTag = page.Bytes(), cache.ETag(page.Bytes())
	style := sha256.Sum256([]byte(docsStyle))
	d.style = "sha256-" + base64.StdEncoding.EncodeToString(style[:])
	return d
}

func (d *description) operations() []operation {
	var all []operation
	for _, address := range slices.Sorted(maps.Keys(d.Paths)) {
		item := d.Paths[address]
		o := operation{Methods: http.MethodGet, Path: address, Anchor: item.Get.OperationID, Summary: item.Get.Summary, Description: item.Get.Description}
		if item.Head != nil {
			o.Methods += ", " + http.MethodHead
		}
		for _, p := range item.Parameters {
			if p.Ref != "" {
				p = d.Components.Parameters[path.Base(p.Ref)]
			}
			o.Parameters = append(o.Parameters, p)
		}
		for _, status := range slices.Sorted(maps.Keys(item.Get.Responses)) {
			r := item.Get.Responses[status]
			if r.Ref != "" {
				r = d.Components.Responses[path.Base(r.Ref)]
			}
			answer := answered{Status: status, Description: r.Description}
			for _, content := range r.Content { // there is one at most
				if content.Schema.Ref != "" {
					answer.Schema = path.Base(content.Schema.Ref)
				}
			}
			o.Answers = append(o.Answers, answer)
		}
		all = append(all, o)
	}
	return all
}

// paragraphs parts a text of the description at its empty lines.
func paragraphs(text string) []string {
	return strings.FieldsFunc(strings.ReplaceAll(strings.TrimSpace(text), "\n\n", "\x00"), func(r rune) bool { return r == 0 })
}

// span is a piece of a text, as code or not.
type span struct {
	Text string
	Code bool
}

// spans parts a text at its backquotes.
func spans(text string) (all []span) {
	for i, piece := range strings.Split(text, "`") {
		if piece != "" {
			all = append(all, span{Text: piece, Code: i%2 == 1})
		}
	}
	return all
}

// line is one of the description's; an anchor is where a schema begins.
type line struct{ Text, Anchor string }

func lines(text string) (all []line) {
	schemas := false
	for one := range strings.Lines(text) {
		l := line{Text: one}
		name := strings.TrimPrefix(one, "    ")
		switch {
		case one == "  schemas:\n":
			schemas = true
		case schemas && name != one && !strings.HasPrefix(name, " "):
			l.Anchor = strings.TrimSuffix(strings.TrimSpace(name), ":")
		}
		all = append(all, l)
	}
	return all
}

func (d *docs) servePage(c *gin.Context) {
	h := c.Writer.Header()
	web.SecureHeaders(h)
	h.Set("Content-Security-Policy", "default-src 'none'; style-src '"+d.style+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	sendTagged(c, htmlType, d.pageTag, d.page)
}

func (d *docs) serveOpenAPI(c *gin.Context) { sendTagged(c, yamlType, d.openapiTag, openapi) }

var (
	htmlType = []string{"text/html; charset=utf-8"}
	yamlType = []string{"application/yaml"}
)
