package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// A cursor is base64url of: version, a checksum of the list's filters, microseconds
// since 1970, the amount in a list that is sorted by it, order_uid, and a checksum of all of
// these, which tells cursors that were given out from invented ones.
const (
	cursorVersion   = 2
	cursorHead      = 1 + cursorFilterLen + 8
	cursorFilterLen = 6
	cursorCheckLen  = 6
	firstYear       = -4712 // of PostgreSQL's calendar
)

var (
	errCursor      = errors.New("it is not the next_cursor of an answer")
	errOtherFilter = errors.New("it belongs to a list with other filters; give the filters of the list that it came from, or start again without it")
)

func encodeCursor(filter orders.Filter, key orders.Key) string {
	token := append(make([]byte, 0, cursorHead+len(key.UID)+cursorCheckLen), cursorVersion)
	list := check("filters", []byte(filter.Fingerprint()))
	token = append(token, list[:cursorFilterLen]...)
	token = binary.BigEndian.AppendUint64(token, uint64(key.Created.UnixMicro()))
	if filter.Sort.Ranked() {
		token = binary.BigEndian.AppendUint64(token, uint64(key.Rank))
	}
	token = append(token, key.UID...)
	sum := check("cursor", token)
	return base64.RawURLEncoding.EncodeToString(append(token, sum[:cursorCheckLen]...))
}

func decodeCursor(filter orders.Filter, text string) (orders.Key, error) {
	token, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(token) < cursorHead+cursorCheckLen || token[0] != cursorVersion {
		return orders.Key{}, errCursor
	}
	token, given := token[:len(token)-cursorCheckLen], token[len(token)-cursorCheckLen:]
	if sum := check("cursor", token); string(sum[:cursorCheckLen]) != string(given) {
		return orders.Key{}, errCursor
	}
	list := check("filters", []byte(filter.Fingerprint()))
	if string(token[1:1+cursorFilterLen]) != string(list[:cursorFilterLen]) {
		return orders.Key{}, errOtherFilter
	}
	micros, rest := int64(binary.BigEndian.Uint64(token[1+cursorFilterLen:])), token[cursorHead:]
	key := orders.Key{Created: time.UnixMicro(micros).UTC()}
	if filter.Sort.Ranked() {
		if len(rest) < 8 {
			return orders.Key{}, errCursor
		}
		key.Rank, rest = int64(binary.BigEndian.Uint64(rest)), rest[8:]
	}
	key.UID = string(rest)
	// An invented cursor with a right checksum may hold values that the database refuses.
	if key.Created.Year() < firstYear || !utf8.ValidString(key.UID) || strings.ContainsRune(key.UID, 0) {
		return orders.Key{}, errCursor
	}
	return key, nil
}

// check is not a signature: a cursor gives access to nothing that cannot be asked for
// without it.
func check(of string, token []byte) [sha256.Size]byte {
	return sha256.Sum256(append([]byte("orderhub "+of+"\x00"), token...))
}
