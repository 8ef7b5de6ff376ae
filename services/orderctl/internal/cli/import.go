package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
	"github.com/orderhub/orderhub/migrations"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
	"github.com/orderhub/orderhub/services/orderctl/internal/otherdb"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
)

type sourceFlags struct {
	url, schema, mapping string
	given                *otherdb.Mapping // what the file says
}

func (f *sourceFlags) register(cmd *cobra.Command, name string) {
	cmd.Flags().StringVar(&f.url, name, "", "database of the other order service, postgres://…; the password may be in PGPASSWORD or ~/.pgpass")
	cmd.Flags().StringVar(&f.schema, name+"-schema", "", "its schema (default: the first of its search_path)")
	cmd.Flags().StringVar(&f.mapping, "mapping", "", "YAML or JSON file that says where fields come from; -: stdin")
}

// load reads the mapping file, once.
func (f *sourceFlags) load(a *app) error {
	if f.given != nil {
		return nil
	}
	given := otherdb.Mapping{}
	if f.mapping != "" {
		data, err := a.read(f.mapping)
		if err != nil {
			return usagef("--mapping: %w", err)
		}
		if given, err = otherdb.ParseMapping(data); err != nil {
			return usagef("--mapping: %s: %w", shownName(f.mapping), err)
		}
	}
	f.given = &given
	return nil
}

type importSettings struct {
	Kafka    config.Kafka
	Database config.Database
	Rules    rules.Settings
	Erasures erasure.Settings
}

type importFlags struct {
	importSettings
	source sourceFlags
	kafka  kafkaFlags
	plan   bool
	dryRun bool
	direct bool
	state  string
	rate   float64
}

func (a *app) importCommand() *cobra.Command {
	var f importFlags
	cmd := a.command("import", &f.importSettings, noArgs(": name the database with --from"), func(cmd *cobra.Command, _ []string) error { return a.importOrders(cmd.Context(), &f) })
	flags := cmd.Flags()
	f.source.register(cmd, "from")
	flags.BoolVar(&f.plan, "plan", false, "print the plan as a mapping file, and import nothing")
	flags.BoolVar(&f.dryRun, "dry-run", false, "say what would become of the orders, and import nothing")
	flags.BoolVar(&f.direct, "direct", false, "write into DATABASE_URL instead of publishing to the topic")
	flags.StringVar(&f.state, "state", "orderctl-import.json", "file that remembers how far an unfinished import is; empty: none")
	flags.Float64Var(&f.rate, "rate", 0, "records a second to the topic; 0: as fast as possible")
	f.kafka.registerOrders(cmd)
	cmd.MarkFlagsMutuallyExclusive("dry-run", "direct", "plan")
	return cmd
}

// source is the other database, and how its orders are read.
type otherSource struct {
	*database
	db   *otherdb.DB
	plan *otherdb.Plan
}

// openSource connects to another order service's database, which a setting or flag
// names, and makes the plan.
func (a *app) openSource(ctx context.Context, f *sourceFlags, setting string) (*otherSource, error) {
	if f.url == "" {
		return nil, usagef("%s: name the other database, such as postgres://user@localhost:5432/orders", setting)
	}
	if err := f.load(a); err != nil {
		return nil, err
	}
	conn, err := bundb.Config(config.Database{URL: config.Secret(f.url)}, "orderctl import")
	if err != nil {
		return nil, usagef("%s: not a PostgreSQL address such as postgres://user@host:5432/orders", setting)
	}
	s := &otherSource{database: &database{conn: conn, setting: setting}}
	if s.db, err = otherdb.Open(ctx, conn, f.schema); err != nil {
		return nil, s.explain(err)
	}
	if s.plan, err = s.db.Plan(ctx, *f.given); err != nil {
		s.db.Close()
		return nil, s.explain(err)
	}
	return s, nil
}

// name is what the source is called, without who reads it.
func (s *otherSource) name() string {
	place, _, _ := strings.Cut(s.place(), " as user ")
	return place + ", schema " + s.db.Schema()
}

// text is the plan as a mapping file, from the mapping's text.
func (s *otherSource) text(mapping string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Orders of %s\n", s.name())
	for _, note := range s.plan.Notes {
		b.WriteString("# - " + note + "\n")
	}
	for _, problem := range s.plan.Problems {
		b.WriteString("# PROBLEM: " + problem + "\n")
	}
	return b.String() + mapping
}

// sayPlan tells how orders are read, as far as that is not what anybody would expect.
func (a *app) sayPlan(s *otherSource) {
	a.say("%s# fields that are not named are in columns of their own names; 'orderctl import --plan' shows all", s.text(s.plan.Mapping.Brief()))
}

// unusable is the error of a plan with problems.
func (s *otherSource) unusable() error {
	if len(s.plan.Problems) == 0 {
		return nil
	}
	return errs.New(errs.Internal, "the plan has problems: nothing was read. Save it with 'orderctl import --from … --plan > mapping.yaml', mend it, and use it with --mapping (docs/moving-over.md)\n%s",
		strings.Join(s.plan.Problems, "\n"))
}

func (a *app) importOrders(ctx context.Context, f *importFlags) error {
	if !(f.rate >= 0) { // refuses NaN too
		return usagef("--rate: 0 or more, not %v", f.rate)
	}
	source, err := a.openSource(ctx, &f.source, "--from")
	if err != nil {
		return err
	}
	defer source.db.Close()
	if f.plan {
		if err := a.print(source.plan, source.text(source.plan.Mapping.String())); err != nil {
			return err
		}
		if len(source.plan.Problems) > 0 {
			return failed()
		}
		return nil
	}
	a.sayPlan(source)
	if err := source.unusable(); err != nil {
		return err
	}
	run, err := a.newImport(ctx, f, source)
	if err != nil {
		return err
	}
	return run.do(ctx)
}

type importState struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Mapping string `json:"mapping"`
	// After is the uid of the last order of which all that go before are done.
	After string `json:"after"`
	Done  int64  `json:"done"`
}

// loadState reads the state of an interrupted import, which this one continues.
func loadState(path string, want importState) (importState, error) {
	if path == "" {
		return want, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return want, nil
	}
	var was importState
	if err == nil {
		err = json.Unmarshal(data, &was)
	}
	if err != nil {
		return want, usagef("--state: %s: %w", path, err)
	}
	if was.From != want.From || was.To != want.To || was.Mapping != want.Mapping {
		return want, usagef("--state: %s is of another import, from %s to %s: finish that one, remove the file to begin anew, or name another file", path, was.From, was.To)
	}
	return was, nil
}

// save writes the state as a whole or not at all.
func (s importState) save(path string) error {
	if path == "" {
		return nil
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("--state: %w", err)
	}
	return nil
}

type importReport struct {
	From  string `json:"from"`
	To    string `json:"to"`
	After string `json:"resumed_after,omitempty"`
	Read  int64  `json:"read"`
	// Published are those that the topic has; what becomes of them the worker decides.
	Published  int64            `json:"published"`
	Refused    int64            `json:"refused"` // by the broker
	Stored     int64            `json:"stored"`
	Duplicates int64            `json:"duplicates"`
	Failed     int64            `json:"failed"`
	Erased     int64            `json:"erased"`            // and so not stored
	Reasons    map[string]int64 `json:"reasons,omitempty"` // of the failures
	// Orphans are rows of parts whose order does not exist, by table.
	Orphans map[string]int64 `json:"rows_without_order,omitempty"`
	DryRun  bool             `json:"dry_run,omitempty"`
	Seconds float64          `json:"seconds"`
}

// failure prints an order that failed, without its values.
func (r *importRun) failure(uid, reason string, failures []model.FieldError) error {
	if !model.IsOrderUID(uid) {
		uid = mask.Name
	}
	failures = mask.Errors(failures)
	texts := make([]string, len(failures))
	for i, f := range failures {
		texts[i] = f.String()
	}
	return r.print(struct {
		UID    string             `json:"order_uid"`
		Reason string             `json:"reason"`
		Errors []model.FieldError `json:"errors"`
	}{uid, reason, failures}, fmt.Sprintf("fail  %s  %s  %s\n", uid, reason, strings.Join(texts, "; ")))
}

// end reports, and keeps or removes the state.
func (r *importRun) end(ctx context.Context, err error) error {
	took := time.Since(r.started)
	r.report.Seconds, r.report.Orphans = took.Seconds(), r.reader.Orphans
	if err == nil && r.f.state != "" {
		if err = os.Remove(r.f.state); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	} else if r.state.Done > 0 {
		err = errors.Join(err, r.state.save(r.f.state))
	}
	err = errors.Join(err, r.writeReport(took, err != nil))
	switch {
	case err != nil && ctx.Err() != nil:
		return errs.New(errs.Interrupted, "")
	case err != nil:
		return err
	case r.report.Failed+r.report.Refused > 0:
		return failed()
	case r.report.Read+r.state.Done == 0:
		return nothing("%s has no orders", r.report.From)
	}
	return nil
}

func (r *importRun) writeReport(took time.Duration, stopped bool) error {
	if r.output == outputJSON {
		if err := writeJSON(r.stdout, r.report); err != nil {
			return local(err)
		}
	}
	r.say("%s", summary("imported", struct {
		importReport
		Took    time.Duration
		Stopped bool
		Decided bool // here, not by the worker
	}{r.report, took.Round(time.Millisecond), stopped, r.target != nil}))
	switch {
	case stopped && r.f.state != "":
		r.say("run the command again: it goes on after what is done, which %s remembers", r.f.state)
	case r.target == nil && !stopped:
		r.say("the worker decides about each order: see 'orderctl dlq stats', and compare with 'orderctl verify --against'")
	}
	return nil
}

const (
	pageRecords  = 1000
	pageBytes    = 4 << 20
	saveInterval = time.Second
)

// importRun is one import. It deals with a page of orders after the other, and remembers
// the last one that is done.
type importRun struct {
	*app
	f      *importFlags
	source *otherSource
	target *database // nil: topic
	topic  target
	codec  *model.Codec
	reader *otherdb.Reader
	next   func(context.Context) (otherdb.Order, error) // of the reader
	ahead  *otherdb.Order                               // that is read, and in no page yet

	report  importReport
	state   importState
	total   int64
	started time.Time
	saved   time.Time
	bar     *progress
}

func (a *app) newImport(ctx context.Context, f *importFlags, source *otherSource) (*importRun, error) {
	r := &importRun{app: a, f: f, source: source, codec: model.New(f.Rules.Options()), started: time.Now()}
	var to string
	if f.direct || f.dryRun {
		target, err := a.openDatabase(f.Database)
		if err != nil {
			return nil, err
		}
		if err := migrations.Check(ctx, target.pool.DB, migrations.Viewer); err != nil {
			return nil, target.explain(err)
		}
		r.target, to = target, "database "+target.place()
	} else {
		var err error
		if r.topic, err = kafkaTarget(&f.kafka, &f.Kafka); err != nil {
			return nil, err
		}
		to = fmt.Sprintf("topic %s at %s", f.Kafka.Topic, strings.Join(kafkaconn.Brokers(f.Kafka.KafkaConn), ", "))
	}
	mapping := sha256.Sum256([]byte(source.plan.Mapping.String()))
	r.state = importState{From: source.name(), To: to, Mapping: hex.EncodeToString(mapping[:8])}
	r.report = importReport{From: r.state.From, To: to, Reasons: map[string]int64{}, DryRun: f.dryRun}
	if f.dryRun {
		f.state = ""
	}
	var err error
	if r.state, err = loadState(f.state, r.state); err == nil {
		r.total, err = source.db.Count(ctx, source.plan)
	}
	if err == nil {
		r.reader, err = source.db.Read(ctx, source.plan, otherdb.Range{After: r.state.After})
		r.next = r.reader.Next
	}
	if err != nil {
		return nil, source.explain(err)
	}
	if r.report.After = r.state.After; r.state.After != "" {
		a.say("going on after order %s, with %s done before", dlqview.Clean(r.state.After), dlqview.Plural(int(r.state.Done), "order"))
	}
	return r, nil
}

// do imports, and reports in any case.
func (r *importRun) do(ctx context.Context) error {
	r.bar, r.saved = r.newProgress(r.state.Done, r.total, "importing", "orders"), r.started
	deal, closing, err := r.dealer(ctx)
	for err == nil {
		var page []otherdb.Order
		if page, err = r.page(ctx); err != nil || len(page) == 0 {
			break
		}
		if err = deal(ctx, page); err == nil {
			err = r.did(page)
		}
	}
	closing()
	r.bar.end()
	return r.end(ctx, err)
}

// page reads the next orders, none after the last. Orders with one uid are in one page,
// since an import resumes after a uid. With a rate a page takes about a second, after
// which it is remembered.
func (r *importRun) page(ctx context.Context) (page []otherdb.Order, err error) {
	most, size := pageRecords, 0
	if r.f.rate > 0 {
		most = max(1, int(min(r.f.rate, pageRecords)))
	}
	for {
		if r.ahead == nil {
			order, err := r.next(ctx)
			if errors.Is(err, io.EOF) {
				return page, nil
			}
			if err != nil {
				return nil, r.source.explain(err)
			}
			r.ahead = &order
		}
		if n := len(page); (n >= most || size > pageBytes) && page[n-1].UID != r.ahead.UID {
			return page, nil
		}
		page, size = append(page, *r.ahead), size+len(r.ahead.JSON)
		r.ahead = nil
	}
}

// did notes that the orders of a page, and all before them, are done.
func (r *importRun) did(page []otherdb.Order) error {
	r.report.Read += int64(len(page))
	r.state.Done += int64(len(page))
	r.state.After = page[len(page)-1].UID
	r.bar.did(int64(len(page)))
	now := time.Now()
	if now.Sub(r.saved) < saveInterval {
		return nil
	}
	r.saved = now
	return local(r.state.save(r.f.state))
}

// dealer gives what is done with a page of orders. Call closing afterwards, in any case.
func (r *importRun) dealer(ctx context.Context) (deal func(context.Context, []otherdb.Order) error, closing func(), err error) {
	switch {
	case r.f.dryRun:
		return func(ctx context.Context, page []otherdb.Order) error {
			comparer, err := r.target.comparer(ctx, r.codec, r.f.Erasures.NewKey(), orderwrite.Versions{})
			if err != nil {
				return err
			}
			return r.write(ctx, page, comparer)
		}, func() {}, nil
	case r.f.direct:
		writer := r.target.writer(r.codec, r.f.Erasures.NewKey(), orderwrite.Versions{})
		return func(ctx context.Context, page []otherdb.Order) error { return r.write(ctx, page, writer) }, func() {}, nil
	}
	return r.publisher(ctx)
}

func (r *importRun) publisher(ctx context.Context) (deal func(context.Context, []otherdb.Order) error, closing func(), err error) {
	broker, err := r.topic.open(ctx)
	if err != nil {
		return nil, func() {}, r.topic.explain(err)
	}
	brokers := &published{app: r.app, Product: r.topic.product, bar: r.bar.bar}
	publisher := publish.New(broker, publish.Options{
		Rate: r.f.rate,
		Acked: func(acks []publish.Ack) error {
			r.report.Published += int64(len(acks))
			brokers.away = false
			return nil
		},
		Refused: func(record publish.Record, err error) {
			r.report.Refused++
			r.bar.line()
			_ = r.failure(string(record.Key), "refused_by_broker", []model.FieldError{{Rule: "refused_by_broker", Message: err.Error()}}) // the final report counts it
		},
		Retrying: brokers.retrying,
	})
	return func(ctx context.Context, page []otherdb.Order) error {
		return r.topic.explain(publisher.Run(ctx, func() (publish.Record, error) {
			if len(page) == 0 {
				return publish.Record{}, io.EOF
			}
			record := publish.Record{Value: page[0].JSON}
			if page[0].UID != "" {
				record.Key = []byte(page[0].UID)
			}
			page = page[1:]
			return record, nil
		}))
	}, broker.Close, nil
}

// write decides the orders of a page, as the worker does, and prints the failures.
func (r *importRun) write(ctx context.Context, page []otherdb.Order, writer ingest.Writer) error {
	decoder, records := ingest.NewDecoder(r.codec, nil), make([]*ingest.Record, len(page))
	for i, order := range page {
		records[i] = decoder.Decode(deadletter.Source{Key: []byte(order.UID), Value: order.JSON})
	}
	if err := r.target.decide(ctx, writer, records); err != nil {
		return err
	}
	return r.outcomes(records)
}

func (r *importRun) outcomes(records []*ingest.Record) error {
	for _, record := range records {
		switch record.Outcome() {
		case ingest.Stored:
			r.report.Stored++
		case ingest.Duplicate:
			r.report.Duplicates++
		case ingest.Erased:
			r.report.Erased++
		default:
			cause := record.Cause()
			r.report.Failed++
			r.report.Reasons[cause.Reason]++
			r.bar.line()
			if err := r.failure(string(record.Source.Key), cause.Reason, cause.Errors); err != nil {
				return local(err)
			}
		}
	}
	return nil
}
