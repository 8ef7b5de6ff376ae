package changes

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	// pingInterval is how long the doorbell believes in a silent connection, and
	// waits for the answer to a ping.
	pingInterval = 10 * time.Second
	pingTimeout  = 5 * time.Second
	// listenRetry is the longest wait between attempts to listen: polling goes on
	// in the meantime.
	listenRetry = 15 * time.Second
	// After a notification of a primary its standby is asked again after such
	// waits, until it has replayed what was notified, or for so long.
	firstPursuit   = time.Millisecond
	longestPursuit = 100 * time.Millisecond
	pursuitEnds    = time.Minute
)

// currentFlush is a primary's place in the log behind everything that it has
// notified of.
const currentFlush = `SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint`

// DoorbellOptions of a Doorbell.
type DoorbellOptions struct {
	// Seen is given where the doorbell listens on the primary of the standby that
	// is read from. It tells up to where in the log the reader has seen everything,
	// and the doorbell rings until that is what was notified of.
	Seen func() uint64
	// Ping is how long a silent connection is believed in, and twice as long as it
	// may take to answer when it is asked for a sign of life. 0 means 10 seconds.
	Ping time.Duration
	// Fatal is called if the loop ends before Stop. It may be nil.
	Fatal func(error)
}

// Doorbell listens for the tables' notifications on a connection of its own.
// They only say that it is worth to look: whoever is rung must look regularly
// all the same.
type Doorbell struct {
	*lifecycle.Loop

	config  *pgx.ConnConfig
	options DoorbellOptions
	log     *zap.Logger
}

// NewDoorbell returns a doorbell. From Start to Stop it calls ring for each
// notification, and at each new connection, since notifications may have been missed
// before. ring must not block.
func NewDoorbell(config *pgx.ConnConfig, options DoorbellOptions, ring func(), log *zap.Logger) *Doorbell {
	if options.Ping == 0 {
		options.Ping = pingInterval
	}
	d := &Doorbell{config: config, options: options, log: log}
	d.Loop = lifecycle.NewLoop("doorbell", func(ctx context.Context) error { return d.run(ctx, ring) }, options.Fatal)
	return d
}

func (d *Doorbell) run(ctx context.Context, ring func()) error {
	backoff := retry.NewBackoff(listenRetry)
	quiet := false // the log knows already
	for {
		err := d.listen(ctx, func() {
			backoff.Reset()
			quiet = false
			ring()
		}, ring)
		if ctx.Err() != nil {
			return nil
		}
		if !quiet {
			quiet = true
			var refused *pgconn.PgError
			if errors.As(err, &refused) && refused.Code == "25006" { // read_only_sql_transaction
				d.log.Warn("notifications don't exist on a standby; changes are found by polling alone")
			} else {
				d.log.Warn("not listening for notifications; changes are found by polling until this comes back", zap.Error(err))
			}
		}
		if backoff.Wait(ctx) != nil {
			return nil
		}
	}
}

// listen returns when the connection has failed.
func (d *Doorbell) listen(ctx context.Context, connected, ring func()) error {
	conn, err := pgx.ConnectConfig(ctx, d.config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // it is of no more use either way
	}()
	err = d.bounded(ctx, func(ctx context.Context) error {
		_, err := conn.Exec(ctx, "LISTEN "+orderdb.NotifyChannel)
		return err
	})
	if err != nil {
		return err
	}
	d.log.Info("listening for notifications", zap.String("channel", orderdb.NotifyChannel))
	connected()
	for {
		if d.options.Seen != nil {
			if err := d.pursue(ctx, conn, ring); err != nil {
				return err
			}
		}
		if err := d.wait(ctx, conn); err != nil {
			return err
		}
		ring()
	}
}

// wait returns at a notification. While there is none it asks the server for a
// sign of life now and then: a connection can be dead without anybody telling.
func (d *Doorbell) wait(ctx context.Context, conn *pgx.Conn) error {
	for {
		rung, err := hear(ctx, conn, d.options.Ping)
		if rung || err != nil {
			return err
		}
		if err := d.bounded(ctx, conn.Ping); err != nil {
			return err
		}
	}
}

// pursue rings until the reader has seen what the server has notified of so far.
func (d *Doorbell) pursue(ctx context.Context, conn *pgx.Conn, ring func()) error {
	for began := time.Now(); ; {
		var target uint64
		err := d.bounded(ctx, func(ctx context.Context) error {
			return conn.QueryRow(ctx, currentFlush).Scan(&target)
		})
		if err != nil {
			return err
		}
		rung := false
		for pause := firstPursuit; !rung && d.options.Seen() < target; pause = min(2*pause, longestPursuit) {
			if time.Since(began) > pursuitEnds {
				d.log.Warn("what was notified of is not there yet; polling will find it: is the standby far behind, or does DATABASE_LISTEN_URL name another cluster's primary?",
					zap.Duration("after", pursuitEnds))
				return nil
			}
			ring()
			if rung, err = hear(ctx, conn, pause); err != nil {
				return err
			}
		}
		if !rung {
			return nil
		}
	}
}

// hear waits for a notification, but only for so long.
func hear(ctx context.Context, conn *pgx.Conn, most time.Duration) (rung bool, err error) {
	waiting, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	_, err = conn.WaitForNotification(waiting)
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(waiting.Err(), context.DeadlineExceeded) && !conn.IsClosed():
		return false, nil
	default:
		return false, err
	}
}

func (d *Doorbell) bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, min(pingTimeout, d.options.Ping/2))
	defer cancel()
	return do(ctx)
}
