package cli

import (
	"bufio"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

// recordInfo is what stdout says about a record.
type recordInfo struct {
	UID string `json:"order_uid,omitempty"`
	publish.Place
	Kind  string `json:"kind,omitempty"`
	Fault string `json:"fault,omitempty"`
}

// local marks an error of reading the source or writing to stdout, which has
// nothing to do with the brokers.
func local(err error) error {
	if _, coded := errors.AsType[*errs.Error](err); coded {
		return err
	}
	return errs.Wrap(errs.Internal, err, "")
}

// published counts and prints what was sent. Its calls come one at a time.
type published struct {
	app     *app
	product string // Kafka or NATS
	out     *bufio.Writer
	quiet   bool
	start   time.Time
	bar     bar

	records  int
	byKind   map[string]int
	repeats  int // that a stream had already
	refusals int
	away     bool // the last attempt failed
}

// acked prints records as they are acknowledged, so that the list is right
// whenever it ends.
func (p *published) acked(acks []publish.Ack) error {
	p.records += len(acks)
	p.away = false
	p.bar.line()
	for _, ack := range acks {
		info, _ := ack.Info.(recordInfo)
		p.byKind[info.Kind]++
		info.Place = ack.Place
		if ack.StreamPlace != nil && ack.Duplicate {
			p.repeats++
		}
		p.print(info)
	}
	if err := p.out.Flush(); err != nil {
		return local(fmt.Errorf("write to stdout: %w", err))
	}
	p.bar.add(len(acks))
	return nil
}

func (p *published) print(info recordInfo) {
	switch {
	case p.quiet:
	case p.app.output == outputJSON:
		_ = writeJSON(p.out, info) // Flush returns the error
	case info.UID != "":
		_, _ = p.out.WriteString(info.UID)
		_ = p.out.WriteByte('\n')
	}
}

// maxShownRefusals is how many refusals are printed.
const maxShownRefusals = 10

func (p *published) refused(r publish.Record, err error) {
	p.refusals++
	info, _ := r.Info.(recordInfo)
	name := "a record without order_uid"
	if info.UID != "" {
		name = "order " + info.UID
	}
	if p.refusals <= maxShownRefusals {
		p.bar.line()
		p.app.say("orderctl publish: %s refuses %s (%d bytes): %v", p.product, name, len(r.Value), err)
	}
}

// retrying says once that the broker is away, until it is back.
func (p *published) retrying(err error) {
	if p.away {
		return
	}
	p.away = true
	p.bar.line()
	if err == nil {
		err = errors.New("it does not answer")
	}
	p.app.say("trying to reach %s for %s: %v", p.product, giveUpAfter, err)
}

// summary is one line on what was done.
func (p *published) summary(what string) string {
	took := time.Since(p.start)
	var b strings.Builder
	fmt.Fprintf(&b, "published %s%s in %s", plural(p.records, "record"), what, took.Round(time.Millisecond))
	if p.records > 1 && took > 0 {
		fmt.Fprintf(&b, " (%.0f/s)", float64(p.records)/took.Seconds())
	}
	var kinds []string
	for _, k := range []struct {
		kind synth.Kind
		noun string
	}{{synth.KindOrder, "order"}, {synth.KindInvalid, "invalid record"}, {synth.KindDuplicate, "duplicate"}, {synth.KindConflict, "conflict"}} {
		if n := p.byKind[string(k.kind)]; n > 0 {
			kinds = append(kinds, plural(n, k.noun))
		}
	}
	if len(kinds) > 0 && p.byKind[string(synth.KindOrder)] != p.records {
		fmt.Fprintf(&b, ": %s", strings.Join(kinds, ", "))
	}
	if p.refusals > 0 {
		fmt.Fprintf(&b, ", %d refused by %s", p.refusals, p.product)
	}
	if p.repeats > 0 {
		fmt.Fprintf(&b, ", %d of them sent before, so that the stream has not stored them again", p.repeats)
	}
	return b.String()
}
