package letter

import "sync/atomic"

const (
	// internSlots is how many texts are kept for good, at most; a power of two.
	internSlots = 256
	// maxInternedBytes is the longest of them.
	maxInternedBytes = 128
)

var interned [internSlots]atomic.Pointer[string]

// intern gives the text of bytes. Of texts that come again and again, such as
// reasons and topics, there is mostly one for all letters: the latest of those
// that share a slot.
func intern(text []byte) string {
	n := len(text)
	if n == 0 || n > maxInternedBytes {
		return string(text)
	}
	slot := &interned[(uint(n)*31+uint(text[0])*7+uint(text[n/2])*5+uint(text[n-1]))%internSlots]
	if known := slot.Load(); known != nil && *known == string(text) {
		return *known
	}
	s := string(text)
	slot.Store(&s)
	return s
}
