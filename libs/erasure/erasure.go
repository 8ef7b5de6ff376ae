// Package erasure knows orders that were erased on request, without knowing their uids.
//
// Of each erased order an [HMAC] of its order_uid stays, in the table erasures and as a
// note in the topic of dead letters. Whoever stores or sends orders refuses those whose
// HMAC is known. Without the key nobody can tell which uids these are.
package erasure

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"sync"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// Settings name the key.
type Settings struct {
	Key     config.Secret `env:"ERASURE_KEY" validate:"omitempty,bytes=32" help:"key of the HMACs that erased orders leave, 32 bytes or more, the same for all programs; it cannot be changed (default: none, for as long as nothing was erased)"`
	KeyFile string        `env:"ERASURE_KEY_FILE"`
}

// NewKey returns the key; nil if none is set.
func (s Settings) NewKey() *Key {
	if s.Key == "" {
		return nil
	}
	secret := []byte(s.Key.Reveal())
	k := &Key{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }}}
	id := k.Of("\x00key") // no order_uid has a NUL
	k.id = hex.EncodeToString(id[:4])
	return k
}

// HMAC is the first half of an HMAC-SHA-256 of an order_uid.
type HMAC [sha256.Size / 2]byte

// String is the HMAC in lower-case hex.
func (h HMAC) String() string { return hex.EncodeToString(h[:]) }

// Key makes HMACs. Safe for concurrent use. A nil Key makes none.
type Key struct {
	id   string
	macs sync.Pool // of hash.Hash
}

// ID tells keys apart.
func (k *Key) ID() string { return k.id }

// Of returns the HMAC of an order_uid.
func (k *Key) Of(uid string) (h HMAC) {
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	_, _ = mac.Write([]byte(uid)) // a hash returns no error
	var sum [sha256.Size]byte
	copy(h[:], mac.Sum(sum[:0]))
	return h
}

// ErrKey means that orders were erased, and that the key does not tell which ones.
var ErrKey = errors.New("ERASURE_KEY")

// Check returns an error unless HMACs were made with this key.
func (k *Key) Check(id string) error {
	if k == nil {
		return fmt.Errorf("%w: orders were erased, and only the key tells which ones: set it", ErrKey)
	}
	if id != k.id {
		return fmt.Errorf("%w: orders were erased with another key, whose id is %s, not %s: set that one", ErrKey, id, k.id)
	}
	return nil
}

// NotePrefix begins the names of notes in the topic of dead letters; the HMAC in hex
// follows. The value is a Note.
const NotePrefix = "erased/"

// Note is what the topic says of an erased order.
type Note struct {
	At  time.Time `json:"at"`
	Key string    `json:"key"` // Key.ID
}

// ParseNote reads the key and value of a record of the topic of dead letters. It is false
// for any other record, and for a note that was removed.
func ParseNote(key, value []byte) (h HMAC, n Note, is bool) {
	name, ours := bytes.CutPrefix(key, []byte("note:"+NotePrefix))
	digits, whole := bytes.CutSuffix(name, []byte("/resolution"))
	if !ours || !whole || len(digits) != hex.EncodedLen(len(h)) || json.Unmarshal(value, &n) != nil {
		return h, n, false
	}
	_, err := hex.Decode(h[:], digits)
	return h, n, err == nil
}
