package jsonsplit_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/services/orderctl/internal/jsonsplit"
)

// describe gives a value as line:column and text, a broken one with the place
// and reason of its fault.
func describe(v jsonsplit.Value) string {
	s := fmt.Sprintf("%d:%d %s", v.Line, v.Column, v.Raw)
	if v.Broken != nil {
		s += fmt.Sprintf(" !%d:%d %s", v.Broken.Line, v.Broken.Column, v.Broken.Message)
	}
	return s
}

func split(t *testing.T, r io.Reader) []string {
	t.Helper()
	var got []string
	s := jsonsplit.New(r)
	for {
		v, err := s.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		require.NoError(t, err)
		got = append(got, describe(v))
		require.Less(t, len(got), 1000, "the splitter does not move on")
	}
}

func TestSplit(t *testing.T) {
	for name, c := range map[string]struct {
		input string
		want  []string
	}{
		"nothing":                {"", nil},
		"white space":            {" \n\t\r\n ", nil},
		"an object":              {`{"a":1}`, []string{`1:1 {"a":1}`}},
		"an object, pretty":      {"{\n  \"a\": 1\n}\n", []string{"1:1 {\n  \"a\": 1\n}"}},
		"JSON lines":             {"{\"a\":1}\n{\"a\":2}\n", []string{`1:1 {"a":1}`, `2:1 {"a":2}`}},
		"JSON lines, CRLF":       {"{\"a\":1}\r\n\r\n{\"a\":2}\r\n", []string{`1:1 {"a":1}`, `3:1 {"a":2}`}},
		"objects on one line":    {`{"a":"ä"} {"b":2}{"c":3}`, []string{`1:1 {"a":"ä"}`, `1:11 {"b":2}`, `1:18 {"c":3}`}},
		"pretty objects":         {"{\n \"a\": 1\n}\n{\n \"a\": 2\n}", []string{"1:1 {\n \"a\": 1\n}", "4:1 {\n \"a\": 2\n}"}},
		"an array":               {`[{"a":1},{"a":2}]`, []string{`1:2 {"a":1}`, `1:10 {"a":2}`}},
		"an array, pretty":       {"[\n  {\n    \"a\": 1\n  },\n  {}\n]\n", []string{"2:3 {\n    \"a\": 1\n  }", "5:3 {}"}},
		"an empty array":         {"[ ]", nil},
		"arrays a line":          {"[{}]\n[{}]", []string{"1:2 {}", "2:2 {}"}},
		"an array in an array":   {"[[1]]", []string{"1:2 [1]"}},
		"a byte order mark":      {"\xEF\xBB\xBF{}", []string{"1:1 {}"}},
		"numbers untouched":      {`{"a":1.00e+2}`, []string{`1:1 {"a":1.00e+2}`}},
		"duplicate names":        {`{"a":1,"a":2}`, []string{`1:1 {"a":1,"a":2}`}},
		"invalid UTF-8":          {"{\"a\":\"\xff\"} {}", []string{"1:1 {\"a\":\"\xff\"}", "1:11 {}"}},
		"no objects":             {"1 null\n\"x\"", []string{"1:1 1", "1:3 null", `2:1 "x"`}},
		"garbage":                {"hello\n{}", []string{"1:1 hello !1:1 invalid character 'h' at start of value", "2:1 {}"}},
		"garbage after a value":  {"{} x\n{}", []string{"1:1 {}", "1:4 x !1:4 invalid character 'x' at start of value", "2:1 {}"}},
		"a line cut off":         {"{\"a\":1\n{\"a\":2}\n", []string{`1:1 {"a":1 !1:7 the value does not end`, `2:1 {"a":2}`}},
		"a line cut in a member": {"{\"a\":\n{\"a\":2}\n{}\n", []string{`1:1 {"a": !1:6 the value does not end`, `2:1 {"a":2}`, "3:1 {}"}},
		"a line cut in a text":   {"{\"a\":\"x\n{}", []string{"1:1 {\"a\":\"x !1:8 invalid character '\\n' in string (expecting non-control character)", "2:1 {}"}},
		"the last line cut off":  {"{}\n{\"a\":", []string{"1:1 {}", `2:1 {"a": !2:6 the value does not end`}},
		"a wrong literal":        {"{\"ä\": tru}\n{}", []string{"1:1 {\"ä\": tru} !1:10 invalid character '}' in literal true (expecting 'e')", "2:1 {}"}},
		"a broken pretty object": {"{\n  \"a\": 1\n  \"b\": {\n  }\n}\n{}", []string{"1:1 {\n  \"a\": 1\n  \"b\": {\n  }\n} !3:3 invalid character '\"' after object value (expecting ',' or '}')", "6:1 {}"}},
		"a broken element": {"[\n  {\n    \"a\": x\n  },\n  {\n    \"a\": 2\n  }\n]", []string{
			"2:3 {\n    \"a\": x\n  } !3:10 invalid character 'x' at start of value", "5:3 {\n    \"a\": 2\n  }"}},
		"a broken element in a line": {`[{"a":1},{"a":x},{"a":3}]`, []string{`1:2 {"a":1}`, `1:10 {"a":x},{"a":3}] !1:15 invalid character 'x' at start of value; nothing after it was read`}},
		"an array without its end":   {"[{},\n", []string{"1:2 {}", "2:1  !2:1 the value does not end; nothing after it was read"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, c.want, split(t, strings.NewReader(c.input)))
			require.Equal(t, c.want, split(t, iotest.OneByteReader(strings.NewReader(c.input))), "read byte by byte")
		})
	}
}

func TestUTF16(t *testing.T) {
	for _, mark := range []string{"\xFF\xFE", "\xFE\xFF"} {
		_, err := jsonsplit.New(strings.NewReader(mark + "{\x00}\x00")).Next()
		require.ErrorIs(t, err, jsonsplit.ErrUTF16)
	}
}

func TestReadErrorIsTold(t *testing.T) {
	broken := errors.New("disk on fire")
	s := jsonsplit.New(io.MultiReader(strings.NewReader(`{"a":1} {"b"`), iotest.ErrReader(broken)))
	v, err := s.Next()
	require.NoError(t, err)
	require.Equal(t, `{"a":1}`, string(v.Raw))
	_, err = s.Next()
	require.ErrorIs(t, err, broken)
}

// endless repeats a line without end.
type endless struct {
	line []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.line[e.at:])
	e.at = (e.at + n) % len(e.line)
	return n, nil
}

func TestFileLargerThanMemoryIsStreamed(t *testing.T) {
	line := []byte(`{"text":"` + strings.Repeat("x", 1000) + `"}` + "\n")
	const count = 40_000 // 40 MB, which MaxValueBytes does not bound
	s := jsonsplit.New(io.LimitReader(&endless{line: line}, count*int64(len(line))))
	for i := range count {
		v, err := s.Next()
		if err != nil || v.Line != i+1 || !bytes.Equal(v.Raw, line[:len(line)-1]) {
			t.Fatalf("value %d: line %d, %d bytes, %v", i, v.Line, len(v.Raw), err)
		}
	}
	_, err := s.Next()
	require.Equal(t, io.EOF, err)
}

func TestValueWithoutEndIsRefused(t *testing.T) {
	_, err := jsonsplit.New(io.MultiReader(strings.NewReader(`{"text":"`), &endless{line: bytes.Repeat([]byte("x"), 1<<16)})).Next()
	require.ErrorIs(t, err, jsonsplit.ErrTooLarge)
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n{\"a\":"))
	f.Add([]byte("[{},\n {x}\n]"))
	f.Fuzz(func(t *testing.T, input []byte) {
		s := jsonsplit.New(bytes.NewReader(input))
		for n := 0; ; n++ {
			v, err := s.Next()
			if err != nil {
				return
			}
			if n > len(input) {
				t.Fatal("the splitter does not move on")
			}
			if !bytes.Contains(input, v.Raw) {
				t.Fatalf("%q does not stand in the file", v.Raw)
			}
		}
	})
}
