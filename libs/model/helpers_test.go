package model

import (
	"crypto/sha256"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	// A failing property prints how to run it again; no file is needed.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func hashPlainly(canonical []byte) Hash {
	return sha256.Sum256(append([]byte{1}, canonical...))
}

// sampleOrder is an order like the sample.
func sampleOrder() *Order {
	return &Order{
		OrderUID: "b563feb7b2b84b6test", TrackNumber: "WBILMTESTTRACK", Entry: "WBIL",
		Delivery: &Delivery{
			Name: "Test Testov", Phone: "+9720000000", Zip: "2639809", City: "Kiryat Mozkin",
			Address: "Ploshad Mira 15", Region: "Kraiot", Email: "test@gmail.com",
		},
		Payment: &Payment{
			Transaction: "b563feb7b2b84b6test", Currency: "USD", Provider: "wbpay", Amount: 1817,
			PaymentDT: 1637907727, Bank: "alpha", DeliveryCost: 1500, GoodsTotal: 317,
		},
		Items: []Item{{
			ChrtID: 9934930, TrackNumber: "WBILMTESTTRACK", Price: 453, RID: "ab4219087a764ae0btest",
			Name: "Mascaras", Sale: 30, Size: "0", TotalPrice: 317, NmID: 2389212, Brand: "Vivienne Sabo", Status: 202,
		}},
		Locale: "en", CustomerID: "test", DeliveryService: "meest", Shardkey: "9", SmID: 99,
		DateCreated: time.Date(2021, 11, 26, 6, 22, 19, 0, time.UTC), OofShard: "1",
	}
}

// sampleRecord is the sample in its canonical form.
func sampleRecord() string { return string(AppendCanonical(nil, sampleOrder())) }

// edit replaces pairs of texts in the sample's record, each being there once.
func edit(t testing.TB, pairs ...string) []byte {
	t.Helper()
	record := sampleRecord()
	for i := 0; i < len(pairs); i += 2 {
		require.Equal(t, 1, strings.Count(record, pairs[i]), "%s in the sample", pairs[i])
		record = strings.Replace(record, pairs[i], pairs[i+1], 1)
	}
	return []byte(record)
}

func recordError(t testing.TB, err error) *RecordError {
	t.Helper()
	var re *RecordError
	require.ErrorAs(t, err, &re)
	require.NotEmpty(t, re.Errors)
	return re
}

// brief gives failures as "path rule".
func brief(failures []FieldError) []string {
	out := make([]string, len(failures))
	for i, f := range failures {
		out[i] = strings.TrimSpace(f.Path + " " + f.Rule)
	}
	return out
}

func briefOf(err error) []string {
	var re *RecordError
	if errors.As(err, &re) {
		return brief(re.Errors)
	}
	return nil
}
