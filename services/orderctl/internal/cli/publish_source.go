package cli

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/orderfile"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

type source struct {
	next  func() (publish.Record, error)
	count int // how many there will be; -1 where that is not known
	what  string
	close func() error
}

func (a *app) source(f *publishFlags) (source, error) {
	if f.file != "" {
		return a.fileSource(f)
	}
	return syntheticSource(f)
}

func syntheticSource(f *publishFlags) (source, error) {
	if f.count < 1 {
		return source{}, usagef("--count: at least 1, not %d", f.count)
	}
	if len(f.faults) > 0 && f.invalid == 0 {
		return source{}, usagef("--faults: add --invalid, the share of records that have them")
	}
	opts := synth.Options{Count: f.count, Invalid: f.invalid, Duplicates: f.duplicates, Conflicts: f.conflicts, Faults: f.faults, Seed: f.seed}
	var err error
	if opts.MinItems, opts.MaxItems, err = parseRange(f.items); err != nil {
		return source{}, err
	}
	if !f.seeded {
		opts.Seed, opts.Now = rand.Uint64(), time.Now
	}
	generator, err := synth.New(opts)
	if err != nil {
		return source{}, usagef("--%w", err)
	}
	next := func() (publish.Record, error) {
		r, err := generator.Next()
		info := recordInfo{UID: r.UID, Kind: string(r.Kind), Fault: r.Fault}
		record := publish.Record{Key: r.Key, Value: r.Value, Info: info}
		if r.Kind != synth.KindDuplicate && r.Kind != synth.KindConflict {
			record.ID = r.UID
		}
		return record, err
	}
	return source{next: next, count: f.count, close: func() error { return nil }}, nil
}

// parseRange reads 3 or 1-10.
func parseRange(s string) (low, high int, err error) {
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	low, err = strconv.Atoi(first)
	if err == nil {
		high, err = strconv.Atoi(last)
	}
	if err != nil {
		return 0, 0, usagef("--items: a number such as 3, or a range such as 1-10, not %q", s)
	}
	return low, high, nil
}

// maxShownFailures is how many failures publish shows; validate shows all.
const maxShownFailures = 20

// fileSource gives the orders of a file, once all of them are known to be valid
// where that is asked for.
func (a *app) fileSource(f *publishFlags) (source, error) {
	if f.noValidate {
		file, err := a.open(f.file)
		if err != nil {
			return source{}, err
		}
		return entriesSource(f.file, file, -1), nil
	}
	file, err := a.openTwice(f.file)
	if err != nil {
		return source{}, err
	}
	count, err := a.checkFile(f, file)
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		return source{}, errors.Join(err, file.Close())
	}
	return entriesSource(f.file, file, count), nil
}

func entriesSource(name string, file io.ReadCloser, count int) source {
	reader := orderfile.NewReader(file, nil)
	next := func() (publish.Record, error) {
		for {
			entry, err := reader.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					err = local(fmt.Errorf("%s: %w", shownName(name), err))
				}
				return publish.Record{}, err
			}
			if len(entry.Record) == 0 {
				continue // the end of an array that is missing
			}
			record := publish.Record{Value: entry.Record, ID: entry.UID, Info: recordInfo{UID: entry.UID}}
			if entry.UID != "" {
				record.Key = []byte(entry.UID)
			}
			return record, nil
		}
	}
	return source{next: next, count: count, what: " of " + shownName(name), close: file.Close}
}

// checkFile checks all orders and returns how many there are, or shows what is
// wrong with them.
func (a *app) checkFile(f *publishFlags, file io.Reader) (int, error) {
	name := shownName(f.file)
	t, err := a.checkOrders(file, name, model.New(f.Rules.Options()), a.stderr, maxShownFailures)
	switch {
	case err != nil:
		return 0, err
	case t.Orders == 0:
		return 0, nothing("%s has no orders: nothing was sent", name)
	case t.Invalid > 0:
		if t.Failures > maxShownFailures {
			a.say("… and %s more: 'orderctl validate %s' shows all", dlqview.Plural(t.Failures-maxShownFailures, "failure"), f.file)
		}
		return 0, fmt.Errorf("%s: %s: nothing was sent; --no-validate sends them all as they are", name, t)
	case len(t.Unknown) > 0:
		a.say("%s: %s", name, t)
	}
	return t.Orders, nil
}

// openTwice opens a file that can be read twice. What comes through a pipe is
// kept in a file of its own for that.
func (a *app) openTwice(name string) (*os.File, error) {
	input := a.stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
		defer func() { _ = file.Close() }()
		input = file
	}
	spool, err := os.CreateTemp("", "orderctl-*.json")
	if err != nil {
		return nil, err
	}
	// Only this process can read it, and it goes when this process ends.
	_ = os.Remove(spool.Name())
	if _, err := io.Copy(spool, input); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", shownName(name), err), spool.Close())
	}
	if _, err := spool.Seek(0, io.SeekStart); err != nil {
		return nil, errors.Join(err, spool.Close())
	}
	return spool, nil
}
