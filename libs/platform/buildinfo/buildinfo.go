// Package buildinfo tells which build a program is.
package buildinfo

import (
	"cmp"
	"runtime"
	"runtime/debug"
)

// version and revision are set by the linker:
// -ldflags "-X github.com/orderhub/orderhub/libs/platform/buildinfo.version=v1.2.3".
// Without revision it is that of the repository, which images are built outside of.
var version, revision string

// Info identifies a build. Revision and the fields after it are empty where the
// program was built outside a repository.
type Info struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Time     string `json:"time,omitempty"` // of the revision
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
}

// Read returns the running program's build.
func Read() Info {
	b := Info{Version: version, Revision: revision, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.Revision = cmp.Or(revision, s.Value)
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

// String is one line, such as "v1.2.3, revision 1a2b3c of 2026-11-01T10:00:00Z,
// go1.26.0".
func (b Info) String() string {
	s := b.Version
	if b.Revision != "" {
		s += ", revision " + b.Revision
		if b.Modified {
			s += " with changes"
		}
		if b.Time != "" {
			s += " of " + b.Time
		}
	}
	return s + ", " + b.Go
}
