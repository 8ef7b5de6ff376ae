// Package cli is orderctl's command line: one file a command.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/segmentio/kafka-go"
	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// Exit codes. Scripts rely on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNothing     = 3   // nothing matched, such as no order in a file
	exitInterrupted = 130 // Ctrl-C or SIGTERM, as a shell has it
)

// Main runs orderctl with its arguments, without the program's name, and
// returns the exit code. The first Ctrl-C or SIGTERM lets a command stop in
// order, the second ends the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return newApp(stdin, stdout, stderr).run(ctx, args)
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, output: outputText, settings: map[*cobra.Command]any{}, connect: connect}
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's
	cmd, err := root.ExecuteContextC(ctx)
	return a.exitCode(ctx, cmd, err)
}

// app is what the commands share.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	output         outputFormat
	// settings are the environment variables that a command reads, for its help.
	settings map[*cobra.Command]any
	// running is set when a command's own work begins: errors before that are
	// wrong usage.
	running bool
	// connect gives a client of the brokers and what closes it.
	connect func(config.Kafka) (*kafka.Client, func(), error)
}

// Settings that commands read from the environment.
type (
	kafkaSettings    struct{ Kafka config.Kafka }
	databaseSettings struct{ Database config.Database }
	publishSettings  struct {
		Kafka config.Kafka
		Rules ruleSettings
	}
	allSettings struct {
		Topics   topicsSettings
		Database config.Database
		Rules    ruleSettings
		Console  consoleSettings
	}
)

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "orderctl",
		Short: "The operator's tool of Orderhub",
		Long: `orderctl is the operator's tool of Orderhub: it publishes orders, checks files
of orders, finds orders, compares the read API with the tables, deals with dead
letters, and looks after the database's schema and the topics.

Results go to stdout; what is said about the work goes to stderr. With
--output json each result is one JSON object on one line.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing matched, 130 interrupted.`,
		Example: `  orderctl publish --count 100 --invalid 0.1
  orderctl publish --file order.json
  orderctl validate orders.jsonl
  orderctl find b563feb7b2b84b6test
  orderctl verify --sample 10000
  orderctl dlq list --since 2h
  orderctl migrate --wait 30s`,
		Args:          cobra.ArbitraryArgs, // an unknown command is for RunE to tell
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.SetOut(a.stderr)
				return errors.Join(cmd.Help(), silent(exitUsage))
			}
			return unknownCommand(cmd, args[0])
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.SetHelpFunc(a.help)
	root.SuggestionsMinimumDistance = 2
	root.CompletionOptions.DisableDefaultCmd = true
	root.Version = thisBuild().String() // --version
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().Var(&a.output, "output", "what stdout is for: text (people) or json (programs)")
	mustRegister(root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp)))
	a.settings[root] = &allSettings{}
	root.SetHelpCommand(helpCommand(root))
	root.AddCommand(a.publishCommand(), a.validateCommand(), a.migrateCommand(), a.topicsCommand(), a.dlqCommand(), a.findCommand(), a.verifyCommand(), a.versionCommand(), a.completionCommand())
	return root
}

// work wraps what a command does once its arguments and flags are understood.
func (a *app) work(do func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.running = true
		return do(cmd, args)
	}
}

// load fills a command's settings from the environment.
func load(settings any) error {
	if err := config.Load(settings); err != nil {
		return usage(err)
	}
	return nil
}

// say tells about the work on stderr.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
}

func unknownCommand(cmd *cobra.Command, name string) error {
	message := fmt.Sprintf("unknown command %q", name)
	if near := cmd.SuggestionsFor(name); len(near) > 0 {
		message += ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return usage(errors.New(message))
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
		return usage(fmt.Errorf("unexpected argument %q%s", args[0], hint))
	}
}

// mustRegister is for registrations that fail only by a mistake in this package.
func mustRegister(err error) {
	if err != nil {
		panic(err)
	}
}
