// Package cli is orderctl's command line.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/libs/platform/web"
)

// Main runs orderctl with its arguments, without the program's name, and
// returns the exit code. The first Ctrl-C or SIGTERM lets a command stop in
// order, the second ends the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return Run(ctx, args, stdin, stdout, stderr)
}

// Run is Main for callers that stop a command by ending its context.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newApp(stdin, stdout, stderr).run(ctx, args)
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, output: outputText, settings: map[*cobra.Command]any{}}
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's
	cmd, err := root.ExecuteContextC(ctx)
	if a.auditLog != nil {
		err = errors.Join(err, a.auditLog.Close())
	}
	return a.exitCode(ctx, cmd, err)
}

// app is what the commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	output         outputFormat
	auditLog       *audit.Log // nil until something is recorded
	// settings are the environment variables that a command reads.
	settings map[*cobra.Command]any
	// running is set when a command's own work begins: errors of cobra, before
	// that, are wrong usage.
	running bool
}

func (a *app) rootCommand() *cobra.Command {
	root := a.parent(&cobra.Command{
		Use:   "orderctl",
		Short: "The operator's tool of Orderhub",
		Long: `orderctl is the operator's tool of Orderhub: it publishes orders, checks files
of orders, finds orders, compares the read API with the tables, copies the orders
of other services' databases, deals with dead letters, and looks after the database's
schema and the topics.

Results go to stdout, messages to stderr. With --output json each result is one
JSON object on one line.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing matched, 130 interrupted.`,
		Example: `  orderctl publish --count 100 --invalid 0.1
  orderctl publish --file order.json
  orderctl validate orders.jsonl
  orderctl find b563feb7b2b84b6test
  orderctl verify --sample 10000
  orderctl dlq list --since 2h
  orderctl migrate --wait 30s`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       "orderctl " + buildinfo.Read().String(), // --version
	})
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetHelpFunc(a.help)
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().Var(&a.output, "output", "form of the results: text (for people) or json (for programs)")
	complete(root, "output", "text", "json")
	a.settings[root] = &struct {
		Topics    topicsSettings
		Database  config.Database
		Rules     rules.Settings
		API       apiSettings
		Console   consoleSettings
		Audit     audit.Settings
		Auth      auth.Settings
		Server    httpserver.Settings
		Login     natsconn.Login
		Streaming natsconn.Streaming `STAN_CLIENT_ID:"orderctl"`
		Web       web.Settings
	}{}
	root.SetHelpCommand(helpCommand(root))
	root.AddCommand(a.publishCommand(), a.validateCommand(), a.migrateCommand(), a.importCommand(), a.topicsCommand(), a.dlqCommand(), a.findCommand(), a.verifyCommand(), a.auditCommand(), a.tokenCommand(), a.versionCommand(), a.completionCommand())
	return root
}

// command finishes a command. The settings, which may be nil, are filled from the
// environment before the command runs, and listed in its help.
func (a *app) command(cmd *cobra.Command, settings any) *cobra.Command {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		a.running = true
		if settings != nil {
			if err := load(settings); err != nil {
				return err
			}
		}
		return run(cmd, args)
	}
	if settings != nil {
		a.settings[cmd] = settings
	}
	return cmd
}

// parent finishes a command that only has others below it.
func (a *app) parent(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs // RunE reports an unknown command
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.SetOut(a.stderr)
			return errors.Join(cmd.Help(), errs.New(errs.Invalid, ""))
		}
		return unknownCommand(cmd, args[0])
	}
	return cmd
}

// load fills settings from the environment.
func load(settings any) error { return usage(config.Load(settings)) }

// usage marks an error in how orderctl was called, or in its settings.
func usage(err error) error { return errs.Wrap(errs.Invalid, err, "") }

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// failed ends a command that has said already what failed.
func failed() error { return errs.New(errs.Internal, "") }

// nothing ends a command that found nothing.
func nothing(format string, args ...any) error { return errs.New(errs.NotFound, format, args...) }

// exitCode reports an error on stderr and turns it into the exit code.
func (a *app) exitCode(ctx context.Context, cmd *cobra.Command, err error) int {
	code := errs.CodeOf(err)
	switch {
	case err == nil:
		return errs.ExitDone
	case !a.running:
		code = errs.Invalid
	case ctx.Err() != nil && code != errs.Invalid && code != errs.NotFound:
		if code = errs.Interrupted; !isSaid(err) {
			err = errors.New("interrupted")
		}
	}
	// Several errors, such as those of settings, come on a line each.
	switch message := strings.ReplaceAll(text(err), "\n", "\n  "); {
	case isSaid(err):
	case code == errs.Invalid:
		a.say("%s: %s (see '%s --help')", cmd.CommandPath(), message, cmd.CommandPath())
	case code == errs.NotFound:
		a.say("%s", message)
	default:
		a.say("%s: %s", cmd.CommandPath(), message)
	}
	return code.ExitCode()
}

// isSaid is true of an error that only ends a command: all was said before.
func isSaid(err error) bool {
	coded, ok := errors.AsType[*errs.Error](err)
	return ok && coded.Message == "" && coded.Err == nil
}

// text is what an error tells a person: its message, without the cause.
func text(err error) string {
	if message := errs.Message(err); message != "" {
		return message
	}
	return err.Error()
}

// say writes a message to stderr.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
}

func unknownCommand(cmd *cobra.Command, name string) error {
	message := fmt.Sprintf("unknown command %q", name)
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		message += ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef("%s", message)
}

func helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Explain a command",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(root, strings.Join(args, " "))
			}
			return cmd.Help()
		},
	}
}

// noArgs refuses arguments; hint says what might be meant.
func noArgs(hint string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return usagef("unexpected argument %q%s", args[0], hint)
	}
}

// oneArg demands one argument, or fails with message.
func oneArg(message string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return usagef("%s", message)
		}
		return nil
	}
}

// complete has a shell complete a flag's values.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // no such flag: a mistake in this package
	}
}

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
