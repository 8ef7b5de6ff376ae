package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/scripts/internal/ledger"
)

const (
	// storyTime is how far from a record's timestamp log lines belong to its story.
	storyTime = 30 * time.Second
	// storyOffsets is how far behind a record the batch that has it may end: batches
	// count their records, not the offsets that they skip.
	storyOffsets = 1000
	maxLine      = 1 << 20
)

// event is a line of a service's log, or a strike.
type event struct {
	at   time.Time
	text string
}

// line is what stories need of a line of a service's log.
type line struct {
	Time      time.Time `json:"time"`
	Message   string    `json:"msg"`
	Partition *int32    `json:"partition"`
	Next      *int64    `json:"next_offset"`
	Records   int64     `json:"records"`
}

// stories prints for each finding the services' log lines about its record, or of
// its time, and the strikes of that time.
func (s *site) stories(w io.Writer, hits []*hit, f *ledger.Findings) {
	for _, finding := range f.First {
		_, _ = fmt.Fprintf(w, "\nThe story of: %s\n", finding.What)
		if finding.Offset >= 0 {
			_, _ = fmt.Fprintf(w, "  partition %d, offset %d, sent at %s; committed %d, end %d\n", finding.Partition, finding.Offset,
				finding.At.Format(time.RFC3339Nano), f.Committed[finding.Partition], f.Ends[finding.Partition])
		}
		events := strikesAround(hits, finding)
		for _, service := range s.services() {
			events = append(events, linesAbout(service, finding)...)
		}
		slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
		for _, e := range events {
			_, _ = fmt.Fprintf(w, "  %s  %s\n", e.at.Format("15:04:05.000"), e.text)
		}
	}
}

func strikesAround(hits []*hit, finding ledger.Finding) (events []event) {
	for _, h := range hits {
		if !finding.At.IsZero() && h.began.Sub(finding.At).Abs() < storyTime {
			events = append(events, event{h.began, fmt.Sprintf("*** %s (recovered after %s)", h.what, round(h.recovery))})
		}
	}
	return events
}

func linesAbout(service *service, finding ledger.Finding) (events []event) {
	file, err := os.Open(service.LogFile)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) == nil && isAbout(l, lines.Text(), finding) {
			events = append(events, event{l.Time, service.Name + ": " + lines.Text()})
		}
	}
	return events
}

func isAbout(l line, text string, finding ledger.Finding) bool {
	switch {
	case finding.UID != "" && strings.Contains(text, `"`+finding.UID+`"`), finding.ID != "" && strings.Contains(text, finding.ID):
		return true
	case finding.Offset < 0:
		return false
	case l.Partition != nil && *l.Partition != finding.Partition:
		return false
	case l.Partition != nil && l.Next != nil:
		return *l.Next > finding.Offset && *l.Next-l.Records-storyOffsets <= finding.Offset
	default: // the partition at that time, or the whole service
		return l.Time.Sub(finding.At).Abs() < storyTime
	}
}
