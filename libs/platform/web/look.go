// Package web is what Orderhub's web programs share: the gin engine (NewEngine),
// errors as problem+json (Problem), the look of their pages, and the assets under
// hashed names (Look).
//
// A page keeps its own files in an embed.FS and combines them with the shared ones:
//
//	//go:embed assets
//	var assets embed.FS // assets/console.css, assets/console.js, …
//	//go:embed templates
//	var templates embed.FS
//
//	look := web.NewLook(assets, "assets", templates, "templates", nil)
//	look.Register(engine)                               // GET /assets/{name}: its files and the shared ones
//	look.Render(&buffer, "page.html", view)             // its templates and the shared ones
//	Rebase(request, buffer.Bytes())                     // with addresses as the client sees them
//	pages := engine.Group("", web.Secure)               // the headers of every page
//
// In its templates a page uses:
//
//	{{template "look-head" "Title"}}        inside <head>: meta, icon, base.css, base.js; then its own
//	                                        <link rel="stylesheet" href="{{asset "console.css"}}"> and
//	                                        <script src="{{asset "console.js"}}" defer></script>
//	{{template "look-brand" "Dead letters"}} the name of the page beside the mark, a link to /
//	{{template "look-time" when .Created}}  a time; base.js shows it in the browser's zone
//	{{template "look-time" ago .Created}}   the same, shown as the time that has passed
//	{{template "look-live"}}                once, at the beginning of the body: the skip link to #main, and
//	                                        #announcement, whose text screen readers announce
//
// The classes of base.css say what a thing is; its first lines list them. base.js
// provides window.look; its first lines list the functions. Both work under
// [Policy], which forbids everything inline: no style attributes, no on…
// attributes, no <style> or <script> with a body.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/platform/problem"
)

//go:embed assets
var sharedAssets embed.FS

//go:embed templates
var sharedTemplates embed.FS

// Look is a page's files and templates together with the shared ones. Its
// methods are safe for concurrent use.
type Look struct {
	files     map[string]file   // by the name under which they are served
	addresses map[string]string // of files, by their own names
	build     string
	templates *template.Template
}

// file is one embedded file as it is served.
type file struct {
	body              []byte
	contentType, etag string
}

// NewLook combines a page's files (of one folder) and templates (*.html of another)
// with the shared ones. funcs may be nil; it cannot replace "asset", "when" and
// "ago". An error in the files is a defect of the build: NewLook panics, so that any
// test of the page shows it.
func NewLook(assets fs.FS, assetFolder string, templates fs.FS, templateFolder string, funcs template.FuncMap) *Look {
	l := &Look{files: map[string]file{}, addresses: map[string]string{}}
	build := sha256.New()
	each := func(files fs.FS, folder string, use func(name string, body []byte)) {
		names, err := fs.Glob(files, path.Join(folder, "*"))
		for _, name := range names {
			var body []byte
			if body, err = fs.ReadFile(files, name); err != nil {
				break
			}
			build.Write(body)
			use(path.Base(name), body)
		}
		if err != nil {
			panic(fmt.Sprintf("web: embedded folder %s: %v", folder, err))
		}
	}
	each(sharedAssets, "assets", l.add)
	each(assets, assetFolder, l.add)
	l.templates = template.New("look").Funcs(funcs).Funcs(template.FuncMap{"asset": l.Address, "when": when, "ago": ago})
	parse := func(name string, text []byte) { template.Must(l.templates.New(name).Parse(string(text))) }
	each(sharedTemplates, "templates", parse)
	each(templates, templateFolder, parse)
	l.build = hex.EncodeToString(build.Sum(nil)[:6])
	return l
}

func (l *Look) add(name string, body []byte) {
	digest := sha256.Sum256(body)
	short := hex.EncodeToString(digest[:6])
	extension := path.Ext(name)
	if _, taken := l.addresses[name]; taken {
		panic("web: two files are named " + name)
	}
	served := strings.TrimSuffix(name, extension) + "." + short + extension
	l.addresses[name] = "/assets/" + served
	l.files[served] = file{body: body, contentType: contentType(extension), etag: `"` + short + `"`}
}

// contentType doesn't ask the machine's MIME tables, which differ.
func contentType(extension string) string {
	switch extension {
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	}
	panic("web: no content type is known for files named *" + extension)
}

// Address is where a file is served: its name with the first bytes of its hash,
// so that a new build has new addresses and browsers may keep the old ones for
// ever. Templates call it as asset. An unknown name fails the rendering, so
// that a misspelt one can't reach a release.
func (l *Look) Address(name string) (string, error) {
	address, ok := l.addresses[name]
	if !ok {
		return "", fmt.Errorf("no asset is named %q", name)
	}
	return address, nil
}

// Build changes with any file or template, for ETags of what they make.
func (l *Look) Build() string { return l.build }

// Render executes a template. On an error the buffer holds a part of it, which
// is not to be sent.
func (l *Look) Render(to *bytes.Buffer, name string, data any) error {
	return l.templates.ExecuteTemplate(to, name, data)
}

// Register adds the files' route, GET and HEAD of /assets/{name}.
// Browsers may keep a file for ever, since its address changes with its content.
func (l *Look) Register(r gin.IRouter) {
	Get(r, "/assets/:name", Secure, func(c *gin.Context) {
		f, ok := l.files[c.Param("name")]
		if !ok {
			Problem(c, problem.NoSuchAddress.New("There is no such asset."))
			return
		}
		c.Header("Cache-Control", "public, max-age=31536000, immutable")
		Send(c, http.StatusOK, f.contentType, f.etag, f.body)
	})
}

// Policy is the Content-Security-Policy of every page. It allows what comes from
// the page's own server and nothing else: no inline script or style, no foreign
// host, no frame around the page.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Secure is a handler that sets the headers which keep what a page shows from being
// more than text, and the page out of other sites' frames.
func Secure(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	if HTTPS(c.Request) {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// moment is a time as the template look-time writes it: exact and in UTC, which
// is what is read without JavaScript.
type moment struct {
	time  time.Time
	Style string
}

func when(t time.Time) moment { return moment{t.UTC(), "exact"} }
func ago(t time.Time) moment  { return moment{t.UTC(), "relative"} }

// Machine is the time for the datetime attribute.
func (m moment) Machine() string { return m.time.Format(time.RFC3339Nano) }

// The layouts of times that pages show.
const (
	TimeText  = "2 Jan 2006, 15:04 UTC"
	TimeExact = "2 Jan 2006, 15:04:05.999999 UTC"
)

// Text is the time for people.
func (m moment) Text() string { return m.time.Format(TimeText) }

// Exact is the time with all its digits.
func (m moment) Exact() string { return m.time.Format(TimeExact) }
