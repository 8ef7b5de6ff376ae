package changes

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
)

// A token is the base64url form of a version, the position's fields, and a checksum,
// which detects invented and damaged tokens. The checksum is not a signature, and none
// is needed: a token gives access to nothing else.
const (
	tokenVersion  = 2
	tokenCheckLen = 6
	// maxTokenBytes makes 1,000 characters, since proxies refuse long headers.
	maxTokenBytes = 750
	// maxTokenLen is how long the tokens of earlier releases were, which listed all
	// transactions in progress.
	maxTokenLen = 12 << 10
)

var errToken = errors.New("the token is damaged, or of another version")

// Token encodes the position as text that every replica can read. It contains the
// durable part of the snapshot. Where more transactions were in progress than fit, it is
// of an earlier position, which saw nothing from the first one on that is not listed:
// what is read after it repeats changes, and misses none.
func (p Position) Token() string {
	saw := p.durable()
	token := []byte{tokenVersion}
	token = binary.AppendUvarint(token, uint64(len(p.Identity.System)))
	token = append(token, p.Identity.System...)
	standby := uint64(0)
	if p.Standby {
		standby = 1
	}
	for _, n := range []uint64{
		uint64(p.Identity.Timeline), uint64(p.Identity.Database), standby, p.LSN, uint64(p.Schema), p.Tables, p.Horizon, p.Relist,
		saw.Xmin,
	} {
		token = binary.AppendUvarint(token, n)
	}
	var xip []byte
	listed, xmax, room := 0, saw.Xmax, maxTokenBytes-len(token)-2*binary.MaxVarintLen64-tokenCheckLen
	for _, xid := range slices.Sorted(slices.Values(saw.Xip)) {
		longer := binary.AppendUvarint(xip, xid-saw.Xmin)
		if len(longer) > room {
			xmax = xid
			break
		}
		xip, listed = longer, listed+1
	}
	token = binary.AppendUvarint(token, xmax)
	token = append(binary.AppendUvarint(token, uint64(listed)), xip...)
	return base64.RawURLEncoding.EncodeToString(append(token, tokenCheck(token)...))
}

// ParseToken decodes a Token.
func ParseToken(text string) (Position, error) {
	var p Position
	if len(text) > maxTokenLen {
		return p, errToken
	}
	token, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(token) < 1+tokenCheckLen || token[0] != tokenVersion {
		return p, errToken
	}
	token, given := token[:len(token)-tokenCheckLen], token[len(token)-tokenCheckLen:]
	if string(tokenCheck(token)) != string(given) {
		return p, errToken
	}
	r := tokenReader{rest: token[1:]}
	p.Identity.System = r.text()
	p.Identity.Timeline, p.Identity.Database = uint32(r.number()), uint32(r.number())
	p.Standby, p.LSN = r.number() == 1, r.number()
	p.Schema, p.Tables, p.Horizon, p.Relist = int64(r.number()), r.number(), r.number(), r.number()
	p.Snapshot.Xmin, p.Snapshot.Xmax = r.number(), r.number()
	p.Newest = max(p.Snapshot.Xmax, 1) - 1
	for n := r.number(); n > 0 && !r.bad; n-- {
		p.Snapshot.Xip = append(p.Snapshot.Xip, p.Snapshot.Xmin+r.number())
	}
	if r.bad || len(r.rest) > 0 {
		return Position{}, errToken
	}
	return p, nil
}

func tokenCheck(token []byte) []byte {
	sum := sha256.Sum256(append([]byte("orderhub position\x00"), token...))
	return sum[:tokenCheckLen]
}

type tokenReader struct {
	rest []byte
	bad  bool
}

func (r *tokenReader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *tokenReader) text() string {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	text := string(r.rest[:n])
	r.rest = r.rest[n:]
	return text
}

// Covers tells whether everything that other saw, p saw too, even if PostgreSQL crashed
// between the two.
func (p Position) Covers(other Position) bool {
	return p.comparable(other) && p.durable().includes(other.durable(), p.Standby)
}

// Reaches tells whether p is as late as other, so that the changes after other follow
// those before p without a gap.
func (p Position) Reaches(other Position) bool {
	return p.comparable(other) && p.Snapshot.includes(other.durable(), p.Standby)
}

func (p Position) comparable(other Position) bool {
	return p.Identity == other.Identity && p.Standby == other.Standby
}

// includes tells whether s saw whatever other saw. Snapshots of one database are always
// of two moments, and the later one includes the earlier.
func (s TxSnapshot) includes(other TxSnapshot, standby bool) bool {
	if other.Xmax > s.Xmax {
		return false
	}
	if standby { // its snapshots don't list what is in progress
		return other.Xmin <= s.Xmin
	}
	for _, xid := range s.Xip {
		if xid < other.Xmax && !slices.Contains(other.Xip, xid) {
			return false
		}
	}
	return true
}
