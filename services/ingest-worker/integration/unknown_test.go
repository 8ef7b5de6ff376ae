package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// anyMembers are the members of a JSON object, each before a comma.
func anyMembers(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		members := ""
		for name := range rapid.MapOfN(rapid.StringMatching(`x[a-zA-Z0-9 é€😀\\"/<-]{0,6}`), rapid.Just(true), 0, 3).Draw(t, "names") {
			quoted, _ := json.Marshal(name)
			members += string(quoted) + ":" + anyValue(depth).Draw(t, "value") + ","
		}
		return members
	})
}

func anyValue(depth int) *rapid.Generator[string] {
	scalar := rapid.OneOf(
		rapid.SampledFrom([]string{"null", "true", "false", "-0", "-0.00", "0e-3", "1.50e1", "5e-324", "1e308", `"\u001f\/\ud83d\ude00"`, "9007199254740993", `{"a":1,"payment":{"transaction":"x","request_id":"y"}}`}),
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,6})?([eE][+-]?[0-9]{1,2})?`),
		rapid.Map(rapid.StringMatching(`[^\x00]{0,8}`), func(text string) string { quoted, _ := json.Marshal(text); return string(quoted) }),
	)
	if depth == 0 {
		return scalar
	}
	object := rapid.Map(anyMembers(depth-1), func(members string) string { return "{ " + strings.TrimSuffix(members, ",") + "\t}" })
	array := rapid.Map(rapid.SliceOfN(anyValue(depth-1), 0, 3), func(values []string) string { return "[" + strings.Join(values, " ,") + "]" })
	return rapid.OneOf(scalar, object, array)
}

// Unknown fields that are kept are the same in the record and in the tables, whatever they
// are. However the setting is switched, a record that is read again is a duplicate; another
// one is a conflict if the fields were kept both times.
func TestUnknownFieldsAreKept(t *testing.T) {
	b := database(t)
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 2})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	modes := map[string]*model.Codec{"drop": model.New(model.Options{}), "keep": model.New(model.Options{KeepUnknown: true})}
	store := func(t *rapid.T, mode, value string) *ingest.Record {
		codec := modes[mode]
		record := ingest.NewDecoder(codec, nil).Decode(deadletter.Source{Value: []byte(value)})
		require.NoError(t, ingest.Store(b.ctx, orderwrite.New(db, orderwrite.Options{Timeout: deadline, Differs: codec.Differs}), []*ingest.Record{record}))
		return record
	}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		uid := fmt.Sprintf("unknown-%d", n)
		members := anyMembers(2)
		value := string(order(b.t, uid, "a"))
		for _, first := range []string{"customer_id", "address", "amount", "brand"} { // of the order and its parts
			require.Contains(t, value, `{"`+first)
			value = strings.Replace(value, `{"`+first, `{`+members.Draw(t, first)+`"`+first, 1)
		}
		first, second := rapid.SampledFrom([]string{"drop", "keep"}).Draw(t, "first"), rapid.SampledFrom([]string{"drop", "keep"}).Draw(t, "second")
		stored := store(t, first, value)
		require.Equal(t, ingest.Stored, stored.Outcome(), "%v", stored.Cause())
		rows, err := orderdb.Read(b.ctx, db, []string{uid})
		require.NoError(t, err)
		require.Equal(t, string(model.AppendCanonical(nil, stored.Order())), string(model.AppendCanonical(nil, rows[uid].Order)))
		require.Equal(t, first == "keep", len(rows[uid].ContentHash) == 64)

		changedByHand := rapid.Bool().Draw(t, "changed by hand")
		if changedByHand {
			_, err = db.ExecContext(b.ctx, `UPDATE orders SET locale = 'de' WHERE order_uid = ?`, uid)
			require.NoError(t, err)
		}
		require.Equal(t, ingest.Duplicate, store(t, second, value).Outcome(), "%s, then %s", first, second)
		if _, err = db.ExecContext(b.ctx, `UPDATE orders SET locale = 'en', content_hash = NULL WHERE order_uid = ?`, uid); err != nil {
			require.NoError(t, err)
		}
		require.Equal(t, ingest.Duplicate, store(t, second, value).Outcome(), "compared by its rows")
		other := store(t, second, strings.Replace(value, `"order_uid"`, `"z":1,"order_uid"`, 1))
		if first == "keep" && second == "keep" {
			require.Equal(t, ingest.DeadLetter, other.Outcome())
			require.Equal(t, "z", other.Cause().Errors[0].Path)
		} else {
			require.Equal(t, ingest.Duplicate, other.Outcome())
		}
	})
}

// The newest record's unknown fields replace those of the one before, whichever comes first.
func TestTheNewestUnknownFieldsReplaceOlderOnes(t *testing.T) {
	b := database(t)
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 2})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	codec := model.New(model.Options{KeepUnknown: true})
	writer := orderwrite.New(db, orderwrite.Options{Timeout: deadline, Differs: codec.Differs, Versions: orderwrite.Versions{Newest: true, Kept: 10}})
	values := []string{`{`, `{"x":1,`, `{"x":{"y":[1.50e1]},"z":null,`, `{"z":null,`}
	for uid, sequence := range map[string][]int{"forwards": {0, 1, 2, 3}, "backwards": {3, 2, 1, 0}, "again": {2, 0, 3, 3, 1, 2}} {
		var newest *ingest.Record
		for _, n := range sequence {
			value := strings.NewReplacer(`{"customer_id"`, values[n]+`"customer_id"`, `{"brand"`, values[n]+`"brand"`).Replace(string(order(t, uid, "a")))
			record := ingest.NewDecoder(codec, nil).Decode(deadletter.Source{Topic: "orders", Value: []byte(value), Offset: int64(n), Timestamp: time.UnixMilli(1_700_000_000_000 + int64(n))})
			require.NoError(t, ingest.Store(b.ctx, writer, []*ingest.Record{record}))
			require.Nil(t, record.Cause(), "%s %d", uid, n)
			if n == 3 {
				newest = record
			}
		}
		rows, err := orderdb.Read(b.ctx, db, []string{uid})
		require.NoError(t, err)
		require.Equal(t, string(model.AppendCanonical(nil, newest.Order())), string(model.AppendCanonical(nil, rows[uid].Order)), uid)
		require.Len(t, rows[uid].ContentHash, 64)
	}
}
