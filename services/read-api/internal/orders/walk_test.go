package orders

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
)

// TestMemorySortsTheOrdersOfACommonValue sorts half of the orders, which are one customer's: too
// many to be sorted for each page, and far more than there are of a usual customer.
func TestMemorySortsTheOrdersOfACommonValue(t *testing.T) {
	source := &made{n: 5 * maxSorted}
	r := run(t, source, cache.StoreOptions{}, func(*index) {})
	r.awaitReady()
	page, ok := r.list(Filter{CustomerID: "common", Sort: LargestFirst}, nil, 100)
	require.True(t, ok)
	var amounts, want []int64
	for _, body := range page.Orders {
		o, ok := model.FromCanonical(body)
		require.True(t, ok)
		amounts = append(amounts, o.Payment.Amount)
	}
	for i := 0; i < source.n; i += 2 {
		want = append(want, source.order(i).Payment.Amount)
	}
	slices.Sort(want)
	slices.Reverse(want)
	require.Greater(t, len(amounts), 50) // a page ends where it has cost enough
	require.Equal(t, want[:len(amounts)], amounts)
	n, _, ok := r.count(Filter{CustomerID: "common"})
	require.True(t, ok)
	require.InEpsilon(t, source.n/2, n, 0.1) // an estimate, since so many records are not read
}

// TestMemorySortsOrdersThatAreAlike sorts orders that differ in their order_uids alone, as those of
// a load test do: they come in that order, and no page looks at all of them.
func TestMemorySortsOrdersThatAreAlike(t *testing.T) {
	source := &made{n: 5 * maxSorted, alike: true}
	r := run(t, source, cache.StoreOptions{}, func(*index) {})
	r.awaitReady()
	for _, sort := range []Sort{NewestFirst, OldestFirst, LargestFirst, SmallestFirst, LastUpdatedFirst, FirstUpdatedFirst} {
		for _, f := range []Filter{{Sort: sort}, {Sort: sort, CustomerID: "common"}, {Sort: sort, Brands: []string{"rare"}}} {
			var uids, want []string
			for i := range source.n {
				if o := source.order(i); f.Matches(o, uint32(moment.Unix())) {
					want = append(want, o.OrderUID)
				}
			}
			slices.Sort(want)
			if sort.down() {
				slices.Reverse(want)
			}
			var after *Key
			for pages := range 100 {
				page, ok := r.list(f, after, 100)
				require.True(t, ok)
				uids, after = append(uids, page.UIDs...), page.Next
				if after == nil || pages > 1 && len(uids) >= 10 {
					break
				}
			}
			require.GreaterOrEqual(t, len(uids), min(len(want), 10))
			require.Equal(t, want[:len(uids)], uids, "%+v", f)
		}
	}
}
