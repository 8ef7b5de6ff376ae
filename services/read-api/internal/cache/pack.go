package cache

import (
	"bytes"
	"encoding/json"

	"github.com/orderhub/orderhub/libs/model"
)

// Packing removes from an order's canonical JSON what all orders have: the names and
// punctuation between the values, which then are only separated. The rest is less than
// half, and compresses better and faster: a store takes 0.26 to 0.28 × JSON, 0.31 to
// 0.34 with the rows' binary form instead, and 0.35 to 0.37 with neither, which misses
// the goal. A body of any other shape, such as one that lacks a part, isn't packed.

// Marks in packed bodies. Canonical JSON has no bytes below 0x20.
const (
	endOfValue = 0
	oneMore    = 1 // ends an item's last value, where another item follows
	theUID     = 2 // a value that is the order_uid
	theTrack   = 3 // one that is the order's track_number
)

// frame is what canonical JSON has before each value and at the end, for an order
// with all its parts. A text's ends with a quote.
type frame struct {
	beforeItems [][]byte // the first is before the order_uid, the second before the track_number
	firstItem   []byte   // before the first item's first value
	nextItem    []byte   // before any other item's
	inItem      [][]byte // before the other values of an item
	afterItems  [][]byte
	end         []byte
}

var (
	canonicalFrame = newFrame()
	// uidStart is how canonical JSON begins; the order_uid and a quote follow.
	uidStart = string(canonicalFrame.beforeItems[0])
)

// newFrame reads the frame off the canonical JSON of an order with two items whose
// values are empty or 0.
func newFrame() (f frame) {
	empty := model.AppendCanonical(nil, &model.Order{Delivery: &model.Delivery{}, Payment: &model.Payment{}, Items: make([]model.Item, 2)})
	var befores [][]byte
	first, next := 0, 0 // the items' first values in befores
	items := json.NewDecoder(bytes.NewReader(empty))
	done := 0 // of empty
	value := func(from, to int) {
		before := empty[done:from]
		switch {
		case bytes.Contains(before, []byte(`[{`)):
			first = len(befores)
		case bytes.Contains(before, []byte(`},{`)):
			next = len(befores)
		}
		befores, done = append(befores, before), to
	}
	for {
		token, err := items.Token()
		if err != nil {
			break // the end
		}
		at := int(items.InputOffset())
		switch v := token.(type) {
		case string:
			if empty[at] != ':' { // else it is a name
				value(at-1-len(v), at-1)
			}
		case float64:
			value(at-1, at)
		}
	}
	return frame{
		beforeItems: befores[:first], firstItem: befores[first], inItem: befores[first+1 : next], nextItem: befores[next],
		afterItems: befores[next+next-first:], end: empty[done:],
	}
}

// packer walks over a body.
type packer struct {
	rest, out  []byte
	uid, track []byte
	failed     bool
}

// pack appends the packed body to dst, if it can be packed.
func pack(dst []byte, uid string, body []byte) ([]byte, bool) {
	if !saysUID(body, uid) {
		return dst, false
	}
	uidEnd := len(uidStart) + len(uid)
	p := packer{rest: body[uidEnd:], out: dst, uid: body[len(uidStart):uidEnd]}
	p.values(canonicalFrame.beforeItems[1:])
	p.value(canonicalFrame.firstItem)
	for {
		p.values(canonicalFrame.inItem)
		if p.failed || !bytes.HasPrefix(p.rest, canonicalFrame.nextItem) {
			break
		}
		p.out[len(p.out)-1] = oneMore
		p.value(canonicalFrame.nextItem)
	}
	p.values(canonicalFrame.afterItems)
	return p.out, !p.failed && bytes.Equal(p.rest, canonicalFrame.end)
}

func (p *packer) values(befores [][]byte) {
	for _, before := range befores {
		p.value(before)
	}
}

func (p *packer) value(before []byte) {
	if p.failed || !bytes.HasPrefix(p.rest, before) {
		p.failed = true
		return
	}
	from := p.rest[len(before):]
	length := valueLen(from, before[len(before)-1] == '"')
	if length < 0 {
		p.failed = true
		return
	}
	value := from[:length]
	p.rest = from[length:]
	switch {
	case p.track == nil:
		p.track = value // the first value is the order's track_number
		p.out = append(p.out, value...)
	case length > 1 && bytes.Equal(value, p.uid):
		p.out = append(p.out, theUID)
	case length > 1 && bytes.Equal(value, p.track):
		p.out = append(p.out, theTrack)
	default:
		p.out = append(p.out, value...)
	}
	p.out = append(p.out, endOfValue)
}

// valueLen is how long the text or number at the start of JSON is; -1 if it
// doesn't end, or isn't as canonical JSON has it. What follows a backslash is
// no end, whatever it is.
func valueLen(from []byte, text bool) int {
	for i := 0; i < len(from); i++ {
		switch c := from[i]; {
		case c < ' ':
			return -1
		case !text && (c == ',' || c == '}'):
			return i
		case text && c == '"':
			return i
		case text && c == '\\':
			if i++; i < len(from) && from[i] < ' ' {
				return -1
			}
		}
	}
	return -1
}

// unpack appends what pack was given to dst.
func unpack(dst []byte, uid string, packed []byte) []byte {
	dst = append(dst, uidStart...)
	dst = append(dst, uid...)
	u := unpacker{rest: packed, out: dst, uid: uid}
	u.values(canonicalFrame.beforeItems[1:])
	u.value(canonicalFrame.firstItem)
	for u.values(canonicalFrame.inItem) == oneMore {
		u.value(canonicalFrame.nextItem)
	}
	u.values(canonicalFrame.afterItems)
	return append(u.out, canonicalFrame.end...)
}

type unpacker struct {
	rest, out           []byte
	uid                 string
	trackFrom, trackEnd int // of the order's track_number in out
}

func (u *unpacker) values(befores [][]byte) (mark byte) {
	for _, before := range befores {
		mark = u.value(before)
	}
	return mark
}

func (u *unpacker) value(before []byte) (mark byte) {
	u.out = append(u.out, before...)
	end := 0
	for u.rest[end] > oneMore {
		end++
	}
	value, mark := u.rest[:end], u.rest[end]
	u.rest = u.rest[end+1:]
	switch {
	case u.trackEnd == 0:
		u.trackFrom = len(u.out)
		u.out = append(u.out, value...)
		u.trackEnd = len(u.out)
	case end == 1 && value[0] == theUID:
		u.out = append(u.out, u.uid...)
	case end == 1 && value[0] == theTrack:
		u.out = append(u.out, u.out[u.trackFrom:u.trackEnd]...)
	default:
		u.out = append(u.out, value...)
	}
	return mark
}
