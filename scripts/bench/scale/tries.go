package scale

import (
	"context"
	_ "embed" // for the SQL
	"fmt"
	"net/url"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/report"
)

var (
	//go:embed partition.sql
	partitionSQL string
	//go:embed shards.sql
	shardsSQL string
)

// shards is how many partitions, and shards, the SQL makes.
const shards = 8

func addressOfShard(database string, number int) string {
	u := must.Get(url.Parse(database))
	query := u.Query()
	query.Set("search_path", fmt.Sprintf("shard_%d,public", number))
	u.RawQuery = query.Encode()
	return u.String()
}

// budgetShare: a reader with a byte budget may take one of so many parts of what all
// orders take.
const budgetShare = 4

// What is tried so that readers and tables hold more orders.
const (
	plain          = "as it is"
	hashPartitions = "8 hash partitions"
	compressed     = "reader, CACHE_COMPRESSION=zstd"
	budget         = "reader, CACHE_BYTES for a quarter"
	oneShard       = "reader of 1 of 8 shards"
)

// tryAll measures, with few orders, what would be done for very many, each time
// next to the tables and the reader as they are.
func (b *Benchmark) tryAll(ctx context.Context) report.Samples[point] {
	tries := report.Samples[point]{}
	for round := range b.Rounds {
		rig.Progress("round %d of %d", round+1, b.Rounds)
		for i := range 2 {
			b.tryTables(ctx, tries, []string{plain, hashPartitions}[(round+i)%2])
		}
	}
	return tries
}

// tryTables fills a database, partitioned or not, and measures it, and then other
// readers of it.
func (b *Benchmark) tryTables(ctx context.Context, tries report.Samples[point], which string) {
	database, drop := b.site.Server.Fresh(ctx)
	defer drop()
	if which == hashPartitions {
		must.Succeed(postgres.Execute(ctx, database, partitionSQL))
	}
	slice := b.sliceOf(b.Small)
	rig.NewFill(b.templates, b.site.Server.Superuser(database)).To(ctx, b.Small-slice)
	p := b.measure(ctx, database, b.Small, slice)
	tries[which] = append(tries[which], p)
	if which == plain {
		b.tryReader(ctx, tries, compressed, database, b.Small, "CACHE_COMPRESSION=zstd")
		b.tryReader(ctx, tries, budget, database, b.Small, fmt.Sprint("CACHE_BYTES=", p.reader.bytes/budgetShare))
		return
	}
	must.Succeed(postgres.Execute(ctx, database, shardsSQL))
	shard := addressOfShard(database, 0)
	b.tryReader(ctx, tries, oneShard, shard, rig.Query[int](ctx, shard, "SELECT count(*) FROM orders")[0])
}

func (b *Benchmark) tryReader(ctx context.Context, tries report.Samples[point], name, database string, orders int, settings ...string) {
	r, _ := b.read(ctx, database, orders, settings...)
	tries[name] = append(tries[name], point{orders: orders, reader: r})
}
