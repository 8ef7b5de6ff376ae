package ledger

import (
	"context"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// insertStatements write a row of each table, all stored columns.
var insertStatements = func() map[*orderdb.Table]string {
	statements := map[*orderdb.Table]string{}
	for _, t := range orderdb.Tables {
		places := make([]string, len(t.Schema.Fields))
		for i := range places {
			places[i] = "$" + strconv.Itoa(i+1)
		}
		statements[t] = "INSERT INTO " + t.Name + " (" + strings.Join(t.Stored, ", ") + ") VALUES (" + strings.Join(places, ", ") + ")"
	}
	return statements
}()

// Insert stores an order with a statement for each row, which pgx keeps
// prepared on the connection.
func Insert(ctx context.Context, tx pgx.Tx, o *model.Order) error {
	order := orderdb.FromModel(o, nil)
	tables := []*orderdb.Table{orderdb.Orders.Table, orderdb.Deliveries.Table, orderdb.Payments.Table}
	rows := []any{order, order.Delivery, order.Payment}
	for _, item := range order.Items {
		tables, rows = append(tables, orderdb.Items.Table), append(rows, item)
	}
	for i, t := range tables {
		values := make([]any, 0, len(t.Stored))
		for _, column := range t.Stored {
			values = append(values, t.Schema.FieldMap[column].Value(reflect.ValueOf(rows[i]).Elem()).Interface())
		}
		if _, err := tx.Exec(ctx, insertStatements[t], values...); err != nil {
			return fmt.Errorf("insert order %s: %w", o.OrderUID, err)
		}
	}
	return nil
}
