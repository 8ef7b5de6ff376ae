package integration

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A worker that lacks a right waits, before it joins its group as well as later, and
// /readyz has the very statement that ends the wait.
func TestTheWorkerNamesAMissingRight(t *testing.T) {
	b := setup(t, 1)
	role := regexp.MustCompile(`//(\w+):`).FindStringSubmatch(b.writer)[1]
	statement := regexp.MustCompile(`GRANT [A-Z, ]+ ON \w+ TO \w+`)
	granted := func(w *worker, lacks string) {
		t.Helper()
		var grant string
		b.eventually("readiness names the right", func() (bool, string) {
			ready, body := w.readiness()
			grant = statement.FindString(body)
			return !ready && grant == lacks, body
		})
		b.exec(grant)
		b.drained()
	}
	b.exec(`REVOKE INSERT ON items FROM ` + role)
	b.exec(`REVOKE SELECT ON orderhub_db_version FROM ` + role)
	w := b.startWorker()
	b.eventually("readiness names both rights", func() (bool, string) {
		_, body := w.readiness()
		return strings.Contains(body, "GRANT INSERT ON items TO "+role+"; GRANT SELECT ON orderhub_db_version TO "+role), body
	})
	b.exec(`GRANT SELECT ON orderhub_db_version TO ` + role)
	b.produce(0, order(t, "a", "1"))
	granted(w, "GRANT INSERT ON items TO "+role)

	b.exec(`REVOKE INSERT, SELECT ON payments FROM ` + role)
	b.produce(0, order(t, "b", "1"))
	b.blocked(w, "database_rights")
	granted(w, "GRANT SELECT, INSERT ON payments TO "+role)
	require.Equal(t, 2, b.count("orders"))
	require.Empty(t, b.letters())
}
