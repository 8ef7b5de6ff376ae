package report

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTableIsPaddedAndAligned(t *testing.T) {
	table := Table{Title: "One item", Columns: []string{"what", "µs"}}
	table.Add("raw COPY", "5.0")
	table.Add("worker", "12.25")
	require.Equal(t, `**One item**

| what     |    µs |
| -------- | ----: |
| raw COPY |   5.0 |
| worker   | 12.25 |
`, table.Markdown())
	require.Panics(t, func() { table.Add("a cell too few") })
}

func TestReplaceKeepsWhatPeopleWrote(t *testing.T) {
	once, err := replace([]byte("# Benchmarks\n\nWords.\n"), "ingest", "\nfirst\n")
	require.NoError(t, err)
	require.Equal(t, "# Benchmarks\n\nWords.\n\n"+begin("ingest")+"\n\nfirst\n\n"+end("ingest")+"\n", string(once))

	both, err := replace(append(once, "\nMore words.\n"...), "read", "other")
	require.NoError(t, err)
	again, err := replace(both, "ingest", "second")
	require.NoError(t, err)
	require.Equal(t, "# Benchmarks\n\nWords.\n\n"+begin("ingest")+"\n\nsecond\n\n"+end("ingest")+"\n\nMore words.\n\n"+
		begin("read")+"\n\nother\n\n"+end("read")+"\n", string(again))

	same, err := replace(again, "ingest", "second")
	require.NoError(t, err)
	require.Equal(t, string(again), string(same))
}

func TestReplaceRefusesBrokenMarkers(t *testing.T) {
	for _, content := range []string{begin("x"), end("x"), end("x") + begin("x")} {
		_, err := replace([]byte(content), "x", "body")
		require.ErrorContains(t, err, "by hand", content)
	}
}

func TestSaveMakesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "benchmarks.md")
	require.NoError(t, Save(file, "read", "body"))
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, begin("read")+"\n\nbody\n\n"+end("read")+"\n", string(content))
}

func TestMachineIsNamed(t *testing.T) {
	require.Regexp(t, `, \d+ cores, \d+ GiB, Linux \S+, go`, machine())
}

func TestThousandsAreApart(t *testing.T) {
	require.Equal(t, "1,234,567", Thousands(1_234_567.4))
	require.Equal(t, "999", Thousands(999))
	require.Equal(t, "563", Thousands(562.5+0.1))
}

func TestWhatWasNotMeasuredIsLeftEmpty(t *testing.T) {
	columns := []Column[int]{
		{Name: "n", Figure: func(n int) float64 { return float64(n) }, Format: Decimals(1)},
		{Name: "×", Figure: func(n int) float64 { return float64(n) }, Format: Decimals(2), Ratio: true},
		{Name: "n/n", Figure: func(n int) float64 { return float64(n) / float64(n) }, Format: Decimals(0)},
	}
	require.Equal(t, `| a    | 4.0 | 0.50 |   1 |
| b    |     |      |     |
`, Samples[int]{"base": {4, 12, 8}, "a": {2, 6, 4}, "b": {0}}.Table("", columns, "base", "a", "b")[len("|      |   n |    × | n/n |\n| ---- | --: | ---: | --: |\n| base | 8.0 | 1.00 |   1 |\n"):])
}

func TestBarsAreAsLongAsTheirFigures(t *testing.T) {
	chart := Bars("Orders <a second>", []string{"one", "two"}, []float64{1200, 300})
	require.Contains(t, chart, "Orders &lt;a second&gt;")
	require.Regexp(t, `>one</text><rect [^>]*width="480"[^>]*/><text [^>]*>1,200</text>`, chart)
	require.Regexp(t, `>two</text><rect [^>]*width="120"[^>]*/><text [^>]*>300</text>`, chart)
}
