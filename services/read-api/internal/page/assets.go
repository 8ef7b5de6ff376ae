package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/gin-gonic/gin"
)

//go:embed assets
var assetFiles embed.FS

//go:embed templates
var templateFiles embed.FS

// asset is one embedded file as it is served.
type asset struct {
	body        []byte
	contentType string
	etag        string
}

// assets are the embedded files by the name under which they are served: the
// file's name with the first bytes of its hash, so that a new build has new
// addresses and browsers may keep the old ones for ever.
type assets struct {
	byServedName map[string]asset
	address      map[string]string // file name → address
	build        string            // changes with any embedded file
}

// loadAssets reads what is embedded; an error there is a fault of the build.
func loadAssets() *assets {
	a := &assets{byServedName: map[string]asset{}, address: map[string]string{}}
	build := sha256.New()
	for _, name := range mustNames(templateFiles, "templates") {
		build.Write(mustRead(templateFiles, name))
	}
	for _, name := range mustNames(assetFiles, "assets") {
		body := mustRead(assetFiles, name)
		build.Write(body)
		digest := sha256.Sum256(body)
		short := hex.EncodeToString(digest[:6])
		base, extension := path.Base(name), path.Ext(name)
		served := strings.TrimSuffix(base, extension) + "." + short + extension
		a.address[base] = "/assets/" + served
		a.byServedName[served] = asset{body: body, contentType: contentType(extension), etag: `"` + short + `"`}
	}
	a.build = hex.EncodeToString(build.Sum(nil)[:6])
	return a
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
	}
	return mime.TypeByExtension(extension)
}

func mustNames(files embed.FS, folder string) []string {
	entries, err := files.ReadDir(folder)
	if err != nil {
		panic(fmt.Sprintf("page: embedded folder %s: %v", folder, err))
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = path.Join(folder, entry.Name())
	}
	return names
}

func mustRead(files embed.FS, name string) []byte {
	body, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("page: embedded file %s: %v", name, err))
	}
	return body
}

// Address gives the address of an embedded file for the templates. An unknown
// name fails the rendering, so that a misspelt one can't reach a release.
func (a *assets) Address(name string) (string, error) {
	address, ok := a.address[name]
	if !ok {
		return "", fmt.Errorf("no asset is named %q", name)
	}
	return address, nil
}

func (a *assets) serve(c *gin.Context) {
	secure(c)
	file, ok := a.byServedName[c.Param("name")]
	if !ok {
		c.Header("Cache-Control", "no-store")
		c.String(http.StatusNotFound, "no such asset\n")
		return
	}
	c.Header("Cache-Control", "public, max-age=31536000, immutable")
	c.Header("ETag", file.etag)
	if c.GetHeader("If-None-Match") == file.etag {
		c.Status(http.StatusNotModified)
		return
	}
	c.Data(http.StatusOK, file.contentType, file.body)
}

// parseTemplates parses the embedded templates; an error is a fault of the
// build, which every test of the package shows.
func parseTemplates(a *assets) *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"asset": a.Address,
		"when":  newMoment,
	}).ParseFS(templateFiles, "templates/*.html"))
}
