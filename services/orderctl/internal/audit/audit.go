// Package audit writes down who looked at personal data.
package audit

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Entry is a line of the audit log.
type Entry struct {
	At      time.Time `json:"at"`
	Actor   string    `json:"actor"`
	Action  string    `json:"action"` // such as reveal
	Letters []string  `json:"letters"`
}

// DefaultPath is in the user's own configuration folder.
func DefaultPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no place for the audit log, name one in ORDERHUB_AUDIT_LOG: %w", err)
	}
	return filepath.Join(dir, "orderhub", "audit.jsonl"), nil
}

// Append adds an entry to the log at path, as one line of JSON that is written
// whole, also beside other processes. What it guards must not happen if it fails.
func Append(path string, entry Entry) error {
	entry.At = entry.At.UTC()
	line, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	_, err = file.Write(append(line, '\n'))
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("audit log %s: %w", path, err)
	}
	return nil
}
