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
	"github.com/spf13/pflag"

	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/webhook"
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
	if a.explain != nil {
		err = a.explain(err)
	}
	for _, end := range slices.Backward(a.ends) {
		end()
	}
	if a.auditLog != nil {
		err = errors.Join(err, a.auditLog.Close())
	}
	return a.exitCode(ctx, cmd, err)
}

type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	output         outputFormat
	auditLog       *audit.Log // nil until something is recorded
	traces         traceSettings
	// ends close what a command has opened, the last first.
	ends []func()
	// explain, if set, says what the command's error means.
	explain func(error) error
	// settings are the environment variables that a command reads.
	settings map[*cobra.Command]any
	// running is set when a command's own work begins: errors of cobra, before
	// that, are wrong usage.
	running bool
}

func (a *app) rootCommand() *cobra.Command {
	root := a.parent("orderctl", a.publishCommand(), a.validateCommand(), a.migrateCommand(), a.importCommand(), a.replayCommand(), a.fieldsCommand(), a.topicsCommand(), a.dlqCommand(), a.findCommand(), a.eraseCommand(),
		a.verifyCommand(), a.doctorCommand(), a.workerCommand(), a.auditCommand(), a.tokenCommand(), a.versionCommand(), a.completionCommand())
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Version = "orderctl " + buildinfo.Read().String() // --version
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetHelpFunc(a.help)
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetVersionTemplate("{{.Version}}\n")
	choice(root, root.PersistentFlags(), &a.output, "output", "`format` of the results: text (for people) or json (for programs)", outputText, outputJSON)
	a.settings[root] = &struct {
		Service   config.Service `ADMIN_ADDR:"127.0.0.1:9082"`
		Topics    topicsSettings
		Database  config.Database
		Workers   groupSettings
		Rules     rules.Settings
		API       apiSettings
		Console   consoleSettings
		Audit     audit.Settings
		Erasures  erasure.Settings
		Auth      auth.Settings
		Server    httpserver.Settings
		Login     natsconn.Login
		Streaming natsconn.Streaming `STAN_CLIENT_ID:"orderctl"`
		Web       web.Settings
		Traces    linkSettings
		Webhook   webhook.Settings
	}{}
	root.SetHelpCommand(explain(&cobra.Command{RunE: func(_ *cobra.Command, args []string) error {
		cmd, rest, err := root.Find(args)
		if err != nil || len(rest) > 0 {
			return unknownCommand(root, strings.Join(args, " "))
		}
		return cmd.Help()
	}}, "help"))
	return root
}

// command makes a command, which help.txt explains. args checks the arguments; nil: it
// takes none. The settings, which may be nil, are filled from the environment before the
// command runs, and listed in its help.
func (a *app) command(path string, settings any, args cobra.PositionalArgs, run func(*cobra.Command, []string) error) *cobra.Command {
	if args == nil {
		args = noArgs("")
	}
	cmd := explain(&cobra.Command{Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		a.running = true
		if settings == nil {
			return run(cmd, args)
		}
		if err := load(settings); err != nil {
			return err
		}
		if err := a.trace(cmd); err != nil {
			return err
		}
		return run(cmd, args)
	}}, path)
	if settings != nil {
		a.settings[cmd] = settings
	}
	return cmd
}

// parent makes a command that only has others below it.
func (a *app) parent(path string, below ...*cobra.Command) *cobra.Command {
	cmd := explain(&cobra.Command{Args: cobra.ArbitraryArgs, RunE: func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.SetOut(a.stderr)
			return errors.Join(cmd.Help(), errs.New(errs.Invalid, ""))
		}
		return unknownCommand(cmd, args[0])
	}}, path)
	cmd.AddCommand(below...)
	return cmd
}

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

func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // no such flag: a mistake in this package
	}
}

// choice adds a flag that takes one of some values. The first is its default.
func choice[T ~string](cmd *cobra.Command, flags *pflag.FlagSet, to *T, name, usage string, values ...T) {
	var names []string
	for _, value := range values {
		names = append(names, string(value))
	}
	*to = values[0]
	flags.Func(name, usage, func(text string) error {
		if !slices.Contains(names, text) {
			return fmt.Errorf("use %s or %s", strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
		}
		*to = T(text)
		return nil
	})
	flags.Lookup(name).DefValue = names[0]
	complete(cmd, name, names...)
}

func (a *app) versionCommand() *cobra.Command {
	return a.command("version", nil, nil, func(*cobra.Command, []string) error {
		build := buildinfo.Read()
		return a.print(build, "orderctl "+build.String()+"\n")
	})
}

var shells = []string{"bash", "zsh", "fish", "powershell"}

func (a *app) completionCommand() *cobra.Command {
	cmd := a.command("completion", nil, cobra.ArbitraryArgs, func(cmd *cobra.Command, args []string) error {
		root := cmd.Root()
		switch strings.Join(args, " ") {
		case "bash":
			return root.GenBashCompletionV2(a.stdout, true)
		case "zsh":
			return root.GenZshCompletion(a.stdout)
		case "fish":
			return root.GenFishCompletion(a.stdout, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(a.stdout)
		}
		return usagef("name one shell: %s", strings.Join(shells, ", "))
	})
	cmd.ValidArgs = shells
	return cmd
}
