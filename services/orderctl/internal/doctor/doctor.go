// Package doctor looks for what is wrong with an installation: brokers, topics, group,
// database and programs. It changes nothing. All that it writes is a notification on a
// channel of its own.
package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/uptrace/bun"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
)

// Severity of a finding.
type Severity string

// The severities. Only Error means that something does not work now.
const (
	OK      Severity = "ok"
	Notice  Severity = "notice"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// Finding is what a check says: one OK, or all that it found.
type Finding struct {
	Check    string   `json:"check"`             // its stable name
	Name     string   `json:"finding,omitempty"` // stable, unique within the check; "" of OK
	Severity Severity `json:"severity"`
	About    string   `json:"about,omitempty"` // such as a topic or a role
	Evidence string   `json:"evidence"`
	Advice   string   `json:"advice,omitempty"`
}

// Options say what to look at.
type Options struct {
	Kafka          config.Kafka
	Client         []kgo.Opt // of Kafka
	Group          string
	MaxRecordBytes int // INGEST_MAX_RECORD_BYTES of the workers
	Database       config.Database
	Audit          audit.Settings
	API            string // base address; "": not to be asked
	Token          config.Secret
	Admin          []string      // base addresses of admin ports
	Timeout        time.Duration // of each check
	// KafkaError and DatabaseError explain errors to people.
	KafkaError, DatabaseError func(error) error
}

// check is one row of the table. run returns what it has seen where it reports nothing,
// or why it could not finish. A check does not run if one that it needs has failed.
type check struct {
	name  string
	needs []string
	run   func(context.Context, *env, *report) (seen string, err error)
}

var checks = []check{
	{"kafka.brokers", nil, brokers},
	{"kafka.topics", []string{"kafka.brokers"}, topics},
	{"kafka.group", []string{"kafka.brokers"}, group},
	{"kafka.rights", []string{"kafka.brokers"}, kafkaRights},
	{"kafka.clock", []string{"kafka.brokers"}, kafkaClock},
	{"postgres.server", nil, server},
	{"postgres.schema", []string{"postgres.server"}, schema},
	{"postgres.roles", []string{"postgres.server"}, roles},
	{"postgres.triggers", []string{"postgres.server"}, triggers},
	{"postgres.positions", []string{"kafka.brokers", "postgres.server"}, positions},
	{"postgres.pooler", []string{"postgres.server"}, pooler},
	{"postgres.notification", []string{"postgres.server"}, notification},
	{"postgres.clock", []string{"postgres.server"}, databaseClock},
	{"postgres.connections", []string{"postgres.server"}, connections},
	{"postgres.disk", []string{"postgres.server"}, databaseDisk},
	{"audit.folder", nil, auditFolder},
	{"api.server", nil, api},
	{"api.authentication", []string{"api.server"}, authentication},
	{"api.cache", []string{"api.server"}, apiCache},
	{"programs", nil, programs},
}

// Kind is a finding that a check may have. In Advice {} is what the finding is about,
// and {fix} is what the check says. A check's name of * means each of them.
type Kind struct {
	Check, Name string
	Severity    Severity
	Advice      string
}

const (
	failed     = "failed"
	notChecked = "not_checked"
	alterTopic = "kafka-configs.sh --bootstrap-server {brokers} --alter --topic {} --add-config "
)

// Kinds are all findings there are, but for OK.
var Kinds = []Kind{
	{"*", failed, Error, "repair what the evidence names"},
	{"*", notChecked, Notice, "see the evidence: nothing is known of this"},
	{"kafka.brokers", "unreachable", Error, "start the broker, or correct the address that it advertises (advertised.listeners)"},
	{"kafka.brokers", "certificate", Warning, "renew the broker's certificate"},
	{"kafka.brokers", "unencrypted", Notice, "set KAFKA_TLS=true, and name a listener with TLS"},
	{"kafka.topics", "missing", Error, "orderctl topics"},
	{"kafka.topics", "no_leader", Error, "start the brokers with its replicas: kafka-topics.sh --bootstrap-server {brokers} --describe --topic {}"},
	{"kafka.topics", "unwritable", Error, "start the brokers with its replicas: kafka-topics.sh --bootstrap-server {brokers} --describe --topic {}"},
	{"kafka.topics", "under_replicated", Warning, "start the brokers with its replicas: kafka-topics.sh --bootstrap-server {brokers} --describe --topic {}"},
	{"kafka.topics", "replicas", Warning, "add replicas: kafka-reassign-partitions.sh (docs/doctor.md)"},
	{"kafka.topics", "min_insync_replicas", Warning, alterTopic + "min.insync.replicas={fix}"},
	{"kafka.topics", "cleanup_policy", Warning, "{fix}: " + alterTopic + "…"},
	{"kafka.topics", "max_message_bytes", Warning, "{fix}: " + alterTopic + "…"},
	{"kafka.topics", "retention", Warning, alterTopic + "retention.ms=604800000"},
	{"kafka.topics", "retention_bytes", Notice, alterTopic + "retention.bytes=-1"},
	{"kafka.topics", "record_size", Notice, "let max.message.bytes of the topic and INGEST_MAX_RECORD_BYTES of the workers agree"},
	{"kafka.topics", "one_partition", Notice, "kafka-topics.sh --bootstrap-server {brokers} --alter --topic {} --partitions 4"},
	{"kafka.group", "no_workers", Error, "start a worker with KAFKA_GROUP={}"},
	{"kafka.group", "rebalancing", Notice, "run doctor again; a group that keeps doing so has members that come and go: look at their logs"},
	{"kafka.group", "unassigned", Error, "give all members of group {} the same KAFKA_TOPIC"},
	{"kafka.group", "idle_members", Notice, "add partitions, or stop the workers that have none"},
	{"kafka.group", "behind", Warning, "docs/runbooks/OrderhubIngestLags.md"},
	{"kafka.group", "records_gone", Error, "docs/runbooks/OrderhubOffsetsGone.md"},
	{"kafka.group", "past_end", Warning, "the topic was made anew or truncated: orderctl worker seek --to earliest, or let the workers do so"},
	{"kafka.rights", "own", Notice, "{fix}"},
	{"kafka.rights", "workers", Warning, "{fix}"},
	{"kafka.clock", "ahead", Warning, "synchronize the clocks of brokers and producers (NTP)"},
	{"postgres.server", "too_old", Error, "upgrade PostgreSQL to version 15 or later"},
	{"postgres.server", "untested", Notice, "run the programs' tests with this version first: docs/production.md"},
	{"postgres.schema", "outdated", Error, "orderctl migrate"},
	{"postgres.schema", "newer", Notice, "use the orderctl of the newer release"},
	{"postgres.schema", "foreign_tables", Error, "give Orderhub a schema or a database of its own: docs/moving-over.md"},
	{"postgres.schema", "invalid_index", Warning, "REINDEX INDEX CONCURRENTLY {}"},
	{"postgres.schema", "not_validated", Notice, "{fix}"},
	{"postgres.roles", "own_rights", Notice, "{fix}"},
	{"postgres.roles", "missing_rights", Error, "{fix}"},
	{"postgres.roles", "missing_role", Error, "orderctl migrate roles"},
	{"postgres.roles", "no_roles", Notice, "orderctl migrate roles (docs/roles.md)"},
	{"postgres.roles", "superuser", Warning, "let it connect as its own role: docs/roles.md"},
	{"postgres.triggers", "missing", Error, "restore it from a dump of the schema: pg_dump --schema-only of an intact database, or orderctl migrate in an empty one"},
	{"postgres.triggers", "disabled", Error, "as the tables' owner: SELECT order_triggers_enable()"},
	{"postgres.triggers", "foreign", Warning, "find out who needs it, or: DROP TRIGGER {fix}"},
	{"postgres.positions", "behind", Warning, "docs/production.md#restore-the-database"},
	{"postgres.positions", "missing", Notice, "start the workers, which record it; if the tables have it all: orderctl worker seek --to committed"},
	{"postgres.pooler", "transaction_mode", Error, "let DATABASE_URL and DATABASE_LISTEN_URL lead to the server itself, or set pool_mode=session for this database"},
	{"postgres.notification", "lost", Error, "let DATABASE_URL and DATABASE_LISTEN_URL lead to the server itself, without a pooler in transaction mode"},
	{"postgres.clock", "skew", Warning, "synchronize the clocks of the database's host and of this one (NTP)"},
	{"postgres.connections", "nearly_used", Warning, "raise max_connections, or lower the pools of the programs (DATABASE_MAX_CONNS) or their replicas"},
	{"postgres.disk", "inactive_slot", Warning, "start its consumer, or: SELECT pg_drop_replication_slot('{}')"},
	{"postgres.disk", "wraparound", Warning, "VACUUM (FREEZE); look for old transactions, prepared transactions and slots"},
	{"audit.folder", "unwritable", Error, "let the user of orderctl write there, or name another file in ORDERHUB_AUDIT_FILE"},
	{"audit.folder", "low_space", Warning, "free space, move old audit files away, or lower ORDERHUB_AUDIT_FILES"},
	{"api.server", "certificate", Warning, "docs/runbooks/OrderhubCertificateExpires.md"},
	{"api.server", "clock_skew", Warning, "synchronize the clocks of the API's host and of this one (NTP)"},
	{"api.authentication", "open", Error, "set HTTP_AUTH=on (docs/authentication.md)"},
	{"api.authentication", "token_refused", Error, "set ORDERHUB_API_TOKEN to a valid token: orderctl token new"},
	{"api.authentication", "token_scopes", Warning, "give the token of ORDERHUB_API_TOKEN the scope orders:read"},
	{"api.cache", "not_synced", Warning, "docs/runbooks/OrderhubCacheNotRestored.md"},
	{"api.cache", "stale", Warning, "docs/runbooks/OrderhubCacheStale.md"},
	{"programs", "unreachable", Error, "start the program, or correct ADMIN_ADDR or --admin"},
	{"programs", "not_ready", Error, "repair what the evidence names; the program continues by itself"},
	{"programs", "no_metrics", Error, "name the admin port of a program of Orderhub with --admin"},
	{"programs", "version_skew", Warning, "upgrade all programs to the same release"},
}

// env is what the checks share. Safe for concurrent use.
type env struct {
	Options
	client *kgo.Client
	admin  *kadm.Client
	db     *bun.DB
	http   *http.Client
}

// poolConns bounds the connections of all checks, beside those that two checks open.
const poolConns = 4

// Run runs all checks and returns what they say, in the order of their table. The error
// is one of the settings.
func Run(ctx context.Context, o Options) ([]Finding, error) {
	client, err := kgo.NewClient(append(o.Client, kgo.RequestRetries(2), kgo.RetryTimeout(o.Timeout/2))...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	db, err := bundb.Open(o.Database, bundb.Options{MaxConns: poolConns, ApplicationName: application})
	if err != nil {
		return nil, err
	}
	defer func() { _ = db.Close() }() // nothing was written
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	e := &env{Options: o, client: client, admin: kadm.NewClient(client), db: db, http: &http.Client{
		Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	results := make([][]Finding, len(checks))
	runAll := func(first bool) {
		var running sync.WaitGroup
		for i, c := range checks {
			if (len(c.needs) == 0) != first {
				continue
			}
			if broken := slices.IndexFunc(checks, func(needed check) bool {
				return slices.Contains(c.needs, needed.name) && hasFailed(results, needed.name)
			}); broken >= 0 {
				r := report{env: e, check: c.name}
				r.find(notChecked, "", checks[broken].name+" failed")
				results[i] = r.findings
				continue
			}
			running.Go(func() { results[i] = c.bounded(ctx, e) })
		}
		running.Wait()
	}
	runAll(true)
	runAll(false)
	return slices.Concat(results...), ctx.Err()
}

func hasFailed(results [][]Finding, check string) bool {
	return slices.ContainsFunc(slices.Concat(results...), func(f Finding) bool { return f.Check == check && f.Name == failed })
}

// grace is for a check to say why it could not finish in time.
const grace = time.Second

// bounded runs a check, and gives it up if it does not end in time: not all of what it
// calls may heed the context.
func (c check) bounded(ctx context.Context, e *env) []Finding {
	ctx, cancel := context.WithTimeout(ctx, e.Timeout)
	defer cancel()
	done := make(chan []Finding, 1)
	go func() {
		r := &report{env: e, check: c.name}
		seen, err := c.run(ctx, e, r)
		r.end(seen, err)
		done <- r.findings
	}()
	late := time.NewTimer(e.Timeout + grace)
	defer late.Stop()
	select {
	case findings := <-done:
		return findings
	case <-late.C:
		r := &report{env: e, check: c.name}
		r.find(failed, "", fmt.Sprintf("did not end within %s", e.Timeout))
		return r.findings
	}
}

// report collects what one check says.
type report struct {
	env      *env
	check    string
	findings []Finding
}

// find adds a finding of a kind. fix is for its advice.
func (r *report) find(name, about, evidence string, fix ...string) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name && (k.Check == r.check || k.Check == "*") })
	kind := Kinds[i] // a name that there is not is a mistake in this package
	advice := strings.NewReplacer("{}", about, "{fix}", strings.Join(fix, " "), "{brokers}", strings.Join(r.env.Kafka.Brokers, ",")).Replace(kind.Advice)
	r.findings = append(r.findings, Finding{r.check, name, kind.Severity, about, evidence, advice})
}

// unknown is the reason why a check says nothing.
type unknown string

func (u unknown) Error() string { return string(u) }

// end adds that the check failed, or what it has seen.
func (r *report) end(seen string, err error) {
	var why unknown
	switch {
	case errors.As(err, &why):
		r.find(notChecked, "", string(why))
	case isRightMissing(err):
		r.find(notChecked, "", "a right is missing: "+r.explain(err))
	case errors.Is(err, context.DeadlineExceeded):
		r.find(failed, "", fmt.Sprintf("did not end within %s: %s", r.env.Timeout, r.explain(err)))
	case err != nil:
		r.find(failed, "", r.explain(err))
	case len(r.findings) == 0:
		r.findings = []Finding{{Check: r.check, Severity: OK, Evidence: seen}}
	}
}

func (r *report) explain(err error) string {
	switch {
	case strings.HasPrefix(r.check, "kafka."):
		err = r.env.KafkaError(err)
	case strings.HasPrefix(r.check, "postgres."):
		err = r.env.DatabaseError(err)
	}
	return cmp.Or(errs.Message(err), err.Error())
}

func isRightMissing(err error) bool {
	if refused, ok := errors.AsType[*pgconn.PgError](err); ok {
		return refused.Code == "42501"
	}
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.GroupAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed)
}
