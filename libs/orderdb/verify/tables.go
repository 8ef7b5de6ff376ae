package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

type tables struct{ db *bun.DB }

// all gives use the uids of all orders, sorted.
func (t tables) all(ctx context.Context, use func(uids []string) error) error {
	for last := ""; ; {
		var uids []string
		err := t.db.NewSelect().Model((*orderdb.Order)(nil)).Column("order_uid").
			Where("order_uid > ?", last).Order("order_uid").Limit(pageOrders).Scan(ctx, &uids)
		if err != nil || len(uids) == 0 {
			return wrap("read a page of orders", err)
		}
		last = uids[len(uids)-1]
		if err := use(uids); err != nil {
			return err
		}
	}
}

// sample gives use the uids of about size orders, chosen at random.
func (t tables) sample(ctx context.Context, size int, use func(uids []string) error) error {
	all, err := t.count(ctx)
	if err != nil {
		return err
	}
	// Draw a few more than are wanted: chance may draw fewer.
	percent := min(100, 100*(1.2*float64(size)+50)/float64(max(all, 1)))
	var uids []string
	err = t.db.NewSelect().Model((*orderdb.Order)(nil)).ModelTableExpr("?TableName AS ?TableAlias TABLESAMPLE BERNOULLI (?)", percent).
		Column("order_uid").OrderExpr("random()").Limit(int64(size)).Scan(ctx, &uids)
	if err != nil {
		return wrap("draw a sample of orders", err)
	}
	slices.Sort(uids)
	for chunk := range slices.Chunk(uids, pageOrders) {
		if err := use(chunk); err != nil {
			return err
		}
	}
	return nil
}

// deletions gives use the uids of orders that are known to be deleted, at most so many
// unless most is 0.
func (t tables) deletions(ctx context.Context, most int, use func(uids []string) error) error {
	exists := t.db.NewSelect().Model((*orderdb.Order)(nil)).ColumnExpr("1").Where("o.order_uid = gone.order_uid")
	rows, err := t.db.NewSelect().Model((*orderdb.Deletion)(nil)).Distinct().Column("order_uid").
		Where("NOT EXISTS (?)", exists).Limit(int64(most)).Rows(ctx)
	if err != nil {
		return wrap("read the deletions", err)
	}
	defer func() { _ = rows.Close() }()
	var page []string
	for rows.Next() {
		var uid string
		if err := rows.Scan(&uid); err != nil {
			return wrap("read the deletions", err)
		}
		if page = append(page, uid); len(page) == pageOrders {
			if err := use(page); err != nil {
				return err
			}
			page = nil
		}
	}
	if err := rows.Err(); err != nil {
		return wrap("read the deletions", err)
	}
	return use(page)
}

func (t tables) count(ctx context.Context) (int64, error) {
	n, err := t.db.NewSelect().Model((*orderdb.Order)(nil)).Count(ctx)
	return n, wrap("count the orders", err)
}

// read returns orders as they are now, with their stamps. A change of an order changes
// its stamp. The stamp of an order that doesn't exist is that of its last deletion.
func (t tables) read(ctx context.Context, uids []string) (map[string]row, error) {
	found := make(map[string]row, len(uids))
	err := orderdb.View(ctx, t.db, func(ctx context.Context, tx bun.Tx) error {
		page, err := suspects(ctx, tx, uids)
		if err != nil {
			return err
		}
		var deletions []orderdb.Deletion
		if err := tx.NewSelect().Model(&deletions).Where("order_uid IN (?)", bun.List(uids)).Scan(ctx); err != nil {
			return err
		}
		deleted := map[string]uint64{}
		for _, d := range deletions {
			deleted[d.OrderUID] = max(deleted[d.OrderUID], d.ChangeXID)
		}
		var orders []orderdb.Order
		err = tx.NewSelect().Model(&orders).Column("order_uid", "change_xid").Where("order_uid IN (?)", bun.List(uids)).Scan(ctx)
		if err != nil {
			return err
		}
		stamps := map[string]string{}
		for _, o := range orders {
			stamps[o.OrderUID] = "at " + strconv.FormatUint(o.ChangeXID, 10)
		}
		for _, order := range page {
			order.stamp = stamps[order.uid]
			if order.stamp == "" {
				order.stamp = "gone at " + strconv.FormatUint(deleted[order.uid], 10)
			}
			found[order.uid] = order.row
		}
		return nil
	})
	return found, wrap("read orders and their stamps", err)
}

// page reads orders as of one moment, without their stamps.
func (t tables) page(ctx context.Context, uids []string) (page []suspect, err error) {
	err = orderdb.View(ctx, t.db, func(ctx context.Context, tx bun.Tx) (err error) {
		page, err = suspects(ctx, tx, uids)
		return err
	})
	return page, wrap("read a page of orders", err)
}

func suspects(ctx context.Context, tx bun.Tx, uids []string) ([]suspect, error) {
	stored, err := orderdb.Read(ctx, tx, uids)
	if err != nil {
		return nil, err
	}
	page := make([]suspect, len(uids))
	for i, uid := range uids {
		page[i].uid = uid
		if s, ok := stored[uid]; ok {
			page[i].json = string(model.AppendCanonical(nil, s.Order))
		}
	}
	return page, nil
}

func wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// differingPaths names the fields in which two orders' JSON differs, without values.
func differingPaths(rows, body string) []string {
	var a, b model.Order
	if json.Unmarshal([]byte(rows), &a) != nil || json.Unmarshal([]byte(body), &b) != nil {
		return []string{"(no order)"}
	}
	if paths := model.Diff(&a, &b); len(paths) > 0 {
		return paths
	}
	return []string{"(the form alone)"}
}
