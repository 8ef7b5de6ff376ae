// Package service is what a service's main does, whatever the service: read the
// settings, answer --help, --version and --healthcheck, run until a signal, and
// stop in time.
package service

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// Program says what a service is. Settings is a pointer to its settings, which
// the functions read once they are loaded.
type Program struct {
	Name     string
	About    string
	Settings any

	AdminAddr   func() string
	StopTimeout func() time.Duration
	New         func() (App, error)
}

// App is a service put together.
type App struct {
	Start func(context.Context) error
	Stop  func(context.Context) error
	Wait  func() (exitCode int) // until the service ends by itself; a signal may end it too
}

// startTimeout bounds Start, which opens ports and waits for nothing else.
const startTimeout = 15 * time.Second

// Main runs the program and returns its exit code: 0 for a stop by SIGINT or
// SIGTERM, 1 for a failure, 2 for settings or arguments that cannot be used. A
// second signal ends the process at once.
func Main(p Program, args []string, stdout, stderr io.Writer) int {
	say := func(format string, values ...any) { _, _ = fmt.Fprintf(stderr, p.Name+": "+format+"\n", values...) }
	if len(args) > 1 {
		say("one argument at most; see %s --help", p.Name)
		return 2
	}
	argument := ""
	if len(args) == 1 {
		argument = args[0]
	}
	switch argument {
	case "", "--healthcheck":
	case "-h", "--help", "help":
		if err := config.WriteHelp(stdout, p.Name, p.About, p.Settings); err != nil {
			return 1
		}
		return 0
	case "--version", "version":
		_, _ = fmt.Fprintln(stdout, p.Name, Version())
		return 0
	default:
		say("unknown argument %q; settings are environment variables, see %s --help", argument, p.Name)
		return 2
	}
	if err := config.Load(p.Settings); err != nil {
		say("the settings cannot be used:\n%v", err)
		return 2
	}
	if argument == "--healthcheck" {
		if err := admin.Probe(context.Background(), p.AdminAddr()); err != nil {
			say("%v", err)
			return 1
		}
		return 0
	}
	asked, forget := signals()
	defer forget()
	app, err := p.New()
	if err != nil {
		say("%v", err)
		return 1
	}
	exitCode, err := run(app, p.StopTimeout(), asked)
	if err != nil {
		say("%v", err)
		return 1
	}
	return exitCode
}

// signals are waited for from before the start on: one that comes meanwhile stops
// the service as any other does. asked is closed by the first; a second ends the
// process.
func signals() (asked <-chan struct{}, forget func()) {
	first, all := make(chan struct{}), make(chan os.Signal, 2)
	signal.Notify(all, os.Interrupt, syscall.SIGTERM)
	go func() {
		if _, ok := <-all; !ok {
			return
		}
		close(first)
		if _, ok := <-all; ok {
			os.Exit(1)
		}
	}()
	return first, func() {
		signal.Stop(all)
		close(all)
	}
}

func run(app App, stopTimeout time.Duration, asked <-chan struct{}) (exitCode int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := app.Start(ctx); err != nil {
		return 1, err
	}
	ended := make(chan int, 1)
	go func() { ended <- app.Wait() }()
	select {
	case exitCode = <-ended:
	case <-asked:
	}

	ctx, cancel = context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := app.Stop(ctx); err != nil {
		return 1, fmt.Errorf("the stop was cut short: %w", err)
	}
	return exitCode, nil
}

// Version is the module's version, the commit it was built from where that is
// known, and Go's version.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value
		}
	}
	return version + " " + info.GoVersion
}
