package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// Record is a line of the audit log. Lines of earlier versions belong to no chain.
type Record struct {
	At time.Time `json:"at"`
	Event
	Letters []string `json:"letters,omitempty"` // Targets in lines of earlier versions
	Chain   string   `json:"chain,omitempty"`
	Seq     uint64   `json:"seq,omitempty"`
	Prev    string   `json:"prev,omitempty"`
}

func parse(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	if r.Chain == "" { // earlier versions wrote what they allowed
		r.Allowed, r.Targets, r.Letters = true, append(r.Targets, r.Letters...), nil
	}
	return r, nil
}

// Read returns the latest records, the newest first, at most limit of them, without the
// lines that only open and close chains. It passes over lines that are none. With
// ORDERHUB_AUDIT other than file it returns an error that says where the records are.
func Read(s Settings, limit int) ([]Record, error) {
	if s.To != ToFile {
		return nil, fmt.Errorf("ORDERHUB_AUDIT=%s: the records are not in a file of this machine", s.To)
	}
	paths, err := s.Paths()
	if err != nil {
		return nil, err
	}
	records := []Record{}
	for _, path := range slices.Backward(paths) {
		if records, err = readBack(path, records, limit); err != nil {
			return nil, fmt.Errorf("audit log: %w", err)
		}
	}
	return records, nil
}

// readBack adds a file's records to records, from its end, until there are limit.
func readBack(path string, records []Record, limit int) ([]Record, error) {
	file, err := os.Open(path)
	if err != nil {
		return records, err
	}
	defer func() { _ = file.Close() }() // it was only read
	end, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return records, err
	}
	block := make([]byte, 64<<10)
	var rest []byte // the beginning of it is a line's, whose beginning is not read yet
	for end > 0 && len(records) < limit {
		n := min(end, int64(len(block)))
		end -= n
		if _, err := file.ReadAt(block[:n], end); err != nil {
			return records, err
		}
		rest = slices.Concat(block[:n], rest)
		first := 0
		if end > 0 {
			if first = bytes.IndexByte(rest, '\n') + 1; first == 0 {
				continue
			}
		}
		for _, line := range slices.Backward(bytes.Split(rest[first:], []byte("\n"))) {
			r, err := parse(line)
			if err == nil && r.Action != actionOpen && r.Action != actionClose && len(records) < limit {
				records = append(records, r)
			}
		}
		rest = rest[:first]
	}
	return records, nil
}
