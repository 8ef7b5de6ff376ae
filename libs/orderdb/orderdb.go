// Package orderdb maps orders to the four tables. Its row models, which embed the
// parts of [model.Order], are the only place that does: columns, codecs for COPY,
// queries and conversions derive from them. The writer and the reader share nothing
// else.
package orderdb

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

// NotifyChannel is the channel that every transaction which changes an order
// notifies, with an empty payload.
const NotifyChannel = "orders_changed"

// WholeOrdersSetting is the session setting that, when 'on', tells the insert
// triggers that the client inserts whole orders and notifies by itself.
const WholeOrdersSetting = "orderhub.whole_orders"

// Stored is an order as the rows are now.
type Stored struct {
	Order       *model.Order
	ContentHash []byte // of the record as the worker stored it; nil for a row made by hand
}

// Querier is a *sql.DB, *sql.Conn or *sql.Tx (of bun.Tx: its Tx field) on pgx.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// LATERAL and OFFSET 0 have each uid looked up in the index: for = ANY and an
// array of thousands the planner rather reads whole tables, time and again, until
// there are millions of orders.
const (
	selectOrders = `SELECT o.* FROM unnest($1::text[]) AS wanted (uid) CROSS JOIN LATERAL (
	SELECT order_uid, track_number, entry, locale, internal_signature, customer_id, delivery_service, shardkey, sm_id,
		date_created, oof_shard, content_hash
	FROM orders WHERE order_uid = wanted.uid OFFSET 0) AS o`
	selectDeliveries = `SELECT d.* FROM unnest($1::text[]) AS wanted (uid) CROSS JOIN LATERAL (
	SELECT order_uid, name, phone, zip, city, address, region, email
	FROM deliveries WHERE order_uid = wanted.uid OFFSET 0) AS d`
	selectPayments = `SELECT p.* FROM unnest($1::text[]) AS wanted (uid) CROSS JOIN LATERAL (
	SELECT order_uid, transaction, request_id, currency, provider, amount, payment_dt, bank, delivery_cost, goods_total, custom_fee
	FROM payments WHERE order_uid = wanted.uid OFFSET 0) AS p`
	selectItems = `SELECT i.* FROM unnest($1::text[]) AS wanted (uid) CROSS JOIN LATERAL (
	SELECT order_uid, position, chrt_id, track_number, price, rid, name, sale, size, total_price, nm_id, brand, status
	FROM items WHERE order_uid = wanted.uid OFFSET 0) AS i ORDER BY i.order_uid, i.position`
)

// Read returns those of the orders that exist, by uid. A part whose row is
// missing is nil. The answer is of one moment only inside a REPEATABLE READ
// transaction, since it takes four statements.
func Read(ctx context.Context, db Querier, uids []string) (map[string]Stored, error) {
	uids = slices.Compact(slices.Sorted(slices.Values(uids))) // each once; neighbours lie together
	found := make(map[string]Stored, len(uids))
	var uid string
	err := each(ctx, db, selectOrders, uids, func(rows *sql.Rows) error {
		o := &model.Order{}
		var created time.Time
		var hash []byte
		if err := rows.Scan(&o.OrderUID, &o.TrackNumber, &o.Entry, &o.Locale, &o.InternalSignature, &o.CustomerID,
			&o.DeliveryService, &o.Shardkey, &o.SmID, &created, &o.OofShard, &hash); err != nil {
			return err
		}
		o.DateCreated = created.UTC()
		found[o.OrderUID] = Stored{Order: o, ContentHash: hash}
		return nil
	})
	if err != nil || len(found) == 0 {
		return found, err
	}
	// A part without its order can only be seen outside of one transaction.
	err = each(ctx, db, selectDeliveries, uids, func(rows *sql.Rows) error {
		d := &model.Delivery{}
		err := rows.Scan(&uid, &d.Name, &d.Phone, &d.Zip, &d.City, &d.Address, &d.Region, &d.Email)
		if s, ok := found[uid]; ok && err == nil {
			s.Order.Delivery = d
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = each(ctx, db, selectPayments, uids, func(rows *sql.Rows) error {
		p := &model.Payment{}
		err := rows.Scan(&uid, &p.Transaction, &p.RequestID, &p.Currency, &p.Provider, &p.Amount, &p.PaymentDT,
			&p.Bank, &p.DeliveryCost, &p.GoodsTotal, &p.CustomFee)
		if s, ok := found[uid]; ok && err == nil {
			s.Order.Payment = p
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = each(ctx, db, selectItems, uids, func(rows *sql.Rows) error {
		var i model.Item
		var position int64 // the query sorts by it
		err := rows.Scan(&uid, &position, &i.ChrtID, &i.TrackNumber, &i.Price, &i.RID, &i.Name, &i.Sale, &i.Size,
			&i.TotalPrice, &i.NmID, &i.Brand, &i.Status)
		if s, ok := found[uid]; ok && err == nil {
			s.Order.Items = append(s.Order.Items, i)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func each(ctx context.Context, db Querier, query string, uids []string, scan func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query, uids)
	if err != nil {
		return fmt.Errorf("read orders: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("read orders: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read orders: %w", err)
	}
	return nil
}
