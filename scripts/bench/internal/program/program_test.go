package program

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type testSettings struct {
	Flags
	N    int           `default:"100" smoke:"1" min:"1" full:"100" help:"A number."`
	List []int         `default:"1,3" min:"1" full:"3"`
	Wait time.Duration `default:"1s" min:"1s"`
}

var benchmark = Benchmark{Name: "x", About: "about", Document: Benchmarks}

func parse(args ...string) (*testSettings, error) {
	s := &testSettings{}
	return s, Parse(benchmark, s, args, io.Discard)
}

func TestSmokeKeepsWhatWasChosen(t *testing.T) {
	for _, c := range []struct {
		args     []string
		n        int
		document string
	}{
		{nil, 100, Benchmarks},
		{[]string{"--smoke"}, 1, ""},
		{[]string{"--smoke", "--n", "200"}, 200, ""}, // a smoke run's results are not kept
		{[]string{"--n", "99"}, 99, ""},              // nor are a small run's
		{[]string{"--list", "1,2"}, 100, ""},
		{[]string{"--n", "99", "--document", "x.md"}, 99, "x.md"},
		{[]string{"--document="}, 100, ""},
	} {
		s, err := parse(c.args...)
		require.NoError(t, err, c.args)
		require.Equal(t, c.n, s.N, c.args)
		require.Equal(t, c.document, s.document, c.args)
		require.Equal(t, c.document != "", s.WritesDocument(), c.args)
	}
}

func TestWrongArgumentsAreNamed(t *testing.T) {
	for want, args := range map[string][]string{
		"surplus":                       {"surplus"},
		"--n: at least 1, not 0":        {"--n", "0"},
		"--list: at least 1, not 0":     {"--list", "1,0"},
		"--list":                        {"--list", "1,x"},
		"--wait: at least 1s, not 10ms": {"--wait", "10ms"},
	} {
		_, err := parse(args...)
		require.ErrorContains(t, err, want)
	}
}

func TestListsMayBeEmpty(t *testing.T) {
	s, err := parse("--list", "1,30")
	require.NoError(t, err)
	require.Equal(t, []int{1, 30}, s.List)
	s, err = parse("--list=")
	require.NoError(t, err)
	require.Empty(t, s.List)
	s, err = parse("--list", "")
	require.NoError(t, err)
	require.Empty(t, s.List)
}

func TestResultsSayHowToRepeatThem(t *testing.T) {
	file := t.TempDir() + "/x.md"
	s, err := parse("--n", "7", "--document", file)
	require.NoError(t, err)
	require.NoError(t, s.Save("section", "the body", "15.9"))
	raw, err := os.ReadFile(file)
	require.NoError(t, err)
	content := string(raw)
	require.Contains(t, content, "the body")
	require.Contains(t, content, "PostgreSQL 15.9")
	require.Contains(t, content, "`make build && go run ./scripts/bench/x --n 7 --document "+file+"`")
}
