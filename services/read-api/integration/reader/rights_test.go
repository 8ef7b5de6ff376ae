package reader_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A reader that lacks a right waits. /readyz and the log have the statement that ends the
// wait, and nothing about rights to create tables.
func TestTheReaderNamesAMissingRight(t *testing.T) {
	url := newDatabase(t)
	client := connect(t, url).withVersions()
	client.insert("a")
	role := regexp.MustCompile(`//(\w+):`).FindStringSubmatch(readerOf(url))[1]
	for _, lacks := range []string{"SELECT ON orderhub_db_version", "SELECT ON order_changes_state", "SELECT ON items"} {
		client.run(`REVOKE ` + lacks + ` FROM ` + role)
		r := start(t, url)
		statement := "GRANT " + lacks + " TO " + role
		eventually(t, "readiness names "+statement, func() bool {
			ready := r.readyz()
			require.NotContains(t, ready.body, "create tables")
			return ready.status == 503 && strings.Contains(ready.body, statement)
		})
		require.NotEmpty(t, r.log.FilterMessage("the database can't be read; trying again").All())
		client.run(statement)
		eventually(t, "the reader is ready", func() bool { return r.readyz().status == 200 })

		// A right that is taken away later does not make it forget what it has. The version of
		// the schema is read at the start only.
		if lacks == "SELECT ON orderhub_db_version" {
			r.stop()
			continue
		}
		client.run(`REVOKE ` + lacks + ` FROM ` + role)
		client.insert("b" + regexp.MustCompile(`\W`).ReplaceAllString(lacks, ""))
		eventually(t, "readiness names it later, too", func() bool {
			ready := r.readyz()
			return ready.status == 200 && strings.Contains(ready.body, statement)
		})
		client.run(statement)
		r.stop()
	}
}
