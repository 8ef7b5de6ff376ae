package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/orderhub/orderhub/services/orderctl/internal/orderfile"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
)

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
					err = localError{fmt.Errorf("%s: %w", shownName(name), err)}
				}
				return publish.Record{}, err
			}
			if len(entry.Record) == 0 {
				continue // the end of an array that is missing
			}
			record := publish.Record{Value: entry.Record, Info: recordInfo{UID: entry.UID}}
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
	codec, err := f.rules.codec()
	if err != nil {
		return 0, err
	}
	name := shownName(f.file)
	t := &tally{}
	err = eachEntry(file, codec, func(e orderfile.Entry) error {
		for i, failure := range e.Failures {
			if t.failures+i >= maxShownFailures {
				break
			}
			if err := a.writeFailure(a.stderr, name, e.UID, failure); err != nil {
				return err
			}
		}
		t.count(e)
		return nil
	})
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s: %w", name, err)
	case t.orders == 0:
		a.say("orderctl publish: %s has no orders: nothing was sent", name)
		return 0, silent(exitNothing)
	case t.invalid > 0:
		if t.failures > maxShownFailures {
			a.say("… and %s more: 'orderctl validate %s' shows all", plural(t.failures-maxShownFailures, "failure"), f.file)
		}
		return 0, fmt.Errorf("%s: %s: nothing was sent; --no-validate sends them all as they are", name, t)
	case len(t.unknown) > 0:
		a.say("%s: %s", name, t)
	}
	return t.orders, nil
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
