package integration

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

const erasureKey = "0123456789abcdef0123456789abcdef"

// people are a world with a database, in which orders of several customers are stored.
type people struct {
	*world
	url string
	db  *sql.DB
}

func newPeople(t *testing.T) *people {
	t.Helper()
	p := &people{world: newWorld(t), url: postgres.ForTest(t)}
	p.db = openURL(t, p.url)
	_, err := migrations.Up(t.Context(), p.db)
	require.NoError(t, err)
	t.Setenv("DATABASE_URL", postgres.RolesForTest(t, p.url)[migrations.Operator])
	t.Setenv("ERASURE_KEY", erasureKey)
	t.Setenv("ORDERHUB_AUDIT_FILE", filepath.Join(t.TempDir(), "audit.jsonl"))
	p.store = dlq.New(p.client, dlq.Options{Topic: dlqTopic, Orders: orders, Erasures: erasure.Settings{Key: erasureKey}.NewKey()})
	return p
}

// order is a valid order of a customer.
func (p *people) order(uid, customer string) []byte {
	p.t.Helper()
	generator, err := synth.New(synth.Options{Count: 1, MinItems: 1, MaxItems: 1, Seed: 7})
	require.NoError(p.t, err)
	record, err := generator.Next()
	require.NoError(p.t, err)
	var o map[string]any
	require.NoError(p.t, json.Unmarshal(record.Value, &o))
	o["order_uid"], o["customer_id"] = uid, customer
	o["payment"].(map[string]any)["transaction"] = uid
	data, err := json.Marshal(o)
	require.NoError(p.t, err)
	return data
}

// keep stores an order as the worker does.
func (p *people) keep(uid, customer string) orderwrite.Outcome {
	p.t.Helper()
	decoded, err := model.New(model.Options{}).Decode(p.order(uid, customer))
	require.NoError(p.t, err)
	entry := &orderwrite.Entry{Order: decoded.Order}
	w := orderwrite.New(bun.NewDB(p.db, pgdialect.New()), orderwrite.Options{Timeout: time.Minute, Erasures: erasure.Settings{Key: erasureKey}.NewKey()})
	require.NoError(p.t, w.Write(p.t.Context(), []*orderwrite.Entry{entry}))
	return entry.Outcome
}

func (p *people) stored() (uids string) {
	p.t.Helper()
	require.NoError(p.t, p.db.QueryRowContext(p.t.Context(), `SELECT coalesce(string_agg(order_uid, ' ' ORDER BY order_uid), '') FROM orders`).Scan(&uids))
	return uids
}

// letter writes a letter, whose source record is produced too.
func (p *people) letter(offset int64, key, value string) string {
	r := &kgo.Record{Topic: orders, Partition: 0, Offset: offset, Timestamp: failed, Value: []byte(value)}
	if key != "" {
		r.Key = []byte(key)
	}
	return p.fail(r, "invalid")
}

func (p *people) open() (ids []string) {
	for _, ref := range p.refs(letter.Any) {
		ids = append(ids, ref.ID)
	}
	return ids
}

// A customer's orders and letters are gone, those that an edit led to as well, and nobody
// else's are. The receipt and the audit log name nobody. Run again, it changes nothing.
func TestACustomerIsErased(t *testing.T) {
	p := newPeople(t)
	p.keep("mine1", "cust-ann")
	p.keep("mine2", "cust-ann")
	p.keep("edited", "cust-ann")
	p.keep("yours", "cust-bob")
	p.letter(1, "", `{"order_uid": "broken", "customer_id": "cust-ann", `)
	p.letter(2, "mine1", "?")
	p.letter(3, "", `{"order_uid": "yours", "customer_id": "cust-ann", "amount": "mistaken"}`)
	kept := p.letter(4, "", `{"order_uid": "else", "customer_id": "cust-bob", `)
	resolved := p.letter(5, "", `{"customer_id": "cust-ann"}`) // an edit gave it a uid
	require.Len(t, p.open(), 5)
	view := p.scan()
	require.NoError(t, p.store.Redrive(t.Context(), view, []dlq.Ref{refOf(t, view, resolved)}, dlq.Redrive{
		By: dlq.By{Actor: "ann"}, MaxRedrives: 3, Done: nobody, Edit: func(*dlq.Item) ([]byte, error) { return p.order("edited", "cust-ann"), nil },
	}))
	require.Len(t, p.read(orders)[0], 1)

	args := []string{"erase", "--customer", "cust-ann", "--why", "request 7", "--output", "json"}
	got := p.orderctl(append(args, "--dry-run")...)
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stdout, `"dry_run":true`)
	require.Equal(t, "edited mine1 mine2 yours", p.stored())
	require.Len(t, p.open(), 5)
	require.Equal(t, 2, p.orderctl(args...).code, "nobody has confirmed it")

	got = p.orderctl(append(args, "--yes")...)
	require.Zero(t, got.code, got.stderr)
	var receipt struct {
		HMACs                     []string
		Orders, Letters, Resolved int
		Compaction                string
		Remains                   []string
	}
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &receipt))
	require.Equal(t, "yours", p.stored())
	require.Equal(t, []string{kept}, p.open())
	require.Equal(t, 3, receipt.Orders)
	require.Equal(t, 4, receipt.Letters)
	require.Equal(t, 1, receipt.Resolved)
	require.Len(t, receipt.HMACs, 4, "mine1, mine2, edited and broken")
	require.Contains(t, receipt.Compaction, "max.compaction.lag.ms")
	require.Contains(t, strings.Join(receipt.Remains, "\n"), "1 order of other customers")
	audit, err := os.ReadFile(os.Getenv("ORDERHUB_AUDIT_FILE"))
	require.NoError(t, err)
	require.Contains(t, string(audit), `"action":"erase"`)
	require.Contains(t, string(audit), "request 7")
	for _, h := range receipt.HMACs {
		require.Contains(t, string(audit), `"erased/`+h+`"`)
	}
	for _, name := range []string{"mine1", "edited", "broken", "yours"} {
		require.NotContains(t, got.stdout+got.stderr, name)
		require.NotContains(t, string(audit), name)
	}
	require.NotContains(t, string(audit), "cust-ann")

	// A replay, a second letter, an archive and a redrive of a foreign letter.
	require.Equal(t, orderwrite.Erased, p.keep("mine1", "cust-ann"))
	require.Equal(t, orderwrite.Duplicate, p.keep("yours", "cust-bob"))
	got = p.orderctl(args...)
	require.Equal(t, 3, got.code, "nothing is left: %s", got.stderr)
	require.Zero(t, p.orderctl("erase", "--uid", "mine1", "--why", "again", "--yes").code)
	require.Equal(t, "yours", p.stored())
}

func refOf(t *testing.T, view *dlq.View, id string) dlq.Ref {
	t.Helper()
	ref, there := view.Current(id)
	require.True(t, there)
	return ref
}

// Neither an archive nor a redrive brings an erased order's letter back, and no command
// takes the notes for letters.
func TestNothingBringsLettersOfAnErasedOrderBack(t *testing.T) {
	p := newPeople(t)
	p.letter(1, "", `{"order_uid": "gone", `)
	kept := p.letter(2, "", `{"order_uid": "kept", `)
	archive := filepath.Join(t.TempDir(), "letters.jsonl")
	require.Zero(t, p.orderctl("dlq", "export", "--reveal", "--to", archive).code)
	got := p.orderctl("erase", "--uid", "gone", "--why", "request 8", "--yes")
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stdout, "removed: 0 orders, 1 letter (0 of them resolved)")
	require.Equal(t, []string{kept}, p.open())

	got = p.orderctl("dlq", "import", archive)
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stderr, "1 letter not imported, since their orders were erased")
	require.Equal(t, []string{kept}, p.open())

	// An edit that makes it the erased order, and a letter that came from elsewhere.
	got = p.orderctl("dlq", "edit", kept, "--raw", "--set", "order_uid=gone", "--yes")
	require.NotZero(t, got.code)
	p.letter(3, "gone", "?")
	got = p.orderctl("dlq", "redrive", "--key", "gone", "--yes")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, dlq.ErrErased.Error())
	require.Empty(t, p.read(orders)[0])
	t.Setenv("ERASURE_KEY", "")
	got = p.orderctl("dlq", "redrive", "--key", "gone", "--yes")
	require.Contains(t, got.stderr, "ERASURE_KEY")
	t.Setenv("ERASURE_KEY", strings.Repeat("x", 32))
	require.Contains(t, p.orderctl("erase", "--uid", "more", "--why", "request", "--yes").stderr, "another key")
	t.Setenv("ERASURE_KEY", erasureKey)

	got = p.orderctl("dlq", "stats")
	require.NotContains(t, got.stderr, "without a letter")
	require.Equal(t, 3, p.orderctl("dlq", "purge", "--resolved", "--older-than", "0h", "--yes").code)
	require.Contains(t, p.orderctl("dlq", "list", "--output", "json", "--status", "any").stdout, kept)
	require.Equal(t, 2, strings.Count(p.orderctl("dlq", "export").stdout, "\n"))
	require.Len(t, p.store.ErasedNotes(), 1)
}

// An erasure that is interrupted between any two of its steps is completed by the next one.
func TestAnErasureThatWasInterruptedCanBeRepeated(t *testing.T) {
	// Notes are in partition 0, and the letter in partition 1.
	for partition, step := range []string{"the notes are written", "the letters are removed"} {
		t.Run("before "+step, func(t *testing.T) {
			p := newPeople(t)
			p.keep("mine", "cust-ann")
			p.letter(1, "", `{"order_uid": "mine", `) // which names no customer
			fault := p.broker.Cluster().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: dlqTopic, Err: kerr.TopicAuthorizationFailed, Count: -1, When: func(r kmsg.Request) bool {
				return r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Partition == int32(partition)
			}})
			args := []string{"erase", "--customer", "cust-ann", "--why", "request 9", "--yes"}
			require.Equal(t, 1, p.orderctl(args...).code)
			require.Len(t, p.open(), 1)
			require.Equal(t, partition == 0, p.stored() == "mine")
			require.Equal(t, orderwrite.Erased, p.keep("mine", "cust-ann"))

			fault.Remove()
			got := p.orderctl(args...)
			require.Zero(t, got.code, got.stderr)
			require.Empty(t, p.stored())
			require.Empty(t, p.open())
			p.scan()
			require.Len(t, p.store.ErasedNotes(), 1)
		})
	}
}

// At whatever step of an erasure the database goes back to the state of before, the topic has
// the notes that a worker mends it by. If a step is left, the database has no order either.
func TestTheDatabaseGoesBackWhileACustomerIsErased(t *testing.T) {
	produced := func(partition int32, after bool) func(kmsg.Request, bool) bool {
		return func(request kmsg.Request, written bool) bool {
			p, is := request.(*kmsg.ProduceRequest)
			return after && written && !is || !after && is && p.Topics[0].Partitions[0].Partition == partition
		}
	}
	for step, is := range map[string]struct {
		event string // by which it goes back
		when  func(request kmsg.Request, written bool) bool
		last  bool
	}{
		"the table is written":    {event: "INSERT ON erasures"},
		"the notes are written":   {event: "INSERT ON moments", when: produced(0, false)},
		"the orders are found":    {event: "INSERT ON moments", when: produced(0, true)},
		"the orders are removed":  {event: "DELETE ON orders"},
		"the letters are removed": {event: "INSERT ON moments", when: produced(1, false), last: true},
	} {
		t.Run(step, func(t *testing.T) {
			p := newPeople(t)
			p.keep("mine", "cust-ann")
			p.letter(1, "", `{"order_uid": "mine", `)
			_, err := p.db.ExecContext(t.Context(), `CREATE TABLE before AS SELECT * FROM orders;
				CREATE TABLE moments (n serial);
				CREATE SEQUENCE times;
				CREATE FUNCTION go_back() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
				BEGIN
					IF nextval('times') = 1 THEN
						DELETE FROM erasures;
						INSERT INTO orders SELECT * FROM before ON CONFLICT DO NOTHING;
					END IF;
					RETURN NULL;
				END $$;
				CREATE TRIGGER go_back AFTER `+is.event+` EXECUTE FUNCTION go_back()`)
			require.NoError(t, err)
			written := false
			if is.when != nil {
				p.broker.Cluster().Control(func(request kmsg.Request) (kmsg.Response, error, bool) {
					p.broker.Cluster().KeepControl()
					if is.when(request, written) {
						_, _ = p.db.Exec(`INSERT INTO moments DEFAULT VALUES`) // the times tell whether it did
					}
					_, produces := request.(*kmsg.ProduceRequest)
					written = written || produces
					return nil, nil, false
				})
			}
			got := p.orderctl("erase", "--customer", "cust-ann", "--why", "request 11", "--yes")
			require.Zero(t, got.code, got.stderr)
			require.Contains(t, got.stdout, "removed: 1 order, 1 letter")
			var times int
			require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT last_value FROM times WHERE is_called`).Scan(&times))
			require.Positive(t, times, "it went back")
			p.scan()
			require.Len(t, p.store.ErasedNotes(), 1)
			require.Empty(t, p.open())
			if is.last {
				require.Equal(t, "mine", p.stored(), "for a worker, which reads the note")
				return
			}
			require.Empty(t, p.stored())
			require.Equal(t, orderwrite.Erased, p.keep("mine", "cust-ann"))
		})
	}
}

// However often orders of the customer arrive meanwhile, none is removed that would come back.
func TestOrdersThatArriveWhileACustomerIsErased(t *testing.T) {
	p := newPeople(t)
	p.keep("mine", "cust-ann")
	_, err := p.db.ExecContext(t.Context(), `CREATE SEQUENCE late;
		CREATE FUNCTION another() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			INSERT INTO orders SELECT r.* FROM orders o, jsonb_populate_record(o, jsonb_build_object('order_uid', 'late' || nextval('late'))) r WHERE o.order_uid = 'mine';
			RETURN NULL;
		END $$;
		CREATE TRIGGER another AFTER INSERT ON erasures EXECUTE FUNCTION another()`)
	require.NoError(t, err)
	got := p.orderctl("erase", "--customer", "cust-ann", "--why", "request 10", "--yes", "--output", "json")
	require.Zero(t, got.code, got.stderr)
	var receipt struct{ HMACs []string }
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &receipt))
	var refused int
	require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT count(*) FROM erasures`).Scan(&refused))
	require.Len(t, receipt.HMACs, refused)
	require.Equal(t, "late5", p.stored(), "for the next erasure")
}

// The console purges what was resolved long enough ago, and writes that to the audit log.
func TestTheConsolePurgesResolvedLettersByAge(t *testing.T) {
	w := newWorld(t)
	ids := w.letters(1)
	w.discard(1)
	audit := filepath.Join(t.TempDir(), "purges.jsonl")
	_, out := w.ui("LETTERS_RETENTION=1s", "ORDERHUB_AUDIT_FILE="+audit)
	require.Eventually(t, func() bool { return len(w.refs(letter.Any)) == 2 }, 30*time.Second, 50*time.Millisecond, out)
	require.Len(t, w.refs(letter.Open), 2)
	line, err := os.ReadFile(audit)
	require.NoError(t, err)
	require.Contains(t, string(line), `"action":"purge","targets":["`+ids[2]+`"],"why":"LETTERS_RETENTION"`)
}

// An edit gave a record another order_uid: the order that became of it is erased with the
// letter.
func TestAnEditedOrderIsErasedWithItsLetter(t *testing.T) {
	p := newPeople(t)
	p.keep("right", "cust-ann")
	p.keep("yours", "cust-bob")
	id := p.letter(1, "", `{"order_uid": "wrong", "customer_id": "cust-ann"}`)
	view := p.scan()
	require.NoError(t, p.store.Redrive(t.Context(), view, []dlq.Ref{refOf(t, view, id)}, dlq.Redrive{
		By: dlq.By{Actor: "ann"}, MaxRedrives: 3, Done: nobody, Edit: func(*dlq.Item) ([]byte, error) { return p.order("right", "cust-ann"), nil },
	}))
	got := p.orderctl("erase", "--uid", "wrong", "--why", "request 10", "--yes")
	require.Zero(t, got.code, got.stderr)
	require.Equal(t, "yours", p.stored())
	require.Empty(t, p.open())
	require.Equal(t, orderwrite.Erased, p.keep("right", "cust-ann"))
}

// Earlier versions are erased with their orders, those of orders that a record deleted too. An
// order that is another customer's now stays, and what it was before goes.
func TestEarlierVersionsAreErased(t *testing.T) {
	p := newPeople(t)
	p.keep("mine", "cust-ann")
	p.keep("yours", "cust-bob")
	for uid, customer := range map[string]string{"mine": "cust-ann", "gone": "cust-ann", "yours": "cust-ann", "other": "cust-bob"} {
		content, err := orderdb.CompressVersion(p.order(uid, customer))
		require.NoError(t, err)
		_, err = p.db.ExecContext(t.Context(), `INSERT INTO order_versions (order_uid, version, content) VALUES ($1, 1, $2)`, uid, content)
		require.NoError(t, err)
	}
	_, err := p.db.ExecContext(t.Context(), `INSERT INTO order_tombstones (order_uid) VALUES ('gone'), ('other')`)
	require.NoError(t, err)
	got := p.orderctl("erase", "--customer", "cust-ann", "--why", "request 7", "--yes")
	require.Zero(t, got.code, got.stderr)
	require.Equal(t, "yours", p.stored())
	for _, table := range []string{"order_versions", "order_tombstones"} {
		var uids string
		require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT string_agg(order_uid, ' ' ORDER BY order_uid) FROM `+table).Scan(&uids))
		require.Equal(t, "other", uids, table)
	}
	require.Equal(t, orderwrite.Erased, p.keep("gone", "cust-ann"))
}
