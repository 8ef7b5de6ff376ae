package httpapi

import (
	"bytes"
	_ "embed" // the description
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// OpenAPI describes the API. It is written by hand; tests hold the answers against
// it.
//
//go:embed openapi.yaml
var OpenAPI []byte

func (a *api) openAPI(c *gin.Context) {
	a.send(c, "application/yaml", bytes.Replace(OpenAPI, server, []byte(string(server)+strings.TrimPrefix(web.Prefix(c.Request), "/")), 1))
}

// schema answers with the JSON Schema of records.
func (a *api) schema(c *gin.Context) { a.send(c, "application/schema+json", model.Schema()) }

// server is where the description says that the API is.
var server = []byte("servers:\n  - url: /")
