package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

// kind is what a generated record is, seen alone.
type kind int

const (
	valid     kind = iota
	forbidden      // valid, and refused by a constraint of the test's database
	broken
	deletion
)

// forbiddenBank is what the constraint of the property tests' databases refuses.
const forbiddenBank = "forbidden"

// made is a generated record with what the model must know of it.
type made struct {
	kind    kind
	uid     string
	content string // canonical JSON; of valid and forbidden ones
	reason  string // of broken ones
	value   []byte
	about   string // for people
}

// recordMaker makes records of few orders, so that many have the same.
type recordMaker struct {
	random  *rand.Rand
	base    model.Order
	broken  []hostileRecord
	serials int
	deletes bool
}

func newRecordMaker(t testing.TB, random *rand.Rand) *recordMaker {
	t.Helper()
	decoded, err := model.New(model.Options{}).Decode(sample(t))
	require.NoError(t, err)
	return &recordMaker{random: random, base: *decoded.Order, broken: smallBroken(t)}
}

// make makes a record of one of the uids that partition may use.
func (m *recordMaker) make(scope string, uids int) made {
	switch n := m.random.IntN(100); {
	case n < 18:
		b := m.broken[m.random.IntN(len(m.broken))]
		return made{kind: broken, reason: b.reason, value: b.value, about: "broken: " + b.name}
	case n < 26:
		return m.order(forbidden, m.uid(scope, uids))
	case n < 40 && m.deletes:
		uid := m.uid(scope, uids)
		return made{kind: deletion, uid: uid, about: uid + ": deleted"}
	default:
		return m.order(valid, m.uid(scope, uids))
	}
}

func (m *recordMaker) uid(scope string, uids int) string {
	if m.random.IntN(3) == 0 {
		m.serials++
		return fmt.Sprintf("%sonce-%d", scope, m.serials)
	}
	return fmt.Sprintf("%s%d", scope, m.random.IntN(uids))
}

func (m *recordMaker) order(k kind, uid string) made {
	o := m.base
	mark := m.random.IntN(3)
	if m.random.IntN(2) == 0 {
		mark = 0
	}
	o.OrderUID, o.InternalSignature = uid, strings.Repeat("'\\.\t\"é", mark)
	items := make([]model.Item, 1+mark)
	for i := range items {
		items[i] = m.base.Items[0]
		items[i].Price = int64(mark)
	}
	o.Items = items
	payment := *m.base.Payment
	if k == forbidden {
		payment.Bank = forbiddenBank
	}
	o.Payment = &payment
	canonical := model.AppendCanonical(nil, &o)
	style := m.random.IntN(4)
	return made{
		kind: k, uid: uid, content: string(canonical), value: restyle(canonical, style),
		about: fmt.Sprintf("%s: content %d, forbidden %t, style %d", uid, mark, k == forbidden, style),
	}
}

// restyle writes the same order differently.
func restyle(canonical []byte, style int) []byte {
	switch style {
	case 1: // other white space
		var b bytes.Buffer
		if err := json.Indent(&b, canonical, "\r\n", " \t"); err != nil {
			panic(err)
		}
		return b.Bytes()
	case 2: // other order of keys, other escapes
		var o map[string]any
		d := json.NewDecoder(bytes.NewReader(canonical))
		d.UseNumber()
		if err := d.Decode(&o); err != nil {
			panic(err)
		}
		b, err := json.Marshal(o)
		if err != nil {
			panic(err)
		}
		return b
	case 3: // fields that an order does not have
		return append([]byte(`{"unknown":{"a":[1,{}]},`), canonical[1:]...)
	default:
		return canonical
	}
}
