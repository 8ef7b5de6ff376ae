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
