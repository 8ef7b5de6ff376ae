package changes

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	// pingInterval is how long the doorbell believes in a silent connection.
	pingInterval = 10 * time.Second
	pingTimeout  = 5 * time.Second
	// listenRetry is the longest wait between attempts to listen: polling goes on
	// in the meantime.
	listenRetry = 15 * time.Second
)

// Doorbell listens for the tables' notifications on a connection of its own.
// They only say that it is worth to look: whoever is rung must look regularly
// all the same.
type Doorbell struct {
	config *pgx.ConnConfig
	log    *zap.Logger
}

// NewDoorbell prepares a doorbell; it doesn't connect yet.
func NewDoorbell(config *pgx.ConnConfig, log *zap.Logger) *Doorbell {
	return &Doorbell{config: config, log: log}
}

// Run calls ring for each notification and at each new connection, since
// notifications may have been missed before, until ctx ends. ring must not block.
func (d *Doorbell) Run(ctx context.Context, ring func()) {
	backoff := retry.NewBackoff(listenRetry)
	quiet := false // the log knows already
	for {
		err := d.listen(ctx, func() {
			backoff.Reset()
			quiet = false
			ring()
		}, ring)
		if ctx.Err() != nil {
			return
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
			return
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
	if err := bounded(ctx, func(ctx context.Context) error {
		_, err := conn.Exec(ctx, "LISTEN "+orderdb.NotifyChannel)
		return err
	}); err != nil {
		return err
	}
	d.log.Info("listening for notifications", zap.String("channel", orderdb.NotifyChannel))
	connected()
	for {
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
		waiting, cancel := context.WithTimeout(ctx, pingInterval)
		_, err := conn.WaitForNotification(waiting)
		silent := errors.Is(waiting.Err(), context.DeadlineExceeded)
		cancel()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case !silent || conn.IsClosed():
			return err
		}
		if err := bounded(ctx, conn.Ping); err != nil {
			return err
		}
	}
}

func bounded(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return do(ctx)
}
