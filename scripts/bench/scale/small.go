package main

import (
	"context"
	_ "embed" // for the SQL
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/scripts/bench/internal/program"
	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

var (
	//go:embed partition.sql
	partitionSQL string
	//go:embed shards.sql
	shardsSQL string
)

// shards is how many partitions, and shards, the SQL makes.
const shards = 8

// addressOfShard is the DATABASE_URL of a reader of one shard.
func addressOfShard(database string, number int) string {
	u, err := url.Parse(database)
	if err != nil {
		panic("the server's own address: " + err.Error())
	}
	query := u.Query()
	query.Set("search_path", fmt.Sprintf("shard_%d,public", number))
	u.RawQuery = query.Encode()
	return u.String()
}

// budgetShare: a reader with a byte budget may take one of so many parts of what all
// orders take.
const budgetShare = 4

// try is what one way of having more orders showed, a point each round.
type try struct {
	name   string
	points []point
}

// Places of the tries.
const (
	plain = iota
	hashPartitions
	compressed
	budget
	oneShard
)

// tryAll measures, with few orders, what would be done for very many, each time
// next to the tables and the reader as they are.
func (b *runner) tryAll(ctx context.Context) ([]try, error) {
	tries := []try{
		plain:          {name: "as it is"},
		hashPartitions: {name: "8 hash partitions"},
		compressed:     {name: "reader, CACHE_COMPRESSION=zstd"},
		budget:         {name: "reader, CACHE_BYTES for a quarter"},
		oneShard:       {name: fmt.Sprintf("reader of 1 of %d shards", shards)},
	}
	for round := range b.settings.Rounds {
		program.Progress("round %d of %d", round+1, b.settings.Rounds)
		for i := range 2 {
			if err := b.tryTables(ctx, tries, (round+i)%2); err != nil {
				return nil, err
			}
		}
	}
	return tries, nil
}

// tryTables fills a database, partitioned or not, and measures it, and then other
// readers of it.
func (b *runner) tryTables(ctx context.Context, tries []try, which int) error {
	database, drop, err := b.site.Server.Fresh(ctx)
	if err != nil {
		return err
	}
	defer drop()
	if which == hashPartitions {
		if err := postgres.Execute(ctx, database, partitionSQL); err != nil {
			return err
		}
	}
	orders := b.settings.Small
	slice := b.sliceOf(orders)
	if err := rig.NewFill(b.orders, b.site.Server.Superuser(database)).To(ctx, orders-slice); err != nil {
		return err
	}
	p, err := b.measure(ctx, database, orders, slice)
	if err != nil {
		return fmt.Errorf("%s: %w", tries[which].name, err)
	}
	tries[which].points = append(tries[which].points, p)
	if which == plain {
		return errors.Join(
			b.tryReader(ctx, &tries[compressed], database, orders, "CACHE_COMPRESSION=zstd"),
			b.tryReader(ctx, &tries[budget], database, orders, fmt.Sprint("CACHE_BYTES=", p.reader.bytes/budgetShare)))
	}
	if err := postgres.Execute(ctx, database, shardsSQL); err != nil {
		return err
	}
	shard := addressOfShard(database, 0)
	counts, err := rig.Query(ctx, shard, pgx.RowTo[int], "SELECT count(*) FROM orders")
	if err != nil {
		return err
	}
	return b.tryReader(ctx, &tries[oneShard], shard, counts[0])
}

// tryReader measures a reader alone.
func (b *runner) tryReader(ctx context.Context, t *try, database string, orders int, settings ...string) error {
	r, _, err := b.read(ctx, database, orders, settings...)
	t.points = append(t.points, point{orders: orders, reader: r})
	return err
}
