package report

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// Markers around a section that a program writes. What stands outside of them is
// written by people and stays.
func begin(name string) string { return "<!-- " + name + ":begin (written by the benchmark) -->" }
func end(name string) string   { return "<!-- " + name + ":end -->" }

// Save replaces the section called name in a Markdown file. Where the file or
// the section is missing, it is added at the end.
func Save(file, name, body string) error {
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the report: %w", err)
	}
	changed, err := replace(content, name, body)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := os.WriteFile(file, changed, 0o644); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func replace(content []byte, name, body string) ([]byte, error) {
	section := begin(name) + "\n\n" + strings.TrimSpace(body) + "\n\n" + end(name)
	from, to := bytes.Index(content, []byte(begin(name))), bytes.Index(content, []byte(end(name)))
	switch {
	case from < 0 && to < 0:
		if len(content) > 0 {
			content = append(bytes.TrimRight(content, "\n"), "\n\n"...)
		}
		return append(content, section+"\n"...), nil
	case from < 0 || to < from:
		return nil, fmt.Errorf("the markers of the section %q are not a pair: mend them by hand", name)
	}
	var out []byte
	out = append(out, content[:from]...)
	out = append(out, section...)
	return append(out, content[to+len(end(name)):]...), nil
}

// machine says what ran the benchmark: processor, cores, memory, kernel, Go.
func machine() string {
	processor, memory := "unknown processor", "unknown memory"
	if fs, err := procfs.NewDefaultFS(); err == nil {
		if cpus, err := fs.CPUInfo(); err == nil && len(cpus) > 0 {
			processor = cpus[0].ModelName
		}
		if info, err := fs.Meminfo(); err == nil && info.MemTotalBytes != nil {
			memory = fmt.Sprintf("%.0f GiB", float64(*info.MemTotalBytes)/(1<<30))
		}
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("of unknown version")
	}
	return fmt.Sprintf("%s, %d cores, %s, Linux %s, %s", processor, runtime.NumCPU(), memory, bytes.TrimSpace(kernel), runtime.Version())
}

// Heading says when and where a benchmark ran, with which version of PostgreSQL, and how
// to repeat it.
func Heading(postgres, command string) string {
	return fmt.Sprintf("%s on %s, PostgreSQL %s.\nCommand: `%s`\n", time.Now().UTC().Format("2006-01-02"), machine(), postgres, command)
}
