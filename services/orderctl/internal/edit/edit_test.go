package edit

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const order = `{"order_uid":"a" ,
  "payment": {"amount": 1e2, "bank":"\u0061lpha"},
  "items": [{"price": 1.0}, {"price":2,"name":"x"}],
	"empty": {}, "none": [ ]
}
`

func TestSetLeavesEveryOtherByte(t *testing.T) {
	for assignment, want := range map[string][2]string{
		"payment.amount=1817":          {`1e2`, `1817`},
		"payment.bank=beta":            {`"\u0061lpha"`, `"beta"`},
		`payment.bank="7"`:             {`"\u0061lpha"`, `"7"`},
		"payment.bank=":                {`"\u0061lpha"`, `""`},
		"payment.bank=a<b&c=d":         {`"\u0061lpha"`, `"a<b&c=d"`},
		"payment.note=x":               {`"\u0061lpha"}`, `"\u0061lpha", "note":"x"}`},
		"items[1].price=-3":            {`"price":2`, `"price":-3`},
		"items[1].sale=4":              {`"name":"x"}`, `"name":"x","sale":4}`},
		"empty.a=null":                 {`"empty": {}`, `"empty": {"a":null}`},
		"extra=[1, 2]":                 {`"none": [ ]`, `"none": [ ], "extra": [1, 2]`},
		`payment={"amount": 1}`:        {`{"amount": 1e2, "bank":"\u0061lpha"}`, `{"amount": 1}`},
		"none[0]=1":                    {`[ ]`, `[1 ]`},
		"items[2]={}":                  {`"name":"x"}]`, `"name":"x"}, {}]`},
		"order_uid=b563feb7b2b84b6tes": {`"a"`, `"b563feb7b2b84b6tes"`},
	} {
		e, err := ParseSet(assignment)
		require.NoError(t, err, assignment)
		got, err := Apply([]byte(order), e)
		require.NoError(t, err, assignment)
		require.Equal(t, strings.Replace(order, want[0], want[1], 1), string(got), assignment)
	}
	e, err := ParseSet("items[].price=5")
	require.NoError(t, err)
	got, err := Apply([]byte(order), e)
	require.NoError(t, err)
	require.Equal(t, strings.NewReplacer("1.0", "5", `"price":2`, `"price":5`).Replace(order), string(got))
}

func TestWhatCannotBeSet(t *testing.T) {
	for _, wrong := range []string{"", "a", "=1", "a..b=1", "a[=1", "a[x]=1", "a[0]b=1", "a[-1]=1", ".a=1"} {
		_, err := ParseSet(wrong)
		require.Error(t, err, wrong)
	}
	for assignment, want := range map[string]string{
		"delivery.zip=1":      "delivery: is not there",
		"items[9].price=1":    "there is no element 9",
		"order_uid.x=1":       "order_uid",
		"payment[].amount=1":  "payment: is no array",
		"payment.amount=1e2":  ErrUnchanged.Error(),
		"delivery[].amount=1": "delivery: is not there",
	} {
		e, err := ParseSet(assignment)
		require.NoError(t, err, assignment)
		_, err = Apply([]byte(order), e)
		require.ErrorContains(t, err, want, assignment)
	}
	e, _ := ParseSet("a=1")
	_, err := Apply([]byte("{"), e)
	require.ErrorIs(t, err, ErrNotJSON)
	_, err = Apply([]byte(`{"a":2,"a":3}`), e)
	require.ErrorContains(t, err, "twice")
	for _, scalar := range []string{"7", `"x"`, "[]", "null"} {
		_, err = Apply([]byte(scalar), e)
		require.Error(t, err, scalar)
	}
}

// The examples of RFC 6902, appendix A, and of its rules.
func TestPatch(t *testing.T) {
	for _, c := range []struct{ name, doc, patch, want string }{
		{"A.1", `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux"}]`, `{"foo":"bar","baz":"qux"}`},
		{"A.2", `{"foo":["bar","baz"]}`, `[{"op":"add","path":"/foo/1","value":"qux"}]`, `{"foo":["bar","qux","baz"]}`},
		{"A.3", `{"baz":"qux","foo":"bar"}`, `[{"op":"remove","path":"/baz"}]`, `{"foo":"bar"}`},
		{"A.4", `{"foo":["bar","qux","baz"]}`, `[{"op":"remove","path":"/foo/1"}]`, `{"foo":["bar","baz"]}`},
		{"A.5", `{"baz":"qux","foo":"bar"}`, `[{"op":"replace","path":"/baz","value":"boo"}]`, `{"baz":"boo","foo":"bar"}`},
		{"A.6", `{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}`, `[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]`,
			`{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}`},
		{"A.7", `{"foo":["all","grass","cows","eat"]}`, `[{"op":"move","from":"/foo/1","path":"/foo/3"}]`, `{"foo":["all","cows","eat","grass"]}`},
		{"A.8", `{"baz":"qux","foo":["a",2,"c"]}`, `[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2.0},{"op":"add","path":"/x","value":1}]`,
			`{"baz":"qux","foo":["a",2,"c"],"x":1}`},
		{"A.10", `{"foo":"bar"}`, `[{"op":"add","path":"/child","value":{"grandchild":{}}}]`, `{"foo":"bar","child":{"grandchild":{}}}`},
		{"A.11", `{"foo":"bar"}`, `[{"op":"add","path":"/baz","value":"qux","xyz":123}]`, `{"foo":"bar","baz":"qux"}`},
		{"A.14", `{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":10},{"op":"replace","path":"/~1","value":8}]`, `{"/":8,"~1":10}`},
		{"A.16", `{"foo":["bar"]}`, `[{"op":"add","path":"/foo/-","value":["abc","def"]}]`, `{"foo":["bar",["abc","def"]]}`},
		{"add replaces", `{"a":1}`, `[{"op":"add","path":"/a","value":null}]`, `{"a":null}`},
		{"whole", `{"a":1}`, `[{"op":"replace","path":"","value":[2]}]`, `[2]`},
		{"copy", `{"a":[1],"b":{}}`, `[{"op":"copy","from":"/a","path":"/b/c"}]`, `{"a":[1],"b":{"c":[1]}}`},
		{"copy whole into itself", `{"a":1}`, `[{"op":"copy","from":"","path":"/b"}]`, `{"a":1,"b":{"a":1}}`},
		{"empty name", `{"":1}`, `[{"op":"replace","path":"/","value":2}]`, `{"":2}`},
		{"test of objects", `{"a":{"x":1,"y":[true]},"b":1}`, `[{"op":"test","path":"/a","value":{"y":[true],"x":10e-1}},{"op":"remove","path":"/b"}]`, `{"a":{"x":1,"y":[true]}}`},
		{"pretty", "{\n  \"a\": 1,\n  \"b\": 2\n}", `[{"op":"add","path":"/c","value":3},{"op":"remove","path":"/a"}]`, "{\n  \"b\": 2,\n  \"c\": 3\n}"},
		{"the last of one", `{ "a" : 1 }`, `[{"op":"remove","path":"/a"}]`, `{  }`},
		{"spaced array", `[1, 2, 3]`, `[{"op":"add","path":"/0","value":0},{"op":"remove","path":"/3"}]`, `[0, 1, 2]`},
	} {
		e, err := ParsePatch([]byte(c.patch))
		require.NoError(t, err, c.name)
		got, err := Apply([]byte(c.doc), e)
		require.NoError(t, err, c.name)
		require.Equal(t, c.want, string(got), c.name)
	}
}

func TestWrongPatches(t *testing.T) {
	for _, wrong := range []string{
		``, `{}`, `[]`, `[{}]`, `[{"op":"spam","path":""}]`, `[{"op":"add","path":"/a"}]`, `[{"op":"add","value":1}]`, `[{"op":"move","path":"/a"}]`,
		`[{"op":"remove","path":"a"}]`, `[{"op":"remove","path":"/a~2"}]`, `[{"op":"remove","path":"/a~"}]`, `[{"op":"move","from":"/a","path":"/a/b"}]`,
	} {
		_, err := ParsePatch([]byte(wrong))
		require.Error(t, err, wrong)
	}
	for name, c := range map[string][2]string{
		"A.9":          {`{"baz":"qux"}`, `[{"op":"test","path":"/baz","value":"bar"}]`},
		"A.12":         {`{"foo":"bar"}`, `[{"op":"add","path":"/baz/bat","value":"qux"}]`},
		"A.15":         {`{"/":9,"~1":10}`, `[{"op":"test","path":"/~01","value":"10"}]`},
		"large number": {`{"a":9007199254740993}`, `[{"op":"test","path":"/a","value":9007199254740992},{"op":"replace","path":"/a","value":1}]`},
		"absent":       {`{}`, `[{"op":"replace","path":"/a","value":1}]`},
		"removed":      {`{}`, `[{"op":"remove","path":"/a"}]`},
		"the whole":    {`{}`, `[{"op":"remove","path":""}]`},
		"beyond":       {`[1]`, `[{"op":"add","path":"/2","value":1}]`},
		"leading":      {`[1]`, `[{"op":"replace","path":"/00","value":1}]`},
		"after":        {`[1]`, `[{"op":"replace","path":"/-","value":2}]`},
		"all or none":  {`{"a":1}`, `[{"op":"replace","path":"/a","value":2},{"op":"remove","path":"/b"}]`},
	} {
		e, err := ParsePatch([]byte(c[1]))
		require.NoError(t, err, name)
		_, err = Apply([]byte(c[0]), e)
		require.Error(t, err, name)
	}
}

// Random documents and operations, against a model that decodes and encodes.
func TestPatchesDoAsTheModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		doc := spaced(random, document(random, 3))
		var pointer []string
		for {
			pointer = append(pointer, []string{"a", "b", "0", "1", "-"}[random.IntN(5)])
			if random.IntN(2) == 0 {
				break
			}
		}
		path := "/" + strings.Join(pointer, "/")
		op := []string{"add", "remove", "replace"}[random.IntN(3)]
		patch, err := ParsePatch([]byte(`[{"op":"` + op + `","path":"` + path + `","value":{"new":1}}]`))
		require.NoError(t, err)
		var tree, got any
		require.NoError(t, json.Unmarshal([]byte(doc), &tree))
		want, possible := applied(tree, op, pointer)
		edited, err := Apply([]byte(doc), patch)
		require.Equal(t, possible, err == nil, "%s %s of %s: %v", op, path, doc, err)
		if !possible {
			continue
		}
		require.NoError(t, json.Unmarshal(edited, &got), "%s", edited)
		require.True(t, reflect.DeepEqual(want, got), "%s %s of %s gives %s", op, path, doc, edited)
	}
}

// applied does an operation on a decoded document.
func applied(tree any, op string, pointer []string) (any, bool) {
	value := any(map[string]any{"new": 1.0})
	token, last := pointer[0], len(pointer) == 1
	switch node := tree.(type) {
	case map[string]any:
		child, there := node[token]
		switch {
		case !last && there:
			made, ok := applied(child, op, pointer[1:])
			node[token] = made
			return node, ok
		case !last, op != "add" && !there:
			return nil, false
		case op == "remove":
			delete(node, token)
		default:
			node[token] = value
		}
		return node, true
	case []any:
		n, err := strconv.Atoi(token)
		if token == "-" && last && op == "add" {
			return append(node, value), true
		}
		if err != nil || n > len(node) || n == len(node) && (op != "add" || !last) {
			return nil, false
		}
		switch {
		case !last:
			made, ok := applied(node[n], op, pointer[1:])
			node[n] = made
			return node, ok
		case op == "remove":
			return append(node[:n:n], node[n+1:]...), true
		case op == "replace":
			node[n] = value
			return node, true
		}
		return append(node[:n:n], append([]any{value}, node[n:]...)...), true
	}
	return nil, false
}

func document(random *rand.Rand, depth int) string {
	switch kind := random.IntN(6); {
	case depth == 0 || kind < 2:
		return []string{"1", `"}]{[,\""`, "null", "-1.5e3", "true"}[random.IntN(5)]
	case kind < 4:
		var parts []string
		for _, name := range []string{"a", "b", "0"}[:random.IntN(4)] {
			parts = append(parts, `"`+name+`":`+document(random, depth-1))
		}
		return "{" + strings.Join(parts, ",") + "}"
	default:
		var parts []string
		for range random.IntN(4) {
			parts = append(parts, document(random, depth-1))
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
}

// spaced puts white space where it may be.
func spaced(random *rand.Rand, doc string) string {
	var b strings.Builder
	inText := false
	for i := range len(doc) {
		if doc[i] == '"' && (i == 0 || doc[i-1] != '\\') {
			inText = !inText
		}
		b.WriteByte(doc[i])
		if !inText && strings.IndexByte("{[,:]}", doc[i]) >= 0 {
			b.WriteString([]string{"", " ", "\n\t"}[random.IntN(3)])
		}
	}
	return b.String()
}

func TestDiff(t *testing.T) {
	before := `{"delivery":{"name":"Ann","zip":"1"},"items":[{"name":"Mascara","price":1}],"old":[]}`
	after := `{"delivery":{"name":"Bob","zip":"1","phone":"+49"},"items":[{"name":"Lipstick","price":1}],"new":true}`
	require.Equal(t, []Change{
		{"delivery.name", `"***"`, `"***"`}, {"items[0].name", `"***"`, `"***"`}, {"old", "[]", ""},
		{"delivery.phone", "", `"***"`}, {"new", "", "true"},
	}, Diff([]byte(before), []byte(after), false))
	require.Contains(t, Diff([]byte(before), []byte(after), true), Change{"delivery.name", `"Ann"`, `"Bob"`})
	require.Empty(t, Diff([]byte(before), []byte(before), false))
	broken := Diff([]byte(`{"name": "Ann"`), []byte(`{"name": "Ann"}`), false)
	require.Len(t, broken, 1)
	require.NotContains(t, broken[0].Before+broken[0].After, "Ann")
}

func TestForEditor(t *testing.T) {
	for _, value := range []string{`{"a":[1,"b c"],"d":1.0}`, `{"a": 1}`, "{\n}\n", "{\n}", "{", "", "\xff", "[]\r\n",
		"\ufeff{}", "{\"a\":\"b\u200b\"}", "\u2060{}\u200b\n", "\x00\x00\x00\x00\x0c{}", `{"a":"<U+200B>"}`, "{\"a\":\"<U+200B>\u200b\"}", "\U000e0041{}"} {
		shown, back := ForEditor([]byte(value))
		require.Equal(t, value, string(back(shown)), "saved as it was")
	}
	shown, back := ForEditor([]byte(`{"a":1,"b":"<\u0041"}`))
	require.Equal(t, "{\n  \"a\": 1,\n  \"b\": \"<\\u0041\"\n}\n", string(shown))
	require.Equal(t, `{"a":2,"b":"<\u0041"}`, string(back([]byte(strings.Replace(string(shown), "1,", "2,", 1)))))
	require.Equal(t, `{"a":`, string(back([]byte("{\"a\":\n"))))
	shown, back = ForEditor([]byte("\u200b{\"a\":\"b\u202e👨\u200d👩\"}"))
	require.Equal(t, "<U+200B>{\"a\":\"b<U+202E>👨\u200d👩\"}\n", string(shown))
	require.Equal(t, "{\"a\":\"b\u202e👨\u200d👩\"}", string(back(shown[len("<U+200B>"):])))
}
