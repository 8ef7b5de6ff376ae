package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/orderfile"
)

func (a *app) validateCommand() *cobra.Command {
	var s rules.Settings
	return a.command("validate", &s, cobra.ArbitraryArgs, func(_ *cobra.Command, files []string) error {
		if len(files) == 0 {
			return usagef("name a file, or - for stdin")
		}
		return a.validate(files, model.New(s.Options()))
	})
}

// validate checks all files before it returns, whatever is in them.
func (a *app) validate(files []string, codec *model.Codec) error {
	var total tally
	unreadable := false
	for _, name := range files {
		t, err := a.validateFile(name, codec)
		if err != nil {
			a.say("orderctl validate: %v", err)
			unreadable = true
			continue
		}
		a.say("%s: %s", shownName(name), t)
		total.Orders += t.Orders
		total.Invalid += t.Invalid
	}
	switch {
	case unreadable || total.Invalid > 0:
		return failed()
	case total.Orders == 0:
		return nothing("")
	}
	return nil
}

func (a *app) validateFile(name string, codec *model.Codec) (*tally, error) {
	file, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	return a.checkOrders(file, shownName(name), codec, a.stdout, math.MaxInt)
}

// checkOrders counts the orders of a file, and writes the failures, at most so many.
func (a *app) checkOrders(file io.Reader, name string, codec *model.Codec, failures io.Writer, most int) (*tally, error) {
	t := &tally{Unknown: map[string]int{}}
	for reader := orderfile.NewReader(file, codec); ; {
		entry, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		for _, f := range entry.Failures[:min(len(entry.Failures), max(most-t.Failures, 0))] {
			err = errors.Join(err, a.writeFailure(failures, name, entry.UID, f))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		t.count(entry)
	}
}

// writeFailure writes a failure in the form that editors and CI logs link.
func (a *app) writeFailure(w io.Writer, file, uid string, f orderfile.Failure) error {
	return a.printTo(w, struct {
		File string `json:"file"`
		orderfile.Failure
		UID string `json:"order_uid,omitempty"`
	}{file, f, uid}, fmt.Sprintf("%s:%d:%d: %s [%s]\n", file, f.Line, f.Column, f.FieldError, f.Rule))
}

// open opens a file, or stdin for -.
func (a *app) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.stdin), nil
	}
	return os.Open(name)
}

// read reads a whole file, or stdin for -.
func (a *app) read(name string) ([]byte, error) {
	file, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // it was only read
	return io.ReadAll(file)
}

func shownName(file string) string {
	if file == "-" {
		return "stdin"
	}
	return file
}

type tally struct {
	Orders, Invalid, Failures int
	Unknown                   map[string]int // orders with a field, by its path
}

func (t *tally) count(e orderfile.Entry) {
	t.Orders++
	if len(e.Failures) > 0 {
		t.Invalid++
		t.Failures += len(e.Failures)
	}
	for _, path := range e.Unknown {
		if _, known := t.Unknown[path]; known || len(t.Unknown) < model.MaxUnknownFields {
			t.Unknown[path]++
		}
	}
}

func (t *tally) String() string { return summary("tally", t) }
