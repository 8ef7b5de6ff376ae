package synth_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

func options(count int) synth.Options {
	return synth.Options{Count: count, MinItems: 1, MaxItems: synth.DefaultMaxItems, Seed: 7}
}

func generate(t *testing.T, opts synth.Options) []synth.Record {
	t.Helper()
	g, err := synth.New(opts)
	require.NoError(t, err)
	var all []synth.Record
	for {
		r, err := g.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, r)
	}
}

var uidForm = regexp.MustCompile(`^[0-9a-f]{15}test$`)

func TestOrdersAreValidUniqueAndAddUp(t *testing.T) {
	codec := model.New(model.Options{CheckSums: true, RejectUnknown: true})
	uids := map[string]bool{}
	for _, r := range generate(t, options(5_000)) {
		require.Equal(t, synth.KindOrder, r.Kind)
		require.True(t, uidForm.MatchString(r.UID), r.UID)
		require.False(t, uids[r.UID], "uid %s twice", r.UID)
		uids[r.UID] = true
		require.Equal(t, r.UID, string(r.Key))

		decoded, err := codec.Decode(r.Value)
		require.NoError(t, err, "%s", r.Value)
		o := decoded.Order
		require.Equal(t, r.UID, o.OrderUID)
		require.NotContains(t, string(r.Value), "#", "a pattern was left unfilled")
		goods := int64(0)
		for _, item := range o.Items {
			require.Equal(t, item.Price*(100-item.Sale)/100, item.TotalPrice)
			goods += item.TotalPrice
		}
		require.Equal(t, goods, o.Payment.GoodsTotal)
		require.Equal(t, goods+o.Payment.DeliveryCost+o.Payment.CustomFee, o.Payment.Amount)
	}
}

func TestOrdersAreVaried(t *testing.T) {
	seen := map[string]map[any]bool{}
	note := func(what string, value any) {
		if seen[what] == nil {
			seen[what] = map[any]bool{}
		}
		seen[what][value] = true
	}
	for _, r := range generate(t, options(2000)) {
		decoded, err := model.New(model.Options{}).Decode(r.Value)
		require.NoError(t, err)
		o := decoded.Order
		note("name", o.Delivery.Name)
		note("city", o.Delivery.City)
		note("email", o.Delivery.Email)
		note("phone", o.Delivery.Phone)
		note("currency", o.Payment.Currency)
		note("bank", o.Payment.Bank)
		note("provider", o.Payment.Provider)
		note("locale", o.Locale)
		note("service", o.DeliveryService)
		note("items", len(o.Items))
		for _, item := range o.Items {
			note("product", item.Name)
			note("brand", item.Brand)
		}
	}
	for what, least := range map[string]int{"name": 300, "city": 40, "email": 1000, "phone": 1000, "currency": 12, "bank": 25,
		"provider": 20, "locale": 20, "service": 20, "items": 10, "product": 50, "brand": 45} {
		require.GreaterOrEqual(t, len(seen[what]), least, what)
	}
}

func TestSameSeedGivesSameBytes(t *testing.T) {
	opts := options(500)
	opts.Invalid, opts.Duplicates, opts.Conflicts = 0.3, 0.1, 0.1
	once, again := generate(t, opts), generate(t, opts)
	require.Equal(t, once, again)

	other := opts
	other.Seed++
	uids := map[string]bool{}
	for _, r := range generate(t, opts) {
		uids[r.UID] = r.UID != ""
	}
	for _, r := range generate(t, other) {
		require.False(t, uids[r.UID], "two seeds share the uid %s", r.UID)
	}
}

func TestNowDatesTheOrders(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.UTC)
	opts := options(3)
	opts.Now = func() time.Time { return now }
	for _, r := range generate(t, opts) {
		require.Contains(t, string(r.Value), `"date_created":"2026-03-01T12:00:00.123Z"`)
	}
}

func TestSharesHold(t *testing.T) {
	for _, c := range []struct {
		count                          int
		invalid, duplicates, conflicts float64
		want                           map[synth.Kind]int
	}{
		{10, 0, 0, 0, map[synth.Kind]int{synth.KindOrder: 10}},
		{10, 1, 0, 0, map[synth.Kind]int{synth.KindInvalid: 10}},
		{10, 0.5, 0, 0, map[synth.Kind]int{synth.KindOrder: 5, synth.KindInvalid: 5}},
		{10, 0, 1, 0, map[synth.Kind]int{synth.KindOrder: 1, synth.KindDuplicate: 9}},
		{1, 0.1, 0.1, 0.1, map[synth.Kind]int{synth.KindOrder: 1}},
		{1000, 0.1, 0.2, 0.05, map[synth.Kind]int{synth.KindOrder: 650, synth.KindInvalid: 100, synth.KindDuplicate: 200, synth.KindConflict: 50}},
		{999, 0.333, 0.333, 0.333, map[synth.Kind]int{synth.KindOrder: 1, synth.KindInvalid: 333, synth.KindDuplicate: 333, synth.KindConflict: 332}},
	} {
		opts := options(c.count)
		opts.Invalid, opts.Duplicates, opts.Conflicts = c.invalid, c.duplicates, c.conflicts
		got := map[synth.Kind]int{}
		for _, r := range generate(t, opts) {
			got[r.Kind]++
		}
		require.Equal(t, c.want, got, "%+v", c)
	}
}

func TestDuplicatesAndConflictsFollowTheirOriginals(t *testing.T) {
	codec := model.New(model.Options{CheckSums: true})
	opts := options(6_000) // more orders than the generator remembers
	opts.Invalid, opts.Duplicates, opts.Conflicts = 0.05, 0.1, 0.1
	originals := map[string][]byte{}
	for _, r := range generate(t, opts) {
		switch r.Kind {
		case synth.KindOrder:
			originals[r.UID] = r.Value
		case synth.KindDuplicate:
			require.NotNil(t, originals[r.UID])
			require.Equal(t, string(originals[r.UID]), string(r.Value))
			require.Equal(t, r.UID, string(r.Key))
		case synth.KindConflict:
			require.NotNil(t, originals[r.UID])
			require.Equal(t, r.UID, string(r.Key))
			_, err := codec.Decode(r.Value)
			require.NoError(t, err)
			require.NotEqual(t, string(originals[r.UID]), string(r.Value))
		case synth.KindInvalid:
			require.Nil(t, originals[r.UID])
		}
	}
}

func TestEveryFaultIsRefusedAsExpected(t *testing.T) {
	codec := model.New(model.Options{})
	for _, fault := range synth.Faults() {
		t.Run(fault.Name, func(t *testing.T) {
			require.NotEmpty(t, fault.About)
			opts := options(20)
			opts.Invalid, opts.Faults = 1, []string{fault.Name}
			for _, r := range generate(t, opts) {
				require.Equal(t, fault.Name, r.Fault)
				_, err := codec.Decode(r.Value)
				var refused *model.RecordError
				require.ErrorAs(t, err, &refused, "%s", r.Value)
				require.Equal(t, fault.Stage, refused.Stage, err)
				require.Equal(t, fault.Reason, refused.Reason, err)
				if fault.Path != "" {
					require.True(t, slices.ContainsFunc(refused.Errors, func(e model.FieldError) bool { return e.Path == fault.Path }), err)
				}
				if r.UID != "" {
					require.True(t, bytes.Contains(r.Value, []byte(`"order_uid":"`+r.UID+`"`)))
					require.Equal(t, r.UID, string(r.Key))
				}
			}
		})
	}
}

func TestAllFaultsTakeTurns(t *testing.T) {
	opts := options(2 * len(synth.Faults()))
	opts.Invalid = 1
	got := map[string]int{}
	for _, r := range generate(t, opts) {
		got[r.Fault]++
	}
	for _, f := range synth.Faults() {
		require.Equal(t, 2, got[f.Name], f.Name)
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*synth.Options){
		"no items":         func(o *synth.Options) { o.MinItems = 0 },
		"items reversed":   func(o *synth.Options) { o.MinItems = 11 },
		"too many items":   func(o *synth.Options) { o.MaxItems = synth.MaxItems + 1 },
		"negative share":   func(o *synth.Options) { o.Invalid = -0.1 },
		"share beyond 1":   func(o *synth.Options) { o.Conflicts = 1.1 },
		"shares beyond 1":  func(o *synth.Options) { o.Invalid, o.Duplicates = 0.6, 0.6 },
		"an unknown fault": func(o *synth.Options) { o.Faults = []string{"boredom"} },
	} {
		opts := options(1)
		spoil(&opts)
		_, err := synth.New(opts)
		require.Error(t, err, name)
	}
}

func BenchmarkNext(b *testing.B) {
	g, err := synth.New(options(math.MaxInt))
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
