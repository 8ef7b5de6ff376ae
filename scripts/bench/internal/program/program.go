// Package program is what the benchmarks' mains have in common: flags, child
// processes, interruption, exit codes, progress, and the document for results.
//
// A benchmark describes its flags by a struct that embeds [Flags] and whose
// fields kong reads (https://github.com/alecthomas/kong): name, default and help.
// Three tags are this package's own: `smoke` is the value in a run that only has to
// show that the program works, `min` is the least value allowed, and `full` is the
// least value of runs whose results go into the document without being asked for.
package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/orderhub/orderhub/scripts/internal/report"
)

// Flags are the flags that all benchmarks have.
type Flags struct {
	Binaries string  `name:"bin" default:"bin" help:"Folder with the services and orderctl, as make build fills it."`
	Document *string `help:"Markdown file whose tables are replaced (default: ${document}, unless the run is smaller than a full one; empty: none)."`
	Profiles string  `help:"Folder for CPU profiles of the services under load (they cost a little speed)."`
	Smoke    bool    `help:"Only see whether it works: takes seconds, and writes no document unless one is named."`

	command  string // that repeats the run
	document string // "" for none
}

// Common gives access to the flags that all benchmarks have.
func (f *Flags) Common() *Flags { return f }

// Settings are a benchmark's flags: a pointer to a struct that embeds [Flags]. Its
// AfterApply, which kong calls, may set what the flags leave open.
type Settings interface{ Common() *Flags }

// Benchmark says what a program is.
type Benchmark struct {
	Name     string // of its folder
	About    string
	Document string // for the results of full runs
}

// Named is a benchmark whose results go into [Benchmarks].
func Named(name, about string) Benchmark { return Benchmark{name, about, Benchmarks} }

// The documents that results go into.
const (
	Benchmarks = "docs/benchmarks.md"
	Scaling    = "docs/scaling.md"
)

// Main parses the flags into settings and runs the benchmark until it is done,
// fails or is interrupted. In a child process it plays the child's role instead.
func Main[S Settings](b Benchmark, settings S, run func(context.Context, S) error, roles ...Role) {
	Play(roles...)
	if err := Parse(b, settings, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", b.Name, err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, settings); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", b.Name, err)
		os.Exit(1)
	}
}

// Parse reads the arguments, which are flags only. --help is written to output,
// and ends the process.
func Parse(b Benchmark, settings Settings, args []string, output io.Writer) error {
	flags := settings.Common()
	parser, err := kong.New(settings, kong.Name(b.Name), kong.Writers(output, output),
		kong.Description(b.About+" Run it from the repository's root after `make build`, on a quiet machine."),
		kong.Vars{"document": b.Document},
		kong.Resolvers(smoke(slices.Contains(args, "--smoke"))))
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return err
	}
	if err := tooSmall(parsed.Flags()); err != nil {
		return err
	}
	switch {
	case flags.Document != nil:
		flags.document = *flags.Document
	case isFull(parsed.Flags()) && !flags.Smoke:
		flags.document = b.Document
	}
	flags.command = strings.Join(append([]string{"make build && go run ./scripts/bench/" + b.Name}, args...), " ")
	return nil
}

// smoke gives the flags that were not chosen their values of a smoke run.
func smoke(wanted bool) kong.Resolver {
	return kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		if !wanted || !flag.Tag.Has("smoke") {
			return nil, nil //nolint:nilnil // kong's way to say that there is none
		}
		return flag.Tag.Get("smoke"), nil
	})
}

// tooSmall is an error that names each flag whose value is below its `min` tag.
func tooSmall(flags []*kong.Flag) error {
	var errs []error
	for _, flag := range flags {
		for _, value := range values(flag) {
			if least := flag.Tag.Get("min"); least != "" && number(value) < number(least) {
				errs = append(errs, fmt.Errorf("--%s: at least %s, not %s", flag.Name, least, value))
			}
		}
	}
	return errors.Join(errs...)
}

// isFull says whether each flag, or one of its values, reaches its `full` tag.
func isFull(flags []*kong.Flag) bool {
	return !slices.ContainsFunc(flags, func(flag *kong.Flag) bool {
		full := flag.Tag.Get("full")
		return full != "" && !slices.ContainsFunc(values(flag), func(value string) bool { return number(value) >= number(full) })
	})
}

// values are the value of a flag, or those of a list.
func values(flag *kong.Flag) []string {
	return strings.Fields(strings.Trim(fmt.Sprint(flag.Target), "[]"))
}

// number is the value of a number or, in seconds, of a duration.
func number(text string) float64 {
	if d, err := time.ParseDuration(text); err == nil {
		return d.Seconds()
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic("program: `min` and `full` tags need numbers: " + err.Error())
	}
	return n
}

// WritesDocument says whether results go into a document.
func (f *Flags) WritesDocument() bool { return f.document != "" }

// Save prints a result, and replaces the section of the document where there is
// one. postgres is the version of PostgreSQL, or "" where none was measured.
func (f *Flags) Save(section, body, postgres string) error {
	fmt.Println(body)
	if f.document == "" {
		return nil
	}
	return report.Save(f.document, section, body+"\n"+report.Heading(postgres, f.command))
}

// Contender is one of those that are measured in turn.
type Contender[S any] struct {
	Name string
	Run  func(context.Context) (S, error)
}

// Measure has each contender run once a round. Each round begins with another
// contender, so that none always runs first. tell describes a sample.
func Measure[S any](ctx context.Context, rounds int, contenders []Contender[S], tell func(S) string) (report.Samples[S], error) {
	samples := report.Samples[S]{}
	for round := range rounds {
		Progress("round %d of %d", round+1, rounds)
		for i := range contenders {
			c := contenders[(round+i)%len(contenders)]
			s, err := c.Run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			Progress("%-34s %s", c.Name, tell(s))
			samples[c.Name] = append(samples[c.Name], s)
		}
	}
	return samples, nil
}

// Progress writes a line about the progress to standard error.
func Progress(format string, args ...any) {
	_, _ = fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// roleVariable tells a child process its role and the role's argument.
const roleVariable = "ORDERHUB_BENCH_ROLE"

// childStopTimeout is how long a child may take to end before it is killed.
const childStopTimeout = 20 * time.Second

// Role is what this program's executable does in a process of its own, so that
// its CPU time and memory can be told from ours. A server writes its address as
// its first line, answers each line of its input with one, and ends with its
// input.
type Role struct {
	Name string
	Run  func(argument string, in io.Reader, out io.Writer) error
}

// Play plays the role that this process was started for, and then exits. It
// returns in a process without a role.
func Play(roles ...Role) {
	name, argument, _ := strings.Cut(os.Getenv(roleVariable), "=")
	for _, role := range roles {
		if role.Name != name {
			continue
		}
		if err := role.Run(argument, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// Command prepares a process that plays the role.
func (r Role) Command(ctx context.Context, argument string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), roleVariable+"="+r.Name+"="+argument)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the parent
	return cmd, nil
}

// Child is a process that plays the role of a server.
type Child struct {
	Addr string

	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Scanner
}

// Start starts a server and waits until it listens.
func (r Role) Start(argument string) (*Child, error) {
	cmd, err := r.Command(context.Background(), argument)
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		return nil, fmt.Errorf("start a child process: %w", err)
	}
	c := &Child{cmd: cmd, in: in, answers: bufio.NewScanner(out)}
	if !c.answers.Scan() {
		return nil, fmt.Errorf("the child process %q did not start: %w", r.Name, cmd.Wait())
	}
	c.Addr = c.answers.Text()
	return c, nil
}

// Pid is the process id.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// Tell sends a line and waits for the answer.
func (c *Child) Tell(line string) error {
	_, err := fmt.Fprintln(c.in, line)
	if err == nil && !c.answers.Scan() {
		err = errors.New("no answer")
	}
	if err != nil {
		return fmt.Errorf("tell a child process %q: %w", line, err)
	}
	return nil
}

// Stop ends the child.
func (c *Child) Stop() error {
	_ = c.in.Close() // it ends with its input
	timer := time.AfterFunc(childStopTimeout, func() { _ = c.cmd.Process.Kill() })
	defer timer.Stop()
	return c.cmd.Wait()
}
