package rig

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// failure is what ends a benchmark.
type failure struct{ error }

// Check ends the benchmark if err is an error. Like a failed assertion of a test it
// does not return, and what was deferred is done. A benchmark has no use for errors:
// whatever fails, its figures would be wrong.
func Check(err error) { check(err) }

// Must returns the value, and ends the benchmark if err is an error.
func Must[T any](value T, err error) T {
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

// Try does a part of a benchmark, and returns the error that ended it.
func Try(part func()) (err error) {
	defer func() {
		switch ended := recover().(type) {
		case nil:
		case failure:
			err = ended.error
		default:
			panic(ended)
		}
	}()
	part()
	return nil
}

// Together does parts of a benchmark at once, and returns when all of them have ended.
// The first that fails ends the context of the others, and then the benchmark.
func Together(ctx context.Context, parts ...func(context.Context)) {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range parts {
		group.Go(func() error { return Try(func() { part(ctx) }) })
	}
	Check(group.Wait())
}
