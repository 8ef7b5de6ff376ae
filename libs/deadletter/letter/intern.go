package letter

import (
	"maps"
	"sync"
	"sync/atomic"
)

const (
	// maxInterned bounds how many texts are kept for good.
	maxInterned = 1024
	// maxInternedBytes is the longest of them.
	maxInternedBytes = 128
)

var (
	interned  atomic.Pointer[map[string]string]
	interning sync.Mutex
)

// intern gives the text of bytes. Of texts that come again and again, such as
// reasons and topics, there is one for all letters.
func intern(text []byte) string {
	if known := interned.Load(); known != nil {
		if s, there := (*known)[string(text)]; there {
			return s
		}
	}
	s := string(text)
	if len(s) > maxInternedBytes {
		return s
	}
	interning.Lock()
	defer interning.Unlock()
	more := map[string]string{}
	if known := interned.Load(); known != nil {
		if len(*known) >= maxInterned {
			return s
		}
		more = maps.Clone(*known)
	}
	more[s] = s
	interned.Store(&more)
	return s
}
