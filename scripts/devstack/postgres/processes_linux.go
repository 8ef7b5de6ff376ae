package postgres

import (
	"os"
	"path/filepath"
	"strconv"
)

// processes returns the servers' processes on this data: every process of
// PostgreSQL's has its data folder as its working folder.
func (p *place) processes() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		// Other users' processes and those that have just ended can't be read.
		dir, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd"))
		if err == nil && dir == p.cluster {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
