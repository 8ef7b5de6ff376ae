package cli

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// runEditor opens a file in the user's editor, and returns when that ends. The
// variable may have arguments, as in "code --wait".
func (a *app) runEditor(ctx context.Context, file string) error {
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file) //nolint:gosec // the user's own choice
	if terminal, ok := a.stdin.(*os.File); ok {                             // what is typed ahead elsewhere is for our questions
		cmd.Stdin = terminal
	}
	cmd.Stdout, cmd.Stderr = a.stdout, a.stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("the editor %q: %w: choose another in VISUAL or EDITOR, or use --set; nothing was sent", editor, err)
	}
	return nil
}

// editOn asks what to do with a value that would be refused. No answer means
// giving up.
func (a *app) editOn() bool {
	a.say("Edit on? [Y/n] ")
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if err != nil {
		return false
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "", "y", "yes", "e":
		return true
	}
	return false
}
