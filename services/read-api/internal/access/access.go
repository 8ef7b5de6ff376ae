// Package access says what callers of the API and of the page may see, and records who
// sees personal data.
//
// Who lacks the scope orders:personal gets masked orders, and may neither search nor
// filter by what is masked. Who has it gets an answer once that is in the audit log.
package access

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// The actions in the audit log.
const (
	Show = "show" // orders, which the record names
	// Follow is the beginning of a stream of changes, and unfollow its end, which says how
	// many events it had.
	Follow   = "follow"
	unfollow = "unfollow"
	// Search is a search that has told how many orders a customer has.
	Search = "search"
	refuse = "refuse" // of callers who are not known the record counts those since the last one
)

// What requests cost of a caller's limit.
const (
	CostOrder = 1
	CostList  = 10
)

// NotAudited is the kind of problem that personal data is not shown since the audit log
// cannot be written.
var NotAudited = &problem.Kind{Name: "not-audited", Code: errs.Unavailable, Title: "Cannot be recorded now",
	Meaning: "Who sees personal data is recorded before it is shown, and the audit log cannot be written now. Try again after the time in Retry-After. A credential without the scope orders:personal still gets masked orders."}

// Control decides for all routes. With HTTP_AUTH=off everybody may see everything, and
// nothing is recorded, since nobody is known. Methods are safe for concurrent use.
type Control struct {
	// Answer writes a problem. It may be set before the first request. Default: web.Problem.
	Answer func(*gin.Context, *problem.Error)

	guard    *auth.Guard
	records  *audit.Log
	log      *zap.Logger
	failures rate.Sometimes // are logged
	refusals rate.Sometimes // are recorded: who need not be known must not fill the audit log
	refused  atomic.Int64   // since the last record of refusals
}

// New returns the control over a guard; nil is one that is off. records is needed if it
// is on.
func New(guard *auth.Guard, records *audit.Log, log *zap.Logger) *Control {
	return &Control{
		Answer: func(c *gin.Context, p *problem.Error) { web.Problem(c, p) },
		guard:  guard, records: records, log: log,
		failures: rate.Sometimes{Interval: 10 * time.Second}, refusals: rate.Sometimes{First: 20, Interval: time.Second},
	}
}

// On tells whether requests need a credential.
func (a *Control) On() bool { return a.guard != nil && a.guard.On() }

// Read are the handlers in front of those that show orders. There are none if the guard
// is off.
func (a *Control) Read(cost int) []gin.HandlerFunc {
	if !a.On() {
		return nil
	}
	return []gin.HandlerFunc{a.guard.RequireCost(auth.OrdersRead, cost)}
}

// Stream are the handlers after those of Read, of answers that stay open.
func (a *Control) Stream() []gin.HandlerFunc {
	if !a.On() {
		return nil
	}
	return []gin.HandlerFunc{a.guard.Stream()}
}

// Caller is who asks; nil if the guard is off.
func (a *Control) Caller(c *gin.Context) *auth.Caller {
	if !a.On() {
		return nil
	}
	return auth.CallerOf(c)
}

// Personal tells whether the caller may see personal data.
func (a *Control) Personal(c *gin.Context) bool {
	return !a.On() || auth.CallerOf(c).May(auth.OrdersPersonal)
}

// Refusal is the problem of a caller who must not search or filter by a field, or by how it
// begins (_prefix); nil if the caller may.
func (a *Control) Refusal(c *gin.Context, field string) *problem.Error {
	if !model.IsPersonal(strings.TrimSuffix(field, "_prefix")) || a.Personal(c) {
		return nil
	}
	return auth.Forbidden.New("Searching and filtering by " + field + ", which is personal data, needs the scope orders:personal.")
}

// Looked records that the caller is about to see personal data: of these orders, of
// those that change, or of a customer. If it cannot, it answers the request and returns false. Of a caller
// who sees masked orders it records nothing.
func (a *Control) Looked(c *gin.Context, action string, uids ...string) bool {
	if !a.On() || !a.Personal(c) || action == Show && len(uids) == 0 {
		return true
	}
	err := a.record(c.Request.Context(), c, audit.Event{Action: action, Targets: uids, Allowed: true})
	if err != nil {
		a.Problem(c, NotAudited.Wrap(err, "The audit log cannot be written now, so personal data is not shown. Try again in a moment."))
	}
	return err == nil
}

// Shown records that the caller's stream is about to show these orders. After an error it
// must not.
func (a *Control) Shown(c *gin.Context, uids []string) error {
	for named := range slices.Chunk(uids, audit.MaxNamed) {
		if err := a.record(c.Request.Context(), c, audit.Event{Action: Show, Targets: named, Allowed: true}); err != nil {
			return err
		}
	}
	return nil
}

// Unfollowed records that a stream has ended which Looked has recorded.
func (a *Control) Unfollowed(c *gin.Context, orders int) {
	if a.On() && a.Personal(c) {
		_ = a.record(context.WithoutCancel(c.Request.Context()), c, audit.Event{Action: unfollow, Count: orders, Allowed: true})
	}
}

// Problem answers a request with an error, and ends its handling. It records refusals.
func (a *Control) Problem(c *gin.Context, p *problem.Error) {
	c.Abort()
	if code := p.Kind.Code; a.On() && (code == errs.Unauthorized || code == errs.Forbidden) {
		due, count := auth.CallerOf(c).Name != "", 1 // who is known has a limit
		if !due {
			a.refused.Add(1)
			a.refusals.Do(func() { due, count = true, int(a.refused.Swap(0)) })
		}
		if due {
			_ = a.record(c.Request.Context(), c, audit.Event{Action: refuse, Targets: []string{c.FullPath()}, Count: count, Why: p.Detail()})
		}
	}
	a.Answer(c, p)
}

func (a *Control) record(ctx context.Context, c *gin.Context, e audit.Event) error {
	caller := auth.CallerOf(c)
	e.Actor, e.ActorKind, e.From, e.RequestID = caller.Name, caller.Kind, c.ClientIP(), web.RequestID(c)
	err := a.records.Write(ctx, e)
	if err != nil {
		a.failures.Do(func() {
			web.Log(c, a.log).Error("the audit log cannot be written: personal data is not shown", zap.Error(err))
		})
	}
	return err
}
