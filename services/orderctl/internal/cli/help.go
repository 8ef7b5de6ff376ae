package cli

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

// helpFile explains the commands. A command begins with a line of ===, its path and its
// arguments. The next line is the summary; what is said after --- in full, and the
// examples, may be missing.
//
//go:embed help.txt
var helpFile string

// explain fills in what help.txt says about the command with a path below orderctl.
func explain(cmd *cobra.Command, path string) *cobra.Command {
	_, about, found := strings.Cut("\n"+helpFile, "\n=== "+path)
	if !found || !strings.ContainsAny(about[:1], " \n") {
		panic("help.txt does not explain " + path) // a mistake in this package
	}
	about, _, _ = strings.Cut(about, "\n=== ")
	about, cmd.Example, _ = strings.Cut(strings.TrimSuffix(about, "\n"), "\n--- examples\n")
	arguments, about, _ := strings.Cut(about, "\n")
	cmd.Short, about, _ = strings.Cut(about, "\n---\n")
	cmd.Use = path[strings.LastIndexByte(path, ' ')+1:] + arguments
	if strings.Contains(about, "{{") {
		about = strings.NewReplacer("{{faults}}", faultTable(), "{{functions}}", edit.Functions(), "{{scopes}}", strings.Join(auth.AllScopes.Names(), ", ")).Replace(about)
	}
	cmd.Long = about
	return cmd
}

func faultTable() string {
	var b strings.Builder
	for _, f := range synth.Faults() {
		fmt.Fprintf(&b, "  %-17s%s\n", f.Name, f.About)
	}
	return strings.TrimSuffix(b.String(), "\n")
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
