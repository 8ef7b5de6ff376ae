package orderdb

import (
	"context"
	"time"

	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/model"
)

// The row models. A table's columns are its key, the fields of the part of the
// order that it stores, and what only the database keeps. The part is embedded, so
// a field that is added to [model.Order] is a column without a change here: bun
// derives the column's name and type from the Go field.

// Order is a row of the table orders, with the rows of its parts where a query
// asks for these relations. Delivery, Payment and Items hide the fields of the
// embedded order, which are nil in a row. UnknownFields hides the embedded one's in all
// row models, and is as PostgreSQL writes it.
type Order struct {
	bun.BaseModel `bun:"table:orders,alias:o"`

	OrderUID string `bun:"order_uid,pk"`
	model.Order
	UnknownFields model.Unknown `bun:"unknown_fields,type:jsonb,nullzero" since:"10"`
	ContentHash   []byte        `bun:"content_hash"` // of the record as the worker stored it; nil in a row made by hand
	// The stamp of the newest record with this content; nil in a row made by hand.
	RecordVersion   *int64     `bun:"record_version" since:"9"`
	RecordTime      *time.Time `bun:"record_time" since:"9"`
	RecordPartition *int32     `bun:"record_partition" since:"9"`
	RecordOffset    *int64     `bun:"record_offset" since:"9"`
	// The database sets these, and they are read only where a query names them.
	StoredAt  *time.Time `bun:"stored_at,scanonly" since:"9"`
	UpdatedAt *time.Time `bun:"updated_at,scanonly" since:"9"`
	// ChangeXID is the transaction that last changed the order or one of its parts.
	// The database sets it, and it is read only where a query names the column.
	ChangeXID uint64 `bun:"change_xid,type:xid8,scanonly"`

	Delivery *Delivery `bun:"rel:has-one,join:order_uid=order_uid"`
	Payment  *Payment  `bun:"rel:has-one,join:order_uid=order_uid"`
	Items    []*Item   `bun:"rel:has-many,join:order_uid=order_uid"`
}

// Delivery is a row of the table deliveries.
type Delivery struct {
	bun.BaseModel `bun:"table:deliveries,alias:d"`

	OrderUID string `bun:"order_uid,pk"`
	model.Delivery
	UnknownFields model.Unknown `bun:"unknown_fields,type:jsonb,nullzero" since:"10"`
}

// Payment is a row of the table payments.
type Payment struct {
	bun.BaseModel `bun:"table:payments,alias:p"`

	OrderUID string `bun:"order_uid,pk"`
	model.Payment
	UnknownFields model.Unknown `bun:"unknown_fields,type:jsonb,nullzero" since:"10"`
}

// Item is a row of the table items.
type Item struct {
	bun.BaseModel `bun:"table:items,alias:i"`

	OrderUID string `bun:"order_uid,pk"`
	Position int32  `bun:"position,pk,type:integer"` // from 0
	model.Item
	UnknownFields model.Unknown `bun:"unknown_fields,type:jsonb,nullzero" since:"10"`
}

// Stamp sets the columns of the stamp, which the row shares. nil is none.
func (row *Order) Stamp(s *model.Stamp) {
	row.RecordVersion, row.RecordTime, row.RecordPartition, row.RecordOffset = nil, nil, nil, nil
	if s != nil {
		row.RecordVersion, row.RecordTime, row.RecordPartition, row.RecordOffset = s.Version, &s.Time, &s.Partition, &s.Offset
	}
}

// stamp is nil for a row made by hand.
func (row *Order) stamp() *model.Stamp {
	return StampOf(row.RecordVersion, row.RecordTime, row.RecordPartition, row.RecordOffset)
}

// StampOf is the stamp of these columns; nil for a row made by hand.
func StampOf(version *int64, at *time.Time, partition *int32, offset *int64) *model.Stamp {
	if at == nil || partition == nil || offset == nil {
		return nil
	}
	return &model.Stamp{Version: version, Time: at.UTC(), Partition: *partition, Offset: *offset}
}

// FromModel returns an order's row with the rows of its parts. It shares the
// order's texts. The hash is [model.ContentHash] of the record; nil for none.
func FromModel(o *model.Order, hash []byte) *Order {
	row := &Order{OrderUID: o.OrderUID, Order: *o, UnknownFields: o.UnknownFields, ContentHash: hash}
	row.Order.Delivery, row.Order.Payment, row.Order.Items = nil, nil, nil
	if o.Delivery != nil {
		row.Delivery = &Delivery{OrderUID: o.OrderUID, Delivery: *o.Delivery, UnknownFields: o.Delivery.UnknownFields}
	}
	if o.Payment != nil {
		row.Payment = &Payment{OrderUID: o.OrderUID, Payment: *o.Payment, UnknownFields: o.Payment.UnknownFields}
	}
	for i, item := range o.Items {
		row.Items = append(row.Items, &Item{OrderUID: o.OrderUID, Position: int32(i), Item: item, UnknownFields: item.UnknownFields})
	}
	return row
}

// ToModel returns the order of a row and of the rows of its parts, whose memory it
// shares. Items must be in the order of their positions. A part that has no row is
// nil.
func (row *Order) ToModel() *model.Order {
	o := &row.Order
	o.OrderUID, o.DateCreated = row.OrderUID, o.DateCreated.UTC()
	o.UnknownFields = model.StoredUnknown[model.Order]([]byte(row.UnknownFields))
	if row.Delivery != nil {
		o.Delivery = &row.Delivery.Delivery
		o.Delivery.UnknownFields = model.StoredUnknown[model.Delivery]([]byte(row.Delivery.UnknownFields))
	}
	if row.Payment != nil {
		o.Payment = &row.Payment.Payment
		o.Payment.UnknownFields = model.StoredUnknown[model.Payment]([]byte(row.Payment.UnknownFields))
	}
	o.Items = nil
	for _, item := range row.Items {
		item.Item.UnknownFields = model.StoredUnknown[model.Item]([]byte(item.UnknownFields))
		o.Items = append(o.Items, item.Item)
	}
	return o
}

// Deletion is a row of the table order_deletions: an order that was deleted, so that
// readers learn of it.
type Deletion struct {
	bun.BaseModel `bun:"table:order_deletions,alias:gone"`

	OrderUID  string    `bun:"order_uid"`
	ChangeXID uint64    `bun:"change_xid,type:xid8"`
	DeletedAt time.Time `bun:"deleted_at"`
}

// ChangesState is the only row of the table order_changes_state.
type ChangesState struct {
	bun.BaseModel `bun:"table:order_changes_state,alias:state"`

	Horizon   uint64 `bun:"horizon,type:xid8"`    // deletions before it may have been pruned
	RelistXID uint64 `bun:"relist_xid,type:xid8"` // what it changed can only be read by a relist
	Epoch     string `bun:"epoch,nullzero"`       // renewed when the database went back to an earlier state
}

// Erasure is a row of the table erasures: an order that was erased, see package erasure.
type Erasure struct {
	bun.BaseModel `bun:"table:erasures,alias:e"`

	HMAC     []byte    `bun:"hmac,pk"`
	KeyID    string    `bun:"key_id"`
	ErasedAt time.Time `bun:"erased_at,nullzero"`
	Pending  bool      `bun:"pending"` // its order is still to be looked for
}

// RenewEpoch tells readers that the database went back to an earlier state: they relist.
// Its statements are transactions of their own, since one that a lost connection left open
// would keep others waiting. After an error it is to be repeated.
func RenewEpoch(ctx context.Context, db *bun.DB) error {
	_, err := db.NewUpdate().Model((*ChangesState)(nil)).Set("epoch = gen_random_uuid()").Where("true").Exec(ctx)
	if err == nil {
		_, err = db.ExecContext(ctx, "NOTIFY "+NotifyChannel)
	}
	return err
}

// IngestPause is a row of the table ingest_pauses: the workers of a group are paused.
type IngestPause struct {
	bun.BaseModel `bun:"table:ingest_pauses,alias:pause"`

	Group string    `bun:"consumer_group,pk" json:"-"`
	By    string    `bun:"paused_by" json:"by"`
	Since time.Time `bun:"paused_at,nullzero" json:"since"`
	Why   string    `bun:"why" json:"why"`
}

// IngestPosition is a row of the table ingest_positions: how far a partition is in the
// tables.
type IngestPosition struct {
	bun.BaseModel `bun:"table:ingest_positions,alias:p"`

	Group      string    `bun:"consumer_group,pk"`
	TopicID    string    `bun:"topic_id,pk,type:uuid"`
	Partition  int       `bun:"partition,pk"`
	Topic      string    `bun:"topic"`
	NextOffset int64     `bun:"next_offset"` // records with smaller offsets are in the tables, or are dead letters
	UpdatedAt  time.Time `bun:"updated_at,nullzero"`
}
