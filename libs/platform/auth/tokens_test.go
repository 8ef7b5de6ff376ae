package auth

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func writeTokens(t testing.TB, path string, lines ...[]byte) {
	t.Helper()
	var all []byte
	for _, line := range lines {
		all = append(all, line...)
	}
	require.NoError(t, os.WriteFile(path, all, 0o600))
}

func withTokens(t testing.TB, lines ...[]byte) Settings {
	t.Helper()
	s := defaults()
	s.TokensFile = filepath.Join(t.TempDir(), "tokens.yaml")
	writeTokens(t, s.TokensFile, lines...)
	return s
}

func newToken(t testing.TB, name string, scopes Scope, expires time.Time) (token string, line []byte) {
	t.Helper()
	token, line, err := NewToken(name, scopes, expires)
	require.NoError(t, err)
	return token, line
}

func TestStaticTokens(t *testing.T) {
	ann, annLine := newToken(t, "ann", OrdersRead, time.Time{})
	bob, bobLine := newToken(t, "bob's script", OrdersRead|LettersAct, time.Now().Add(time.Hour))
	old, oldLine := newToken(t, "old", AllScopes, time.Now().Add(-2*time.Second))
	s := withTokens(t, []byte("# tokens\n"), annLine, bobLine, oldLine)
	r := newRig(t, s)
	require.Equal(t, "token|ann|orders:read|", r.bearer("/read", ann).Body.String())
	require.Equal(t, "token|bob's script|orders:read letters:act|", r.bearer("/act", bob).Body.String())
	require.Equal(t, 200, r.ask("POST", "/act", "Authorization", "Bearer "+bob).Code, "a token needs no CSRF token")
	require.Equal(t, 403, r.bearer("/act", ann).Code)
	require.Equal(t, 401, r.bearer("/read", old).Code)
	require.Equal(t, 401, r.bearer("/read", ann+"x").Code)
	require.Equal(t, 401, r.bearer("/read", ann[:len(ann)-1]).Code)
	file, err := os.ReadFile(s.TokensFile)
	require.NoError(t, err)
	require.NotContains(t, string(file), ann)

	// A revoked one ends at once, with its streams; the others go on.
	server := httptest.NewServer(r.handler)
	defer server.Close()
	status, ended, _ := stream(t, server, bob)
	require.Equal(t, 200, status)
	annCaller := r.tokens.find(sha(ann))
	// Kubernetes swaps a symbolic link.
	next := filepath.Join(t.TempDir(), "next.yaml")
	writeTokens(t, next, annLine)
	require.NoError(t, os.Symlink(next, s.TokensFile+".new"))
	require.NoError(t, os.Rename(s.TokensFile+".new", s.TokensFile))
	ended()
	require.Equal(t, 401, r.bearer("/read", bob).Code)
	require.Equal(t, 200, r.bearer("/read", ann).Code)
	require.Same(t, annCaller, r.tokens.find(sha(ann)))
	require.True(t, annCaller.valid())

	// A file that cannot be used changes nothing, and is reported once.
	writeTokens(t, next, []byte("- {name: ann, scopes: [orders:everything], sha256: 00}\n"))
	require.Eventually(t, func() bool { return r.logged.FilterMessageSnippet("cannot be used").Len() == 1 }, 20*time.Second, time.Millisecond)
	require.Equal(t, 200, r.bearer("/read", ann).Code)
	// Other scopes are another token.
	writeTokens(t, next, []byte(strings.Replace(string(annLine), "orders:read", "letters:read", 1)))
	<-annCaller.Ended()
	require.Equal(t, 403, r.bearer("/read", ann).Code)
	require.NotContains(t, fmt.Sprint(r.logged.All()), ann)
}

func TestTokenFilesThatCannotBeUsed(t *testing.T) {
	_, line := newToken(t, "ann", OrdersRead, time.Time{})
	for text, want := range map[string]string{
		"- {name: ann, scopes: [orders:all], sha256: " + strings.Repeat("0", 64) + "}": "unknown or missing scopes",
		"- {name: ann, scopes: [], sha256: " + strings.Repeat("0", 64) + "}":           "unknown or missing scopes",
		"- {name: ann, scopes: [orders:read], sha256: 12}":                             "sha256 is not 64",
		"- {scopes: [orders:read]}":                                                    `name ""`,
		"- {name: ann, hash: 1}":                                                       "hash",
		"nonsense":                                                                     "cannot unmarshal",
		string(line) + string(line):                                                    "twice",
		strings.Replace(string(line), "scopes", "expires: tomorrow\n  scopes", 1):      "tomorrow",
	} {
		_, err := New(withTokens(t, []byte(text)), Options{Addr: "127.0.0.1:0", Log: zap.NewNop()})
		require.ErrorContains(t, err, "HTTP_TOKENS_FILE: ", text)
		require.ErrorContains(t, err, want)
	}
	s := defaults()
	s.TokensFile = filepath.Join(t.TempDir(), "missing")
	_, err := New(s, Options{Addr: "127.0.0.1:0", Log: zap.NewNop()})
	require.ErrorContains(t, err, "HTTP_TOKENS_FILE: ")
	newRig(t, withTokens(t)) // an empty file is no token
	for name, scopes := range map[string]Scope{"": OrdersRead, "a\nb": OrdersRead, "ann": 0, strings.Repeat("x", maxName+1): OrdersRead} {
		_, _, err := NewToken(name, scopes, time.Time{})
		require.Error(t, err)
	}
}
