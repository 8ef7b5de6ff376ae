package wrk

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// conditionals is for how many orders tags are asked for.
const conditionals = 20_000

// Requests are files for Run: what to ask for.
type Requests struct {
	Hits, NotModified, NotFound string
	Size                        int // of an answer on average, in bytes
}

// Choose takes orders at random from the database, at most so many, asks the API
// for some of them, checking its answers, and writes the files into folder, which
// must have none yet.
func Choose(ctx context.Context, database, addr, folder string, most int) (Requests, error) {
	uids, err := randomUIDs(ctx, database, most)
	if err != nil {
		return Requests{}, err
	}
	if len(uids) == 0 {
		return Requests{}, errors.New("the database has no orders")
	}
	asked, size, err := ask(ctx, addr, uids[:min(len(uids), conditionals)])
	if err != nil {
		return Requests{}, err
	}
	hits, unknown := make([]string, len(uids)), make([]string, len(uids))
	for i, uid := range uids {
		hits[i] = "/order/" + uid
		unknown[i] = "/order/" + reverse(uid) + "-none"
	}
	r := Requests{
		Hits: filepath.Join(folder, "hits"), NotModified: filepath.Join(folder, "not-modified"),
		NotFound: filepath.Join(folder, "not-found"), Size: size,
	}
	return r, errors.Join(writeLines(r.Hits, hits), writeLines(r.NotModified, asked), writeLines(r.NotFound, unknown))
}

func randomUIDs(ctx context.Context, database string, most int) ([]string, error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, "SELECT order_uid FROM orders ORDER BY random() LIMIT $1", most)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// ask gets each order and returns lines with path and tag, and the mean size.
func ask(ctx context.Context, addr string, uids []string) (lines []string, size int, err error) {
	var mu sync.Mutex
	total := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	for _, uid := range uids {
		group.Go(func() error {
			body, tag, err := getOrder(ctx, client, "http://"+addr+"/order/"+uid)
			if err != nil {
				return err
			}
			if !strings.Contains(body, `"order_uid":"`+uid+`"`) {
				return fmt.Errorf("the answer for order %s is another: %s", uid, body)
			}
			mu.Lock()
			defer mu.Unlock()
			total += len(body)
			lines = append(lines, "/order/"+uid+" "+tag)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, 0, err
	}
	client.CloseIdleConnections()
	return lines, total / len(uids), nil
}

func getOrder(ctx context.Context, client *http.Client, address string) (body, tag string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", "", err
	}
	// As wrk asks: the tag is of what is not compressed.
	request.Header.Set("Accept-Encoding", "identity")
	response, err := client.Do(request)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return "", "", err
	}
	tag = response.Header.Get("ETag")
	if response.StatusCode != http.StatusOK || tag == "" {
		return "", "", fmt.Errorf("%s answers %s, tag %q", address, response.Status, tag)
	}
	return string(content), tag, nil
}

func writeLines(file string, lines []string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(out)
	for _, line := range lines {
		_, _ = w.WriteString(line + "\n") // Flush has the error
	}
	return errors.Join(w.Flush(), out.Close())
}

// reverse makes a uid that no order has but that looks like the others.
func reverse(uid string) string {
	b := []byte(uid)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}
