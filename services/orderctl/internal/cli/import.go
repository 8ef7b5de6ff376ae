package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
	"github.com/orderhub/orderhub/services/orderctl/internal/otherdb"
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
