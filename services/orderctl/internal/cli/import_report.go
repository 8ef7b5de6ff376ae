package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// importReport is what --output json ends with.
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
	n := r.report
	var b strings.Builder
	if stopped {
		b.WriteString("stopped: ")
	}
	fmt.Fprintf(&b, "%s in %s", plural(int(n.Read), "order"), took.Round(time.Millisecond))
	if n.Read > 1 && took > 0 {
		fmt.Fprintf(&b, " (%.0f/s)", float64(n.Read)/took.Seconds())
	}
	would := ""
	if n.DryRun {
		would = "would be "
	}
	if r.target != nil {
		fmt.Fprintf(&b, ": %s%d stored, %d duplicates, %d failed", would, n.Stored, n.Duplicates, n.Failed)
	} else {
		fmt.Fprintf(&b, ": %d published, %d refused by the broker", n.Published, n.Refused)
	}
	reasons := make([]string, 0, len(n.Reasons))
	for _, reason := range slices.Sorted(maps.Keys(n.Reasons)) {
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, n.Reasons[reason]))
	}
	if len(reasons) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(reasons, ", "))
	}
	for _, table := range slices.Sorted(maps.Keys(n.Orphans)) {
		fmt.Fprintf(&b, "; %d rows of %s have no order", n.Orphans[table], table)
	}
	r.say("%s", b.String())
	switch {
	case stopped && r.f.state != "":
		r.say("run the command again: it goes on after what is done, which %s remembers", r.f.state)
	case r.target == nil && !stopped:
		r.say("the worker decides about each order: see 'orderctl dlq stats', and compare with 'orderctl verify --against'")
	}
	return nil
}
