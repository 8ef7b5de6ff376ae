package rig

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

var (
	insertOrder    = insertStatement("orders", orderdb.OrdersColumns)
	insertDelivery = insertStatement("deliveries", orderdb.DeliveriesColumns)
	insertPayment  = insertStatement("payments", orderdb.PaymentsColumns)
	insertItem     = insertStatement("items", orderdb.ItemsColumns)
)

func insertStatement(table string, columns []string) string {
	places := make([]string, len(columns))
	for i := range places {
		places[i] = "$" + strconv.Itoa(i+1)
	}
	return "INSERT INTO " + table + " (" + strings.Join(columns, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")"
}

// InsertOrder stores an order with a statement for each row, which pgx keeps
// prepared on the connection.
func InsertOrder(ctx context.Context, tx pgx.Tx, o *model.Order) error {
	d, p := o.Delivery, o.Payment
	_, err := tx.Exec(ctx, insertOrder, o.OrderUID, o.TrackNumber, o.Entry, o.Locale, o.InternalSignature, o.CustomerID,
		o.DeliveryService, o.ShardKey, o.SmID, o.DateCreated, o.OofShard)
	if err == nil {
		_, err = tx.Exec(ctx, insertDelivery, o.OrderUID, d.Name, d.Phone, d.Zip, d.City, d.Address, d.Region, d.Email)
	}
	if err == nil {
		_, err = tx.Exec(ctx, insertPayment, o.OrderUID, p.Transaction, p.RequestID, p.Currency, p.Provider, p.Amount,
			p.PaymentDT, p.Bank, p.DeliveryCost, p.GoodsTotal, p.CustomFee)
	}
	for i := 0; err == nil && i < len(o.Items); i++ {
		item := &o.Items[i]
		_, err = tx.Exec(ctx, insertItem, o.OrderUID, i, item.ChrtID, item.TrackNumber, item.Price, item.RID, item.Name,
			item.Sale, item.Size, item.TotalPrice, item.NmID, item.Brand, item.Status)
	}
	if err != nil {
		return fmt.Errorf("insert order %s: %w", o.OrderUID, err)
	}
	return nil
}
