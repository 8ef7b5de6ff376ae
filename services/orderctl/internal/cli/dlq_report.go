package cli

import (
	"context"
	"errors"
	"io"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
)

// report says what becomes of letters, one at a time, and counts them.
type report struct {
	*app
	did      string // with a letter that was dealt with
	of, done int
	bar      bar
	writing  error // of writing to stdout
}

// dealt is what stdout says about a letter.
type dealt struct {
	ID     string `json:"id"`
	Done   string `json:"done"`
	Became string `json:"became,omitempty"`
	Error  string `json:"error,omitempty"`
}

func (r *report) write(w io.Writer, d dealt, text string) {
	r.bar.line()
	r.writing = errors.Join(r.writing, r.printTo(w, d, d.ID+dlqview.Clean(text)+"\n"))
	r.bar.add(1)
}

// letter reports what was done with a letter.
func (r *report) letter(id, did string) {
	r.done++
	r.write(r.stdout, dealt{ID: mask.ID(id), Done: did}, "")
}

// outcome reports what became of a letter: on stderr, for people, why nothing was done.
func (r *report) outcome(o dlq.Outcome) {
	d := dealt{ID: mask.ID(o.Item.ID), Done: r.did}
	switch {
	case o.Err != nil && r.output == outputText:
		r.write(r.stderr, d, " "+o.Err.Error())
	case o.Err != nil:
		d.Done, d.Error = "nothing", o.Err.Error()
		r.write(r.stdout, d, "")
	case o.Copy.Topic == "":
		r.letter(o.Item.ID, r.did)
	default:
		r.done++
		d.Became = o.Copy.String()
		r.write(r.stdout, d, " -> "+d.Became)
	}
}

// end says how far the work got, and what its error means.
func (r *report) end(ctx context.Context, err error) error {
	r.bar.end()
	letters := plural(r.of, "letter")
	switch {
	case err != nil && ctx.Err() != nil:
		r.say("interrupted: %d of %s %s; run the command again for the rest", r.done, letters, r.did)
		err = errs.New(errs.Interrupted, "")
	case err != nil:
		r.say("stopped: %d of %s %s", r.done, letters, r.did)
	default:
		if r.say("%d of %s %s", r.done, letters, r.did); r.done < r.of {
			err = failed()
		}
	}
	return errors.Join(err, r.writing)
}
