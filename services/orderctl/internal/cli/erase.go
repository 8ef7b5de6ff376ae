package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

type eraseSettings struct {
	Changes  changeSettings
	Database config.Database
}

type eraseFlags struct {
	eraseSettings
	where    kafkaFlags
	uids     []string
	customer string
	dryRun   bool
	yes      bool
	by       dlq.By
}

func (a *app) eraseCommand() *cobra.Command {
	var f eraseFlags
	cmd := a.command("erase", &f.eraseSettings, noArgs(": say whom with --uid or --customer"), func(cmd *cobra.Command, _ []string) error {
		switch {
		case (len(f.uids) > 0) == (f.customer != ""):
			return usagef("--uid, --customer: say in one of the two ways what is to be erased")
		case slices.ContainsFunc(f.uids, func(uid string) bool { return !model.IsOrderUID(uid) }):
			return usagef("--uid: 1 to 64 of A-Z, a-z, 0-9, '-', '_' and '.'")
		case strings.TrimSpace(f.by.Why) == "" && !f.dryRun:
			return usagef("--why: say why, such as the number of the request")
		case f.Changes.Erasures.Key == "":
			return usagef("ERASURE_KEY: without a key for the HMACs the orders would come back: set one, the same as the workers'")
		}
		return a.erase(cmd.Context(), &f)
	})
	f.where.registerOurs(cmd)
	cmd.Flags().StringVar(&f.where.topic, "topic", "", "topic of the orders (default: KAFKA_TOPIC)")
	cmd.Flags().StringSliceVar(&f.uids, "uid", nil, "`order_uids` of the orders to be erased")
	cmd.Flags().StringVar(&f.customer, "customer", "", "customer_id of the person whose orders are to be erased")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only say what would be removed")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do it without asking")
	byFlags(cmd, &f.by, "in the audit log")
	return cmd
}

// erasing is one erasure.
type erasing struct {
	*eraseFlags
	db    *database
	queue *dlq.Queue
	key   *erasure.Key

	uids    map[string]bool // that were asked for or found
	others  map[string]bool // that letters have, of orders of other customers
	origins map[string]bool // of the letters: letters of one record have one origin
	former  map[string]bool // orders of other customers whose earlier versions are theirs
	orders  int             // stored
	letters []dlq.Ref
}

func (a *app) erase(ctx context.Context, f *eraseFlags) error {
	queue, queueErr := a.letters(&f.where, &f.Changes.Kafka)
	db, err := a.openDatabase(f.Database)
	if err := cmp.Or(queueErr, err); err != nil {
		return err
	}
	e := &erasing{
		eraseFlags: f, db: db, queue: queue, key: f.Changes.Erasures.NewKey(),
		uids: map[string]bool{}, others: map[string]bool{}, former: map[string]bool{}, origins: map[string]bool{},
	}
	for _, uid := range f.uids {
		e.uids[uid] = true
	}
	if err := migrations.Check(ctx, db.pool.DB, roleTo(f.dryRun)); err != nil { // without the table, workers would store the orders again
		return db.explain(err)
	}
	if _, err := erased.Load(ctx, db.pool, e.key); err != nil { // the key is the right one
		return db.explain(err)
	}
	// The notes first: an erasure that was interrupted may have left letters of theirs.
	if _, err := queue.Scan(ctx, letter.Filter{Of: func(*letter.Letter) bool { return false }}); err != nil {
		return err
	}
	if err := e.find(ctx); err != nil {
		return err
	}
	if len(e.uids)+len(e.letters)+len(e.former) == 0 {
		return nothing("there is no order and no letter of this customer")
	}
	if !f.dryRun {
		what := fmt.Sprintf("erase %s and %s for good", dlqview.Plural(e.orders, "order"), dlqview.Plural(len(e.letters), "letter"))
		if err := a.confirm(f.yes, what); err != nil {
			return err
		}
		hmac := func(uid string) string { return erasure.NotePrefix + e.key.Of(uid).String() }
		if err := audited(ctx, a, &f.Changes, f.by, "erase", slices.Sorted(maps.Keys(e.uids)), hmac); err != nil {
			return err
		}
		if err := e.remove(ctx); err != nil {
			return err
		}
	}
	return a.show(e.receipt(ctx), "erase.txt")
}

// find looks for orders and letters until what it finds leads to no others.
func (e *erasing) find(ctx context.Context) error {
	if e.customer != "" {
		var uids []string
		err := e.db.pool.NewSelect().Model((*orderdb.Order)(nil)).Column("order_uid").
			Where("hashtextextended(customer_id, 0) = hashtextextended(?, 0)", e.customer).Where("customer_id = ?", e.customer).Scan(ctx, &uids)
		if err != nil {
			return e.db.explain(err)
		}
		for _, uid := range uids {
			e.uids[uid] = true
		}
		if err := e.findVersions(ctx); err != nil {
			return e.db.explain(err)
		}
	}
	for known := -1; known < len(e.uids)+len(e.origins); {
		known = len(e.uids) + len(e.origins)
		view, err := e.queue.Scan(ctx, letter.Filter{Of: func(l *letter.Letter) bool {
			is, _ := e.queue.IsErased(l.SourceKey, l.Value) // remove checks the key
			return is || e.isOf(l)
		}})
		if err != nil {
			return err
		}
		e.letters = view.Select(letter.Any, 0)
		if err := e.queue.InChunks(ctx, e.letters, func(items []dlq.Item) error { return e.follow(ctx, items) }); err != nil {
			return err
		}
	}
	stored, err := e.db.stored(ctx, slices.Collect(maps.Keys(e.uids)))
	e.orders = len(stored)
	return err
}

// findVersions looks for earlier versions of orders that were the customer's: of deleted
// orders, whose uids it notes, and of orders that are another customer's now.
func (e *erasing) findVersions(ctx context.Context) error {
	if has, err := orderdb.Has(ctx, e.db.pool, "order_versions"); err != nil || !has {
		return err
	}
	last := orderdb.Version{}
	for {
		var some []orderdb.Version
		err := e.db.pool.NewSelect().Model(&some).Where("(order_uid, version) > (?, ?)", last.OrderUID, last.Number).Order("order_uid", "version").Limit(pageRecords).Scan(ctx)
		if err != nil || len(some) == 0 {
			return err
		}
		last = some[len(some)-1]
		var theirs []string
		for _, v := range some {
			canonical, err := v.Canonical()
			if err != nil {
				return fmt.Errorf("version %d of order %s: %w", v.Number, v.OrderUID, err)
			}
			if !e.uids[v.OrderUID] && slices.Contains(deadletter.Readings(canonical, "customer_id"), e.customer) {
				theirs = append(theirs, v.OrderUID)
			}
		}
		stored, err := e.db.stored(ctx, theirs)
		if err != nil {
			return err
		}
		for _, uid := range theirs {
			if _, another := stored[uid]; another {
				e.former[uid] = true
			} else {
				e.uids[uid] = true
			}
		}
	}
}

// isOf tells whether a letter is of what is to be erased. It is called in parallel.
func (e *erasing) isOf(l *letter.Letter) bool {
	return e.origins[l.Origin] || e.customer != "" && slices.Contains(deadletter.Readings(l.Value, "customer_id"), e.customer) ||
		slices.ContainsFunc(append(deadletter.OrderUIDs(nil, l.Value), deadletter.OrderUIDs(l.SourceKey, nil)...), func(uid string) bool { return e.uids[uid] })
}

// follow notes what else belongs to letters: letters of the same record, and orders that
// became of it, also by an edit. An order of another customer stays: the letter has its
// uid by mistake.
func (e *erasing) follow(ctx context.Context, items []dlq.Item) error {
	customers := map[string][]string{} // that records have with a uid
	note := func(key, value []byte) {
		for _, uid := range deadletter.OrderUIDs(key, value) {
			if model.IsOrderUID(uid) && !e.uids[uid] {
				customers[uid] = append(customers[uid], deadletter.Readings(value, "customer_id")...)
			}
		}
	}
	items = slices.DeleteFunc(items, func(i dlq.Item) bool { return !e.isOf(&i.Letter) })
	for _, item := range items {
		e.origins[item.Origin] = true
		note(item.SourceKey, item.Value)
	}
	copies, err := e.queue.Redriven(ctx, items)
	if err != nil {
		return err
	}
	for _, r := range copies {
		note(r.Key, r.Value)
	}
	stored, err := e.db.stored(ctx, slices.Collect(maps.Keys(customers)))
	if err != nil {
		return err
	}
	for uid, of := range customers {
		if s, there := stored[uid]; there && !slices.Contains(of, s.Order.CustomerID) {
			e.others[uid] = true
		} else {
			e.uids[uid] = true
		}
	}
	return nil
}

// rounds bounds how often what arrived meanwhile is looked for.
const rounds = 5

// remove first has the orders refused, in the table and in the topic, and then removes
// them. It can be interrupted anywhere, and repeated. The database may go back to an earlier
// state meanwhile: the topic has all notes before anything is removed, so a worker mends what
// is not found here.
func (e *erasing) remove(ctx context.Context) error {
	var removed int64
	for round := 1; ; round++ {
		found := len(e.uids)
		rows := make([]orderdb.Erasure, 0, found)
		for uid := range e.uids {
			h := e.key.Of(uid)
			rows = append(rows, orderdb.Erasure{HMAC: h[:], KeyID: e.key.ID()})
		}
		if err := erased.Add(ctx, e.db.pool, rows); err != nil {
			return e.db.explain(err)
		}
		if err := e.note(ctx, rows); err != nil {
			return err
		}
		if err := erased.Await(ctx, e.db.pool); err != nil {
			return e.db.explain(err)
		}
		if round < rounds { // in the last one, only what is refused by now is removed: anything else would come back
			if err := e.find(ctx); err != nil {
				return err
			}
			if len(e.uids) > found {
				continue
			}
		}
		n, err := erased.Remove(ctx, e.db.pool, slices.Collect(maps.Keys(e.uids)))
		if err != nil {
			return e.db.explain(err)
		}
		removed = max(removed, n)
		if err := orderdb.Forget(ctx, e.db.pool, slices.Collect(maps.Keys(e.former))); err != nil {
			return e.db.explain(err)
		}
		known, err := erased.Load(ctx, e.db.pool, e.key)
		if err != nil {
			return e.db.explain(err)
		}
		if len(known.Missing(rows)) == 0 || round == rounds {
			break
		}
	}
	e.orders = int(removed)
	_, err := e.queue.Erase(ctx, e.letters)
	return err
}

// note writes notes of these orders, and of all in the table, that the topic does not have.
func (e *erasing) note(ctx context.Context, rows []orderdb.Erasure) error {
	known, err := erased.Load(ctx, e.db.pool, e.key)
	if err != nil {
		return e.db.explain(err)
	}
	notes := e.queue.ErasedNotes()
	for _, id := range notes {
		if err := e.key.Check(id); err != nil {
			return usage(err)
		}
	}
	all := known.All()
	for _, row := range known.Missing(rows) { // the table went back since they were added
		all = append(all, erasure.HMAC(row.HMAC))
	}
	return e.queue.WriteErased(ctx, slices.DeleteFunc(all, func(h erasure.HMAC) bool { return notes[h] != "" }), time.Now())
}

// receipt says what was removed and what remains. It names nobody who was not asked about.
type receipt struct {
	UIDs     []string `json:"order_uids,omitempty"`
	Customer string   `json:"customer_id,omitempty"`
	DryRun   bool     `json:"dry_run,omitempty"`
	HMACs    []string `json:"hmacs"`
	Orders   int      `json:"orders"`
	Letters  int      `json:"letters"`
	Resolved int      `json:"resolved"` // of the letters
	// Compaction is when records of letters are gone from the brokers' disks.
	Compaction string   `json:"compaction"`
	Remains    []string `json:"remains"`
}

func (e *erasing) receipt(ctx context.Context) receipt {
	r := receipt{UIDs: e.eraseFlags.uids, Customer: e.customer, DryRun: e.dryRun, Orders: e.orders, HMACs: []string{}}
	for uid := range e.uids {
		r.HMACs = append(r.HMACs, e.key.Of(uid).String())
	}
	slices.Sort(r.HMACs)
	foreign := 0
	for _, ref := range e.letters {
		switch {
		case ref.Format != letter.Orderhub:
			foreign++
			continue
		case ref.Status == letter.Resolved:
			r.Resolved++
		}
		r.Letters++
	}
	cfg := &e.Changes.Kafka
	r.Compaction = e.setting(ctx, cfg.DLQTopic, "max.compaction.lag.ms", "within", "at a time that the broker chooses, since max.compaction.lag.ms sets no bound")
	r.Remains = []string{
		"topic " + cfg.Topic + ": its records, " + e.setting(ctx, cfg.Topic, "retention.ms", "for", "for ever, since retention.ms sets no bound"),
		"backups of the database, until they are deleted: a restored one is cleaned by the worker",
		"exported letters and other files, and topics and databases of other systems",
		"the audit log: who saw or changed these orders and letters",
	}
	if foreign > 0 {
		r.Remains = append(r.Remains, fmt.Sprintf("%s in %s that other systems wrote", dlqview.Plural(foreign, "letter"), cfg.DLQTopic))
	}
	if n := len(e.others); n > 0 {
		r.Remains = append(r.Remains, fmt.Sprintf("%s of other customers, whose order_uid letters had by mistake", dlqview.Plural(n, "order")))
	}
	return r
}

// setting tells of a topic's setting in milliseconds, which comes after a word.
func (e *erasing) setting(ctx context.Context, topic, name, word, unbounded string) string {
	settings, err := e.queue.TopicSettings(ctx, topic)
	ms, parsing := strconv.ParseInt(settings[name], 10, 64)
	switch {
	case errors.Join(err, parsing) != nil:
		return "for a time that is not known: " + name + " of " + topic + " could not be read"
	case ms < 0 || ms > math.MaxInt64/int64(time.Millisecond):
		return unbounded
	}
	return fmt.Sprintf("%s %s (%s)", word, time.Duration(ms)*time.Millisecond, name)
}
