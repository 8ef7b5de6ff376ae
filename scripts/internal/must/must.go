// Package must ends what a development program does at its first failure, as a failed
// assertion ends a test. Programs that measure or prove something have no use for
// errors: whatever fails, their findings would be wrong.
package must

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// failure is what the program's work ends with.
type failure struct{ error }

// Succeed does not return if err is an error: what was deferred is done, and [Try]
// returns the error with the caller's file and line.
func Succeed(err error) { check(err) }

// Get returns the value; if err is an error it does not return, as [Succeed].
func Get[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err == nil {
		return
	}
	_, file, line, _ := runtime.Caller(2)
	panic(failure{fmt.Errorf("%s:%d: %w", filepath.Base(file), line, err)})
}

// Try does work, and returns the failure that ended it. Other panics pass.
func Try(work func()) (err error) {
	defer func() {
		switch ended := recover().(type) {
		case nil:
		case failure:
			err = ended.error
		default:
			panic(ended)
		}
	}()
	work()
	return nil
}

// Cause is Try for what people read: without the file and line.
func Cause(work func()) error { return errors.Unwrap(Try(work)) }

// Together does several things at once, and returns when all of them have ended. The
// first that fails ends the context of the others, and is then a failure here.
func Together(ctx context.Context, parts ...func(context.Context)) {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		group.Go(func() error { return Try(func() { part(ctx) }) })
	}
	check(group.Wait())
}
