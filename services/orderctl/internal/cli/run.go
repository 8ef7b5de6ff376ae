package cli

import (
	"context"
	"io"
)

// Run is Main for a caller that has its own way to stop a command: the context's
// end is what Ctrl-C is to Main.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newApp(stdin, stdout, stderr).run(ctx, args)
}
