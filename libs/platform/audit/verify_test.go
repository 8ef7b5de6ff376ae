package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sample is a log of a closed chain with n lines.
func sample(key string, n int) []string {
	c := newChain([]byte(key))
	var lines []string
	for i := range n {
		e := timed{Event{Action: "look", Targets: []string{fmt.Sprint(i)}, Actor: "ann", Allowed: true}, time.Unix(1_700_000_000+int64(i), 0)}
		switch i {
		case 0:
			e.Action, e.Actor = actionOpen, "test"
		case n - 1:
			e.Action = actionClose
		}
		lines = append(lines, string(c.lines([]timed{e})))
	}
	return lines
}

func found(t *testing.T, key string, lines []string) (problems []string, report *Report) {
	t.Helper()
	report, err := Verify([]byte(key), strings.NewReader(strings.Join(lines, "")))
	require.NoError(t, err)
	for _, p := range report.Problems {
		problems = append(problems, fmt.Sprintf("%s %d %d", p.Kind, p.Seq, p.Count))
	}
	return problems, report
}

func TestVerifyFindsWhatWasDone(t *testing.T) {
	for _, key := range []string{testKey, ""} {
		for _, one := range []struct {
			name   string
			change func(l []string) []string
			want   []string
		}{
			{"nothing", func(l []string) []string { return l }, nil},
			{"a value", func(l []string) []string { l[3] = strings.Replace(l[3], "ann", "bob", 1); return l }, []string{"changed 4 0"}},
			{"refused became allowed", func(l []string) []string {
				l[3] = strings.Replace(l[3], `"allowed":true`, `"allowed":false`, 1)
				return l
			}, []string{"changed 4 0"}},
			{"a code", func(l []string) []string { l[3] = l[3][:len(l[3])-5] + "zz\"}\n"; return l }, []string{"changed 4 0"}},
			{"no code", func(l []string) []string { l[3] = `{"chain":"x","seq":4}` + "\n"; return l }, []string{"changed 4 0", "missing 4 1"}},
			{"removed", func(l []string) []string { return slices.Delete(l, 3, 5) }, []string{"missing 4 2"}},
			{"removed at two places", func(l []string) []string { return slices.Delete(slices.Delete(l, 6, 7), 3, 4) }, []string{"missing 4 1", "missing 7 1"}},
			{"swapped", func(l []string) []string { l[3], l[4] = l[4], l[3]; return l }, []string{"reordered 4 0"}},
			{"moved to the end", func(l []string) []string { return append(slices.Delete(slices.Clone(l), 3, 4), l[3]) }, []string{"reordered 4 0"}},
			{"twice", func(l []string) []string { return slices.Insert(l, 4, l[3]) }, []string{"duplicated 4 0"}},
			{"torn", func(l []string) []string { l[3] = l[3][:20] + "\n"; return l }, []string{"torn 0 0", "missing 4 1"}},
			{"blank lines", func(l []string) []string { return slices.Insert(l, 3, "\n", " \n") }, nil},
			{"no line break at the end", func(l []string) []string { l[9] = strings.TrimSpace(l[9]); return l }, nil},
			{"an overlong line", func(l []string) []string { return slices.Insert(l, 3, strings.Repeat("x", 2*maxLine)+"\n") }, []string{"torn 0 0"}},
		} {
			t.Run(one.name+map[bool]string{true: ", plain", false: ""}[key == ""], func(t *testing.T) {
				problems, report := found(t, key, one.change(sample(key, 10)))
				require.Equal(t, one.want, problems)
				require.Equal(t, one.want == nil, report.OK())
				require.Empty(t, report.Unclosed)
				require.Empty(t, report.Headless)
				require.Equal(t, 1, report.Chains)
			})
		}
	}
}

func TestVerifyListsChainsWithoutTheirEndOrBeginning(t *testing.T) {
	lines := sample(testKey, 10)
	_, whole := found(t, testKey, lines)
	require.Empty(t, whole.Unclosed)
	problems, cut := found(t, testKey, lines[:7])
	require.Empty(t, problems)
	require.Len(t, cut.Unclosed, 1)
	last := cut.Unclosed[0]
	require.Equal(t, uint64(7), last.Seq)
	require.Equal(t, "test", last.Program)
	require.Equal(t, time.Unix(1_700_000_006, 0).UTC(), last.At)
	require.Contains(t, lines[6], `"mac":"`+last.Head+`"`)
	require.Contains(t, lines[7], `"prev":"`+last.Head+`"`, "the head that the normal log shows")

	problems, headless := found(t, testKey, lines[4:])
	require.Empty(t, problems)
	require.Len(t, headless.Headless, 1)
	require.Equal(t, uint64(5), headless.Headless[0].Seq)
}

func TestVerifyAndTheKey(t *testing.T) {
	problems, _ := found(t, "another key of 16", sample(testKey, 3))
	require.Equal(t, []string{"changed 1 0", "changed 2 0", "changed 3 0"}, problems)
	problems, _ = found(t, "", sample(testKey, 3))
	require.Equal(t, []string{"unchecked 1 0"}, problems)
	problems, _ = found(t, testKey, sample("", 3))
	require.Equal(t, []string{"unsigned 1 0"}, problems, "whoever has no key can write such a chain")

	// A line that was signed for another history, as after a restored backup.
	lines := sample(testKey, 5)
	c := newChain([]byte(testKey))
	c.id = strings.Split(strings.SplitAfter(lines[0], `"chain":"`)[1], `"`)[0]
	c.seq = 2
	lines[2] = string(c.lines([]timed{{Event{Action: "look"}, time.Unix(1_700_000_000, 0)}}))
	problems, _ = found(t, testKey, lines)
	require.Equal(t, []string{"changed 3 0", "changed 4 0"}, problems)
}

func TestVerifyReadsOldLinesAndSeveralChains(t *testing.T) {
	old := `{"at":"2023-11-14T22:13:20Z","actor":"ann","action":"reveal","letters":["orders/0/1/aaaaaaaa"]}` + "\n"
	one, two := sample(testKey, 4), sample(testKey, 4)
	lines := []string{old, one[0], two[0], two[1], one[1], old, one[2], two[2], two[3], one[3]}
	problems, report := found(t, testKey, lines)
	require.Empty(t, problems)
	require.Equal(t, 2, report.Chains)
	require.Equal(t, int64(2), report.Old)
	require.Equal(t, int64(10), report.Lines)
	require.Equal(t, "before line 5: 2 missing, from sequence 3 of chain c", Problem{Kind: Missing, Chain: "c", Seq: 3, Count: 2, Line: 5}.String())
	require.Equal(t, "line 5: torn", Problem{Kind: Torn, Line: 5}.String())
}

func TestProblemsAreBounded(t *testing.T) {
	problems, report := found(t, testKey, slices.Repeat([]string{"x\n"}, maxProblems+7))
	require.Len(t, problems, maxProblems)
	require.Equal(t, int64(7), report.More)
}

func FuzzVerify(f *testing.F) {
	for _, key := range []string{testKey, ""} {
		f.Add([]byte(strings.Join(sample(key, 5), "")), key)
	}
	f.Add([]byte(`{"chain":"x","seq":18446744073709551615,"sum":""}`+"\n"+`{"chain":"x","seq":0}`), "")
	f.Add([]byte("null\n{}\n[]\n\x00"), testKey)
	f.Fuzz(func(t *testing.T, log []byte, key string) {
		report, err := Verify([]byte(key), bytes.NewReader(log))
		require.NoError(t, err)
		require.Equal(t, len(report.Problems) == 0, report.OK())
	})
}
