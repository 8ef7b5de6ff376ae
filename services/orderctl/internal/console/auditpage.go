package console

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

const (
	auditShown = 200
	// auditIDs is how many letters of an entry are named.
	auditIDs = 5
)

type auditRow struct {
	audit.Entry
	Named []string
	More  int // letters that are not named
}

func (c *Console) auditPage(g *gin.Context) {
	page := struct {
		frame
		Path    string
		Entries []auditRow
		Wrong   string
	}{frame: c.frame(g, "audit", "Audit log"), Path: c.opts.AuditLog}
	entries, err := audit.Read(c.opts.AuditLog, auditShown)
	if err != nil {
		page.Wrong = err.Error()
	}
	for _, entry := range entries {
		named := dlqview.MaskIDs(entry.Letters[:min(len(entry.Letters), auditIDs)])
		page.Entries = append(page.Entries, auditRow{entry, named, max(entry.Count, len(entry.Letters)) - len(named)})
	}
	c.send(g, http.StatusOK, "audit.html", page)
}
