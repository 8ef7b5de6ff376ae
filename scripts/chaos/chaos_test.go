package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAFewKillsLoseNothing(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "ingest-worker")
	build := exec.Command("go", "build", "-o", binary, "./cmd/ingest-worker")
	build.Dir = "../../services/ingest-worker"
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	var stdout, stderr bytes.Buffer
	code := run([]string{"--kills", "3", "--rate", "400", "--worker", binary}, &stdout, &stderr)
	t.Logf("%s%s", &stderr, &stdout)
	require.Zero(t, code)
	require.Contains(t, stdout.String(), "0 lost, 0 extra, 0 wrong")
}

func TestWrongUsageIsRefused(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.Equal(t, 2, run([]string{"--kills", "-1"}, &stdout, &stderr))
	require.Equal(t, 2, run([]string{"more"}, &stdout, &stderr))
	require.Equal(t, 1, run([]string{"--worker", "no/such/file"}, &stdout, &stderr))
	require.Contains(t, stderr.String(), "make build")
}

// What is missing, too much or wrong among the letters is found.
func TestLettersAreCompared(t *testing.T) {
	l := &load{}
	lost := l.send(broken, "not_json", "k", []byte("lost"))
	wrong := l.send(broken, "not_json", "k", []byte("wrong"))
	wrong.record.Offset = 1
	good := l.send(duplicate, "", "k", []byte("{}"))
	l.records = []sent{lost, wrong, good}
	letter := func(value, reason string) *kgo.Record {
		return &kgo.Record{Value: []byte(value), Headers: []kgo.RecordHeader{{Key: "dlq-reason", Value: []byte(reason)}}}
	}
	f := &findings{offsets: true}
	f.letters(map[string][]*kgo.Record{
		idOf(wrong): {letter("wrong", "empty"), letter("wrong", "not_json")},
		idOf(good):  {letter("{}", "conflict")},
	}, l)
	require.Equal(t, []int{1, 1, 1, 1}, []int{f.lost, f.extra, f.wrong, f.repeats})
	require.False(t, f.exact())
	require.Len(t, f.first, 3)
}
