package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
)

func TestTokenNew(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens.yaml")
	run := func(args ...string) (code int, stdout, stderr string) {
		var out, errs bytes.Buffer
		code = Run(t.Context(), append([]string{"token", "new"}, args...), strings.NewReader(""), &out, &errs)
		return code, out.String(), errs.String()
	}
	code, stdout, _ := run("--name", "shown", "--scopes", "orders:read")
	require.Equal(t, 0, code)
	require.Regexp(t, `(?s)^orderhub_\w{52}\n.*name: shown`, stdout)

	code, stdout, stderr := run("--name", "kept", "--scopes", "letters:read,letters:act", "--expires", "90d", "--file", file, "--output", "json")
	require.Equal(t, 0, code, stderr)
	var made struct{ Token string }
	require.NoError(t, json.Unmarshal([]byte(stdout), &made))
	code, _, _ = run("--name", "second", "--scopes", "orders:read", "--file", file)
	require.Equal(t, 0, code)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotContains(t, string(text), made.Token)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = auth.New(auth.Settings{Auth: "on", TokensFile: file}, auth.Options{Addr: "127.0.0.1:0", Log: zap.NewNop()})
	require.NoError(t, err, "the programs can read it")

	for wrong, args := range map[string][]string{
		"--scopes": {"--name", "x", "--scopes", "orders:write"}, "orders:read, orders:personal": {"--name", "x"}, "--name": {"--scopes", "orders:read"},
		"--expires": {"--name", "x", "--scopes", "orders:read", "--expires", "soon"},
	} {
		code, _, stderr = run(args...)
		require.Equal(t, 2, code, wrong)
		require.Contains(t, stderr, wrong)
	}
}

func TestAuditVerify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	t.Setenv("ORDERHUB_AUDIT_FILE", path)
	t.Setenv("ORDERHUB_AUDIT_KEY", "a key of the tests")
	run := func() (code int, stdout string) {
		var out, errs bytes.Buffer
		code = Run(t.Context(), []string{"audit", "verify"}, strings.NewReader(""), &out, &errs)
		return code, out.String() + errs.String()
	}
	code, said := run()
	require.Equal(t, 3, code, said)
	log, err := audit.Open(audit.Settings{To: audit.ToFile, File: path, FileBytes: 1 << 20, Key: "a key of the tests"}, audit.Options{Program: "test"})
	require.NoError(t, err)
	require.NoError(t, log.Write(t.Context(), audit.Event{Action: "reveal", Actor: "ann", Allowed: true}))
	code, said = run()
	require.Equal(t, 0, code, said)
	require.Contains(t, said, "not closed: chain")
	require.NoError(t, log.Close())
	code, said = run()
	require.Equal(t, 0, code, said)
	require.Regexp(t, `^3 lines in 1 chains\n$`, said)

	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, bytes.Replace(text, []byte(`"ann"`), []byte(`"eve"`), 1), 0o600))
	code, said = run()
	require.Equal(t, 1, code, said)
	require.Contains(t, said, "changed: chain")
}
