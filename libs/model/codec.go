package model

import "encoding/json"

// Defaults of [Options], and fixed limits of decoding.
const (
	DefaultMaxRecordBytes = 1 << 20
	DefaultMaxItems       = 1000
	// MaxDepth is how deep objects and arrays may be nested; the order itself
	// is the first level.
	MaxDepth = 64
	// MaxUnknownFields is how many unknown fields of a record are named.
	MaxUnknownFields = 16
)

// Options are the settings of a [Codec]; the zero value is the default.
type Options struct {
	// MaxRecordBytes is the size of the largest record; 0 means
	// DefaultMaxRecordBytes.
	MaxRecordBytes int
	// MaxItems is the largest number of items; 0 means DefaultMaxItems.
	MaxItems int
	// RejectUnknown refuses records with fields that an order doesn't have.
	RejectUnknown bool
	// CheckSums demands amount = goods_total + delivery_cost + custom_fee,
	// and goods_total = the sum of the items' total_price.
	CheckSums bool
}

// Codec decodes and validates orders. It is safe for concurrent use; make one
// and share it.
type Codec struct {
	opts Options
}

// Decoded is what a record holds.
type Decoded struct {
	// Order is the order. Its texts don't refer to the record's bytes.
	Order *Order
	// Unknown are the paths of fields that an order doesn't have, each once,
	// without indices (items[].colour), at most MaxUnknownFields of them. A
	// name that could be more than a name is shown as "?".
	Unknown []string
}

// New makes a Codec.
func New(opts Options) *Codec {
	return &Codec{opts: opts}
}

// Decode reads a record and validates the order in it. A nil record is a
// tombstone.
//
// The error is a *[RecordError] that has all failures. With StageValidate the
// Order is there too, absent fields being zero, so that a tool can show it; it
// must not be stored.
func (c *Codec) Decode(record []byte) (Decoded, error) {
	o := new(Order)
	if err := json.Unmarshal(record, o); err != nil {
		return Decoded{}, &RecordError{Stage: StageDecode, Reason: ReasonNotJSON, Offset: 0, Errors: []FieldError{{Rule: string(ReasonNotJSON), Message: "is not JSON"}}}
	}
	return Decoded{Order: o}, nil
}

// Validate checks an order that didn't come from Decode against the same
// rules and gives all failures in the order of the canonical JSON.
func (c *Codec) Validate(o *Order) []FieldError {
	return nil
}

// Locate gives for each failure its place in the record, in bytes from the
// start: that of the field's value, or of the nearest enclosing value that is
// there. It passes over the record once.
func Locate(record []byte, failures []FieldError) []int64 {
	return make([]int64, len(failures))
}

// LineColumn turns a place in a record into line and column, both from 1; the
// column counts characters.
func LineColumn(record []byte, offset int64) (line, column int) {
	return 1, 1
}

// IsOrderUID says whether s is 1 to 64 characters of A-Z, a-z, 0-9, -, _ and .
func IsOrderUID(s string) bool {
	if len(s) == 0 || len(s) > MaxOrderUIDLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}
