package letter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

func TestParse(t *testing.T) {
	_, err := ParseStatus("closed")
	require.ErrorContains(t, err, `not "closed"`)
	for _, text := range []string{"-1d", "1e9d", "NaNd", "d", "-2h", "soon"} {
		_, err := ParseAge(text)
		require.Error(t, err, text)
	}
	age, err := ParseAge("1.5d")
	require.NoError(t, err)
	require.Equal(t, 36*time.Hour, age)
	for _, text := range []string{"a", "5-a", "-", "--1", "9223372036854775808"} {
		low, high, err := ParseOffsets(text)
		if text == "-" {
			require.NoError(t, err)
			require.Nil(t, low)
			require.Nil(t, high)
			continue
		}
		require.Error(t, err, text)
	}
}

func TestFiltersOfCauses(t *testing.T) {
	failed := func(failures ...model.FieldError) Letter {
		return Parse(recordOf(deadletter.New(deadletter.Source{Topic: "orders"}, deadletter.Cause{Reason: "invalid", Errors: failures}, "g", at)))
	}
	price := failed(model.FieldError{Path: "items[3].price", Rule: "min"}, model.FieldError{Path: "locale", Rule: "bcp47"})
	bare := failed()
	for _, c := range []struct {
		filter      Filter
		price, bare bool
	}{
		{Filter{Failure: &Failure{"min", "items[].price"}}, true, false},
		{Filter{Failure: &Failure{"bcp47", "items[].price"}}, false, false},
	} {
		require.Equal(t, c.price, c.filter.Matches(&price))
		require.Equal(t, c.bare, c.filter.Matches(&bare))
	}
}
