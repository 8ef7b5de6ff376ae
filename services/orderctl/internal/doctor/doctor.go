// Package doctor looks for what is wrong with an installation: brokers, topics, group,
// database and programs. It changes nothing. All that it writes is a notification on a
// channel of its own.
package doctor

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/migrations"
)

// Severity of a finding: ok, notice, warning, or error, which means that something does
// not work now.
type Severity string

// Finding is what a check says: that all is ok, or what it found.
type Finding struct {
	Check    string   `json:"check"`             // its stable name
	Name     string   `json:"finding,omitempty"` // stable, unique within the check; "" if ok
	Severity Severity `json:"severity"`
	About    string   `json:"about,omitempty"` // such as a topic or a role
	Evidence string   `json:"evidence"`
	Advice   string   `json:"advice,omitempty"`
}

// Options say what to look at. Those that are settings are the programs' own.
type Options struct {
	Kafka    config.Kafka
	Database config.Database
	Rules    rules.Settings
	Audit    audit.Settings
	Group    string
	Token    config.Secret // for the API
	API      string        // base address; "": not to be asked
	Admin    []string      // base addresses of admin ports
	Timeout  time.Duration // of each check
	Client   *kgo.Client
	DB       *bun.DB
	// Explain says to people what is wrong with kafka and postgres.
	Explain map[string]func(error) error
}

// checks run side by side. One that needs others runs after them, unless one of them
// failed. run returns what it has seen if it finds nothing, or why it could not finish.
var checks = []struct {
	name, needs string
	run         func(context.Context, *report) (seen string, err error)
}{
	{"kafka.brokers", "", brokers},
	{"kafka.topics", "kafka.brokers", topics},
	{"kafka.group", "kafka.brokers", group},
	{"kafka.rights", "kafka.brokers", kafkaRights},
	{"kafka.clock", "kafka.brokers", kafkaClock},
	{"postgres.server", "", query},
	{"postgres.schema", "postgres.server", schema},
	{"postgres.roles", "postgres.server", roles},
	{"postgres.triggers", "postgres.server", query},
	{"postgres.positions", "postgres.server kafka.brokers", positions},
	{"postgres.listen", "postgres.server", listen},
	{"postgres.clock", "postgres.server", databaseClock},
	{"postgres.connections", "postgres.server", query},
	{"postgres.disk", "postgres.server", query},
	{"audit.folder", "", auditFolder},
	{"api", "", api},
	{"programs", "", programs},
}

// findings has a line for each finding there is: name, severity and advice.
//
//go:embed findings.txt
var findings string

// Kinds lists all findings there are, each as its name, severity and advice. * stands for
// each check. In the advice {} is what a finding is about, and {fix} what its check says.
func Kinds() (all [][]string) {
	for line := range strings.Lines(findings) {
		all = append(all, strings.SplitN(strings.TrimSuffix(line, "\n"), " | ", 3))
	}
	return all
}

// Findings that each check may have.
const failed, notChecked = "failed", "not_checked"

// Run runs all checks and returns what they say, in their order.
func Run(ctx context.Context, o *Options) []Finding {
	reports, broken := make([]report, len(checks)), ""
	for _, first := range []bool{true, false} {
		var running sync.WaitGroup
		for i, c := range checks {
			if (c.needs == "") == first {
				reports[i] = report{Options: o, admin: kadm.NewClient(o.Client), check: c.name}
				running.Go(func() { reports[i].run(ctx, c.run, c.needs, broken) })
			}
		}
		running.Wait()
		for _, r := range reports {
			if slices.ContainsFunc(r.findings, func(f Finding) bool { return f.Name == failed }) {
				broken += r.check + " "
			}
		}
	}
	var all []Finding
	for _, r := range reports {
		all = append(all, r.findings...)
	}
	return all
}

// report collects what one check says.
type report struct {
	*Options
	admin    *kadm.Client
	check    string
	findings []Finding
}

// run runs the check, unless one that it needs is broken.
func (r *report) run(ctx context.Context, run func(context.Context, *report) (string, error), needs, broken string) {
	for needed := range strings.FieldsSeq(needs) {
		if strings.Contains(broken, needed) {
			r.find(notChecked, "", needed+" failed")
			return
		}
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	seen, err := run(ctx, r)
	switch {
	case isBeyondUs(err):
		r.find(notChecked, "", r.explain(err))
	case err != nil:
		r.find(failed, "", r.explain(err))
	case len(r.findings) == 0:
		r.findings = []Finding{{Check: r.check, Severity: "ok", Evidence: seen}}
	}
}

// find adds a finding of a kind. fix is for its advice. What holds for several things is
// one finding about all of them.
func (r *report) find(name, about, evidence string, fix ...string) {
	if i := slices.IndexFunc(r.findings, func(f Finding) bool { return f.Name == name && f.Evidence == evidence }); i >= 0 {
		r.findings[i].About += ", " + about
		return
	}
	kinds := Kinds()
	kind := kinds[slices.IndexFunc(kinds, func(k []string) bool { return k[0] == r.check+"."+name || k[0] == "*."+name })]
	advice := strings.NewReplacer("{}", about, "{fix}", strings.Join(fix, " "), "{brokers}", strings.Join(r.Kafka.Brokers, ",")).Replace(kind[2])
	r.findings = append(r.findings, Finding{r.check, name, Severity(kind[1]), about, evidence, advice})
}

func (r *report) explain(err error) string {
	subject, _, _ := strings.Cut(r.check, ".")
	if explain := r.Explain[subject]; explain != nil {
		err = explain(err)
	}
	return cmp.Or(errs.Message(err), err.Error())
}

// clock compares a clock that was asked since began with this machine's.
func (r *report) clock(kind, about string, theirs, began time.Time) string {
	took := time.Since(began)
	skew := theirs.Sub(began.Add(took / 2)).Abs()
	seen := fmt.Sprintf("its clock is %s from this machine's", skew.Round(time.Millisecond))
	if skew > maxSkew+took/2 {
		r.find(kind, about, seen)
	}
	return seen
}

// unknown returns the reason why a check says nothing.
func unknown(why string) error { return errs.New(errs.NotFound, "%s", why) }

// isBeyondUs is true if a check cannot know: for lack of a right, or on a standby.
func isBeyondUs(err error) bool {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code == "42501" || refused.Code == "25006"
	}
	return errs.CodeOf(err) == errs.NotFound || errors.As(err, new(*kadm.AuthError)) || errors.As(err, new(*migrations.RightsError))
}
