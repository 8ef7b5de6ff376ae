package scale

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/internal/report"
)

func testPoint(orders int) point {
	n := int64(orders)
	return point{
		orders: orders, ingest: 20_000, tables: 800 * n, indexes: 400 * n,
		reader: reader{restore: time.Duration(n) * 10 * time.Microsecond, memory: 900 * n, peak: 1000 * n, bytes: 850 * n, cached: n, reads: 50_000, p99: 3},
		lists:  []list{{"newest", []time.Duration{time.Millisecond, 2 * time.Millisecond}}},
	}
}

func TestTables(t *testing.T) {
	points := []point{testPoint(1_000_000), testPoint(10_000_000)}
	text := growthTables(1, points)
	require.Contains(t, text, "| 10,000,000 |   20,000 |     100.0 |      8,583 |   9,536 |     900 |")
	require.Contains(t, text, "| 10,000,000 |         1.0 | 2.0 |")
	require.Contains(t, charts(points), `x-axis ["1,000,000", "10,000,000"]
  y-axis 0 --> 990
  line [900.0, 900.0]`)

	half := testPoint(1_000_000)
	half.reader.memory /= 2
	half.ingest = 0 // a reader alone
	tries := report.Samples[point]{
		plain: points[:1], hashPartitions: points[:1], compressed: {half}, budget: {half}, oneShard: {half},
	}
	require.Contains(t, triesTable(1_000_000, tries), "| reader, CACHE_COMPRESSION=zstd    |          |            |      10.0 |        1,000,000 |        429 |       0.50 |")
	// 900 bytes an order.
	require.Contains(t, furtherTable(points[1], tries), "| 1,000,000,000 |            1.1 TiB |           838.2 GiB | 419.1 GiB |           13.1 GiB |   2.8 h |              13.9 h |")
}
