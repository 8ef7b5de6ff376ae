package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/errs"
)

func TestValidateSamples(t *testing.T) {
	got := orderctlWith(t, []string{"INGEST_CHECK_SUMS", "INGEST_REJECT_UNKNOWN_FIELDS"}, "", "validate", "../../testdata/model.json", "../../testdata/order1001test.json")
	require.Equal(t, errs.ExitDone, got.code)
	require.Empty(t, got.stdout)
	require.Equal(t, "../../testdata/model.json: 1 order, all valid\n../../testdata/order1001test.json: 1 order, all valid\n", got.stderr)
}

// spoiled is the sample with several failures, then a broken line, then a valid
// order with a field that orders don't have.
func spoiled(t *testing.T) string {
	t.Helper()
	good := sample(t, "model.json")
	bad := strings.NewReplacer(`"amount": 1817`, `"amount": -1`, `"en"`, `"english"`, `"brand": "Vivienne Sabo",`, ``).Replace(good)
	return bad + "{\"order_uid\": nope}\n" + strings.Replace(good, `"entry"`, `"colour": "red", "entry"`, 1)
}

func TestValidateNamesEveryFailure(t *testing.T) {
	got := orderctl(t, spoiled(t), "validate", "-")
	require.Equal(t, errs.ExitFailed, got.code)
	requireGolden(t, "validate_text", got.stdout+"--\n"+got.stderr)

	got = orderctl(t, spoiled(t), "validate", "--output", "json", "-")
	require.Equal(t, errs.ExitFailed, got.code)
	requireGolden(t, "validate_json", got.stdout)
}

func TestValidateRulesOfTheWorkersSettings(t *testing.T) {
	wrongSum := strings.Replace(sample(t, "model.json"), `"amount": 1817`, `"amount": 1818`, 1)
	require.Equal(t, errs.ExitDone, orderctl(t, wrongSum, "validate", "-").code)
	got := orderctlWith(t, []string{"INGEST_CHECK_SUMS"}, wrongSum, "validate", "-")
	require.Equal(t, errs.ExitFailed, got.code)
	require.Contains(t, got.stdout, "payment.amount")

	t.Setenv("INGEST_CHECK_SUMS", "true")
	var stdout, stderr bytes.Buffer
	require.Equal(t, errs.ExitFailed, newApp(strings.NewReader(wrongSum), &stdout, &stderr).run(t.Context(), []string{"validate", "-"}))
	t.Setenv("INGEST_CHECK_SUMS", "perhaps")
	require.Equal(t, errs.ExitUsage, newApp(strings.NewReader(wrongSum), &stdout, &stderr).run(t.Context(), []string{"validate", "-"}))
	require.Contains(t, stderr.String(), "INGEST_CHECK_SUMS")

	unknown := strings.Replace(sample(t, "model.json"), `"entry"`, `"colour": "red", "entry"`, 1)
	require.Equal(t, errs.ExitDone, orderctl(t, unknown, "validate", "-").code)
	require.Equal(t, errs.ExitFailed, orderctlWith(t, []string{"INGEST_REJECT_UNKNOWN_FIELDS"}, unknown, "validate", "-").code)
}

func TestValidateGoesOnAfterAFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	utf16 := filepath.Join(dir, "utf16.json")
	require.NoError(t, os.WriteFile(utf16, []byte("\xff\xfe{\x00}\x00"), 0o600))
	got := orderctl(t, "", "validate", filepath.Join(dir, "absent.json"), utf16, "../../testdata/model.json")
	require.Equal(t, errs.ExitFailed, got.code)
	require.Contains(t, got.stderr, "no such file")
	require.Contains(t, got.stderr, "UTF-16")
	require.Contains(t, got.stderr, "model.json: 1 order, all valid")
}

func TestValidateNothing(t *testing.T) {
	got := orderctl(t, "", "validate", "-")
	require.Equal(t, errs.ExitNothing, got.code)
	require.Equal(t, "stdin: no orders\n", got.stderr)
}

// orderctlWith is orderctl with settings that are true.
func orderctlWith(t *testing.T, settings []string, stdin string, args ...string) result {
	t.Helper()
	isolate(t)
	for _, name := range settings {
		t.Setenv(name, "true")
	}
	var stdout, stderr bytes.Buffer
	code := newApp(strings.NewReader(stdin), &stdout, &stderr).run(t.Context(), args)
	return result{code, stdout.String(), stderr.String()}
}

func sample(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", name))
	require.NoError(t, err)
	return string(b)
}
