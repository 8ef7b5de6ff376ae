package cli

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/edit"
	"github.com/orderhub/orderhub/services/orderctl/internal/synth"
)

type outputFormat string

const (
	outputText outputFormat = "text"
	outputJSON outputFormat = "json"
)

// print writes a result to stdout: the value as a line of JSON for programs, or
// the text for people.
func (a *app) print(value any, text string) error { return a.printTo(a.stdout, value, text) }

func (a *app) printTo(w io.Writer, value any, text string) error {
	if a.output == outputJSON {
		return writeJSON(w, value)
	}
	_, err := io.WriteString(w, text)
	return err
}

// show writes a value to stdout: as a line of JSON, or for people by a template of
// dlqview.
func (a *app) show(value any, template string) error {
	if a.output == outputJSON {
		return writeJSON(a.stdout, value)
	}
	return a.style().Write(a.stdout, template, value)
}

// summary is what a template of dlqview says for people, on one line.
func summary(template string, value any) string {
	var b strings.Builder
	if err := (dlqview.Style{}).Write(&b, template, value); err != nil {
		panic(err) // a mistake in the template
	}
	return b.String()
}

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

// bar shows progress on stderr, if that is a terminal.
type bar struct{ *progressbar.ProgressBar } // nil: nobody looks

// newBar counts to total, or without end if that is negative.
func (a *app) newBar(total int, doing, unit string) bar {
	if !isTerminal(a.stderr) || total == 1 {
		return bar{}
	}
	return bar{progressbar.NewOptions(total, progressbar.OptionSetWriter(a.stderr), progressbar.OptionSetDescription(doing),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetItsString(unit),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())}
}

// line makes room for lines of text; the bar comes again below them.
func (b bar) line() {
	if b.ProgressBar != nil {
		_ = b.Clear()
	}
}

func (b bar) add(n int) {
	if b.ProgressBar != nil {
		_ = b.Add(n)
	}
}

func (b bar) set(n int64) {
	if b.ProgressBar != nil {
		_ = b.Set64(n)
	}
}

func (b bar) end() {
	if b.ProgressBar != nil {
		_ = b.Exit()
		_ = b.Clear()
	}
}

// sayInterval is how often progress is said where nobody looks at a bar.
const sayInterval = 10 * time.Second

// progress shows how far a long command is: by a bar, or by a line now and then.
type progress struct {
	bar
	app         *app
	unit        string
	done, total int64
	began, said time.Time
	before      int64 // done by an earlier run
}

func (a *app) newProgress(done, total int64, doing, unit string) *progress {
	p := &progress{app: a, bar: a.newBar(int(total), doing, unit), unit: unit, done: done, total: total, before: done, began: time.Now(), said: time.Now()}
	p.add(int(done))
	return p
}

func (p *progress) did(n int64) {
	p.done += n
	p.add(int(n))
	if now := time.Now(); p.ProgressBar == nil && now.Sub(p.said) >= sayInterval {
		p.said = now
		p.app.say("%d of about %d %s, %.0f a second", p.done, p.total, p.unit, float64(p.done-p.before)/now.Sub(p.began).Seconds())
	}
}

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
