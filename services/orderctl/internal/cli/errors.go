package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// usageError is an error in how orderctl was called, or in its settings.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usage(err error) error { return usageError{err} }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// silent ends orderctl with a code, all being said already.
type silent int

func (s silent) Error() string { return fmt.Sprintf("exit code %d", int(s)) }

// exitCode tells an error on stderr and turns it into the exit code.
func (a *app) exitCode(ctx context.Context, cmd *cobra.Command, err error) int {
	var code silent
	var wrongUsage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &wrongUsage) || !a.running:
		// Several wrong settings come a line each; the hint is for all of them.
		a.say("%s: %s (see '%s --help')", cmd.CommandPath(), indented(err), cmd.CommandPath())
		return exitUsage
	case ctx.Err() != nil:
		a.say("%s: interrupted", cmd.CommandPath())
		return exitInterrupted
	default:
		a.say("%s: %s", cmd.CommandPath(), indented(err))
		return exitFailed
	}
}

func indented(err error) string { return strings.ReplaceAll(err.Error(), "\n", "\n  ") }
