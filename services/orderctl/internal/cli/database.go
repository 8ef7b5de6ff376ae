package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/erased"
	"github.com/orderhub/orderhub/libs/ingest/errclass"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/orderctl/internal/accept"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

type databaseSettings struct{ Database config.Database }

// maxConns: one holds the migrations' lock while others work.
const maxConns = 4

type database struct {
	pool    *bun.DB
	conn    *pgx.ConnConfig
	setting string // that says where it is
	// owns is set by commands that change the schema, which is the owner's right.
	owns bool
}

// openDatabase opens a pool until the command ends. It doesn't connect.
func (a *app) openDatabase(cfg config.Database) (*database, error) {
	conn, err := bundb.Config(cfg, "orderctl")
	if err != nil {
		return nil, usage(err)
	}
	db, err := bundb.Open(cfg, bundb.Options{MaxConns: maxConns, ApplicationName: "orderctl"})
	if err != nil {
		return nil, usage(err)
	}
	a.ends = append(a.ends, func() { _ = db.Close() }) // what was written is committed
	return &database{pool: db, conn: conn, setting: "DATABASE_URL"}, nil
}

// stored gives those of the orders that are stored with their earlier versions, all as of one
// moment.
func (d *database) stored(ctx context.Context, uids []string) (map[string]orderdb.Stored, error) {
	var stored map[string]orderdb.Stored
	err := orderdb.View(ctx, d.pool, func(ctx context.Context, tx bun.Tx) (err error) {
		stored, err = orderdb.ReadWithEarlier(ctx, tx, uids)
		return err
	})
	return stored, d.explain(err)
}

// writer writes orders like a worker with its default settings, apart from versions.
func (d *database) writer(codec *model.Codec, erasures *erasure.Key, versions orderwrite.Versions) *orderwrite.Writer {
	return orderwrite.New(d.pool, orderwrite.Options{
		Timeout: 30 * time.Second, MaxOrders: 4000, Differs: codec.Differs, Versions: versions, Erasures: erasures,
		Batch: batch.Limits{Busy: 8, Count: pageRecords, Period: 40 * time.Millisecond},
	})
}

func (d *database) acceptor(queue *dlq.Queue, r *rules.Settings, erasures *erasure.Key) *accept.Acceptor {
	codec, versions := model.New(r.Options()), r.Versions()
	versions.Deletions = true // an order that was deleted is not accepted
	return &accept.Acceptor{Codec: codec, Queue: queue, Orders: d.stored, Writer: d.writer(codec, erasures, versions), DB: d.pool, Explain: d.explain}
}

// comparer decides orders like a writer, and writes nothing.
func (d *database) comparer(ctx context.Context, codec *model.Codec, erasures *erasure.Key, versions orderwrite.Versions) (*dryrun.Comparer, error) {
	c := dryrun.NewComparer(codec, d.stored, versions)
	var err error
	c.Erased, err = erased.Load(ctx, d.pool, erasures)
	return c, d.explain(err)
}

// decide has a writer decide records, and tries again for a while what may pass. It
// finishes an attempt that was begun when ctx ends, so that what is done is known.
func (d *database) decide(ctx context.Context, writer ingest.Writer, records []*ingest.Record) error {
	backoff, began := retry.NewBackoff(2*time.Second), time.Now()
	for {
		err := ingest.Store(context.WithoutCancel(ctx), writer, records)
		if err == nil {
			return nil
		}
		class, cause := errclass.Of(err)
		if class != errclass.Environment || cause == errclass.CauseRights || time.Since(began) > giveUpAfter || backoff.Wait(ctx) != nil {
			return d.explain(err)
		}
	}
}

// place is the database's address without the password.
func (d *database) place() string {
	return fmt.Sprintf("%s/%s as user %s", net.JoinHostPort(d.conn.Host, strconv.Itoa(int(d.conn.Port))), d.conn.Database, d.conn.User)
}

var quoted = regexp.MustCompile(`(?s)".*"`)

// explain says what is wrong with the database, and what to do.
func (d *database) explain(err error) error {
	var refused *pgconn.PgError
	var connecting *pgconn.ConnectError
	var coded *errs.Error
	switch {
	case err == nil || errors.As(err, &coded):
		return err
	case errors.Is(err, erasure.ErrKey):
		return usage(err)
	case errors.As(err, &refused):
		message := refused.Message
		if strings.HasPrefix(refused.Code, "22") { // a data exception, which quotes an order's value
			message = quoted.ReplaceAllString(message, mask.Hidden)
		}
		return errs.Wrap(errs.Unavailable, err, "PostgreSQL at %s: %s (SQLSTATE %s)%s", d.place(), message, refused.Code, d.advice(refused.Code))
	case errors.As(err, &connecting):
		return errs.Wrap(errs.Unavailable, err, "cannot reach PostgreSQL at %s: %v: start it, or say where it is with %s", d.place(), rootCause(connecting), d.setting)
	default:
		return errs.Wrap(errs.Unavailable, err, "PostgreSQL at %s: %v", d.place(), err)
	}
}

func (d *database) advice(sqlstate string) string {
	switch sqlstate {
	case "3D000":
		return ": create it, as with createdb " + d.conn.Database + ", or name another in " + d.setting
	case "28P01", "28000":
		return ": check user and password in " + d.setting
	case "42501":
		switch {
		case d.owns:
			return ": the user must own the tables and may create others (GRANT CREATE ON SCHEMA …): connect as orderhub_migrate, or as who owns them (docs/roles.md)"
		case d.pool == nil:
			return ": the user needs the right to read the tables"
		}
		ctx, cancel := context.WithTimeout(context.Background(), d.conn.ConnectTimeout)
		defer cancel()
		// What only changes need is named where nothing else is missing.
		err := cmp.Or(migrations.CheckRights(ctx, d.pool.DB, migrations.Viewer), migrations.CheckRights(ctx, d.pool.DB, migrations.Operator))
		if err != nil {
			return ": " + err.Error()
		}
		return ""
	default:
		return ""
	}
}

// rootCause is the innermost error, such as "connection refused", of the first
// address that was tried.
func rootCause(err error) error {
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network
	}
	for {
		switch wrapping := err.(type) { //nolint:errorlint // the chain is walked here
		case interface{ Unwrap() error }:
			if wrapping.Unwrap() == nil {
				return err
			}
			err = wrapping.Unwrap()
		case interface{ Unwrap() []error }:
			err = wrapping.Unwrap()[0]
		default:
			return err
		}
	}
}

// isDatabaseAway is true where waiting may help: no connection, or a server
// that is starting or stopping.
func isDatabaseAway(err error) bool {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code == "57P03" || refused.Code == "57P01" // starting, stopping
	}
	var connecting *pgconn.ConnectError
	return errors.As(err, &connecting)
}
