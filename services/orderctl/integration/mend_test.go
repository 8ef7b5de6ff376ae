package integration

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

// modelOrder is a valid order, on one line if compact is asked for.
func modelOrder(t *testing.T, compact bool) string {
	t.Helper()
	value, err := os.ReadFile("../testdata/model.json")
	require.NoError(t, err)
	if !compact {
		return string(value)
	}
	var line bytes.Buffer
	require.NoError(t, json.Compact(&line, value))
	return line.String()
}

// unmended writes a letter whose locale is wrong.
func (w *world) unmended(offset int64, value string) string {
	w.t.Helper()
	value = strings.Replace(value, `"en"`, `"english"`, 1)
	return w.fail(&kgo.Record{Topic: orders, Offset: offset, Key: []byte("b563feb7b2b84b6test"), Value: []byte(value)}, "invalid",
		model.FieldError{Path: "locale", Rule: "bcp47", Message: "must be a language"})
}

func TestDLQEditWithSet(t *testing.T) {
	w := newWorld(t)
	value := modelOrder(t, false)
	ids := []string{w.unmended(0, value), w.unmended(1, value), w.fail(&kgo.Record{Topic: orders, Offset: 2, Value: []byte("{")}, "not_json")}

	got := w.orderctl("dlq", "edit", "--all", "--set", "locale=en", "--set", "delivery.name=Somebody Else", "--dry-run")
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stdout, ids[0]+"  pass\n    delivery.name\n      - \"***\"\n      + \"***\"\n    locale\n      - \"english\"\n      + \"en\"\n")
	require.Contains(t, got.stdout, ids[2]+"  stay: the value is no JSON: mend it as a whole first, as in --set '.=strip(.)', or by hand\n")
	require.NotContains(t, got.stdout, "Testov")
	require.Len(t, w.refs(letter.Open), 3)
	log := filepath.Join(t.TempDir(), "audit.jsonl")
	t.Setenv("ORDERHUB_AUDIT_FILE", log)
	require.Contains(t, w.orderctl("dlq", "edit", ids[0], "--set", "delivery.name=X", "--dry-run", "--reveal", "--output", "json").stdout, `"changes":[{"path":"delivery.name","before":"\"Test Testov\""`)
	audited, err := os.ReadFile(log)
	require.NoError(t, err)
	require.Contains(t, string(audited), `"action":"reveal","targets":["`+ids[0]+`"]`)

	got = w.orderctl("dlq", "edit", "--reason", "invalid", "--set", "locale=still wrong", "--yes")
	require.Equal(t, 1, got.code)
	require.Equal(t, 2, strings.Count(got.stderr, "edited, it would be refused: validate: invalid: locale: "))
	require.Len(t, w.refs(letter.Open), 3, "nothing was sent")

	got = w.orderctl("dlq", "edit", "--reason", "invalid", "--set", "locale=en", "--yes", "--actor", "ann", "--why", "asked the shop")
	require.Equal(t, 0, got.code, got.stderr)
	require.Equal(t, "2 of 2 letters redriven\n", got.stderr)
	for i, r := range w.read(orders)[0] {
		require.Equal(t, value, string(r.Value), "every other byte is as it was")
		require.Equal(t, "dlq-redrive-count=1 dlq-origin="+ids[i]+" dlq-edited-by=ann dlq-edited-from="+ids[i]+" ", headersOf(r))
	}
	require.Contains(t, w.orderctl("dlq", "show", ids[0]).stdout, "resolved: redriven by ann, edited on ")
	require.Equal(t, 2, w.orderctl("dlq", "edit", "--all", "--set", "locale=en").code, "nobody was asked")

	// Refused again, the copy is a letter that says where it is from.
	copied := w.read(orders)[0][0]
	again := w.fail(copied, "conflict")
	shown := w.orderctl("dlq", "show", again).stdout
	require.Contains(t, shown, "edited    by ann, from "+ids[0])
	require.Contains(t, shown, "History")
	require.Equal(t, 0, w.orderctl("dlq", "edit", again, "--set", "locale=ru", "--actor", "bob").code)
	require.Equal(t, "dlq-redrive-count=2 dlq-origin="+ids[0]+" dlq-edited-by=bob dlq-edited-from="+again+" ", headersOf(w.read(orders)[copied.Partition][2]))
}

func TestDLQEditWithAPatch(t *testing.T) {
	w := newWorld(t)
	id := w.unmended(0, modelOrder(t, true))
	patch := `[{"op": "test", "path": "/locale", "value": "english"}, {"op": "replace", "path": "/locale", "value": "en"}]`
	file := filepath.Join(t.TempDir(), "patch.json")
	require.NoError(t, os.WriteFile(file, []byte(patch), 0o600))
	require.Equal(t, 0, w.orderctl("dlq", "edit", id, "--patch", file, "--dry-run").code)
	got := w.orderctlTyping(patch, "dlq", "edit", id, "--patch", "-", "--output", "json")
	require.Equal(t, 0, got.code, got.stderr)
	require.Contains(t, got.stdout, `{"id":"`+id+`","done":"redriven","became":"orders/0/0"}`)
	require.Equal(t, modelOrder(t, true), string(w.read(orders)[0][0].Value))

	require.NoError(t, os.WriteFile(file, []byte(`[{"op": "spam"}]`), 0o600))
	for _, wrong := range [][]string{{"--patch", file}, {"--set", "locale"}, {"--patch", "/absent"}} {
		got := w.orderctl(append([]string{"dlq", "edit", id}, wrong...)...)
		require.NotZero(t, got.code, wrong)
		require.NotEqual(t, 3, got.code)
	}
}

// editor makes a shell script the user's editor. It is given the file.
func editor(t *testing.T, script string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "an editor.sh")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\nset -e\n"+script+"\n"), 0o700))
	t.Setenv("VISUAL", "'"+file+"' --wait")
	t.Setenv("ORDERHUB_AUDIT_FILE", filepath.Join(t.TempDir(), "audit.jsonl"))
}

func TestDLQEditInAnEditor(t *testing.T) {
	w := newWorld(t)
	value := modelOrder(t, true)
	id := w.unmended(0, value)

	editor(t, `test "$1" = --wait; exit 0`)
	got := w.orderctl("dlq", "edit", id)
	require.Equal(t, result{1, "", "the value is as it was: nothing was sent\n"}, got)

	editor(t, `exit 3`)
	got = w.orderctl("dlq", "edit", id)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "exit status 3: choose another in VISUAL or EDITOR")

	// Saved twice: first still wrong, then right.
	editor(t, `if grep -q english "$2"; then sed -i 's/english/en glish/' "$2"; else sed -i 's/en glish/en/' "$2"; fi`)
	got = w.orderctlTyping("n\n", "dlq", "edit", id)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "this would be refused: invalid\n  line ")
	require.Contains(t, got.stderr, "locale: must be")
	require.Contains(t, got.stderr, "nothing was sent")
	require.Len(t, w.refs(letter.Open), 1)
	got = w.orderctlTyping("y\n", "dlq", "edit", id, "--actor", "ann")
	require.Equal(t, 0, got.code, got.stderr)
	require.Equal(t, value, string(w.read(orders)[0][0].Value), "on one line again, and else as it was")
	require.Contains(t, headersOf(w.read(orders)[0][0]), "dlq-edited-by=ann dlq-edited-from="+id)
	audited, err := os.ReadFile(os.Getenv("ORDERHUB_AUDIT_FILE"))
	require.NoError(t, err)
	require.Contains(t, string(audited), `"action":"edit","targets":["`+id+`"],"allowed":true,"actor":"ann"`)

	// What is no JSON is edited as it is.
	broken := w.fail(&kgo.Record{Topic: orders, Offset: 1, Value: []byte(value[:len(value)-1])}, "not_json")
	editor(t, `printf '}' >> "$2"`)
	require.Equal(t, 0, w.orderctl("dlq", "edit", broken).code)
	require.JSONEq(t, value, string(w.read(orders)[0][1].Value))

	require.Equal(t, 2, w.orderctl("dlq", "edit", "--all").code)
	require.Equal(t, 2, w.orderctl("dlq", "edit", id, "--dry-run").code)
	require.Equal(t, 3, w.orderctl("dlq", "edit", id).code, "it is resolved")
}

func TestExportAndImport(t *testing.T) {
	w := newWorld(t)
	log := filepath.Join(t.TempDir(), "audit.jsonl")
	t.Setenv("ORDERHUB_AUDIT_FILE", log)
	ids := append(w.letters(2), w.unmended(7, modelOrder(t, false)), w.fail(&kgo.Record{Topic: orders, Offset: 8, Key: []byte("k")}, "tombstone"),
		w.fail(&kgo.Record{Topic: orders, Offset: 9, Value: []byte("\x00\xff\x80 Ann")}, "invalid_utf8"))
	w.discard(2)
	file := filepath.Join(t.TempDir(), "letters.jsonl")

	masked := w.orderctl("dlq", "export")
	require.Equal(t, 0, masked.code, masked.stderr)
	require.Equal(t, len(ids), strings.Count(masked.stdout, `"masked":true`))
	require.NotContains(t, decoded(t, masked.stdout), "Testov")
	got := w.orderctlTyping(masked.stdout, "dlq", "import", "-", "--dlq-topic", dlqTopic)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "entry 1 cannot be imported: orders/")
	require.Contains(t, got.stderr, "export with --reveal to import")

	got = w.orderctl("dlq", "export", "--reveal", "--to", file, "--output", "json")
	require.Equal(t, result{0, `{"exported":9,"to":"` + file + `"}` + "\n", "9 of 9 letters exported\n"}, got)
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{"copy.dlq": {Partitions: 2, Configs: map[string]string{"cleanup.policy": "compact"}}}))
	t.Setenv("ORDERHUB_AUDIT_FILE", "/dev/null/audit.jsonl")
	require.Equal(t, 1, w.orderctl("dlq", "import", file, "--dlq-topic", "copy.dlq").code)
	require.Empty(t, w.read("copy.dlq"), "what is not audited is not done")
	t.Setenv("ORDERHUB_AUDIT_FILE", log)
	got = w.orderctl("dlq", "import", file, "--dlq-topic", "copy.dlq", "--actor", "ann", "--why", "moved here")
	require.Equal(t, 0, got.code, got.stderr)
	require.Equal(t, "9 letters imported, 0 were there already\n", got.stderr)
	records := auditLines(t, log)
	imported := records[len(records)-2] // before the line that closes the chain
	require.Equal(t, []string{"import", "ann", "moved here", "user"}, []string{imported.Action, imported.Actor, imported.Why, imported.ActorKind})
	require.ElementsMatch(t, ids, imported.Targets)
	require.True(t, imported.Allowed)
	for _, status := range []string{"open", "resolved"} {
		require.ElementsMatch(t, strings.Split(w.orderctl("dlq", "list", "--output", "json", "--status", status).stdout, "\n"),
			strings.Split(w.orderctl("dlq", "list", "--output", "json", "--status", status, "--dlq-topic", "copy.dlq").stdout, "\n"))
	}
	for _, id := range ids {
		require.Equal(t, w.orderctl("dlq", "show", id, "--reveal").stdout, w.orderctl("dlq", "show", id, "--reveal", "--dlq-topic", "copy.dlq").stdout)
	}
	// Again it changes nothing, whatever has happened there since.
	require.Equal(t, 0, w.orderctl("dlq", "discard", ids[0], "--why", "x", "--dlq-topic", "copy.dlq").code)
	got = w.orderctl("dlq", "import", file, "--dlq-topic", "copy.dlq")
	require.Equal(t, result{0, "", "0 letters imported, 9 were there already\n"}, got)
	for _, later := range auditLines(t, log)[len(records):] {
		require.NotEqual(t, "import", later.Action, "nothing was imported")
	}
	require.Contains(t, w.orderctl("dlq", "stats", "--dlq-topic", "copy.dlq").stdout, "6 open, 3 resolved")

	require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{"second.dlq": {Partitions: 2}}))
	require.Equal(t, 2, w.orderctl("dlq", "import", file, "--to-topic", "second.dlq", "--to-partition", "2").code)
	written, err := os.ReadFile(file)
	require.NoError(t, err)
	old := regexp.MustCompile(`"timestamp":"[^"]*"`).ReplaceAllString(string(written), `"timestamp":"2024-05-29T10:00:00Z"`)
	got = w.orderctlTyping(old, "dlq", "import", "-", "--to-topic", "second.dlq", "--to-partition", "1")
	require.Equal(t, 0, got.code, got.stderr)
	second := w.read("second.dlq")
	require.Empty(t, second[0])
	require.Equal(t, time.Date(2024, 5, 29, 10, 0, 0, 0, time.UTC), second[1][0].Timestamp.UTC(), "letters keep their times, however old")

	for text, want := range map[string]int{"": 3, "{": 1, `{"version":1,"id":"x"}`: 1, `{"version":2}`: 1} {
		require.Equal(t, want, w.orderctlTyping(text, "dlq", "import", "-").code, text)
	}
	require.Equal(t, 1, w.orderctl("dlq", "import", "/absent").code)
}

// auditLines are the lines of an audit log.
func auditLines(t *testing.T, path string) (events []audit.Event) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var e audit.Event
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		events = append(events, e)
	}
	return events
}

// decoded gives the values of exported lines.
func decoded(t *testing.T, lines string) string {
	t.Helper()
	var all strings.Builder
	for line := range strings.Lines(lines) {
		var e struct{ Letter struct{ Value []byte } }
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		all.Write(e.Letter.Value)
	}
	return all.String()
}

// An import that dies between its writes, at each of them, and is run again.
func TestAnImportThatDiesAtEachStep(t *testing.T) {
	w := newWorld(t)
	w.letters(2)
	w.discard(3)
	t.Setenv("ORDERHUB_AUDIT_FILE", filepath.Join(t.TempDir(), "audit.jsonl"))
	lines := w.orderctl("dlq", "export", "--reveal").stdout
	crash := w.crashes()
	for requests := range 5 {
		name := "copy" + string(rune('0'+requests))
		require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{name: {Partitions: 3}}))
		crash.after(requests)
		w.orderctlTyping(lines, "dlq", "import", "-", "--dlq-topic", name)
		crash.over()
		for line := range strings.Lines(w.orderctl("dlq", "list", "--output", "json", "--dlq-topic", name).stdout) {
			var open struct{ ID string }
			require.NoError(t, json.Unmarshal([]byte(line), &open))
			require.Contains(t, w.orderctl("dlq", "list", "--output", "json").stdout, open.ID, "open there, so open here")
		}
		require.Equal(t, 0, w.orderctlTyping(lines, "dlq", "import", "-", "--dlq-topic", name).code)
		require.Contains(t, w.orderctl("dlq", "stats", "--dlq-topic", name).stdout, "3 open, 3 resolved")
	}
}

func TestExportOfFactsAndRawFiles(t *testing.T) {
	w := newWorld(t)
	t.Setenv("ORDERHUB_AUDIT_FILE", filepath.Join(t.TempDir(), "audit.jsonl"))
	value := modelOrder(t, false)
	id := w.unmended(0, value)
	w.fail(&kgo.Record{Topic: orders, Offset: 1, Key: []byte("ann@example.org"), Value: []byte("{")}, "not_json")
	require.Equal(t, 0, w.orderctl("dlq", "discard", id, "--why", "=SUM(A1)", "--actor", "ann").code)
	got := w.orderctl("dlq", "export", "--format", "csv")
	require.Equal(t, 0, got.code, got.stderr)
	rows, err := csv.NewReader(strings.NewReader(got.stdout)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 3)
	require.NotContains(t, got.stdout, "example.org")
	require.Equal(t, []string{id, "resolved", "invalid", "validate", "bcp47", "locale", "2023-11-14T22:13:20Z", "orders", "0", "0"}, rows[2][:10])
	require.Equal(t, "'=SUM(A1)", rows[2][19])

	folder := filepath.Join(t.TempDir(), "raw")
	require.Equal(t, 2, w.orderctl("dlq", "export", "--format", "raw", "--to", folder).code, "people's data")
	got = w.orderctl("dlq", "export", "--format", "raw", "--to", folder, "--reveal", id)
	require.Equal(t, 0, got.code, got.stderr)
	raw, err := os.ReadFile(filepath.Join(folder, strings.ReplaceAll(id, "/", "_")+".json"))
	require.NoError(t, err)
	require.Equal(t, strings.Replace(value, `"en"`, `"english"`, 1), string(raw))
	require.Equal(t, 3, w.orderctl("dlq", "export", "--reason", "conflict").code)

	// An id that somebody else chose leads nowhere.
	w.produce(&kgo.Record{Topic: dlqTopic, Key: []byte("../../escaped/x"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "dlq-reason", Value: []byte("x")}}})
	require.Equal(t, 0, w.orderctl("dlq", "export", "--format", "raw", "--to", folder, "--reveal", "--reason", "x").code)
	files, err := filepath.Glob(folder + "/*")
	require.NoError(t, err)
	require.Len(t, files, 2)
}
