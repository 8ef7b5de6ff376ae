// Package audit writes down who looked at personal data, and reads that back.
package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Entry is a line of the audit log.
type Entry struct {
	At      time.Time `json:"at"`
	Actor   string    `json:"actor"`
	Action  string    `json:"action"` // such as reveal, edit or export
	Letters []string  `json:"letters"`
	// Count is how many letters it is about, where Letters does not name them all.
	Count int `json:"count,omitempty"`
}

// maxNamed is how many letters an entry names.
const maxNamed = 1000

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
// An empty path is the default.
func Append(path string, entry Entry) error {
	if path == "" {
		var err error
		if path, err = DefaultPath(); err != nil {
			return err
		}
	}
	entry.At = entry.At.UTC()
	if n := len(entry.Letters); n > maxNamed {
		entry.Letters, entry.Count = entry.Letters[:maxNamed], n
	}
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

// Read gives the latest entries, the newest first, at most limit of them. A line
// that is none is passed over; where there is no log there are no entries. An
// empty path is the default.
func Read(path string, limit int) ([]Entry, error) {
	if path == "" {
		var err error
		if path, err = DefaultPath(); err != nil {
			return nil, err
		}
	}
	log, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	entries := []Entry{}
	for _, line := range slices.Backward(bytes.Split(log, []byte("\n"))) {
		var entry Entry
		if len(entries) == limit {
			break
		}
		if json.Unmarshal(line, &entry) == nil {
			entries = append(entries, entry)
		}
	}
	return entries, nil
}
