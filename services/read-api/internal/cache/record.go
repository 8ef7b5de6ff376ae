package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"

	"github.com/orderhub/orderhub/libs/model"
)

// tag is a strong entity tag as it stands in the ETag header, quotes included.
type tag [2 + 22]byte

// newTag is over the body's bytes alone, so all replicas give the same one.
func newTag(canonical []byte) (t tag) {
	sum := sha256.Sum256(canonical)
	t[0], t[len(t)-1] = '"', '"'
	base64.RawURLEncoding.Encode(t[1:len(t)-1], sum[:16])
	return t
}

// ETag is the strong entity tag that a record with these bytes has.
func ETag(canonical []byte) string {
	t := newTag(canonical)
	return string(t[:])
}

// Record is an order as the store has it. It stays valid, and the same, after
// the order has changed or gone.
type Record struct {
	raw        rawRecord
	dictionary *dictionary // that the body was compressed with, if it was
}

// NewRecord returns the record that a store would have of an order.
func NewRecord(uid string, canonical []byte) Record { return newRecordIn(nil, uid, canonical, 0) }

func newRecordIn(room []byte, uid string, canonical []byte, updated uint32) Record {
	n := newRecord{uid: uid, tag: newTag(canonical), updated: updated, stored: canonical, size: len(canonical)}
	raw := slices.Grow(room[:0], n.len())[:n.len()]
	n.writeTo(raw)
	return Record{raw: raw}
}

// Room is memory for one masked record at a time.
type Room struct{ canonical, record []byte }

// Masked returns the record that a store would have of the masked order, with an entity
// tag that says nothing about what is masked. It is valid until room is used again.
func (r Record) Masked(room *Room) Record {
	r.View(func(canonical []byte) { room.canonical = model.AppendMasked(room.canonical[:0], canonical) })
	masked := newRecordIn(room.record, r.raw.uid(), room.canonical, r.raw.updated())
	room.record = masked.raw
	return masked
}

// ETag is the strong entity tag of the body. It costs no allocation.
func (r Record) ETag() string {
	h := r.raw.head()
	return unsafe.String(&r.raw[h.tag], len(tag{})) // the bytes are never written again
}

// Updated is when the order was stored or last changed, in seconds since 1970; 0: not known.
func (r Record) Updated() uint32 { return r.raw.updated() }

// UID is the order_uid. It shares the record's memory.
func (r Record) UID() string { return r.raw.uid() }

// Len is the length of the body in bytes.
func (r Record) Len() int { return r.raw.head().size }

// View calls use with the canonical JSON, which is only valid until use
// returns, and must not be changed.
func (r Record) View(use func(canonical []byte)) {
	h := r.raw.head()
	if h.form == plain {
		use(r.raw.stored(h))
		return
	}
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	use(r.dictionary.expand(s, h.form, r.raw.uid(), r.raw.stored(h)))
}

// AppendTo appends the canonical JSON to dst.
func (r Record) AppendTo(dst []byte) []byte {
	r.View(func(canonical []byte) { dst = append(dst, canonical...) })
	return dst
}

// Bytes returns the canonical JSON, without a copy where it isn't compressed.
// It must not be changed.
func (r Record) Bytes() []byte {
	h := r.raw.head()
	if h.form == plain {
		return r.raw.stored(h)
	}
	return r.AppendTo(make([]byte, 0, h.size))
}

// Compressed tells whether View has to decompress.
func (r Record) Compressed() bool { return r.raw.head().form != plain }

// form is how a body is stored.
type form uint8

const (
	plain      form = iota // as it is
	compressed             // by zstd
	packed                 // without the names that all orders have, then by zstd
)

// newRecord is what goes into a record.
type newRecord struct {
	uid     string
	tag     tag
	updated uint32
	form    form
	stored  []byte // the body in that form
	size    int    // of the body
}

// rawRecord starts where a record does, and may reach beyond its end:
//
//	uvarint length of what is stored × 8 + form × 2 + whether there is a uid,
//	uvarint size of the body, unless it is plain; uvarint length of uid, if there
//	is one; tag; when it was updated in four bytes; uid; what is stored
//
// There is no uid where the body says it in plain.
type rawRecord []byte

const updatedBytes = 4

// saysUID tells whether a uid can be read off a body by cutting at the quote.
func saysUID(body []byte, uid string) bool {
	end := len(uidStart) + len(uid)
	return len(body) > end && body[end] == '"' && string(body[:len(uidStart)]) == uidStart &&
		string(body[len(uidStart):end]) == uid && strings.IndexByte(uid, '"') < 0
}

func (n *newRecord) needsUID() bool { return n.form != plain || !saysUID(n.stored, n.uid) }

func (n *newRecord) len() int {
	length := len(tag{}) + updatedBytes + len(n.stored) + uvarintLen(n.first())
	if n.form != plain {
		length += uvarintLen(uint64(n.size))
	}
	if n.needsUID() {
		length += uvarintLen(uint64(len(n.uid))) + len(n.uid)
	}
	return length
}

func (n *newRecord) first() uint64 {
	first := uint64(len(n.stored))<<3 | uint64(n.form)<<1
	if n.needsUID() {
		first |= 1
	}
	return first
}

// writeTo writes the record into as many bytes as it has.
func (n *newRecord) writeTo(dst []byte) {
	dst = binary.AppendUvarint(dst[:0], n.first())
	if n.form != plain {
		dst = binary.AppendUvarint(dst, uint64(n.size))
	}
	uid := ""
	if n.needsUID() {
		uid = n.uid
		dst = binary.AppendUvarint(dst, uint64(len(uid)))
	}
	dst = append(dst, n.tag[:]...)
	dst = binary.BigEndian.AppendUint32(dst, n.updated)
	dst = append(dst, uid...)
	_ = append(dst, n.stored...)
}

// head says where in a record its parts are.
type head struct {
	form          form
	size          int // of the body
	tag           int // where it starts
	uid, uidLen   int
	stored, total int // where what is stored starts, and where the record ends
}

func (r rawRecord) head() (h head) {
	first, at := binary.Uvarint(r)
	length := int(first >> 3)
	h.form, h.size = form(first>>1&3), length
	if h.form != plain {
		size, n := binary.Uvarint(r[at:])
		h.size, at = int(size), at+n
	}
	if first&1 != 0 {
		uidLen, n := binary.Uvarint(r[at:])
		h.uidLen, at = int(uidLen), at+n
	}
	h.tag = at
	h.uid = at + len(tag{}) + updatedBytes
	h.stored = h.uid + h.uidLen
	h.total = h.stored + length
	if first&1 == 0 {
		h.uid = h.stored + len(uidStart)
		h.uidLen = bytes.IndexByte(r[h.uid:h.total], '"')
	}
	return h
}

func (r rawRecord) hasUID(uid string) bool {
	h := r.head()
	return string(r[h.uid:h.uid+h.uidLen]) == uid
}

// uid is valid as long as the record's chunk: callers that keep it clone it.
func (r rawRecord) uid() string {
	h := r.head()
	if h.uidLen == 0 {
		return ""
	}
	return unsafe.String(&r[h.uid], h.uidLen)
}

func (r rawRecord) tag() tag {
	h := r.head()
	return tag(r[h.tag : h.tag+len(tag{})])
}

func (r rawRecord) updated() uint32 {
	return binary.BigEndian.Uint32(r[r.head().tag+len(tag{}):])
}

// same tells whether a new record has the same state, in whatever form.
func (r rawRecord) same(n *newRecord) bool { return r.tag() == n.tag && r.updated() == n.updated }

func (r rawRecord) stored(h head) []byte { return r[h.stored:h.total:h.total] }

func (r rawRecord) len() int { return r.head().total }

func uvarintLen(n uint64) int {
	length := 1
	for ; n >= 0x80; n >>= 7 {
		length++
	}
	return length
}
