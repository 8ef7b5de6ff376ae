package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/datadir"
	"github.com/orderhub/orderhub/scripts/devstack/natsserver"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
	"github.com/orderhub/orderhub/scripts/internal/must"
	"github.com/orderhub/orderhub/scripts/internal/poll"
)

const (
	databaseStop = 3 * time.Second  // then it is killed, and recovers at the next start
	portGrace    = 10 * time.Second // for processes of a killed stack to shut down
	portPolling  = 100 * time.Millisecond

	rolePrefix    = "orderhub" // of the roles in the embedded database
	samplesMarker = "samples-published"
	sampleCount   = "20"
)

// sampleOrder is the order that every description of Orderhub speaks of.
//
//go:embed sample-order.json
var sampleOrder []byte

type stack struct {
	settings settings
	binaries string
	out      *output

	kafkaBrokers string            // for the services
	databaseURL  string            // as the owner of the embedded database, as people use it
	roleURLs     map[string]string // the same for each program's role, by program

	lock     *datadir.Lock
	broker   *broker.Broker
	postgres *postgres.Server
	nats     *natsserver.Server
	running  []service
}

func newStack(cfg settings, binaries string, out *output) *stack {
	if cfg.ConsoleToken == "" {
		cfg.ConsoleToken = config.Secret(rand.Text())
	}
	cfg.AuditFile = cmp.Or(cfg.AuditFile, cfg.OldAuditFile, filepath.Join(cfg.DataDir, "audit.jsonl"))
	return &stack{
		settings:     cfg,
		binaries:     binaries,
		out:          out,
		kafkaBrokers: cfg.KafkaBrokers,
		databaseURL:  cfg.DatabaseURL.Reveal(),
		roleURLs:     map[string]string{},
	}
}

// run starts everything, waits until ctx ends and stops everything. It fails
// unless ctx ends because of errStop; stop is how its parts end ctx.
func (st *stack) run(ctx context.Context, stop context.CancelCauseFunc) (err error) {
	began := time.Now()
	if err = must.Cause(func() { st.up(ctx, stop) }); err == nil {
		st.out.say("ready after %s", time.Since(began).Round(time.Millisecond))
		st.out.print(st.summary())
		<-ctx.Done()
	}
	if ctx.Err() != nil { // whatever else went wrong is a consequence
		err = context.Cause(ctx)
	}
	if errors.Is(err, errStop) {
		st.out.say("stopping")
		err = nil
	} else {
		st.out.say("stopping everything: %v", err)
		err = errors.New("failed; see above")
	}
	began = time.Now()
	stop(err) // from here on, an ending service is expected
	if downErr := st.down(); downErr != nil {
		st.out.say("%v", downErr)
	}
	st.out.say("all is stopped after %s", time.Since(began).Round(time.Millisecond))
	return err
}

func (st *stack) up(ctx context.Context, failed context.CancelCauseFunc) {
	must.Succeed(st.checkBinaries())
	must.Succeed(st.claim(ctx))
	must.Succeed(st.startStores(ctx, failed))
	if err := must.Cause(func() { st.migrate(ctx) }); err != nil {
		must.Succeed(fmt.Errorf("migrations: %w", err))
	}
	for _, s := range st.settings.services() {
		must.Succeed(st.start(s, failed))
	}
	for _, s := range st.running {
		must.Succeed(st.waitReady(ctx, s))
	}
	must.Succeed(st.publishSamples(ctx))
}

// migrate brings the schema up to date. In the embedded database each program then has a
// role of its own, with a password of this run. Without roles yet, as after an earlier
// Orderhub, the owner of the database migrates, and gives the tables to their new owner.
func (st *stack) migrate(ctx context.Context) {
	password := rand.Text()
	if st.postgres != nil && must.Get(postgres.SetPassword(ctx, st.postgres.AdminURL(), rolePrefix+"_migrate", password)) {
		st.roleURLs["orderctl"] = postgres.WithUser(st.databaseURL, rolePrefix+"_migrate", password)
	}
	must.Succeed(st.runOnce(ctx, "migrate", nil, false, "orderctl", "migrate"))
	if st.postgres != nil {
		urls := must.Get(postgres.MakeRoles(ctx, st.postgres.AdminURL(), rolePrefix))
		st.roleURLs = map[string]string{"ingest-worker": urls[migrations.Writer], "read-api": urls[migrations.Reader], "orderctl": urls[migrations.Operator]}
	}
}

func (st *stack) checkBinaries() error {
	programs := []string{"orderctl"}
	for _, s := range st.settings.services() {
		programs = append(programs, s.program)
	}
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(st.binaries, program)); err != nil {
			return fmt.Errorf("%s is missing, `make build` makes it: %w", program, err)
		}
	}
	return nil
}

// claim locks the data folder and checks that all ports are free, before anything
// starts.
func (st *stack) claim(ctx context.Context) error {
	lock, err := datadir.Acquire(st.settings.DataDir)
	if _, inUse := errors.AsType[*datadir.InUseError](err); inUse {
		return fmt.Errorf("%w: stop that one, or choose another folder, as in ORDERHUB_DATA=.orderhub-2", err)
	}
	if err != nil {
		return fmt.Errorf("ORDERHUB_DATA: %w", err)
	}
	st.lock = lock
	if lock.Abandoned() {
		ctx, cancel := context.WithTimeout(ctx, portGrace)
		defer cancel()
		_ = poll.Until(ctx, portPolling, st.checkPorts)
	}
	return st.checkPorts()
}

// checkPorts names every port that is taken, with the variable that moves it.
func (st *stack) checkPorts() error {
	var errs []error
	for _, e := range st.settings.endpoints() {
		err := ports.Check(e.addr)
		_, taken := errors.AsType[*ports.TakenError](err)
		switch {
		case taken:
			_, port, _ := splitAddr(e.addr)
			errs = append(errs, fmt.Errorf("port %d, for %s, is taken: free it, or move it, as in %s=%s", port, e.what, e.variable, e.example()))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", e.variable, err))
		}
	}
	return errors.Join(errs...)
}

func (st *stack) startStores(ctx context.Context, failed context.CancelCauseFunc) (err error) {
	if st.settings.embeddedBroker() {
		st.broker, err = broker.Start(ctx, broker.Options{
			DataDir:   filepath.Join(st.settings.DataDir, "broker"),
			Port:      st.settings.KafkaPort,
			Host:      st.settings.KafkaHost,
			LogWriter: st.out.named(brokerName),
		})
		if err != nil {
			return fmt.Errorf("embedded broker: %w", err)
		}
		st.kafkaBrokers = st.broker.Addr()
	}
	if st.settings.embeddedDatabase() {
		st.postgres, err = postgres.Start(ctx, postgres.Options{
			DataDir:   filepath.Join(st.settings.DataDir, "postgres"),
			Port:      st.settings.PostgresPort,
			Open:      st.settings.PostgresHost != "",
			LogWriter: st.out.postgres(),
			Settings:  map[string]string{"log_line_prefix": "", "wal_compression": "on"}, // docs/scaling.md says why
		})
		if err != nil {
			return fmt.Errorf("embedded PostgreSQL: %w", err)
		}
		st.databaseURL = st.postgres.URL()
		ended := st.postgres.Done()
		go func() {
			<-ended
			failed(errors.New("PostgreSQL ended by itself"))
		}()
	}
	if st.settings.embeddedNATS() {
		st.nats, err = natsserver.Start(natsserver.Options{DataDir: filepath.Join(st.settings.DataDir, "nats"), Port: st.settings.NATSPort})
		if err != nil {
			return fmt.Errorf("embedded NATS server: %w", err)
		}
	}
	return nil
}

// publishSamples puts some orders into an embedded pipeline that has never had
// any. Foreign stores are left alone.
func (st *stack) publishSamples(ctx context.Context) error {
	marker := filepath.Join(st.settings.DataDir, samplesMarker)
	if _, err := os.Stat(marker); err == nil || !st.settings.embeddedBroker() || !st.settings.embeddedDatabase() {
		return nil
	}
	st.out.say("first run: publishing sample orders")
	publish := func(stdin io.Reader, arguments ...string) error {
		return st.runOnce(ctx, "publish", stdin, true, "orderctl", append([]string{"publish"}, arguments...)...)
	}
	if err := errors.Join(publish(bytes.NewReader(sampleOrder), "--file", "-"), publish(nil, "--count", sampleCount)); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		st.out.say("sample orders could not be published, the next start tries again: %v", err)
		return nil
	}
	return os.WriteFile(marker, nil, 0o600)
}

// down stops what runs: the services in reverse order, then the stores.
func (st *stack) down() error {
	var errs []error
	for _, s := range slices.Backward(st.running) {
		ctx, cancel := context.WithTimeout(context.Background(), serviceStop)
		err := s.Stop(ctx, syscall.SIGTERM)
		cancel()
		if ended := s.Process().Err(); err == nil && ended != nil {
			err = fmt.Errorf("%s ended with %w", s.name, ended)
		}
		errs = append(errs, err)
	}
	if st.nats != nil {
		st.nats.Stop()
	}
	if st.postgres != nil {
		ctx, cancel := context.WithTimeout(context.Background(), databaseStop)
		errs = append(errs, st.postgres.Stop(ctx))
		cancel()
	}
	if st.broker != nil {
		errs = append(errs, st.broker.Stop())
	}
	if st.lock != nil {
		errs = append(errs, st.lock.Release())
	}
	return errors.Join(errs...)
}

const sampleUID = "b563feb7b2b84b6test"

// summary is a table of what is where, and what to try next.
func (st *stack) summary() string {
	api := "http://" + local(st.settings.HTTPAddr)
	database := config.Secret(st.databaseURL).String()
	if st.settings.embeddedDatabase() {
		database = st.databaseURL // its password is no secret
		if host := st.settings.PostgresHost; host != "" {
			database = strings.Replace(database, local(":"+strconv.Itoa(st.settings.PostgresPort)), net.JoinHostPort(host, strconv.Itoa(st.settings.PostgresPort)), 1)
		}
	}
	var b strings.Builder
	b.WriteString("\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(what, where string) { _, _ = fmt.Fprintf(table, "  %s\t%s\n", what, where) }
	row("Web page and API", api)
	row("API description", api+"/openapi.yaml")
	row("Dead-letter console", "http://"+local(st.settings.consoleAddr()))
	row("Token of the console", st.settings.ConsoleToken.Reveal())
	row("Kafka", st.kafkaBrokers)
	row("PostgreSQL", database)
	if st.settings.NATS {
		row("NATS", st.settings.natsURL().String()+", subject "+st.settings.NATSSubject)
		row("Bridge's metrics", "http://"+local(st.settings.bridgeAdminAddr())+"/metrics")
	}
	row("Worker's metrics", "http://"+local(st.settings.AdminAddr)+"/metrics")
	row("API's metrics", "http://"+local(st.settings.apiAdminAddr())+"/metrics")
	row("Console's metrics", "http://"+local(st.settings.consoleAdminAddr())+"/metrics")
	if st.settings.embeddedBroker() || st.settings.embeddedDatabase() {
		row("Data", st.settings.DataDir)
	}
	_ = table.Flush()

	orderctl := st.orderctl()
	b.WriteString("\nTry next, in another terminal:\n\n")
	lines := []string{
		"curl -s " + api + "/order/" + sampleUID,
		orderctl + " publish --count 5",
		orderctl + " publish --count 5 --invalid 1",
		"psql '" + database + "' -c 'SELECT order_uid, customer_id FROM orders LIMIT 5'",
	}
	if st.settings.NATS {
		lines = append(lines, st.binaries+"/orderctl publish --count 5 --to "+st.settings.natsURL().String()+"/"+st.settings.NATSSubject)
	}
	for _, line := range lines {
		b.WriteString("  " + line + "\n")
	}
	for _, warning := range st.settings.exposed() {
		b.WriteString("\n  WARNING: " + warning + ".")
	}
	b.WriteString("\nCtrl-C stops everything; the data stays.\n\n")
	return b.String()
}

// orderctl is the command as one types it, with the variables that its
// defaults don't cover.
func (st *stack) orderctl() string {
	command := st.binaries + "/orderctl"
	if st.settings.embeddedBroker() && st.settings.KafkaPort != 9092 {
		command = "KAFKA_BROKERS=" + st.kafkaBrokers + " " + command
	}
	return command
}
