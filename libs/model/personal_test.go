package model

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// personalTexts are the personal values of an order with what stands for each.
func personalTexts(o *Order) map[*string]string {
	texts := map[*string]string{&o.CustomerID: "***"}
	if p := o.Payment; p != nil {
		texts[&p.Transaction] = "***"
	}
	if d := o.Delivery; d != nil {
		for _, at := range []*string{&d.Name, &d.Zip, &d.City, &d.Address, &d.Region} {
			texts[at] = "***"
		}
		texts[&d.Phone], texts[&d.Email] = "+10000000000", "masked@masked.invalid"
	}
	return texts
}

// Whatever an order holds, and whatever its personal values look like, nothing of them is
// left, and all else is as it was.
func TestAMaskedOrderHasNothingPersonal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyOrder().Draw(t, "order")
		for at := range personalTexts(o) {
			*at = "planted" + rapid.OneOf(anyText(), rapid.SampledFrom([]string{
				`,"payment":{"transaction":"x","request_id":"`, `","delivery_service":"`, `"},"payment":null,`, `\","customer_id":"\`, "\\",
			})).Draw(t, "personal")
		}
		masked := AppendMasked([]byte("before"), AppendCanonical(nil, o))
		require.NotContains(t, string(masked), "planted")
		for at, mask := range personalTexts(o) {
			*at = mask
		}
		require.Equal(t, "before"+string(AppendCanonical(nil, o)), string(masked))
	})
}

// What only looks like the members that hold personal values is no such member.
func TestMaskingIsNotMisledByOtherTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := anyOrder().Draw(t, "order")
		o.TrackNumber, o.Entry = `,"delivery":null`, `","delivery":{"name":"x"},"payment":{"transaction":"`
		o.DeliveryService = `,"delivery_service":`
		for i := range o.Items {
			o.Items[i].Name, o.Items[i].Brand = `,"customer_id":"`, `\","customer_id":\`
		}
		masked := AppendMasked(nil, AppendCanonical(nil, o))
		for at, mask := range personalTexts(o) {
			*at = mask
		}
		require.Equal(t, string(AppendCanonical(nil, o)), string(masked))
	})
}

func TestAMaskedOrderIsAnOrder(t *testing.T) {
	c := New(Options{})
	rapid.Check(t, func(t *rapid.T) {
		o := validOrder().Draw(t, "order")
		decoded, err := c.Decode(AppendMasked(nil, AppendCanonical(nil, o)))
		require.NoError(t, err)
		for _, path := range Diff(o, decoded.Order) {
			require.True(t, IsPersonal(path[strings.LastIndexByte(path, '.')+1:]), path)
		}
	})
}

func TestPersonalFields(t *testing.T) {
	var personal []string
	for _, name := range fieldNames() {
		if IsPersonal(name) {
			personal = append(personal, name)
		}
	}
	require.ElementsMatch(t, []string{"name", "phone", "zip", "city", "address", "region", "email", "transaction", "customer_id"}, personal)
	require.False(t, IsPersonal("unheard_of"))
}

// fieldNames are the names of the fields of the order, its delivery and its payment.
func fieldNames() (names []string) {
	for _, f := range named(orderFields) {
		names = append(names, f.name)
	}
	for _, f := range named(deliveryFields) {
		names = append(names, f.name)
	}
	for _, f := range named(paymentFields) {
		names = append(names, f.name)
	}
	return names
}

// What is not canonical JSON is not passed on as if it were masked.
func TestMaskingRefusesOtherBytes(t *testing.T) {
	canonical := string(AppendCanonical(nil, sampleOrder()))
	for name, other := range map[string]string{
		"nothing":       "",
		"spaces":        strings.ReplaceAll(canonical, ",", ", "),
		"cut":           canonical[:len(canonical)/2],
		"another order": strings.Replace(strings.Replace(canonical, `,"locale":"en"`, "", 1), `"customer_id":`, `"locale":"en","customer":`, 1),
	} {
		require.Panics(t, func() { AppendMasked(nil, []byte(other)) }, name)
	}
}

func BenchmarkMasked(b *testing.B) {
	for name, items := range map[string]int{"sample": 1, "100 items": 100} {
		b.Run(name, func(b *testing.B) {
			o := sampleOrder()
			for len(o.Items) < items {
				o.Items = append(o.Items, o.Items[0])
			}
			canonical := AppendCanonical(nil, o)
			buf := AppendMasked(nil, canonical)
			b.ReportAllocs()
			for b.Loop() {
				buf = AppendMasked(buf[:0], canonical)
			}
		})
	}
}
