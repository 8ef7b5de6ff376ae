// Package procfs reads what Linux counts for processes: CPU time and memory.
package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ticks a second: what Linux calls USER_HZ, which is 100 on all platforms that
// Go supports.
const ticks = 100

// CPU is the time that the process has used so far, user and system, to 10 ms.
func CPU(pid int) (time.Duration, error) {
	s, err := read(pid)
	return s.own, err
}

// TreeCPU is the time that the process and its children have used so far,
// including children that have ended and were waited for. Children of children
// count once they have ended.
func TreeCPU(pid int) (time.Duration, error) {
	root, err := read(pid)
	if err != nil {
		return 0, err
	}
	total := root.own + root.ended
	children, err := childrenOf(pid)
	if err != nil {
		return 0, err
	}
	for _, child := range children {
		s, err := read(child)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended since, and is counted with the next look
		}
		if err != nil {
			return 0, err
		}
		total += s.own
	}
	return total, nil
}

// Self is the time that this process has used so far.
func Self() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // the arguments are fixed
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// PeakMemory is the most resident memory that the process has had, in bytes.
func PeakMemory(pid int) (int64, error) { return memory(pid, "VmHWM:") }

// Memory is the resident memory that the process has, in bytes.
func Memory(pid int) (int64, error) { return memory(pid, "VmRSS:") }

// Files is how many file descriptors the process has open.
func Files(pid int) (int, error) {
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		return 0, fmt.Errorf("files of process %d: %w", pid, err)
	}
	return len(entries), nil
}

func memory(pid int, field string) (int64, error) {
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(status)) {
		rest, found := strings.CutPrefix(line, field)
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("memory of process %d: no %s in its status", pid, field)
}

// stat is what /proc/PID/stat tells.
type stat struct {
	parent     int
	own, ended time.Duration // ended: of children that were waited for
}

func read(pid int) (stat, error) {
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return stat{}, fmt.Errorf("CPU of process %d: %w", pid, err)
	}
	s, err := parse(string(content))
	if err != nil {
		return stat{}, fmt.Errorf("CPU of process %d: %w", pid, err)
	}
	return s, nil
}

// parse reads the fields as proc(5) numbers them. The second is the program's
// name in parentheses, which may hold blanks and parentheses itself.
func parse(line string) (stat, error) {
	end := strings.LastIndexByte(line, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("not a process's stat: %q", line)
	}
	fields := strings.Fields(line[end+1:])
	const parent, utime, childrenTime = 4 - 3, 14 - 3, 17 - 3
	if len(fields) <= childrenTime {
		return stat{}, fmt.Errorf("not a process's stat: %q", line)
	}
	numbers := make([]int64, 5)
	for i, at := range []int{parent, utime, utime + 1, utime + 2, childrenTime} {
		n, err := strconv.ParseInt(fields[at], 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("field %d of a process's stat: %w", at+3, err)
		}
		numbers[i] = n
	}
	return stat{
		parent: int(numbers[0]),
		own:    time.Duration(numbers[1]+numbers[2]) * time.Second / ticks,
		ended:  time.Duration(numbers[3]+numbers[4]) * time.Second / ticks,
	}, nil
}

func childrenOf(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var children []int
	for _, e := range entries {
		id, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if s, err := read(id); err == nil && s.parent == pid {
			children = append(children, id)
		}
	}
	return children, nil
}
