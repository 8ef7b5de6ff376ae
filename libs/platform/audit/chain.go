package audit

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The actions of the lines that begin and end a chain.
const (
	actionOpen  = "audit opened"
	actionClose = "audit closed"
)

// The fields at the end of a line: a keyed code or a plain one.
const (
	macField = `,"mac":"`
	sumField = `,"sum":"`
)

// codeSize is how many bytes of a line its code takes, with `,"mac":"` and `"}`.
const codeSize = len(macField) + 2*sha256.Size + len(`"}`)

// chain writes lines. It is not safe for concurrent use.
type chain struct {
	id     string
	seq    uint64 // of the last line
	head   [sha256.Size]byte
	broken bool // parts of a failed write may be stored

	code   hash.Hash
	field  string
	buffer []byte
}

func newChain(key []byte) *chain {
	c := &chain{code: newCode(key), field: codeField(key)}
	c.restart()
	return c
}

func newCode(key []byte) hash.Hash {
	if len(key) == 0 {
		return sha256.New()
	}
	return hmac.New(sha256.New, key)
}

func codeField(key []byte) string {
	if len(key) == 0 {
		return sumField
	}
	return macField
}

func (c *chain) restart() {
	c.id, c.seq, c.head, c.broken = rand.Text()[:16], 0, [sha256.Size]byte{}, false
}

func (c *chain) hexHead() string { return hex.EncodeToString(c.head[:]) }

// lines encodes events as the chain's next lines. The result is valid until the next
// call.
func (c *chain) lines(events []timed) []byte {
	b := c.buffer[:0]
	for i := range events {
		start := len(b)
		b = appendEvent(b, &events[i])
		c.seq++
		b = append(append(b, `,"chain":"`...), c.id...)
		b = strconv.AppendUint(append(b, `","seq":`...), c.seq, 10)
		b = hex.AppendEncode(append(b, `,"prev":"`...), c.head[:])
		b = append(b, '"')
		c.code.Reset()
		c.code.Write(b[start:])
		c.code.Sum(c.head[:0])
		b = hex.AppendEncode(append(b, c.field...), c.head[:])
		b = append(b, `"}`+"\n"...)
	}
	c.buffer = b
	return b
}

// appendEvent encodes an event, without the brace at the end.
func appendEvent(b []byte, e *timed) []byte {
	b = e.at.UTC().AppendFormat(append(b, `{"at":"`...), time.RFC3339Nano)
	b = appendString(append(b, `","action":`...), e.Action, maxText)
	if len(e.Targets) > 0 {
		b = append(b, `,"targets":[`...)
		for i, target := range e.Targets {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, target, maxTarget)
		}
		b = append(b, ']')
	}
	if e.Count != 0 {
		b = strconv.AppendInt(append(b, `,"count":`...), int64(e.Count), 10)
	}
	b = appendOptional(b, `,"why":`, e.Why)
	b = strconv.AppendBool(append(b, `,"allowed":`...), e.Allowed)
	b = appendString(append(b, `,"actor":`...), e.Actor, maxText)
	b = appendOptional(b, `,"kind":`, e.ActorKind)
	b = appendOptional(b, `,"from":`, e.From)
	return appendOptional(b, `,"request":`, e.RequestID)
}

func appendOptional(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendString(append(b, name...), value, maxText)
}

// appendString encodes a string, cut to most bytes; what is no UTF-8 becomes the
// replacement character.
func appendString(b []byte, s string, most int) []byte {
	b, _ = jsontext.AppendQuote(b, s[:min(len(s), most)]) // the error is of what it has replaced
	return b
}
