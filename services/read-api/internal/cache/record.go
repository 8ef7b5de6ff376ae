package cache

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"unsafe"
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
	raw   rawRecord
	codec *codec
}

// ETag is the strong entity tag of the body. It costs no allocation.
func (r Record) ETag() string {
	t := r.raw.tagBytes()
	return unsafe.String(&t[0], len(t)) // the bytes are never written again
}

// Len is the length of the body in bytes.
func (r Record) Len() int {
	_, _, size, _ := r.raw.head()
	return size
}

// View calls use with the canonical JSON, which is only valid until use
// returns, and must not be changed.
func (r Record) View(use func(canonical []byte)) {
	if r.codec == nil {
		use(r.raw.body())
		return
	}
	buffer := r.codec.expand(r.raw.body())
	defer r.codec.release(buffer)
	use(*buffer)
}

// AppendTo appends the canonical JSON to dst.
func (r Record) AppendTo(dst []byte) []byte {
	r.View(func(canonical []byte) { dst = append(dst, canonical...) })
	return dst
}

// Bytes returns the canonical JSON, without a copy where it isn't compressed.
// It must not be changed.
func (r Record) Bytes() []byte {
	if r.codec == nil {
		return r.raw.body()
	}
	return r.AppendTo(make([]byte, 0, r.Len()))
}

// Compressed tells whether View has to decompress.
func (r Record) Compressed() bool { return r.codec != nil }

// rawRecord starts where a record does, and may reach beyond its end:
//
//	uvarint length of uid, uvarint length of body, uvarint length of the
//	uncompressed body, tag, uid, body
type rawRecord []byte

func recordSize(uid string, body, size int) int {
	return uvarintLen(len(uid)) + uvarintLen(body) + uvarintLen(size) + len(tag{}) + len(uid) + body
}

func writeRecord(dst []byte, uid string, t tag, body []byte, size int) {
	n := binary.PutUvarint(dst, uint64(len(uid)))
	n += binary.PutUvarint(dst[n:], uint64(len(body)))
	n += binary.PutUvarint(dst[n:], uint64(size))
	n += copy(dst[n:], t[:])
	n += copy(dst[n:], uid)
	copy(dst[n:], body)
}

// head returns the lengths, and where the tag starts.
func (r rawRecord) head() (uidLen, bodyLen, size, start int) {
	u, n := binary.Uvarint(r)
	b, m := binary.Uvarint(r[n:])
	s, k := binary.Uvarint(r[n+m:])
	return int(u), int(b), int(s), n + m + k
}

func (r rawRecord) hasUID(uid string) bool {
	uidLen, _, _, start := r.head()
	start += len(tag{})
	return string(r[start:start+uidLen]) == uid
}

// uid is valid as long as the record's chunk: callers that keep it clone it.
func (r rawRecord) uid() string {
	uidLen, _, _, start := r.head()
	if uidLen == 0 {
		return ""
	}
	return unsafe.String(&r[start+len(tag{})], uidLen)
}

func (r rawRecord) tagBytes() []byte {
	_, _, _, start := r.head()
	return r[start : start+len(tag{})]
}

func (r rawRecord) tag() tag { return tag(r.tagBytes()) }

func (r rawRecord) body() []byte {
	uidLen, bodyLen, _, start := r.head()
	start += len(tag{}) + uidLen
	return r[start : start+bodyLen : start+bodyLen]
}

func (r rawRecord) len() int {
	uidLen, bodyLen, _, start := r.head()
	return start + len(tag{}) + uidLen + bodyLen
}

func uvarintLen(n int) int {
	length := 1
	for ; n >= 0x80; n >>= 7 {
		length++
	}
	return length
}
