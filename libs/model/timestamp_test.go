package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParseTime(t *testing.T) {
	for in, want := range map[string]string{
		"2021-11-26T06:22:19Z":                "2021-11-26T06:22:19Z",
		"2021-11-26T06:22:19.5Z":              "2021-11-26T06:22:19.5Z",
		"2021-11-26T06:22:19.123456Z":         "2021-11-26T06:22:19.123456Z",
		"2021-11-26T06:22:19.1234569Z":        "2021-11-26T06:22:19.123456Z",
		"2021-11-26T06:22:19.0000001Z":        "2021-11-26T06:22:19Z",
		"2021-11-26T06:22:19.10Z":             "2021-11-26T06:22:19.1Z",
		"2021-11-26T06:22:19.0100000000000Z":  "2021-11-26T06:22:19.01Z",
		"2021-11-26T06:22:19+00:00":           "2021-11-26T06:22:19Z",
		"2021-11-26t06:22:19z":                "2021-11-26T06:22:19Z",
		"2021-11-26t06:22:19.5+03:00":         "2021-11-26T03:22:19.5Z",
		"2016-12-31T23:59:60Z":                "2017-01-01T00:00:00Z",
		"2016-12-31T23:59:60.25Z":             "2017-01-01T00:00:00.25Z",
		"1990-12-31T15:59:60-08:00":           "1991-01-01T00:00:00Z",
		"2021-11-26T06:22:19-00:00":           "2021-11-26T06:22:19Z",
		"2021-11-26T06:22:19+23:59":           "2021-11-25T06:23:19Z",
		"2021-11-26T06:22:19.000001-23:59":    "2021-11-27T06:21:19.000001Z",
		"2024-02-29T23:59:59-01:00":           "2024-03-01T00:59:59Z",
		"2000-02-29T00:00:00Z":                "2000-02-29T00:00:00Z",
		"0000-12-31T23:59:59.999999999-00:01": "0001-01-01T00:00:59.999999Z",
		"9999-12-31T23:59:59.999999999Z":      "9999-12-31T23:59:59.999999Z",
	} {
		got, ok := ParseTime(in)
		require.True(t, ok, in)
		require.Equal(t, want, string(appendTime(nil, got)), in)
		require.Equal(t, time.UTC, got.Location())
	}
	for _, in := range []string{
		"", "2021-11-26", "2021-11-26T06:22Z", "2021-11-26T06:22:19", "2021-11-26 06:22:19Z",
		"2021-11-26T06:22:19,5Z", "2021-11-26T06:22:19.Z", "2021-11-26T24:00:00Z", "2021-11-26T06:60:19Z", "2016-12-30T23:59:60Z", "2016-12-31T23:58:60Z", "2016-12-31T23:59:61Z", "2016-12-31T23:59:60+01:00",
		"2021-11-26T06:22:19+24:00", "2021-11-26T06:22:19+00:60", "2021-11-26T06:22:19+0000", "2021-11-26T06:22:19+00", "2021-11-26T06:22:19+00:00Z",
		"2021-11-26T6:22:19Z", "2021-00-26T06:22:19Z", "2021-13-26T06:22:19Z", "2021-11-00T06:22:19Z", "2021-11-31T06:22:19Z", "2021-02-29T06:22:19Z",
		"1900-02-29T00:00:00Z", "12021-11-26T06:22:19Z", "-021-11-26T06:22:19Z", "2021-11-26T06:22:19Z ", " 2021-11-26T06:22:19Z", "2021/11/26T06:22:19Z",
		"2021-11-26T06:22:1aZ", "2021-11-26T06:22:19\u2212 1:00", "20\xff1-11-26T06:22:19Z", "2021-11-26T06:22:19.5+1:000",
	} {
		_, ok := ParseTime(in)
		require.False(t, ok, in)
	}
}

// TestParseTimeAgainstTimePackage: whatever is accepted, time.Parse reads alike.
func TestParseTimeAgainstTimePackage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`\d{4}-(0\d|1[0-3])-[0-3]\d[T ][0-2]\d:[0-6]\d:[0-6]\d([.,]\d{0,10})?(Z|[+-][0-2]\d:[0-6]\d)`).Draw(t, "time")
		got, ok := ParseTime(s)
		want, err := time.Parse(time.RFC3339Nano, s)
		if ok && s[17:19] != "60" {
			require.NoError(t, err)
			require.True(t, toMicrosecond(want).Equal(got), "%s: %s", s, got)
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		want := anyTime().Filter(func(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }).Draw(t, "time")
		want = want.Truncate(time.Minute).Add(time.Duration(want.Nanosecond()))
		_, offset := want.Zone()
		want = want.In(time.FixedZone("", offset/60*60)) // RFC 3339 has no seconds there
		if want.Year() < 0 || want.Year() > 9999 {
			return
		}
		got, ok := ParseTime(want.Format(time.RFC3339Nano))
		require.True(t, ok, want)
		require.True(t, toMicrosecond(want).Equal(got), "%s: %s", want, got)
	})
}
