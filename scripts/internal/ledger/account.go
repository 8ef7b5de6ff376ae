package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	_ "github.com/jackc/pgx/v5/stdlib" // database/sql's driver
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/orderdb/verify"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// World is where to look.
type World struct {
	Brokers           []string
	Topic, DLQ, Group string
	Database          string   // URL
	Readers           []string // host:port of APIs; may be none
	// Foreign says that another program stored the orders: no content_hash is compared, and
	// a record is kept where the DLQ has its value, whatever else is there.
	Foreign bool
	// Elsewhere begin the uids of orders that come from no topic or another one, and the ids
	// of its letters: only what the readers serve of them is compared, with the tables.
	Elsewhere []string
}

func (w World) has(id string) bool {
	return !slices.ContainsFunc(w.Elsewhere, func(beginning string) bool { return strings.HasPrefix(id, beginning) })
}

// Finding is a difference from what must be.
type Finding struct {
	What string
	// Place is that of the record in its topic; its offset is -1 for none.
	Place
	UID string // where it is about an order
	ID  string // where it is about a letter
}

// maxFindings bounds what is kept of each kind.
const maxFindings = 20

// Findings are all differences from what must be.
type Findings struct {
	Lost  int // orders that are not stored, and records without their letter
	Extra int // orders that nobody sent, and letters of records that must have none
	Wrong int // orders stored otherwise than sent, and letters with other bytes or another reason
	Stale int // orders for which a reader's answer differs from the tables

	// LostLetters are those of Lost that are records without their letter, by its reason.
	LostLetters map[string]int

	OffsetsAtEnds bool
	Committed     Offsets
	Ends          Offsets
	// Repeats are letters that their topic holds more than once, until it is
	// compacted.
	Repeats int

	First []Finding // of each kind the first
	mu    sync.Mutex
}

// Exact says that there is no difference.
func (f *Findings) Exact() bool {
	return f.Lost+f.Extra+f.Wrong+f.Stale == 0 && f.OffsetsAtEnds
}

// String is the summary and the first findings.
func (f *Findings) String() string {
	text := fmt.Sprintf("%d lost, %d extra, %d wrong, %d stale; committed offsets at the ends: %t; %d letters written again",
		f.Lost, f.Extra, f.Wrong, f.Stale, f.OffsetsAtEnds, f.Repeats)
	if !f.OffsetsAtEnds {
		text += fmt.Sprintf("\n  committed %s, ends %s", f.Committed, f.Ends)
	}
	for _, finding := range f.First {
		text += "\n  " + finding.What
	}
	return text
}

func (f *Findings) say(count *int, finding Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *count++; *count <= maxFindings {
		f.First = append(f.First, finding)
	}
}

// Account compares the world with what must have become of the topic's records. All
// of them must be processed, and nothing may change meanwhile.
func Account(ctx context.Context, w World, e *Expected) (*Findings, error) {
	f := &Findings{LostLetters: map[string]int{}}
	return f, must.Try(func() {
		f.offsets(ctx, w)
		f.tables(ctx, w, e)
		f.letters(ctx, w, e)
	})
}

func (f *Findings) offsets(ctx context.Context, w World) {
	progress := must.Get(NewProgress(w.Brokers, w.Topic, w.Group))
	defer progress.Close()
	f.Ends, f.Committed = must.Get(progress.Ends(ctx)), must.Get(progress.Committed(ctx))
	f.OffsetsAtEnds = true
	for partition, end := range f.Ends {
		// A partition that never had a record needs no committed offset.
		f.OffsetsAtEnds = f.OffsetsAtEnds && f.Committed[partition] == end
	}
}

// tableChunk is how many orders are compared at a time.
const tableChunk = 2000

// tables compares all stored orders with the expectation, and what the readers
// serve with the tables.
func (f *Findings) tables(ctx context.Context, w World, e *Expected) {
	db := bun.NewDB(must.Get(sql.Open("pgx", w.Database)), pgdialect.New())
	defer func() { _ = db.Close() }()
	seen := make(map[string]bool, len(e.Orders))
	for last := ""; ; {
		var uids []string
		must.Succeed(db.NewSelect().Table("orders").Column("order_uid").Where("order_uid > ?", last).Order("order_uid").Limit(tableChunk).Scan(ctx, &uids))
		if len(uids) == 0 {
			break
		}
		last = uids[len(uids)-1]
		for uid, row := range must.Get(orderdb.Read(ctx, db, uids)) {
			if w.has(uid) {
				seen[uid] = true
				f.order(w, e, uid, row, model.AppendCanonical(nil, row.Order))
			}
		}
	}
	for uid, order := range e.Orders {
		if !seen[uid] {
			f.say(&f.Lost, Finding{What: "order " + uid + " is not stored", Place: order.Place, UID: uid})
		}
	}
	if e.changes != nil {
		f.deletions(ctx, db, w, e)
		f.versions(ctx, db, w, e)
	}
	for _, reader := range w.Readers {
		f.reader(ctx, db, reader)
	}
}

func (f *Findings) reader(ctx context.Context, db *bun.DB, addr string) {
	result := must.Get(verify.Run(ctx, verify.Options{DB: db, API: "http://" + addr, Found: func(d verify.Difference) {
		f.say(&f.Stale, Finding{What: fmt.Sprintf("reader %s, order %s: %s %v", addr, d.UID, d.Kind, d.Paths), Place: Place{Offset: -1}, UID: d.UID})
	}}))
	if result.Unnamed > 0 {
		f.say(&f.Stale, Finding{What: fmt.Sprintf("reader %s holds %d orders that the tables lack", addr, result.Unnamed), Place: Place{Offset: -1}})
	}
}

func (f *Findings) order(w World, e *Expected, uid string, row orderdb.Stored, canonical []byte) {
	expected, there := e.Orders[uid]
	switch {
	case e.erased[uid]:
		f.say(&f.Extra, Finding{What: "order " + uid + " is stored, and was erased", Place: Place{Offset: -1}, UID: uid})
	case !there:
		f.say(&f.Extra, Finding{What: "order " + uid + " is stored, and nobody sent it", Place: Place{Offset: -1}, UID: uid})
	case model.ContentHash(canonical) != expected.Hash || !w.Foreign && string(row.ContentHash) != string(expected.Hash[:]):
		f.say(&f.Wrong, Finding{What: "order " + uid + " is not stored as it was sent: " + string(canonical), Place: expected.Place, UID: uid})
	case expected.Stamp != nil && expected.Stamp.Compare(row.Stamp) != 0:
		f.say(&f.Wrong, Finding{What: fmt.Sprintf("order %s has the stamp %v instead of %v", uid, row.Stamp, expected.Stamp), Place: expected.Place, UID: uid})
	}
}

func (f *Findings) letters(ctx context.Context, w World, e *Expected) {
	var mu sync.Mutex
	copies := map[string][]*kgo.Record{}
	values := map[[sha256.Size]byte]bool{}
	readAll(ctx, w.Brokers, w.DLQ, func(r *kgo.Record) {
		mu.Lock()
		defer mu.Unlock()
		values[sha256.Sum256(r.Value)] = true
		switch id := string(r.Key); {
		case w.Foreign || !w.has(id):
		case header(r, letter.HeaderResolution) != "": // what was decided about a letter
		case r.Value == nil: // it was removed
			delete(copies, id)
		default:
			copies[id] = append(copies[id], r)
		}
	})
	for id, records := range copies {
		expected, there := e.Letters[id]
		for _, r := range records {
			switch reason := header(r, deadletter.HeaderReason); {
			case !there:
				f.say(&f.Extra, Finding{What: fmt.Sprintf("dead letter %s (%s) belongs to no record that must have one", id, reason), Place: placeOf(id), ID: id})
			case reason != expected.Reason:
				f.say(&f.Wrong, Finding{What: fmt.Sprintf("dead letter %s: reason %q instead of %q", id, reason, expected.Reason), Place: expected.Place, ID: id})
			case !hasValue(r, expected):
				f.say(&f.Wrong, Finding{What: fmt.Sprintf("dead letter %s: other bytes than its record", id), Place: expected.Place, ID: id})
			}
		}
	}
	for id, letter := range e.Letters {
		if len(copies[id]) == 0 && (!w.Foreign || !values[letter.Value]) {
			f.LostLetters[letter.Reason]++
			f.say(&f.Lost, Finding{What: fmt.Sprintf("no dead letter %s (%s)", id, letter.Reason), Place: letter.Place, ID: id})
		}
		f.Repeats += max(0, len(copies[id])-1)
	}
}

// hasValue says whether a letter has its record's value untouched or, where it is
// cut, the hash of that value.
func hasValue(r *kgo.Record, expected Letter) bool {
	if expected.Cut {
		return strings.Contains(header(r, deadletter.HeaderTruncated), hex.EncodeToString(expected.Value[:]))
	}
	return sha256.Sum256(r.Value) == expected.Value
}

func placeOf(id string) Place {
	parts := strings.Split(id, "/")
	place := Place{Offset: -1}
	if len(parts) == 4 {
		_, _ = fmt.Sscan(parts[1], &place.Partition)
		_, _ = fmt.Sscan(parts[2], &place.Offset)
	}
	return place
}
