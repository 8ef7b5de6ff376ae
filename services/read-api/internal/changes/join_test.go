package changes

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
)

// tableRow is a row as COPY sends it.
type tableRow struct {
	uid      string
	position int
	data     []byte
}

// someTables are orders with all of their rows; some lack parts.
func someTables(random *rand.Rand, count int, lacking bool) (rows [tableCount][]tableRow, want map[string]string) {
	want = map[string]string{}
	date := time.Date(2021, 11, 26, 6, 22, 19, 5000, time.UTC)
	for n := range count {
		uid := fmt.Sprintf("%08x%04d", random.Uint32(), n)
		add := func(t table, position int, row []byte) {
			rows[t] = append(rows[t], tableRow{uid, position, row})
		}
		o := &model.Order{OrderUID: uid, TrackNumber: "T", Entry: "E", SmID: int64(n), DateCreated: date, OofShard: "1"}
		add(ordersTable, 0, orderdb.Orders.AppendRow(nil, &orderdb.Order{}, o))
		lacks := func() bool { return lacking && random.IntN(4) == 0 }
		if !lacks() {
			o.Delivery = &model.Delivery{Name: "N" + uid, City: "Łódź"}
			add(deliveriesTable, 0, orderdb.Deliveries.AppendRow(nil, &orderdb.Delivery{OrderUID: uid}, o.Delivery))
		}
		if !lacks() {
			o.Payment = &model.Payment{Transaction: uid, Amount: -5}
			add(paymentsTable, 0, orderdb.Payments.AppendRow(nil, &orderdb.Payment{OrderUID: uid}, o.Payment))
		}
		if !lacks() {
			for position := range 1 + random.IntN(4) {
				o.Items = append(o.Items, model.Item{ChrtID: int64(position), Name: uid})
				add(itemsTable, position, orderdb.Items.AppendRow(nil, &orderdb.Item{OrderUID: uid, Position: int32(position)}, &o.Items[position]))
			}
		}
		want[uid] = string(model.AppendCanonical(nil, o))
	}
	return rows, want
}

type mapSink struct {
	mu   sync.Mutex
	held map[string]string
}

func (m *mapSink) Put(o Order) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[strings.Clone(o.OrderUID)] = string(o.Canonical)
	return true
}
func (m *mapSink) Delete(string) bool { panic("a snapshot deletes nothing") }
func (m *mapSink) LeaveOut()          { panic("all orders are read") }

// join runs a joiner on rows as they are.
func join(t *testing.T, rows [tableCount][]tableRow, sorted bool, most int64) (held map[string]string, split []string, err error) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	j := newJoiner(sorted, most)
	for table := range tableCount {
		s := newScan()
		j.scans[table] = s
		group.Go(func() error {
			defer close(s.rows)
			return copyRows(&rowWriter{ctx: ctx, out: s}, rows[table])
		})
	}
	sink := &mapSink{held: map[string]string{}}
	group.Go(func() error {
		defer close(j.whole)
		var err error
		split, err = j.run(ctx)
		return err
	})
	put := func(o Order) error {
		sink.Put(o)
		return nil
	}
	encode(ctx, group, j, put, func(int64) {})
	failed := group.Wait()
	return sink.held, split, failed
}

// copyRows is what pgconn does with the server's answer to COPY. A row without data
// stands for the end of the connection.
func copyRows(w *rowWriter, rows []tableRow) error {
	header := append(slices.Clone(copySignature), make([]byte, 8)...) // comes with the first row
	for _, row := range append(slices.Clone(rows), tableRow{data: copyTrailer}) {
		if row.data == nil {
			return io.ErrUnexpectedEOF
		}
		if _, err := w.Write(slices.Concat(header, row.data)); err != nil {
			return err
		}
		header = nil
	}
	return w.flush()
}

func shuffle(random *rand.Rand, rows []tableRow, reach int) {
	for i := range rows {
		other := i + random.IntN(min(reach, len(rows)-i))
		rows[i], rows[other] = rows[other], rows[i]
	}
}

// TestOrdersArePutTogether has rows that lie as they were written, a bit apart,
// and anywhere; what was not put together right must be among the split ones.
func TestOrdersArePutTogether(t *testing.T) {
	const plenty = 1 << 40
	for name, reach := range map[string]int{"in step": 1, "a bit apart": 700, "anywhere": 1 << 30} {
		for _, lacking := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, lacking parts: %v", name, lacking), func(t *testing.T) {
				seed := rand.Uint64()
				t.Logf("seed %d", seed)
				random := rand.New(rand.NewPCG(seed, 1))
				rows, want := someTables(random, 2000, lacking)
				for table := range rows {
					shuffle(random, rows[table], reach)
				}
				held, split, err := join(t, rows, false, plenty)
				require.NoError(t, err)
				require.True(t, slices.IsSorted(split))
				if reach == 1 {
					require.Empty(t, split)
				}
				for _, uid := range split {
					held[uid] = want[uid] // as they are read again
				}
				require.True(t, maps.Equal(want, held), "%d orders, %d wanted", len(held), len(want))
			})
		}
	}
}

// TestAnItemThatComesLateIsSeen moves items of some orders to the end, as an
// UPDATE of one item does.
func TestAnItemThatComesLateIsSeen(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	rows, want := someTables(random, 3000, false)
	// Where the last orders are, another table's rows may come even later.
	middle := rows[itemsTable][len(rows[itemsTable])/2].uid
	early := true
	var late []string
	var stay, moved []tableRow
	for _, row := range rows[itemsTable] {
		early = early && row.uid != middle
		if early && row.position == 1 && row.uid[0] == '0' {
			late, moved = append(late, row.uid), append(moved, row)
		} else {
			stay = append(stay, row)
		}
	}
	slices.Sort(late)
	rows[itemsTable] = append(stay, moved...)
	held, split, err := join(t, rows, false, 1<<40)
	require.NoError(t, err)
	require.NotEmpty(t, late)
	require.Equal(t, late, split)
	for _, uid := range late {
		require.NotEqual(t, want[uid], held[uid], "it was given too early")
	}
}

func TestScatteredRowsAreRefusedAndSortedOnesNeedNoMemory(t *testing.T) {
	const little = 256 << 10
	random := rand.New(rand.NewPCG(2, 2))
	rows, want := someTables(random, 6000, true)
	for table := range rows {
		shuffle(random, rows[table], 1<<30)
	}
	_, _, err := join(t, rows, false, little)
	require.ErrorIs(t, err, errScattered)

	for table := range rows {
		slices.SortFunc(rows[table], func(a, b tableRow) int {
			return cmp.Or(cmp.Compare(a.uid, b.uid), cmp.Compare(a.position, b.position))
		})
	}
	held, split, err := join(t, rows, true, 0)
	require.NoError(t, err)
	require.Empty(t, split)
	require.True(t, maps.Equal(want, held))
}

// TestATableThatIsEmptyHoldsNothingUp: without it, all orders would wait to the
// end.
func TestATableThatIsEmptyHoldsNothingUp(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	rows, _ := someTables(random, 6000, false)
	rows[itemsTable], rows[paymentsTable] = nil, nil
	held, split, err := join(t, rows, false, 512<<10)
	require.NoError(t, err)
	require.Empty(t, split)
	require.Len(t, held, 6000)
	for uid, canonical := range held {
		require.Contains(t, canonical, `"payment":null,"items":null`, uid)
		break
	}
}

// TestALostScanIsNoEnd: what its table had left would be missing in orders.
func TestALostScanIsNoEnd(t *testing.T) {
	rows, _ := someTables(rand.New(rand.NewPCG(4, 4)), 2000, false)
	rows[itemsTable] = append(rows[itemsTable][:1000], tableRow{})
	_, _, err := join(t, rows, false, 1<<40)
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestSomethingElseThanCopyIsRefused(t *testing.T) {
	for sent, want := range map[string]string{
		"PGCOPX\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00": "does not begin as it should",
		"PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x09": "cut off",
	} {
		_, err := (&rowWriter{ctx: t.Context(), out: newScan()}).Write([]byte(sent))
		require.ErrorContains(t, err, want)
	}
}

// TestALongRowComesWhole: it is longer than a batch.
func TestALongRowComesWhole(t *testing.T) {
	rows, want := someTables(rand.New(rand.NewPCG(5, 5)), 3, false)
	long := strings.Repeat("long ", batchBytes)
	uid := rows[deliveriesTable][1].uid
	rows[deliveriesTable][1].data = orderdb.Deliveries.AppendRow(nil, &orderdb.Delivery{OrderUID: uid}, &model.Delivery{Name: long})
	held, split, err := join(t, rows, false, 1<<40)
	require.NoError(t, err)
	require.Empty(t, split)
	require.Len(t, held, len(want))
	require.Contains(t, held[uid], `"name":"`+long+`"`)
}
