package orderdb

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
)

// A column with the tag since is read as NULL, and not written, where it is not there yet.
func TestALaterColumnMayBeAbsent(t *testing.T) {
	type row struct {
		bun.BaseModel `bun:"table:payments"`
		OrderUID      string `bun:"order_uid,pk"`
		model.Delivery
		UnknownFields model.Unknown `bun:"unknown_fields,type:jsonb" since:"10"`
		Seen          int64         `bun:"seen" since:"10"`
		Hash          []byte        `bun:"hash"`
		Extra         []byte        `bun:"extra,type:jsonb" since:"11"`
		Read          time.Time     `bun:"read,scanonly" since:"12"`
	}
	table := rowsOf[row, model.Delivery]()
	columns := "name, phone, zip, city, address, region, email"
	require.Equal(t, "SELECT present.* FROM (SELECT NULL::jsonb AS extra, NULL::TIMESTAMPTZ AS read, NULL::BIGINT AS seen, NULL::jsonb AS unknown_fields) AS absent CROSS JOIN LATERAL "+
		"(SELECT order_uid, "+columns+", unknown_fields, seen, hash, extra, change_xid FROM payments WHERE true) AS present", table.Select(" WHERE true", "change_xid"))

	absent := []string{"payments.unknown_fields", "payments.seen", "payments.extra", "orders.hash"}
	older := table.without(absent)
	require.Equal(t, "COPY payments (order_uid, "+columns+", hash) FROM STDIN BINARY", older.CopyInStatement())
	written := row{OrderUID: "u", Seen: 7, Hash: []byte("h"), Extra: []byte("x")}
	fields := RawRow(older.AppendRow(nil, &written, &written.Delivery)).Fields()
	for range 8 {
		fields.Next()
	}
	require.Equal(t, "h", string(fields.Next()))
	require.Empty(t, fields)
	require.Equal(t, table.CopyInStatement(), table.without(nil).CopyInStatement())
}
