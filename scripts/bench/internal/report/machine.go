package report

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/procfs"
)

// Machine says what ran the benchmark: processor, cores, memory, kernel, Go.
func Machine() string {
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

// Heading says when and where a benchmark ran, and how to repeat it. postgres is
// the version of PostgreSQL, or "" where none was measured.
func Heading(postgres, command string) string {
	where := Machine()
	if postgres != "" {
		where += ", PostgreSQL " + postgres
	}
	return fmt.Sprintf("%s on %s.\nCommand: `%s`\n", time.Now().UTC().Format("2006-01-02"), where, command)
}
