package main

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/binaries"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

// previousVariable names the folder with the programs of an earlier release; kafkaVariable
// says which broker the test runs on, as chaos's --kafka does.
const (
	previousVariable = "ORDERHUB_TEST_PREVIOUS"
	kafkaVariable    = "ORDERHUB_TEST_PREVIOUS_KAFKA"
)

// Under load the schema is migrated, and the programs of an earlier release are replaced one
// by one, back, and again. Nothing is lost, and each release understands what the other wrote.
func TestUpgrade(t *testing.T) {
	previous := os.Getenv(previousVariable)
	if previous == "" {
		t.Skip("make test-upgrade runs it")
	}
	folder := t.TempDir()
	require.NoError(t, binaries.Build(folder))
	began, exact, ctx := time.Now(), false, t.Context()
	u := &upgrade{site: &site{previous: previous, say: func(format string, args ...any) {
		t.Logf("%7.1fs  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}}}
	u.life, u.end = context.WithCancelCause(ctx)
	defer func() { u.stop(exact) }()
	require.NoError(t, must.Try(func() {
		o := options{Seed: rand.Uint64(), Workers: 2, Readers: 2, Brokers: 3, Rate: 300, Kafka: cmp.Or(os.Getenv(kafkaVariable), kafkaEmbedded), Binaries: folder}
		u.start(ctx, o)
		hits := u.underLoad(ctx, o, u.run)
		u.settle(ctx)
		u.say("%s", must.Get(u.agree(ctx)))
		exact = u.account(ctx, t.Output(), hits)
	}))
	require.True(t, exact, "see the output above")
}

type upgrade struct {
	*site
	stream *follower
	// positions says that the earlier release records positions. What workers without
	// write looks like a restored database to later ones, so that streams are reset.
	positions bool
	pending   bool // the earlier release has an older schema
}

// run is in the place of strikes.
func (u *upgrade) run(ctx context.Context, _ *rand.Rand, _ options) (hits []*hit) {
	step := func(what string, do func() error) {
		u.say("%s", what)
		h := u.watch(&hit{what: what}, 1)
		hits = append(hits, h)
		if err := do(); err != nil {
			must.Succeed(fmt.Errorf("%s: %w", what, err))
		}
		must.Succeed(u.await(ctx, h))
	}
	each := func(folder string, kill bool, services ...*service) {
		release := map[string]string{u.binaries: "new", u.previous: "old"}
		for _, service := range services {
			step(fmt.Sprintf("%s: a restart, from %s to %s", service.Name, release[service.folder], release[folder]), func() error {
				service.folder = folder
				return restart(ctx, service, kill)
			})
		}
	}
	step("old programs on the old schema", func() error {
		u.positions = postgres.Execute(ctx, u.database.URL(), `SELECT FROM ingest_positions`) == nil
		return nil
	})
	id, _, _, err := first(ctx, u.readers[0].addr, "", true)
	must.Succeed(err)
	var worker, reader *service
	step("new programs on the old schema", func() error {
		worker, reader = u.ahead(ctx)
		u.workers, u.readers = append(u.workers, worker), append(u.readers, reader)
		return nil
	})
	each(u.binaries, false, u.workers[0], u.readers[0])
	each(u.previous, true, u.workers[0], u.readers[0])
	each(u.binaries, true, worker)
	step("the schema: a migration under load", func() error { return u.migrateNew(ctx) })
	if u.pending {
		must.Succeed(u.says(ctx, worker, "the schema has positions now"))
	}
	u.stream = newFollower(ctx, u.database.URL())
	following, end := context.WithCancel(u.life) // longer than the load
	var streams sync.WaitGroup
	streams.Go(func() { u.stream.follow(following, u.readers) })
	u.onStop(func(context.Context) { end(); streams.Wait() })
	_, kind, data, err := first(ctx, reader.addr, id, false)
	must.Succeed(err)
	u.say("a stream of before the migration continues on a new reader with: %s %.60s", kind, data)
	must.Succeed(u.cursors(ctx, u.readers[0].addr, reader.addr))
	all := slices.Concat(u.workers, u.readers)
	each(u.previous, false, all...)
	each(u.binaries, false, all...)
	each(u.previous, true, all...)
	must.Succeed(u.cursors(ctx, u.readers[0].addr, u.readers[1].addr))
	each(u.binaries, true, all...)
	return hits
}

// ahead starts new programs on the old schema. If it lacks something, they say so.
func (u *upgrade) ahead(ctx context.Context) (worker, reader *service) {
	ctx, cancel := context.WithTimeout(ctx, agreement)
	defer cancel()
	db := must.Get(sql.Open("pgx", u.database.URL()))
	defer func() { _ = db.Close() }()
	u.pending = slices.ContainsFunc(must.Get(migrations.Status(ctx, db)), func(m migrations.Migration) bool { return m.AppliedAt.IsZero() })
	u.say("new programs beside old ones; the schema is older: %t", u.pending)
	worker = newService(u.site, workerName, len(u.workers), "")
	reader = newService(u.site, readerName, len(u.readers), ports.Loopback(must.Get(ports.Free())))
	for _, service := range []*service{worker, reader} {
		service.folder = u.binaries
		must.Succeed(service.start())
		u.onStop(func(context.Context) { _ = service.Kill() })
		if u.pending {
			must.Succeed(u.says(ctx, service, "the schema is older than this program"))
		}
	}
	return worker, reader
}

// says waits until a program's log has some words, wherever: what follows them may be long.
func (u *upgrade) says(ctx context.Context, program *service, words string) error {
	ctx, cancel := context.WithTimeout(ctx, agreement)
	defer cancel()
	return until(ctx, program.Name+" says: "+words, func() error {
		log, err := os.ReadFile(program.LogFile)
		if err == nil && !bytes.Contains(log, []byte(words)) {
			err = errors.New(program.Tail())
		}
		return err
	})
}

// migrateNew applies the new schema. A step that gave up after its lock_timeout is run again.
func (u *upgrade) migrateNew(ctx context.Context) (err error) {
	const attempts = 5
	for range attempts {
		if _, err = u.orderctl(ctx, u.binaries, "migrate"); err == nil || !strings.Contains(err.Error(), "55P03") {
			return err
		}
	}
	return err
}

// cursors reads a list whose pages come from two readers in turn, and compares it with
// that of one. Changes by hand may come in between; then it is read again.
func (u *upgrade) cursors(ctx context.Context, one, other string) error {
	ctx, cancel := context.WithTimeout(ctx, agreement)
	defer cancel()
	return until(ctx, "lists continue on a reader of another version", func() error {
		const pages = 6
		cursor := ""
		for n := range pages {
			var answers [2][]byte
			addrs := []string{one, other}
			for i, addr := range addrs {
				body, err := httpget.OK(ctx, client, "http://"+addr+"/api/v1/orders?currency=USD&limit=20"+cursor)
				if err != nil {
					return err
				}
				answers[i] = body
			}
			if cursor != "" && !bytes.Equal(answers[0], answers[1]) {
				return fmt.Errorf("page %d differs: %.2000s\n%.2000s", n, answers[0], answers[1])
			}
			var page struct {
				Next string `json:"next_cursor"`
			}
			if err := json.Unmarshal(answers[n%2], &page); err != nil || page.Next == "" {
				return fmt.Errorf("no next page after %d: %w", n, err)
			}
			cursor = "&cursor=" + page.Next
		}
		return nil
	})
}

// agree checks what both releases have to agree on in the end.
func (u *upgrade) agree(ctx context.Context) (told string, err error) {
	ctx, cancel := context.WithTimeout(ctx, agreement)
	defer cancel()
	if err := until(ctx, "the stream tells what is in the tables", func() error { return u.stream.compare(ctx, u.readers[0].addr) }); err != nil {
		return "", err
	}
	if u.positions && u.stream.resets > 0 {
		return "", fmt.Errorf("%s", u.stream)
	}
	for _, by := range []string{u.previous, u.binaries} {
		old, err := u.letters(ctx, u.previous)
		if err != nil {
			return "", err
		}
		recent, err := u.letters(ctx, u.binaries)
		if err != nil || len(old) == 0 || !slices.Equal(old, recent) {
			return "", fmt.Errorf("the old orderctl lists %d letters, the new one %d, and not the same: %w", len(old), len(recent), err)
		}
		told = fmt.Sprintf("%d letters, the same to both releases; %s", len(old), u.stream)
		if _, err := u.orderctl(ctx, by, "dlq", "discard", old[0], "--actor", "chaos", "--why", "tried", "--yes"); err != nil {
			return "", err
		}
	}
	return told, nil
}

// letters are the ids of the open letters, in order.
func (u *upgrade) letters(ctx context.Context, folder string) (ids []string, err error) {
	output, err := u.orderctl(ctx, folder, "dlq", "list", "--output", "json")
	for line := range bytes.Lines(output) {
		var letter struct {
			ID string `json:"id"`
		}
		err = errors.Join(err, json.Unmarshal(line, &letter))
		ids = append(ids, letter.ID)
	}
	slices.Sort(ids)
	return ids, err
}

// until tries until it succeeds, or ctx ends.
func until(ctx context.Context, what string, try func() error) error {
	if err := poll.Until(ctx, watchPolling, try); err != nil {
		return fmt.Errorf("waited in vain until %s: %w", what, err)
	}
	return nil
}

// follower follows the stream of changes, on each reader for a while, and resumes on the
// next one where it was.
type follower struct {
	database string // URL

	mu          sync.Mutex
	known       map[string]bool   // orders of before the stream, or its last reset
	last        string            // id
	orders      map[string]string // as they were told last, by uid; "" for deleted
	connections int
	resets      int
}

func newFollower(ctx context.Context, database string) *follower {
	f := &follower{database: database}
	must.Succeed(f.readAgain(ctx))
	return f
}

func (f *follower) readAgain(ctx context.Context) error {
	now, err := uids(ctx, f.database)
	f.known, f.orders = map[string]bool{}, map[string]string{}
	for _, uid := range now {
		f.known[uid] = true
	}
	return err
}

func uids(ctx context.Context, database string) ([]string, error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, `SELECT order_uid FROM orders`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func (f *follower) follow(ctx context.Context, readers []*service) {
	for n := 0; ctx.Err() == nil; n++ {
		staying, leave := context.WithTimeout(ctx, turn)
		err := events(staying, readers[n%len(readers)].addr, f.last, func(id, kind, data string) { must.Succeed(f.take(ctx, id, kind, data)) })
		leave()
		if err != nil { // the reader is not there
			_ = retry.Sleep(ctx, watchPolling)
			continue
		}
		f.connections++
	}
}

// take takes an event and its id. Its kind is "" where there is only an id.
func (f *follower) take(ctx context.Context, id, kind, data string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = id
	if kind == "" {
		return nil
	}
	if kind == "reset" {
		f.resets++
		return f.readAgain(ctx)
	}
	var o struct {
		UID string `json:"order_uid"`
	}
	err := json.Unmarshal([]byte(data), &o)
	f.orders[o.UID] = ""
	if kind == "upsert" {
		f.orders[o.UID] = data
	}
	return err
}

// compare returns an error unless the stream has told of each order that came since it was
// opened and is there, and of each as it is now.
func (f *follower) compare(ctx context.Context, reader string) error {
	now, err := uids(ctx, f.database)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	there := map[string]bool{}
	for _, uid := range now {
		if there[uid] = true; !f.known[uid] && f.orders[uid] == "" {
			return fmt.Errorf("it did not tell of %s", uid)
		}
	}
	for uid, order := range f.orders {
		if there[uid] != (order != "") {
			return fmt.Errorf("it told last of %s: %q", uid, order)
		}
		if order != "" && strings.HasPrefix(uid, handMade) { // the others never change
			if body, err := httpget.OK(ctx, client, "http://"+reader+"/order/"+uid); err != nil || string(body) != order {
				return fmt.Errorf("it told of %s as %s, which is now %s: %w", uid, order, body, err)
			}
		}
	}
	return nil
}

func (f *follower) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("a stream told of %d orders over %d connections, with %d resets", len(f.orders), f.connections, f.resets)
}

// first is the first event of a stream that has a kind, or an id if that is enough.
func first(ctx context.Context, addr, lastID string, idIsEnough bool) (id, kind, data string, err error) {
	ctx, cancel := context.WithTimeout(ctx, agreement)
	defer cancel()
	err = events(ctx, addr, lastID, func(i, k, d string) {
		if ctx.Err() == nil && (k != "" || idIsEnough) {
			id, kind, data = i, k, d
			cancel()
		}
	})
	if err == nil && id == "" {
		err = fmt.Errorf("the stream of %s tells nothing", addr)
	}
	return id, kind, data, err
}
