package httpapi

import (
	_ "embed" // the description

	"github.com/gin-gonic/gin"
)

// OpenAPI describes the API. It is written by hand; tests hold the answers against
// it.
//
//go:embed openapi.yaml
var OpenAPI []byte

func (a *api) openAPI(c *gin.Context) { send(c, "application/yaml", OpenAPI) }
