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
)

var (
	//go:embed partition.sql
	partitionSQL string
	//go:embed shards.sql
	shardsSQL string
)

// shards is how many partitions, and shards, the SQL makes.
const shards = 8

// partition makes the tables of a database partitioned ones.
func partition(ctx context.Context, database string) error {
	return rig.Execute(ctx, database, partitionSQL)
}

// shard makes a schema of each partition of a database.
func shard(ctx context.Context, database string) error {
	return rig.Execute(ctx, database, shardsSQL)
}

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

// budgetShare is what a reader with a byte budget may take of what all orders do.
const budgetShare = 4

// try is what one way of having more orders showed, a point each round.
type try struct {
	name    string
	points  []point
	ingests bool // its rate of ingest was measured too
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
// beside the tables and the reader as they are.
func (b *runner) tryAll(ctx context.Context) ([]try, error) {
	tries := []try{
		plain:          {name: "as it is", ingests: true},
		hashPartitions: {name: "8 hash partitions", ingests: true},
		compressed:     {name: "reader, CACHE_COMPRESSION=zstd"},
		budget:         {name: "reader, CACHE_BYTES for a quarter"},
		oneShard:       {name: fmt.Sprintf("reader of 1 of %d shards", shards)},
	}
	for round := range b.settings.Rounds {
		program.Progress("what comes next, in small: round %d of %d", round+1, b.settings.Rounds)
		for i := range 2 { // plain and partitioned, beginning with the other one each time
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
		if err := partition(ctx, database); err != nil {
			return err
		}
	}
	slice := b.sliceOf(b.settings.Small)
	if err := rig.NewFill(b.orders, b.site.Server.Superuser(database)).To(ctx, b.settings.Small-slice); err != nil {
		return err
	}
	p, err := b.measure(ctx, database, b.settings.Small, slice)
	if err != nil {
		return fmt.Errorf("%s: %w", tries[which].name, err)
	}
	tries[which].points = append(tries[which].points, p)
	if which == hashPartitions {
		return b.tryShard(ctx, &tries[oneShard], database)
	}
	return errors.Join(
		b.tryReader(ctx, &tries[compressed], database, "CACHE_COMPRESSION=zstd"),
		b.tryReader(ctx, &tries[budget], database, fmt.Sprint("CACHE_BYTES=", p.reader.bytes/budgetShare)),
	)
}

func (b *runner) tryReader(ctx context.Context, t *try, database, setting string) error {
	return b.withReader(ctx, database, b.settings.Small, func(_ string, r reader) error {
		t.points = append(t.points, point{orders: b.settings.Small, reader: r})
		return nil
	}, setting)
}

// tryShard measures a reader of one shard, which is asked for its own orders.
func (b *runner) tryShard(ctx context.Context, t *try, database string) error {
	if err := shard(ctx, database); err != nil {
		return err
	}
	of := addressOfShard(database, 0)
	orders, err := count(ctx, of)
	if err != nil {
		return err
	}
	return b.withReader(ctx, of, orders, func(_ string, r reader) error {
		t.points = append(t.points, point{orders: orders, reader: r})
		return nil
	})
}

func count(ctx context.Context, database string) (orders int, err error) {
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&orders)
	return orders, err
}
