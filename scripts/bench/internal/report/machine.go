package report

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Machine says what ran the benchmark: processor, cores, memory, kernel, Go.
func Machine() string {
	parts := []string{
		fmt.Sprintf("%s, %d cores", field("/proc/cpuinfo", "model name"), runtime.NumCPU()),
		memory(),
		"Linux " + kernel(),
		runtime.Version(),
	}
	return strings.Join(parts, ", ")
}

// Heading says when and where, and how to do it again.
func Heading(postgres, command string) string {
	return fmt.Sprintf("%s on %s, PostgreSQL %s.\nCommand: `%s`\n",
		time.Now().UTC().Format("2006-01-02"), Machine(), postgres, command)
}

// Command is how this run was started, by the name of its make target or folder.
func Command(program string) string {
	return strings.Join(append([]string{program}, os.Args[1:]...), " ")
}

func memory() string {
	kib, err := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 64)
	if err != nil {
		return "memory unknown"
	}
	return fmt.Sprintf("%.0f GiB", kib/(1<<20))
}

func kernel() string {
	var name syscall.Utsname
	if err := syscall.Uname(&name); err != nil {
		return "of unknown version"
	}
	var b strings.Builder
	for _, c := range name.Release {
		if c == 0 {
			break
		}
		b.WriteByte(byte(c))
	}
	return b.String()
}

// field is the value of the first line "name : value" of a file in /proc.
func field(file, name string) string {
	content, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(content)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
