package model

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestValidOrdersGoRound(t *testing.T) {
	c := New(Options{})
	rapid.Check(t, func(t *rapid.T) {
		o := validOrder().Draw(t, "order")
		require.Empty(t, c.Validate(o))
		canonical := AppendCanonical(nil, o)
		decoded, err := c.Decode(canonical)
		require.NoError(t, err)
		require.Equal(t, o, decoded.Order)
		require.Empty(t, Diff(o, decoded.Order))
		require.Equal(t, canonical, AppendCanonical(nil, decoded.Order))
		require.Equal(t, hashPlainly(canonical), ContentHash(canonical))
	})
}

// TestCanonicalIsJSON: every order, whatever is in it, gives JSON that
// encoding/json reads as the same order.
func TestCanonicalIsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyOrder().Draw(t, "order")
		canonical := AppendCanonical([]byte("prefix"), o)[len("prefix"):]
		require.True(t, utf8.Valid(canonical))
		require.True(t, json.Valid(canonical))
		read, ok := FromCanonical(canonical)
		if !strings.Contains(string(canonical), `\u0000`) { // which the tables cannot hold
			require.Equal(t, isInYearRange(o.DateCreated) && !o.DateCreated.IsZero(), ok)
		}
		if !isInYearRange(o.DateCreated) {
			return
		}
		if ok {
			require.Equal(t, string(canonical), string(AppendCanonical(nil, read)))
			for name, want := range deliveryTexts(read) {
				if text, ok := DeliveryText(canonical, name); ok {
					require.Equal(t, want, string(text))
				} else {
					require.True(t, read.Delivery == nil || strings.Contains(string(canonical), `\`), name)
				}
			}
		}
		var back Order
		require.NoError(t, json.Unmarshal(canonical, &back))
		require.Equal(t, string(canonical), string(AppendCanonical(nil, &back)))
		var plain struct {
			DateCreated string `json:"date_created"`
		}
		require.NoError(t, json.Unmarshal(canonical, &plain))
		require.Equal(t, toMicrosecond(o.DateCreated).Format(time.RFC3339Nano), plain.DateCreated)
	})
}

func deliveryTexts(o *Order) map[string]string {
	d := o.Delivery
	if d == nil {
		d = new(Delivery)
	}
	return map[string]string{"name": d.Name, "phone": d.Phone, "zip": d.Zip, "city": d.City, "address": d.Address, "region": d.Region, "email": d.Email}
}

// TestChecksAgreeWithValidator: the compiled checks and validator/v10 find the
// same orders valid.
func TestChecksAgreeWithValidator(t *testing.T) {
	c := New(Options{MaxItems: 5})
	rapid.Check(t, func(t *rapid.T) {
		o := anyOrder().Draw(t, "order")
		failures := c.ruleFailures(o)
		require.Equal(t, len(failures) == 0, c.checks.surelyValid(o, 5), "%v", failures)

		sorted := slices.Clone(failures)
		sortFailures(sorted)
		require.Equal(t, failures, sorted, "validator's order is the canonical one")
		for _, f := range failures {
			require.NotEmpty(t, f.Path)
			require.False(t, strings.HasPrefix(f.Message, "breaks the rule"), f.Rule)
		}
	})
}

func TestDiffAgreesWithCanonical(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := anyOrder().Draw(t, "a")
		b := clone(a)
		if rapid.Bool().Draw(t, "other") {
			b = anyOrder().Draw(t, "b")
		} else {
			texts, numbers := members(b)
			*texts[rapid.IntRange(0, len(texts)-1).Draw(t, "text")] = anyText().Draw(t, "to")
			*numbers[rapid.IntRange(0, len(numbers)-1).Draw(t, "number")] = anyNumber().Draw(t, "to")
		}
		for _, o := range []*Order{a, b} { // what is not UTF-8 looks alike in JSON
			texts, _ := members(o)
			for _, at := range texts {
				*at = strings.ToValidUTF8(*at, "?")
			}
		}
		same := string(AppendCanonical(nil, a)) == string(AppendCanonical(nil, b))
		require.Equal(t, same, len(Diff(a, b)) == 0)
		require.Equal(t, Diff(a, b), Diff(b, a))
	})
}

func clone(o *Order) *Order {
	c := *o
	if o.Delivery != nil {
		d := *o.Delivery
		c.Delivery = &d
	}
	if o.Payment != nil {
		p := *o.Payment
		c.Payment = &p
	}
	c.Items = slices.Clone(o.Items)
	return &c
}

func TestDiffPaths(t *testing.T) {
	a := sampleOrder()
	b := clone(a)
	require.Empty(t, Diff(a, b))
	b.Entry = "other"
	b.Delivery.Email = "other"
	b.Payment.Amount++
	b.Items = append(b.Items, b.Items[0])
	b.Items[0].Size = "other"
	b.DateCreated = b.DateCreated.Add(time.Microsecond)
	require.Equal(t, []string{"entry", "delivery.email", "payment.amount", "items", "items[0].size", "date_created"}, Diff(a, b))

	b = clone(a)
	b.DateCreated = a.DateCreated.Add(999 * time.Nanosecond).In(time.FixedZone("", 3600))
	require.Empty(t, Diff(a, b), "the same moment to the microsecond")

	b.Delivery, b.Payment, b.Items = nil, nil, nil
	require.Equal(t, []string{"delivery", "payment", "items"}, Diff(a, b))
	require.Equal(t, []string{"delivery", "payment", "items"}, Diff(b, a))
	c := clone(b)
	c.Items = []Item{}
	require.Empty(t, Diff(b, c), "no items are no items")
}

func TestCanonicalOfMissingParts(t *testing.T) {
	require.Equal(t, `{"order_uid":"x","track_number":"","entry":"","delivery":null,"payment":null,"items":null,"locale":"",`+
		`"internal_signature":"","customer_id":"","delivery_service":"","shardkey":"","sm_id":0,"date_created":"0001-01-01T00:00:00Z","oof_shard":""}`,
		string(AppendCanonical(nil, &Order{OrderUID: "x"})))
}

func TestConcurrentUse(t *testing.T) {
	c := New(Options{})
	good, bad := []byte(sampleRecord()), edit(t, `"sale":30`, `"sale":101`, `"locale":"en"`, `"locale":5`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				decoded, err := c.Decode(good)
				if err != nil || string(AppendCanonical(nil, decoded.Order)) != string(good) {
					t.Errorf("the sample is no longer itself: %v", err)
				}
				if _, err := c.Decode(bad); len(briefOf(err)) != 2 {
					t.Errorf("other failures: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// TestAllocations holds the worker's way with an order to its few allocations:
// the decoder, the order, its items, its texts.
func TestAllocations(t *testing.T) {
	c := New(Options{})
	record := readSample(t, "model.json")
	var buf []byte
	buf = process(t, c, record, buf)
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { buf = process(t, c, record, buf) }), 4.0)
}
