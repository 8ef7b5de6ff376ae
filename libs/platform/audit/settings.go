package audit

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// Where the audit log goes, in ORDERHUB_AUDIT.
const (
	ToFile   = "file"
	ToStdout = "stdout"
	ToKafka  = "kafka"
)

// Settings of the audit log.
type Settings struct {
	To        string        `env:"ORDERHUB_AUDIT" envDefault:"file" validate:"oneof=file stdout kafka" help:"where the audit log goes: file, stdout or kafka"`
	File      string        `env:"ORDERHUB_AUDIT_FILE" help:"the audit log's file (default: orderhub/audit.jsonl in the user's state folder)"`
	OldFile   string        `env:"ORDERHUB_AUDIT_LOG" help:"old name of ORDERHUB_AUDIT_FILE"`
	FileBytes int64         `env:"ORDERHUB_AUDIT_FILE_BYTES" envDefault:"104857600" validate:"min=65_536,max=1_099_511_627_776" help:"bytes after which a new file begins and the old one gets the time as its suffix"`
	Files     int           `env:"ORDERHUB_AUDIT_FILES" envDefault:"0" validate:"min=0,max=100_000" help:"how many earlier files are kept; 0: all"`
	Topic     string        `env:"ORDERHUB_AUDIT_TOPIC" envDefault:"orderhub.audit" help:"topic of the audit log, with ORDERHUB_AUDIT=kafka"`
	Key       config.Secret `env:"ORDERHUB_AUDIT_KEY" validate:"omitempty,bytes=16" help:"key that signs the audit log, at least 16 bytes (default: plain checksums)"`
}

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	if s.File != "" && s.OldFile != "" {
		return errors.New("ORDERHUB_AUDIT_FILE and ORDERHUB_AUDIT_LOG, its old name: set one of them")
	}
	return nil
}

// Path is the file that the audit log is appended to.
func (s *Settings) Path() (string, error) {
	if path := cmp.Or(s.File, s.OldFile); path != "" {
		return path, nil
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) { // as its specification demands
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no place for the audit log, name one in ORDERHUB_AUDIT_FILE: %w", err)
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "orderhub", "audit.jsonl"), nil
}

// Paths returns the files that exist, the oldest first: that of versions which kept it
// in the configuration folder, the rotated ones, and the current one.
func (s *Settings) Paths() ([]string, error) {
	path, err := s.Path()
	if err != nil {
		return nil, err
	}
	paths, err := rotated(path)
	if err != nil {
		return nil, err
	}
	if old := s.former(); old != "" {
		paths = slices.Insert(paths, 0, old)
	}
	return slices.DeleteFunc(append(paths, path), func(path string) bool {
		_, err := os.Stat(path)
		return errors.Is(err, os.ErrNotExist)
	}), nil
}

// former is where the default file was before it moved to the state folder, or "".
func (s *Settings) former() string {
	dir, err := os.UserConfigDir()
	if err != nil || s.File != "" || s.OldFile != "" {
		return ""
	}
	return filepath.Join(dir, "orderhub", "audit.jsonl")
}
