package wrk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
)

// conditionals is how many orders are requested with their tag.
const conditionals = 20_000

// Requests are files for Run: what to ask for.
type Requests struct {
	Hits, NotFound string
	NotModified    string // after Ask
	Size           int    // of an answer on average, in bytes; after Ask

	uids []string
}

// Choose takes orders at random from the database, at most so many, and writes the
// files into a new folder below the given one.
func Choose(ctx context.Context, database, below string, most int) (r Requests, err error) {
	r.uids, err = rig.Query(ctx, database, pgx.RowTo[string], "SELECT order_uid FROM orders ORDER BY random() LIMIT $1", most)
	if err != nil {
		return r, err
	}
	if len(r.uids) == 0 {
		return r, errors.New("the database has no orders")
	}
	folder, err := os.MkdirTemp(below, "requests-")
	if err != nil {
		return r, err
	}
	r.Hits, r.NotFound, r.NotModified = filepath.Join(folder, "hits"), filepath.Join(folder, "not-found"), filepath.Join(folder, "not-modified")
	var hits, unknown strings.Builder
	for _, uid := range r.uids {
		hits.WriteString("/order/" + uid + "\n")
		unknown.WriteString("/order/" + reverse(uid) + "-none\n")
	}
	return r, errors.Join(os.WriteFile(r.Hits, []byte(hits.String()), 0o600), os.WriteFile(r.NotFound, []byte(unknown.String()), 0o600))
}

// Ask requests some of the orders from the API, checks its answers, and writes the
// file of conditional requests.
func (r *Requests) Ask(ctx context.Context, addr string) error {
	var lines strings.Builder
	total, uids := 0, r.uids[:min(len(r.uids), conditionals)]
	for _, uid := range uids {
		// As wrk asks: each encoding has its own tag.
		answer, err := httpget.Do(ctx, http.DefaultClient, "http://"+addr+"/order/"+uid, map[string]string{"Accept-Encoding": "identity"})
		if err != nil {
			return err
		}
		tag := answer.Header.Get("ETag")
		if answer.Status != http.StatusOK || tag == "" || !bytes.Contains(answer.Body, []byte(`"order_uid":"`+uid+`"`)) {
			return fmt.Errorf("the answer to a request for order %s: status %d, tag %q, %s", uid, answer.Status, tag, answer.Body)
		}
		total += len(answer.Body)
		lines.WriteString("/order/" + uid + " " + tag + "\n")
	}
	r.Size = total / len(uids)
	return os.WriteFile(r.NotModified, []byte(lines.String()), 0o600)
}

// reverse makes a uid that no order has but that looks like the others.
func reverse(uid string) string {
	b := []byte(uid)
	slices.Reverse(b)
	return string(b)
}
