package model

import (
	"crypto/sha256"
	"encoding/hex"
)

// HashVersion is the first byte that a [ContentHash] covers. It changes when the canonical
// form of existing orders would change.
const HashVersion = 1

// Hash identifies an order's content.
type Hash [sha256.Size]byte

// String returns the hash as 64 lower-case hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ContentHash is the SHA-256 of the byte HashVersion followed by an order's
// canonical JSON.
func ContentHash(canonical []byte) Hash {
	// An order with a few items fits the array, which stays on the stack.
	var short [4096]byte
	if len(canonical) < len(short) {
		return sha256.Sum256(append(append(short[:0], HashVersion), canonical...))
	}
	h := sha256.New()
	h.Write([]byte{HashVersion})
	h.Write(canonical)
	return Hash(h.Sum(nil))
}
