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
	row := orderdb.FromModel(o, nil)
	err := insert(ctx, tx, orderdb.Orders.Table, row)
	if err == nil {
		err = insert(ctx, tx, orderdb.Deliveries.Table, row.Delivery)
	}
	if err == nil {
		err = insert(ctx, tx, orderdb.Payments.Table, row.Payment)
	}
	for i := 0; err == nil && i < len(row.Items); i++ {
		err = insert(ctx, tx, orderdb.Items.Table, row.Items[i])
	}
	if err != nil {
		return fmt.Errorf("insert order %s: %w", o.OrderUID, err)
	}
	return nil
}

func insert(ctx context.Context, tx pgx.Tx, t *orderdb.Table, row any) error {
	values := make([]any, 0, len(t.Stored))
	for _, column := range t.Stored {
		values = append(values, t.Schema.FieldMap[column].Value(reflect.ValueOf(row).Elem()).Interface())
	}
	_, err := tx.Exec(ctx, insertStatements[t], values...)
	return err
}
