package auth

import (
	"slices"
	"strings"
)

// Scope is a set of rights. The zero value is no right.
type Scope uint8

// The scopes. What is personal is masked for those who lack the scope for it, and they
// may neither search nor sort by it.
const (
	OrdersRead      Scope = 1 << iota // orders, personal data masked
	OrdersPersonal                    // personal data of orders
	OrdersAct                         // accept and erase orders
	LettersRead                       // dead letters, personal data masked
	LettersAct                        // redrive, edit, discard, undo and purge letters
	LettersPersonal                   // personal data of letters

	AllScopes = OrdersRead | OrdersPersonal | OrdersAct | LettersRead | LettersAct | LettersPersonal
)

// scopeNames are in the order of the bits.
var scopeNames = []string{"orders:read", "orders:personal", "orders:act", "letters:read", "letters:act", "letters:personal"}

// ParseScopes returns the set of the scopes with these names, and the names that no
// scope has.
func ParseScopes(names []string) (scopes Scope, unknown []string) {
	for _, name := range names {
		if i := slices.Index(scopeNames, name); i >= 0 {
			scopes |= 1 << i
		} else {
			unknown = append(unknown, name)
		}
	}
	return scopes, unknown
}

// Names are the names of the scopes in the set, in a fixed order.
func (s Scope) Names() (names []string) {
	for i, name := range scopeNames {
		if s&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String is the names with blanks between them, as OAuth writes scopes.
func (s Scope) String() string { return strings.Join(s.Names(), " ") }
