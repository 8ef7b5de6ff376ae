package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// NewToken makes a token that cannot be guessed, and its line in HTTP_TOKENS_FILE,
// which contains its hash only. A zero time is a token that does not expire. name has no
// white space and does not begin with #.
func NewToken(name string, scopes Scope, expires time.Time) (token string, line []byte) {
	token = "orderhub_" + rand.Text() + rand.Text()
	until := "never"
	if !expires.IsZero() {
		until = expires.UTC().Format(time.RFC3339)
	}
	hash := sha256.Sum256([]byte(token))
	return token, fmt.Appendf(nil, "%s %s %s sha256:%s\n", name, strings.Join(scopes.Names(), ","), until, hex.EncodeToString(hash[:]))
}
