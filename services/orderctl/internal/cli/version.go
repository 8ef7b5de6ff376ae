package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

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
	return &cobra.Command{
		Use:     "version",
		Short:   "Say which orderctl this is",
		Example: "  orderctl version --output json",
		Args:    noArgs(""),
		RunE: a.work(func(*cobra.Command, []string) error {
			if a.output == outputJSON {
				return writeJSON(a.stdout, thisBuild())
			}
			_, err := fmt.Fprintln(a.stdout, thisBuild())
			return err
		}),
	}
}
