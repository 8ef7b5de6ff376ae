package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

// handMade begins the uids of orders that are written by hand.
const handMade = "hand-"

// hand writes, changes and deletes orders in the tables as people do with psql,
// so that readers have changes and deletions to follow.
type hand struct {
	url  string
	made int
}

// handPause is between two changes.
const handPause = 50 * time.Millisecond

// run changes orders until ctx ends. Errors while the database is away are
// ignored: in the end the tables say what was done.
func (h *hand) run(ctx context.Context, random *rand.Rand) {
	for retry.Sleep(ctx, handPause) == nil {
		_ = h.change(ctx, random)
	}
}

func (h *hand) change(ctx context.Context, random *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	// A connection of its own: one that is kept breaks when the server is killed.
	conn, err := pgx.Connect(ctx, h.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	uid := fmt.Sprint(handMade, random.IntN(h.made+1))
	switch random.IntN(3) {
	case 0:
		order := ledger.NewOrder(fmt.Sprint(handMade, h.made), 1)
		h.made++
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return ledger.Insert(ctx, tx, order) })
	case 1:
		_, err = conn.Exec(ctx, `UPDATE deliveries SET city = $2 WHERE order_uid = $1`, uid, fmt.Sprint("City ", random.IntN(1000)))
	default:
		_, err = conn.Exec(ctx, `DELETE FROM orders WHERE order_uid = $1`, uid)
	}
	return err
}
