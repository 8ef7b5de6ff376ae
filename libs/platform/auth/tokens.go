package auth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"

	"github.com/orderhub/orderhub/libs/platform/retry"
)

// NewToken makes a token that cannot be guessed, and its line for HTTP_TOKENS_FILE, which
// has its hash only. A zero time is a token that does not expire.
func NewToken(name string, scopes Scope, expires time.Time) (token string, line []byte, err error) {
	token = "orderhub_" + rand.Text() + rand.Text()
	hash := sha256.Sum256([]byte(token))
	entry := tokenEntry{Name: name, Scopes: scopes.Names(), SHA256: hex.EncodeToString(hash[:])}
	if !expires.IsZero() {
		entry.Expires = expires.UTC().Truncate(time.Second)
	}
	if _, err := entry.token(); err != nil {
		return "", nil, err
	}
	line, err = yaml.Marshal([]tokenEntry{entry})
	return token, line, err
}

// tokenEntry is an entry of the file, which is a YAML list of them.
type tokenEntry struct {
	Name    string    `yaml:"name"`
	Scopes  []string  `yaml:"scopes,flow"`
	Expires time.Time `yaml:"expires,omitempty"` // without it: never
	SHA256  string    `yaml:"sha256"`            // of the token, hexadecimal
}

// staticToken is a token of the file. It does not compare equal to one that has changed.
type staticToken struct {
	name    string
	scopes  Scope
	expires time.Time
	hash    [sha256.Size]byte
}

func (e tokenEntry) token() (t staticToken, err error) {
	scopes, unknown := ParseScopes(e.Scopes)
	hash, err := hex.DecodeString(e.SHA256)
	switch {
	case e.Name == "" || e.Name != Printable(e.Name):
		return t, fmt.Errorf("name %q: use 1 to %d printable characters", e.Name, maxName)
	case len(unknown) > 0 || scopes == 0:
		return t, fmt.Errorf("token %s: unknown or missing scopes %q: use %s", e.Name, unknown, AllScopes)
	case err != nil || len(hash) != sha256.Size:
		return t, fmt.Errorf("token %s: sha256 is not 64 hexadecimal digits", e.Name)
	}
	return staticToken{e.Name, scopes, e.Expires.UTC(), [sha256.Size]byte(hash)}, nil
}

type tokens struct {
	path    string
	log     *zap.Logger
	new     func(staticToken) *Caller
	callers atomic.Pointer[map[staticToken]*Caller]
	loaded  []byte // the text that callers are from
}

// find returns the caller of the token with this hash, or nil. It compares each hash, in
// constant time.
func (t *tokens) find(hash [sha256.Size]byte) (found *Caller) {
	for token, caller := range *t.callers.Load() {
		if subtle.ConstantTimeCompare(token.hash[:], hash[:]) == 1 {
			found = caller
		}
	}
	return found
}

// load reads a text of the file. Callers whose token is gone, or has changed, end.
func (t *tokens) load(text []byte) error {
	var entries []tokenEntry
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&entries); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	before, next, names := t.callers.Load(), map[staticToken]*Caller{}, map[string]bool{}
	for _, entry := range entries {
		token, err := entry.token()
		if err != nil || names[entry.Name] {
			return errors.Join(err, fmt.Errorf("token %q cannot be used, or is there twice", entry.Name))
		}
		names[entry.Name] = true
		if before != nil {
			next[token] = (*before)[token]
		}
		if next[token] == nil {
			next[token] = t.new(token)
		}
	}
	t.callers.Store(&next)
	t.loaded = text
	if before != nil {
		for token, caller := range *before {
			if next[token] == nil {
				caller.end()
			}
		}
	}
	t.log.Info("tokens loaded", zap.String("file", t.path), zap.Int("tokens", len(next)))
	return nil
}

// follow reads the file again and again: that sees changes of all kinds, such as
// Kubernetes' swaps of links. A text counts once it was read twice, so that a file that
// is being written is not taken for a shorter one. What cannot be used changes nothing.
func (t *tokens) follow(ctx context.Context) {
	const period = 500 * time.Millisecond
	last, complained := t.loaded, ""
	for retry.Sleep(ctx, period) == nil {
		text, err := os.ReadFile(t.path)
		if err == nil && bytes.Equal(text, last) && !bytes.Equal(text, t.loaded) {
			err = t.load(text)
		}
		last = text
		if err == nil {
			complained = ""
		} else if err.Error() != complained {
			complained = err.Error()
			t.log.Error("HTTP_TOKENS_FILE cannot be used; the tokens stay as they were", zap.String("file", t.path), zap.Error(err))
		}
	}
}
