package console

import (
	"net/http"

	"github.com/orderhub/orderhub/services/orderctl/internal/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
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

func (c *Console) auditPage(v *visit) error {
	page := struct {
		frame
		Path    string
		Entries []auditRow
		Wrong   string
	}{frame: v.frame, Path: c.opts.AuditLog}
	entries, err := audit.Read(c.opts.AuditLog, auditShown)
	if err != nil {
		page.Wrong = err.Error()
	}
	for _, entry := range entries {
		row := auditRow{Entry: entry}
		for _, id := range entry.Letters[:min(len(entry.Letters), auditIDs)] {
			row.Named = append(row.Named, mask.ID(id))
		}
		row.More = max(entry.Count, len(entry.Letters)) - len(row.Named)
		page.Entries = append(page.Entries, row)
	}
	return c.send(v, http.StatusOK, "audit.html", page)
}
