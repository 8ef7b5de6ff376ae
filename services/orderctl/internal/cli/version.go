package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/buildinfo"
)

func (a *app) versionCommand() *cobra.Command {
	return a.command(&cobra.Command{
		Use:     "version",
		Short:   "Say which orderctl this is",
		Example: "  orderctl version --output json",
		Args:    noArgs(""),
		RunE: func(*cobra.Command, []string) error {
			build := buildinfo.Read()
			return a.print(build, "orderctl "+build.String()+"\n")
		},
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
