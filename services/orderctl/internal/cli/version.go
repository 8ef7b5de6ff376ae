package cli

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// version may be set at build time:
// -ldflags "-X github.com/orderhub/orderhub/services/orderctl/internal/cli.version=v1.2.3".
var version string

// build says which orderctl this is.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"` // of the revision
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
}

func thisBuild() build {
	b := build{Version: version, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = s.Value
			case "vcs.time":
				b.Time = s.Value
			case "vcs.modified":
				b.Modified = s.Value == "true"
			}
		}
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
	}
	if b.Version == "" {
		b.Version = "development"
	}
	return b
}

func (b build) String() string {
	s := "orderctl " + b.Version
	if b.Revision != "" {
		s += ", revision " + b.Revision
		if b.Modified {
			s += " with changes"
		}
		s += " of " + b.Time
	}
	return s + ", " + b.Go
}

func (a *app) versionCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use:     "version",
		Short:   "Say which orderctl this is",
		Example: "  orderctl version --output json",
		Args:    noArgs(""),
		RunE:    func(*cobra.Command, []string) error { return a.print(thisBuild(), thisBuild().String()+"\n") },
	}, nil)
}

var shells = []string{"bash", "zsh", "fish", "powershell"}

func (a *app) completionCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use:   "completion " + strings.Join(shells, "|"),
		Short: "Print a script that completes orderctl's commands and flags in a shell",
		Long: `Print a script that completes orderctl's commands and flags in a shell.

bash needs the package bash-completion; zsh needs compinit in ~/.zshrc.`,
		Example: `  source <(orderctl completion bash)
  orderctl completion bash > /etc/bash_completion.d/orderctl
  orderctl completion zsh > "${fpath[1]}/_orderctl"
  orderctl completion fish > ~/.config/fish/completions/orderctl.fish
  orderctl completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: shells,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(shells, args[0]) {
				return usagef("name one shell: %s", strings.Join(shells, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return root.GenZshCompletion(a.stdout)
			case "fish":
				return root.GenFishCompletion(a.stdout, true)
			default:
				return root.GenPowerShellCompletionWithDesc(a.stdout)
			}
		},
	}, nil)
}
