package console

import (
	"net/http"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

const (
	auditShown = 200
	// auditIDs is how many letters of a record are named.
	auditIDs = 5
)

type auditRow struct {
	audit.Record
	Named []string
	More  int // letters that are not named
}

func (c *Console) auditPage(v *visit) error {
	page := struct {
		frame
		Records []auditRow
		Wrong   string
	}{frame: v.frame}
	records, err := audit.Read(c.opts.AuditSettings, auditShown)
	if err != nil {
		page.Wrong = err.Error()
	}
	for _, record := range records {
		row := auditRow{Record: record}
		for _, id := range record.Targets[:min(len(record.Targets), auditIDs)] {
			row.Named = append(row.Named, mask.ID(id))
		}
		row.More = max(record.Count, len(record.Targets)) - len(row.Named)
		page.Records = append(page.Records, row)
	}
	return c.send(v, http.StatusOK, "audit.html", page)
}
