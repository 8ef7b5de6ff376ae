package mask

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJSON(t *testing.T) {
	for value, want := range map[string]string{
		`{"delivery": {"name" : "Ann", "PHONE":12, "zip":"1", "email":"", "address":null}}`: `{"delivery": {"name" : "***", "PHONE":"***", "zip":"1", "email":"", "address":null}}`,
		`{"items":[{"name":"Mascaras"}], "name":{"first":["Ann",1,true]}}`:                  `{"items":[{"name":"Mascaras"}], "name":{"first":["***","***",true]}}`,
		`[{"a":{"Email":"x@y"}}]`: `[{"a":{"Email":"***"}}]`,
		`7`:                       `7`,
	} {
		require.Equal(t, want, string(Value([]byte(value))))
	}
}

// What is no JSON keeps its length, so that places in it stay right.
func TestText(t *testing.T) {
	for value, want := range map[string]string{
		`{"name": "An\"n`:                 `{"name": "***"*`,
		`{name: Ann, phone='+49 1'}`:      `{name: ***, phone='*****'}`,
		`call +49 123 4567, a@b.de x`:     `call ************, ****** x`,
		`nothing of a person: 1637907727`: `nothing of a person: 1637907727`,
	} {
		require.Equal(t, want, string(Value([]byte(value))))
	}
	escaped := string(Value([]byte(`{\"email\":\"ann@x.y\"} {`)))
	require.NotContains(t, escaped, "ann")
	require.Len(t, escaped, 25)
}

func TestHeadersAndMessages(t *testing.T) {
	for name, want := range map[string]string{"customer-name": "*****", "X-Email": "*****", "phone": "*****", "trace": "abc d", "renamed": "abc d"} {
		require.Equal(t, want, string(Header(name, []byte("abc d"))), name)
	}
	require.Equal(t, "from ********* here", string(Header("trace", []byte("from ann@x.org here"))))
	require.Equal(t, `no number: "***" at "***"`, Message(`no number: "Ann Other" at 'delivery.name'`))
}

func TestPersonalNames(t *testing.T) {
	require.True(t, Personal([]string{"delivery", "Name", "first"}))
	require.False(t, Personal([]string{"items", "0", "name"}))
	require.True(t, Personal([]string{"email", "items"}))
	require.True(t, PersonalPath("delivery.phone"))
	require.False(t, PersonalPath("items[0].name"))
}
