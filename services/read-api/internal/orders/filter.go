package orders

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// Filter says which orders a list has. What is left empty leaves nothing out;
// the rest must all be so. An order without a payment has neither currency nor
// amount.
type Filter struct {
	CustomerID, TrackNumber, DeliveryService, Locale, Currency string

	CreatedFrom, CreatedTo *time.Time // both ends included; whole microseconds
	AmountMin, AmountMax   *int64     // both ends included
}

// Fingerprint is the same for filters that are the same, and for no others. It is
// part of cursors: versions of the service must agree on it.
func (f Filter) Fingerprint() string {
	var all []byte
	for _, text := range []string{f.CustomerID, f.TrackNumber, f.DeliveryService, f.Locale, f.Currency} {
		all = binary.AppendUvarint(all, uint64(len(text)))
		all = append(all, text...)
	}
	for _, moment := range []*time.Time{f.CreatedFrom, f.CreatedTo} {
		var micros *int64
		if moment != nil {
			n := moment.UnixMicro()
			micros = &n
		}
		all = appendOptional(all, micros)
	}
	return string(appendOptional(appendOptional(all, f.AmountMin), f.AmountMax))
}

func appendOptional(all []byte, n *int64) []byte {
	if n == nil {
		return append(all, 0)
	}
	return binary.BigEndian.AppendUint64(append(all, 1), uint64(*n))
}

// Key is an order's place in the lists: newest first, order_uid as tie-breaker.
type Key struct {
	Created time.Time // to the microsecond
	UID     string
}

// examinedPerOrder is how many rows may be looked at to find an order of a page;
// with the rows that the page itself is read from it is less than 50.
const examinedPerOrder = 40

// scan is how a page is searched for: along one index, in the list's order, for
// a bounded number of rows. Whatever else a filter asks is asked of those rows,
// so that no combination, and no mistake of the planner's, can make a page cost
// more. A page that is short for that reason has a key to go on after.
type scan struct {
	sql    string
	args   []any
	budget int // rows of orders that are looked at; 0: as many as are given
}

// searchSettings leave the planner one way only: the index, in its order.
// Without them it may sort the whole table where it has no statistics yet. jit
// would be started by the costs that they put in the way.
var searchSettings = fmt.Sprintf(`SELECT set_config('statement_timeout', '%d', true), set_config(name, 'off', true)
	FROM unnest(ARRAY['enable_seqscan', 'enable_bitmapscan', 'enable_sort', 'enable_incremental_sort',
		'enable_hashjoin', 'enable_mergejoin', 'jit']) name`, readTimeout.Milliseconds())

// newScan searches for up to limit orders, and for one more to tell whether
// there is more.
func newScan(f Filter, after *Key, limit int) scan {
	s := scan{}
	bounds, order := s.bounds(f, after)
	conditions := s.conditions(f)
	inner := `SELECT order_uid, date_created, customer_id, track_number, delivery_service, locale FROM orders` + where(bounds) + order
	if len(conditions) == 0 {
		s.sql = fmt.Sprintf(`SELECT order_uid, date_created, 0, true FROM (%s LIMIT %d) o`, inner, limit+1)
		return s
	}
	s.budget = examinedPerOrder * limit
	payments := ""
	if f.needsPayment() {
		s.budget /= 2 // each comes with a row of payments
		payments = ` LEFT JOIN payments p ON p.order_uid = o.order_uid`
	}
	matches := `(` + strings.Join(conditions, ` AND `) + `) IS TRUE`
	// The last row that was looked at comes too: it is where to go on.
	s.sql = fmt.Sprintf(`SELECT o.order_uid, o.date_created, o.place, %[1]s
		FROM (SELECT *, row_number() OVER (%[2]s) AS place FROM (%[3]s LIMIT %[4]d) examined) o%[5]s
		WHERE %[1]s OR o.place = %[4]d%[2]s LIMIT %[6]d`, matches, order, inner, s.budget, payments, limit+1)
	return s
}

func (f Filter) needsPayment() bool {
	return f.Currency != "" || f.AmountMin != nil || f.AmountMax != nil
}

// arg takes a value and returns its place-holder.
func (s *scan) arg(value any) string {
	s.args = append(s.args, value)
	return fmt.Sprintf("$%d", len(s.args))
}

// bounds chooses the index, and gives the part of it that is searched. The
// indexes of single values say NULLS LAST, though there are no NULLs, for the
// planner to see that orders_newest is not in that order: it must not be taken
// instead of them, however common it thinks a value is.
func (s *scan) bounds(f Filter, after *Key) (conditions []string, order string) {
	nulls := ` NULLS LAST`
	switch {
	case f.TrackNumber != "":
		conditions = append(conditions, `hashtextextended(track_number, 0) = hashtextextended(`+s.arg(f.TrackNumber)+`, 0)`)
	case f.CustomerID != "":
		conditions = append(conditions, `hashtextextended(customer_id, 0) = hashtextextended(`+s.arg(f.CustomerID)+`, 0)`)
	default:
		nulls = ``
	}
	switch {
	case after != nil: // which is not after CreatedTo
		conditions = append(conditions, `(date_created, order_uid) < (`+s.arg(after.Created)+`, `+s.arg(after.UID)+`)`)
	case f.CreatedTo != nil:
		conditions = append(conditions, `date_created <= `+s.arg(*f.CreatedTo))
	}
	if f.CreatedFrom != nil {
		conditions = append(conditions, `date_created >= `+s.arg(*f.CreatedFrom))
	}
	return conditions, ` ORDER BY date_created DESC` + nulls + `, order_uid DESC` + nulls
}

// conditions are what is asked of each row that is looked at. Those that an
// index is searched for are among them: it has hashes only.
func (s *scan) conditions(f Filter) (all []string) {
	equal := func(column, value string) {
		if value != "" {
			all = append(all, column+` = `+s.arg(value))
		}
	}
	equal(`o.track_number`, f.TrackNumber)
	equal(`o.customer_id`, f.CustomerID)
	equal(`o.delivery_service`, f.DeliveryService)
	equal(`o.locale`, f.Locale)
	equal(`p.currency`, f.Currency)
	if f.AmountMin != nil {
		all = append(all, `p.amount >= `+s.arg(*f.AmountMin))
	}
	if f.AmountMax != nil {
		all = append(all, `p.amount <= `+s.arg(*f.AmountMax))
	}
	return all
}

func where(conditions []string) string {
	if len(conditions) == 0 {
		return ""
	}
	return ` WHERE ` + strings.Join(conditions, ` AND `)
}
