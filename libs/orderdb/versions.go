package orderdb

import (
	"bytes"
	"compress/zlib"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/orderhub/orderhub/libs/model"
)

// Version is a row of the table order_versions: what an order was before a newer record
// replaced or deleted it.
type Version struct {
	bun.BaseModel `bun:"table:order_versions,alias:v"`

	OrderUID   string     `bun:"order_uid,pk"`
	Number     int64      `bun:"version,pk"`
	Since      *time.Time `bun:"since"` // when the order became this; nil: not recorded
	ReplacedAt time.Time  `bun:"replaced_at"`
	Content    []byte     `bun:"content"`
	// The stamp of its record; nil in a version that was made by hand.
	RecordVersion   *int64     `bun:"record_version"`
	RecordTime      *time.Time `bun:"record_time"`
	RecordPartition *int32     `bun:"record_partition"`
	RecordOffset    *int64     `bun:"record_offset"`
}

// Stamp is the stamp of its record; nil for a version that was made by hand.
func (v *Version) Stamp() *model.Stamp {
	return StampOf(v.RecordVersion, v.RecordTime, v.RecordPartition, v.RecordOffset)
}

// Canonical is the order's canonical JSON.
func (v *Version) Canonical() ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(v.Content))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// keptOrders reads what was an order once, whatever the rules are now.
var keptOrders = sync.OnceValue(func() *model.Codec {
	return model.New(model.Options{MaxRecordBytes: math.MaxInt, MaxItems: math.MaxInt, KeepUnknown: true})
})

// Order is the order as it was. An order that lacked a part, as rows that were changed by hand
// may, is an error.
func (v *Version) Order() (*model.Order, error) {
	canonical, err := v.Canonical()
	if err != nil {
		return nil, err
	}
	decoded, err := keptOrders().Decode(canonical)
	if decoded.Order == nil {
		return nil, err
	}
	if bare := decoded.Order.WithoutUnknown(); len(model.AppendCanonical(nil, bare)) == len(canonical) {
		return bare, nil // it has none, or they were not kept
	}
	return decoded.Order, nil
}

// Earlier returns the earlier versions of orders by their uids, the oldest first. There are
// none in the last release's schema.
func Earlier(ctx context.Context, db bun.IConn, uids []string) (map[string][]*Version, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	if has, err := Has(ctx, db, "order_versions"); err != nil || !has {
		return nil, err
	}
	var rows []*Version
	err := mapper.NewSelect().Conn(db).Model(&rows).Where("order_uid = ANY (?::text[])", pgdialect.Array(uids)).Order("order_uid", "version").Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read earlier versions: %w", err)
	}
	earlier := map[string][]*Version{}
	for _, v := range rows {
		earlier[v.OrderUID] = append(earlier[v.OrderUID], v)
	}
	return earlier, nil
}

// HasContent reports whether an order is like one of its earlier versions.
func HasContent(earlier []*Version, o *model.Order, differs func(stored, o *model.Order) []string) bool {
	return slices.ContainsFunc(earlier, func(v *Version) bool {
		was, err := v.Order()
		return err == nil && len(differs(was, o)) == 0
	})
}

// compressors are kept, since a new one takes longer than to compress an order.
var compressors = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}

// CompressVersion makes the content of a version of canonical JSON.
func CompressVersion(canonical []byte) ([]byte, error) {
	var b bytes.Buffer
	z := compressors.Get().(*zlib.Writer)
	defer compressors.Put(z)
	z.Reset(&b)
	if _, err := z.Write(canonical); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// Past is what the tables know of an order's past.
type Past struct {
	StoredAt, UpdatedAt *time.Time // of a stored order; nil: not recorded, or it is not stored
	DeletedAt           *time.Time // by a record; nil: it was not, or came back
	Versions            int        // that are kept of it
	Newest              int64      // of their numbers; 0: there are none
}

// ReadPast returns the past of one order. It is nil on a schema that is older than version 9,
// which records none.
func ReadPast(ctx context.Context, db bun.IConn, uid string) (*Past, error) {
	if has, err := Has(ctx, db, "order_versions"); err != nil || !has {
		return nil, err
	}
	var p Past
	err := mapper.NewSelect().Conn(db).
		Column("stored_at", "updated_at", "deleted_at", "versions", "newest").
		TableExpr("(SELECT count(*) AS versions, coalesce(max(version), 0) AS newest FROM order_versions WHERE order_uid = ?) AS kept", uid).
		Join("LEFT JOIN orders AS o ON o.order_uid = ?", uid).
		Join("LEFT JOIN order_tombstones AS t ON t.order_uid = ?", uid).
		Scan(ctx, &p)
	if err != nil {
		return nil, fmt.Errorf("read what is known of the order's past: %w", err)
	}
	inUTC(p.StoredAt, p.UpdatedAt, p.DeletedAt)
	return &p, nil
}

// ReadVersions returns those earlier versions of an order that which selects.
func ReadVersions(ctx context.Context, db bun.IConn, uid string, which func(*bun.SelectQuery) *bun.SelectQuery) (rows []*Version, err error) {
	err = mapper.NewSelect().Conn(db).Model(&rows).Where("order_uid = ?", uid).Apply(which).Scan(ctx)
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	for _, row := range rows {
		inUTC(row.Since, &row.ReplacedAt)
	}
	return rows, nil
}

func inUTC(times ...*time.Time) {
	for _, t := range times {
		if t != nil {
			*t = t.UTC()
		}
	}
}
