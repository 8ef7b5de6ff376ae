package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func readJSON[T any](tb testing.TB, name string) (value T) {
	tb.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(tb, err)
	require.NoError(tb, json.Unmarshal(data, &value))
	return value
}

func TestStampsAreTotallyOrdered(t *testing.T) {
	stamps := readJSON[[]*Stamp](t, "stamps.json") // from the oldest to the newest
	for i, a := range stamps {
		for j, b := range stamps {
			require.Equal(t, i > j, a.NewerThan(b), "%d, %d", i, j)
			require.Equal(t, i == j, a.Compare(b) == 0, "%d, %d", i, j)
		}
	}
}

func TestARecordHasItsOwnVersion(t *testing.T) {
	type vector struct {
		About, Field, Member, Path, Rule string
		Reason                           Reason
		Version                          *int64
	}
	for _, v := range readJSON[[]vector](t, "versions.json") {
		t.Run(v.About, func(t *testing.T) {
			require.True(t, IsFieldPath(v.Field))
			record := slices.Concat([]byte("{"), []byte(v.Member), []byte(","), readSample(t, "model.json")[1:])
			for _, opts := range []Options{{VersionField: v.Field}, {VersionField: v.Field, RejectUnknown: v.Member != `"x":1` && v.Version != nil}} {
				decoded, err := New(opts).Decode(record)
				if v.Reason == "" {
					require.NoError(t, err)
					require.Equal(t, v.Version, decoded.Version)
					continue
				}
				var refused *RecordError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, v.Reason, refused.Reason)
				require.Len(t, refused.Errors, 1)
				require.Equal(t, v.Path, refused.Errors[0].Path)
				require.Equal(t, v.Rule, refused.Errors[0].Rule)
			}
		})
	}
}

// A version that is missing does not hide what else is wrong, and is not named twice.
func TestAMissingVersionIsOneFailureAmongOthers(t *testing.T) {
	_, err := New(Options{VersionField: "sm_id"}).Decode([]byte(`{"order_uid":"x"}`))
	var refused *RecordError
	require.ErrorAs(t, err, &refused)
	count := 0
	for _, f := range refused.Errors {
		if f.Path == "sm_id" {
			count++
		}
	}
	require.Equal(t, 1, count)
	require.Greater(t, len(refused.Errors), 5)
}

func TestAFieldPathHasNamesAndPoints(t *testing.T) {
	for _, path := range []string{"", ".", "a.", ".a", "a..b", "items[0].price", "a b", "?", "a?"} {
		require.False(t, IsFieldPath(path), path)
	}
	require.True(t, IsFieldPath("aggregate_version-number.$seq"))
}

func TestADeletionHasItsVersionInAHeader(t *testing.T) {
	c := New(Options{VersionField: "version"})
	read := func(text string) (*int64, *RecordError) {
		return c.DeletionVersion(func(name string) []byte {
			require.Equal(t, "version", name)
			return []byte(text)
		})
	}
	for text, version := range map[string]int64{"7": 7, "-7": -7, "2026-11-30T13:00:00.000001+03:00": 1796032800000001} {
		v, refused := read(text)
		require.Nil(t, refused, text)
		require.Equal(t, version, *v, text)
	}
	for _, text := range []string{"", "x", "1.5", "9223372036854775808", "2026-11-30"} {
		_, refused := read(text)
		require.Equal(t, "version", refused.Errors[0].Path, text)
	}
	v, refused := New(Options{}).DeletionVersion(nil)
	require.Nil(t, v)
	require.Nil(t, refused)
}
