package orders

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/schema"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/migrations"
)

// Filter says which orders a list has. What is left empty leaves nothing out;
// the rest must all be so. An order without a payment has neither currency nor
// amount.
type Filter struct {
	CustomerID, TrackNumber string

	// Each is one of these values. The last three are of items: each of any of them.
	DeliveryServices, Locales, Currencies, Brands []string
	NmIDs, Statuses                               []int64

	// Of the delivery, and what these begin with: as NormalText and NormalPhone write them.
	Email, Phone, Name, EmailPrefix, PhonePrefix, NamePrefix string

	CreatedFrom, CreatedTo *time.Time // both ends included; whole microseconds
	UpdatedFrom, UpdatedTo *time.Time // when it was stored or last changed; the seconds of both included
	AmountMin, AmountMax   *int64     // both ends included

	Sort Sort
}

// Sort is the order of a list. Orders with equal amounts, or updated in the same second, are
// sorted by time, and those with equal times by order_uid, in the same direction.
type Sort uint8

// The orders of lists. The database has only the first one. Cursors have these numbers.
const (
	NewestFirst Sort = iota
	OldestFirst
	LargestFirst // by amount
	SmallestFirst
	LastUpdatedFirst
	FirstUpdatedFirst
)

// Ranked tells whether the keys of the list have a Rank.
func (s Sort) Ranked() bool { return s >= LargestFirst }

func (s Sort) byUpdate() bool { return s >= LastUpdatedFirst }

func (s Sort) down() bool { return s%2 == 0 }

// Fingerprint is the same for filters that are the same, and for no others. It is
// part of cursors: versions of the service must agree on it.
func (f Filter) Fingerprint() string {
	var all, more []byte
	texts := [][]string{
		{f.CustomerID}, {f.TrackNumber}, f.DeliveryServices, f.Locales, f.Currencies, f.Brands, decimals(f.NmIDs), decimals(f.Statuses),
		{f.Email}, {f.Phone}, {f.Name}, {f.EmailPrefix}, {f.PhonePrefix}, {f.NamePrefix},
	}
	for i, values := range texts {
		values = slices.Compact(slices.Sorted(slices.Values(values)))
		single, first := "", i < 5 // the first of these is how filters began
		switch {
		case len(values) == 0 || values[0] == "":
		case first && len(values) == 1:
			single = values[0]
		default:
			more = binary.AppendUvarint(append(more, byte(i)), uint64(len(values)))
			for _, value := range values {
				more = appendText(more, value)
			}
		}
		if first {
			all = appendText(all, single)
		}
	}
	for _, moment := range []*time.Time{f.CreatedFrom, f.CreatedTo} {
		var micros *int64
		if moment != nil {
			n := moment.UnixMicro()
			micros = &n
		}
		all = appendOptional(all, micros)
	}
	if f.Sort != NewestFirst {
		more = append(more, math.MaxUint8, byte(f.Sort))
	}
	if f.needsUpdated() {
		least, most := f.updated()
		more = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(append(more, math.MaxUint8-1), least), most)
	}
	return string(append(appendOptional(appendOptional(all, f.AmountMin), f.AmountMax), more...))
}

func decimals(numbers []int64) (texts []string) {
	for _, n := range numbers {
		texts = append(texts, strconv.FormatInt(n, 10))
	}
	return texts
}

func appendText(all []byte, text string) []byte {
	return append(binary.AppendUvarint(all, uint64(len(text))), text...)
}

func appendOptional(all []byte, n *int64) []byte {
	if n == nil {
		return append(all, 0)
	}
	return binary.BigEndian.AppendUint64(append(all, 1), uint64(*n))
}

// Key is an order's place in the lists: newest first, order_uid as tie-breaker.
type Key struct {
	Created time.Time `bun:"date_created"` // to the microsecond
	UID     string    `bun:"order_uid"`
	Rank    int64     `bun:"-"` // the amount or when it was updated, where the list is sorted by that
}

// examinedPerOrder is how many rows may be examined to find an order of a page. With
// the rows that the page itself is read from it is less than 50.
const examinedPerOrder = 40

// usualItems are an order's, as far as a search's cost is concerned. It may take readTimeout
// where orders have hundreds.
const usualItems = 3

// searchSettings leave the planner no choice but the index, in its order: without
// statistics it may sort the whole table instead. jit would be started by the costs
// that the settings add. The builder has no SET. The result is which of the indexes that the
// search needs are missing or unusable, since it would read the whole table without them. They
// may have another schema than the views of a shard.
var searchSettings = fmt.Sprintf(setAll, fmt.Sprintf(`(SELECT string_agg(needed, ', ') FROM unnest(?::text[]) needed
		WHERE NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(needed) AND indisvalid)),
		count(set_config('statement_timeout', '%d', true)), count(set_config(name, 'off', true))`, readTimeout.Milliseconds()))

// countSettings give the planner back its choice.
var countSettings = fmt.Sprintf(setAll, "set_config(name, NULL, true)")

const setAll = `SELECT %s FROM unnest(ARRAY['enable_seqscan', 'enable_bitmapscan', 'enable_sort', 'enable_incremental_sort',
		'enable_hashjoin', 'enable_mergejoin', 'jit']) name`

// place is a row that a search returns.
type place struct {
	Key
	Matches bool `bun:"matches"`
	// Examined is the row's number among those that were examined; 0 in a search that
	// examines only what it returns.
	Examined int `bun:"examined"`
}

// search queries up to limit orders of a filter, and one more to tell whether there
// are more. It goes along one index, in the list's order, and examines a bounded
// number of rows; the filter's other conditions apply to these. So no filter, and no
// wrong estimate of the planner, can make a page expensive. A page may be short for
// that reason: then the last examined row is returned too, and the next page starts
// after it. budget is that row's number; 0 where all examined rows are returned.
func search(tx bun.Tx, f Filter, after *Key, limit int) (query *bun.SelectQuery, budget int) {
	examined, order := f.examined(tx, after)
	matches, rows := f.matching()
	if rows == 0 {
		return examined.ColumnExpr("true AS matches, 0 AS examined").Limit(int64(limit) + 1), 0
	}
	budget = examinedPerOrder * limit / rows
	numbered := tx.NewSelect().ColumnExpr("*, row_number() OVER (ORDER BY ?) AS examined", order).
		TableExpr("(?) AS o", examined.Column(f.compared()...).Limit(int64(budget)))
	query = tx.NewSelect().TableExpr("(?) AS o", numbered).ColumnExpr("o.order_uid, o.date_created, o.examined, ? AS matches", matches).
		Where("? OR o.examined = ?", matches, budget).OrderExpr("?", order).Limit(int64(limit) + 1)
	return f.join(tx, query), budget
}

// compared are the columns that conditions are about, besides those of the order of lists.
func (f Filter) compared() []string {
	columns := []string{"customer_id", "track_number", "delivery_service", "locale"}
	if f.needsUpdated() {
		columns = append(columns, "stored_at", "updated_at")
	}
	return columns
}

// hopeless tells whether the database cannot have a match: the last release's schema has no
// times of updates.
func (f Filter) hopeless(ctx context.Context, tx bun.Tx) (bool, error) {
	if !f.needsUpdated() {
		return false, nil
	}
	has, err := orderdb.Has(ctx, tx, "order_versions")
	return !has, err
}

// examined are the rows that a search examines, in their order.
func (f Filter) examined(tx bun.Tx, after *Key) (query *bun.SelectQuery, order bun.Safe) {
	query = tx.NewSelect().Model((*orderdb.Order)(nil)).Column("order_uid", "date_created")
	order = f.along(query, after)
	return query.OrderExpr("?", order), order
}

// join adds the parts that the conditions need to a query of orders.
func (f Filter) join(tx bun.Tx, query *bun.SelectQuery) *bun.SelectQuery {
	if f.needsPayment() {
		query.Join("LEFT JOIN payments AS p ON p.order_uid = o.order_uid")
	}
	if f.needsDelivery() {
		query.Join("LEFT JOIN deliveries AS d ON d.order_uid = o.order_uid")
	}
	if f.needsItems() { // with an aggregate: the planner could read all items for an EXISTS
		items := tx.NewSelect().Model((*orderdb.Item)(nil)).Where("i.order_uid = o.order_uid")
		for _, c := range f.items() {
			items.ColumnExpr("bool_or(?0 IN (?1)) AS ?0", bun.Ident(c.column), bun.List(c.values))
		}
		query.Join("LEFT JOIN LATERAL (?) AS i ON true", items)
	}
	return query
}

func (f Filter) needsUpdated() bool { return f.UpdatedFrom != nil || f.UpdatedTo != nil }

// updated is when orders of the list were stored or last changed, in seconds since 1970, both
// ends included: a range without 0 if it is limited.
func (f Filter) updated() (least, most uint32) {
	most = math.MaxUint32
	if f.needsUpdated() {
		least = 1
	}
	if f.UpdatedFrom != nil {
		least = max(1, clamped(f.UpdatedFrom.Unix()))
	}
	if f.UpdatedTo != nil {
		most = clamped(f.UpdatedTo.Unix())
	}
	return least, most
}

func (f Filter) needsPayment() bool {
	return len(f.Currencies) > 0 || f.AmountMin != nil || f.AmountMax != nil
}

func (f Filter) needsDelivery() bool {
	return f.Email+f.Phone+f.Name+f.EmailPrefix+f.PhonePrefix+f.NamePrefix != ""
}

func (f Filter) needsItems() bool { return len(f.items()) > 0 }

// oneOf is a column that must have one of some values.
type oneOf struct {
	column string
	values any
}

// oneOfs leaves out the columns that may have any value.
func oneOfs(all ...oneOf) []oneOf {
	return slices.DeleteFunc(all, func(c oneOf) bool { return reflect.ValueOf(c.values).Len() == 0 })
}

func (f Filter) items() []oneOf {
	return oneOfs(oneOf{"brand", f.Brands}, oneOf{"nm_id", f.NmIDs}, oneOf{"status", f.Statuses})
}

// searched is the index along which the filter's orders are searched.
func (f Filter) searched() (index string) {
	switch {
	case f.TrackNumber != "":
		return migrations.TrackNumberIndex
	case f.CustomerID != "":
		return migrations.CustomerIndex
	}
	return migrations.NewestIndex
}

// along restricts a query to the part of an index that is searched, and returns the
// index's order. The indexes of single values say NULLS LAST, though there are no
// NULLs, so that the planner doesn't take orders_newest instead, however common it
// thinks a value is.
func (f Filter) along(query *bun.SelectQuery, after *Key) (order bun.Safe) {
	order = `date_created DESC NULLS LAST, order_uid DESC NULLS LAST`
	switch f.searched() {
	case migrations.TrackNumberIndex:
		query.Where(`hashtextextended(track_number, 0) = hashtextextended(?, 0)`, f.TrackNumber)
	case migrations.CustomerIndex:
		query.Where(`hashtextextended(customer_id, 0) = hashtextextended(?, 0)`, f.CustomerID)
	default:
		order = `date_created DESC, order_uid DESC`
	}
	switch {
	case after != nil: // which is not after CreatedTo
		query.Where(`(date_created, order_uid) < (?, ?)`, after.Created, after.UID)
	case f.CreatedTo != nil:
		query.Where(`date_created <= ?`, *f.CreatedTo)
	}
	if f.CreatedFrom != nil {
		query.Where(`date_created >= ?`, *f.CreatedFrom)
	}
	return order
}

// matching is the condition for each examined row. It includes the value that an
// index is searched for, since the index has only hashes. rows is how many rows it takes for
// each; 0: there is no condition.
func (f Filter) matching() (condition schema.QueryAppender, rows int) {
	var conditions []string
	var args []any
	add := func(condition string, value any) {
		conditions, args = append(conditions, condition), append(args, value)
	}
	for _, c := range []struct{ column, value string }{{"o.track_number", f.TrackNumber}, {"o.customer_id", f.CustomerID}} {
		if c.value != "" {
			add(c.column+` = ?`, c.value)
		}
	}
	for _, c := range oneOfs(oneOf{"o.delivery_service", f.DeliveryServices}, oneOf{"o.locale", f.Locales}, oneOf{"p.currency", f.Currencies}) {
		add(c.column+` IN (?)`, bun.List(c.values))
	}
	for _, c := range f.items() {
		add(`i.?`, bun.Ident(c.column))
	}
	for _, c := range []struct{ column, pattern string }{
		{"email", textPattern(f.Email, false)}, {"email", textPattern(f.EmailPrefix, true)},
		{"phone", phonePattern(f.Phone, false)}, {"phone", phonePattern(f.PhonePrefix, true)},
		{"name", textPattern(f.Name, false)}, {"name", textPattern(f.NamePrefix, true)},
	} {
		if c.pattern != "" {
			add(`d.`+c.column+` COLLATE "C" ~ ?`, c.pattern)
		}
	}
	if f.AmountMin != nil {
		add(`p.amount >= ?`, *f.AmountMin)
	}
	if f.AmountMax != nil {
		add(`p.amount <= ?`, *f.AmountMax)
	}
	if f.needsUpdated() {
		least, most := f.updated()
		add(`coalesce(o.updated_at, o.stored_at) >= to_timestamp(?)`, least)
		add(`coalesce(o.updated_at, o.stored_at) < to_timestamp(?)`, int64(most)+1)
	}
	if len(conditions) == 0 {
		return bun.Safe("true"), 0
	}
	rows = 1
	if f.needsPayment() {
		rows++
	}
	if f.needsDelivery() {
		rows++
	}
	if f.needsItems() {
		rows += usualItems
	}
	return bun.SafeQuery(`(`+strings.Join(conditions, ` AND `)+`) IS TRUE`, args...), rows
}
