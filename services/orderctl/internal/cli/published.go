package cli

import (
	"bufio"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

// published keeps the account of what was sent. Its calls come one at a time.
type published struct {
	app   *app
	out   *bufio.Writer
	quiet bool
	start time.Time
	bar   *progressbar.ProgressBar // nil where nobody looks

	records  int
	byKind   map[string]int
	refusals int
	away     bool // the last attempt failed
}

func newPublished(a *app, f *publishFlags, count int) *published {
	p := &published{app: a, out: bufio.NewWriter(a.stdout), quiet: f.quiet, start: time.Now(), byKind: map[string]int{}}
	if isTerminal(a.stderr) && count != 1 {
		p.bar = progressbar.NewOptions(count,
			progressbar.OptionSetWriter(a.stderr),
			progressbar.OptionSetDescription("publishing"),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString("records"),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionClearOnFinish())
	}
	return p
}

// acked prints records as they are acknowledged, so that the list is right
// whenever it ends.
func (p *published) acked(acks []publish.Ack) error {
	p.records += len(acks)
	p.away = false
	p.clear() // the bar comes again below the uids
	for _, ack := range acks {
		info, _ := ack.Info.(recordInfo)
		p.byKind[info.Kind]++
		info.Partition, info.Offset = ack.Partition, ack.Offset
		p.print(info)
	}
	if err := p.out.Flush(); err != nil {
		return localError{fmt.Errorf("write to stdout: %w", err)}
	}
	if p.bar != nil {
		_ = p.bar.Add(len(acks))
	}
	return nil
}

func (p *published) print(info recordInfo) {
	switch {
	case p.quiet:
	case p.app.output == outputJSON:
		_ = writeJSON(p.out, info) // Flush tells the error
	case info.UID != "":
		_, _ = p.out.WriteString(info.UID)
		_ = p.out.WriteByte('\n')
	}
}

// maxShownRefusals is how many refusals are told one by one.
const maxShownRefusals = 10

func (p *published) refused(r publish.Record, err error) {
	p.refusals++
	info, _ := r.Info.(recordInfo)
	name := "a record without order_uid"
	if info.UID != "" {
		name = "order " + info.UID
	}
	if p.refusals <= maxShownRefusals {
		p.clear()
		p.app.say("orderctl publish: the broker refuses %s (%d bytes): %v", name, len(r.Value), err)
	}
}

// retrying tells once that the brokers are away, until they are back.
func (p *published) retrying(err error) {
	if p.away {
		return
	}
	p.away = true
	p.clear()
	p.app.say("trying again for %s: %v", giveUpAfter, withoutMethod(err))
}

// clear makes room for a line where the bar is.
func (p *published) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}

// finish takes the bar away.
func (p *published) finish() {
	if p.bar != nil {
		_ = p.bar.Exit()
	}
	p.clear()
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
		fmt.Fprintf(&b, ", %d refused by the broker", p.refusals)
	}
	return b.String()
}
