package changes

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/metric"
	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	// pingInterval is how long a connection may be silent before it is pinged.
	pingInterval = 10 * time.Second
	pingTimeout  = 5 * time.Second
	// listenRetry is the longest wait between attempts to listen. Polling continues
	// meanwhile.
	listenRetry = 15 * time.Second
	// After a notification from the primary, the reader polls the standby after these
	// pauses until the standby has replayed the change, for pursuitEnds at most.
	firstPursuit   = time.Millisecond
	longestPursuit = 100 * time.Millisecond
	pursuitEnds    = time.Minute
)

// currentFlush is the primary's log position. Everything that it has notified of lies
// before it.
const currentFlush = `SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint`

// DoorbellOptions of a Doorbell.
type DoorbellOptions struct {
	// Seen is needed if the reader reads from a standby and the doorbell listens on its
	// primary. It returns the log position up to which the reader has seen everything.
	// The doorbell rings until that position covers the notification.
	Seen func() uint64
	// Ping is how long a connection may be silent before it is pinged. It has half as
	// long to answer. 0 means 10 seconds.
	Ping time.Duration
	// Fatal is called if the loop ends before Stop. It may be nil.
	Fatal func(error)
	// Announced gets the payloads of orderdb.TraceChannel; nil: nobody listens there.
	Announced func(payload string)
	// Metrics get the doorbell's figures; nil: none.
	Metrics prometheus.Registerer
}

// Doorbell listens for the tables' notifications on its own connection. A notification
// only says that there may be changes, and some may get lost. So the reader must poll
// as well.
type Doorbell struct {
	*lifecycle.Loop

	config  Connector
	options DoorbellOptions
	log     *zap.Logger

	connected     prometheus.Gauge
	notifications prometheus.Counter
}

// NewDoorbell returns a doorbell. From Start to Stop it calls ring for each
// notification, and at each new connection, since notifications may have been missed
// before. ring must not block.
func NewDoorbell(config Connector, options DoorbellOptions, ring func(), log *zap.Logger) *Doorbell {
	if options.Ping == 0 {
		options.Ping = pingInterval
	}
	d := &Doorbell{
		config: config, options: options, log: log,
		connected:     metric.Gauge(options.Metrics, "orderhub_listener_connected", "1 while the reader listens for notifications."),
		notifications: metric.Counter(options.Metrics, "orderhub_listener_notifications_total", "Notifications received."),
	}
	d.Loop = lifecycle.NewLoop("doorbell", func(ctx context.Context) error { return d.run(ctx, ring) }, options.Fatal)
	return d
}

func (d *Doorbell) run(ctx context.Context, ring func()) error {
	backoff := retry.NewBackoff(listenRetry)
	quiet := false // the log knows already
	for ctx.Err() == nil {
		err := d.listen(ctx, func() {
			backoff.Reset()
			quiet = false
			ring()
		}, ring)
		if ctx.Err() == nil && !quiet {
			quiet = true
			var refused *pgconn.PgError
			if errors.As(err, &refused) && refused.Code == "25006" { // read_only_sql_transaction
				d.log.Warn("notifications don't exist on a standby; changes are found by polling alone")
			} else {
				d.log.Warn("not listening for notifications; changes are found by polling until this comes back", zap.Error(err))
			}
		}
		_ = backoff.Wait(ctx) // the loop looks at ctx
	}
	return nil
}

// listen returns when the connection has failed.
func (d *Doorbell) listen(ctx context.Context, connected, ring func()) error {
	config, err := d.config()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
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
		if err == nil && d.options.Announced != nil {
			_, err = conn.Exec(ctx, "LISTEN "+orderdb.TraceChannel)
		}
		return err
	})
	if err != nil {
		return err
	}
	d.log.Info("listening for notifications", zap.String("channel", orderdb.NotifyChannel))
	connected()
	d.connected.Set(1)
	defer d.connected.Set(0)
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

// wait returns at a notification. While there is none it pings the server, since a
// broken connection may go unnoticed.
func (d *Doorbell) wait(ctx context.Context, conn *pgx.Conn) error {
	for {
		rung, err := d.hear(ctx, conn, d.options.Ping)
		if rung || err != nil {
			return err
		}
		if err := d.bounded(ctx, conn.Ping); err != nil {
			return err
		}
	}
}

// pursue rings until the reader has seen everything that the server has notified of.
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
					zap.Duration("duration_seconds", pursuitEnds))
				return nil
			}
			ring()
			if rung, err = d.hear(ctx, conn, pause); err != nil {
				return err
			}
		}
		if !rung {
			return nil
		}
	}
}

// hear waits for a notification, for most at most.
func (d *Doorbell) hear(ctx context.Context, conn *pgx.Conn, most time.Duration) (rung bool, err error) {
	waiting, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	heard, err := conn.WaitForNotification(waiting)
	switch {
	case err == nil:
		d.notifications.Inc()
		if heard.Channel == orderdb.TraceChannel {
			d.options.Announced(heard.Payload)
		}
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
