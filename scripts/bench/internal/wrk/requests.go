package wrk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
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
		body, tag, err := getOrder(ctx, "http://"+addr+"/order/"+uid)
		if err != nil {
			return err
		}
		if !strings.Contains(body, `"order_uid":"`+uid+`"`) {
			return fmt.Errorf("the answer to a request for order %s is another order: %s", uid, body)
		}
		total += len(body)
		lines.WriteString("/order/" + uid + " " + tag + "\n")
	}
	r.Size = total / len(uids)
	return os.WriteFile(r.NotModified, []byte(lines.String()), 0o600)
}

func getOrder(ctx context.Context, address string) (body, tag string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", "", err
	}
	request.Header.Set("Accept-Encoding", "identity") // as wrk asks: each encoding has its own tag
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", "", err
	}
	content, err := io.ReadAll(response.Body)
	tag = response.Header.Get("ETag")
	if response.StatusCode != http.StatusOK || tag == "" {
		err = errors.Join(err, fmt.Errorf("%s answers %s, tag %q", address, response.Status, tag))
	}
	return string(content), tag, errors.Join(err, response.Body.Close())
}

// reverse makes a uid that no order has but that looks like the others.
func reverse(uid string) string {
	b := []byte(uid)
	slices.Reverse(b)
	return string(b)
}
