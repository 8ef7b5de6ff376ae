package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// outputFormat is the value of --output.
type outputFormat string

const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
)

// Set implements pflag.Value.
func (f *outputFormat) Set(s string) error {
	if s != string(outputText) && s != string(outputJSON) {
		return fmt.Errorf("use text or json")
	}
	*f = outputFormat(s)
	return nil
}

// String implements pflag.Value.
func (f *outputFormat) String() string { return string(*f) }

// Type implements pflag.Value; it is what the help shows.
func (f *outputFormat) Type() string { return "format" }

// writeJSON writes a value on one line.
func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// isTerminal is true where a person may be looking, at a place that can move
// its cursor.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// help prints a command's help and the environment variables that it reads.
func (a *app) help(cmd *cobra.Command, _ []string) {
	out := cmd.OutOrStdout()
	about := cmd.Long
	if about == "" {
		about = cmd.Short
	}
	_, _ = fmt.Fprintf(out, "%s\n\n%s", about, cmd.UsageString())
	settings := a.settings[cmd]
	if settings == nil {
		return
	}
	_, _ = fmt.Fprint(out, "\nEnvironment (or lines of a .env file in the working folder, or where\nGO_DOTENV_PATH points; the environment wins):\n")
	_ = config.WriteSettings(out, settings)
}

// plural is a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
