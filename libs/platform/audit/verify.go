package audit

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"time"
)

// The kinds of problems.
const (
	Changed    = "changed"    // the line is not what was written
	Missing    = "missing"    // lines of the chain before the one named
	Reordered  = "reordered"  // the line comes after one that was written later
	Duplicated = "duplicated" // the line is there more than once
	Torn       = "torn"       // a part of a line, as a crash leaves it
	Unsigned   = "unsigned"   // the chain has plain checksums in spite of the key that was given
	Unchecked  = "unchecked"  // the chain is signed and no key was given: only its order was checked
)

// maxProblems is how many problems a report describes.
const maxProblems = 1000

// maxLine is more bytes than a line has: MaxNamed targets, cut and escaped.
const maxLine = 4 << 20

// Problem is something wrong with a line, or with lines that are not there.
type Problem struct {
	Kind  string `json:"kind"`
	Chain string `json:"chain,omitempty"`
	Seq   uint64 `json:"seq,omitempty"`
	Count uint64 `json:"count,omitempty"` // of missing lines, from Seq on
	Line  int64  `json:"line"`            // from 1, over all readers
}

// String describes the problem in a line.
func (p Problem) String() string {
	text := fmt.Sprintf("line %d: %s", p.Line, p.Kind)
	if p.Kind == Missing {
		text = fmt.Sprintf("before line %d: %d missing, from", p.Line, p.Count)
	}
	if p.Chain != "" {
		text += fmt.Sprintf(" sequence %d of chain %s", p.Seq, p.Chain)
	}
	return text
}

// ChainState is a line of a chain.
type ChainState struct {
	Chain   string    `json:"chain"`
	Program string    `json:"program,omitempty"` // that opened the chain
	Seq     uint64    `json:"seq"`
	Head    string    `json:"head"`
	At      time.Time `json:"at"`
}

// Report is what Verify has found.
type Report struct {
	Lines    int64     `json:"lines"`
	Chains   int       `json:"chains"`
	Old      int64     `json:"old"` // lines of earlier versions, which belong to no chain
	Problems []Problem `json:"problems"`
	More     int64     `json:"more_problems"` // that Problems has no room for
	// Unclosed are the last lines of chains that have no closing one: the process runs
	// or was killed, or the end has been removed.
	Unclosed []ChainState `json:"unclosed"`
	// Headless are the first lines of chains whose beginning is not there: its file has
	// been removed, by rotation or by somebody.
	Headless []ChainState `json:"headless"`
}

// OK tells that nothing is wrong with the lines that are there. What may have been
// before and after them, Headless and Unclosed list.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// Verify checks an audit log, whose files are read in the order of their age. With an
// empty key it checks plain checksums. The error is one of reading. Memory grows with
// the chains and the gaps in them, not with the lines.
func Verify(key []byte, logs ...io.Reader) (*Report, error) {
	v := &verifier{
		keyed: len(key) > 0, mac: newCode(key), sum: newCode(nil), chains: map[string]*verified{},
		report: Report{Problems: []Problem{}, Unclosed: []ChainState{}, Headless: []ChainState{}},
	}
	for _, log := range logs {
		if err := v.read(log); err != nil {
			return nil, err
		}
	}
	return v.end(), nil
}

type verifier struct {
	keyed    bool
	mac, sum hash.Hash
	chains   map[string]*verified
	report   Report
}

// verified is a chain as far as it has been read.
type verified struct {
	first, last ChainState
	head        []byte // of last
	closed      bool
	gaps        []gap
	told        bool // that it is unsigned or unchecked
}

// gap is a range of lines that have not come yet.
type gap struct {
	from, to uint64
	line     int64 // before which they are missing
}

func (v *verifier) read(log io.Reader) error {
	lines := bufio.NewReaderSize(log, 64<<10)
	var long []byte
	for {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			for long = long[:0]; errors.Is(err, bufio.ErrBufferFull); line, err = lines.ReadSlice('\n') {
				long = append(long, line[:min(len(line), maxLine-len(long))]...) // a longer one is none of ours
			}
			line = append(long, line...)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			v.report.Lines++
			v.line(bytes.TrimSuffix(line, []byte("\n")))
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("audit log: %w", err)
		}
	}
}

func (v *verifier) problem(p Problem) {
	if p.Line == 0 {
		p.Line = v.report.Lines
	}
	if len(v.report.Problems) == maxProblems {
		v.report.More++
		return
	}
	v.report.Problems = append(v.report.Problems, p)
}

func (v *verifier) line(line []byte) {
	r, err := parse(line)
	switch {
	case err != nil:
		v.problem(Problem{Kind: Torn})
		return
	case r.Chain == "":
		v.report.Old++
		return
	}
	// Nothing of a line counts before its code has been checked: a chain may be made up.
	code, field := v.sum, sumField
	signed := len(line) > codeSize && bytes.HasPrefix(line[len(line)-codeSize:], []byte(macField))
	if signed {
		code, field = v.mac, macField
	}
	at := len(line) - codeSize
	if at < 0 || !bytes.HasPrefix(line[at:], []byte(field)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		v.problem(Problem{Kind: Changed, Chain: r.Chain, Seq: r.Seq})
		return
	}
	said := line[at+len(field) : len(line)-len(`"}`)]
	head, err := hex.DecodeString(string(said))
	if err == nil && (!signed || v.keyed) {
		code.Reset()
		code.Write(line[:at])
		if !hmac.Equal(code.Sum(nil), head) {
			err = errors.New("another code")
		}
	}
	if err != nil {
		v.problem(Problem{Kind: Changed, Chain: r.Chain, Seq: r.Seq})
	}
	v.follow(&r, err == nil, head, signed)
}

// follow puts a line into its chain. One that was changed still is where it was.
func (v *verifier) follow(r *Record, intact bool, head []byte, signed bool) {
	state := ChainState{Chain: r.Chain, Seq: r.Seq, Head: hex.EncodeToString(head), At: r.At}
	c := v.chains[r.Chain]
	if c == nil {
		if !intact {
			return // the chain's name may be what was changed
		}
		c = &verified{first: state, last: ChainState{Seq: r.Seq - 1}}
		v.chains[r.Chain] = c
	}
	if r.Action == actionOpen {
		c.first.Program = r.Actor
	}
	if signed != v.keyed && !c.told {
		c.told = true
		kind := Unsigned
		if signed {
			kind = Unchecked
		}
		v.problem(Problem{Kind: kind, Chain: r.Chain, Seq: r.Seq})
	}
	next := c.last.Seq + 1
	switch {
	case r.Seq < next:
		if intact {
			v.late(c, r)
		}
		return
	case r.Seq > next && intact:
		c.gaps = append(c.gaps, gap{next, r.Seq - 1, v.report.Lines})
	case r.Seq > next: // the number may be what was changed
		return
	case intact && c.head != nil && r.Prev != hex.EncodeToString(c.head):
		v.problem(Problem{Kind: Changed, Chain: r.Chain, Seq: r.Seq}) // signed, of another history
	}
	c.last, c.head = state, head
	if !intact {
		c.head = nil
	}
	c.closed = c.closed || r.Action == actionClose
}

// late is a line that comes after one with a higher number.
func (v *verifier) late(c *verified, r *Record) {
	for i, g := range c.gaps {
		if r.Seq < g.from || r.Seq > g.to {
			continue
		}
		v.problem(Problem{Kind: Reordered, Chain: r.Chain, Seq: r.Seq})
		var parts []gap
		if r.Seq > g.from {
			parts = append(parts, gap{g.from, r.Seq - 1, g.line})
		}
		if r.Seq < g.to {
			parts = append(parts, gap{r.Seq + 1, g.to, g.line})
		}
		c.gaps = slices.Replace(c.gaps, i, i+1, parts...)
		return
	}
	v.problem(Problem{Kind: Duplicated, Chain: r.Chain, Seq: r.Seq})
}

func (v *verifier) end() *Report {
	v.report.Chains = len(v.chains)
	for _, c := range slices.SortedFunc(maps.Values(v.chains), func(a, b *verified) int { return a.first.At.Compare(b.first.At) }) {
		for _, g := range c.gaps {
			v.problem(Problem{Kind: Missing, Chain: c.first.Chain, Seq: g.from, Count: g.to - g.from + 1, Line: g.line})
		}
		if c.first.Seq != 1 {
			v.report.Headless = append(v.report.Headless, c.first)
		}
		if !c.closed {
			c.last.Program = c.first.Program
			v.report.Unclosed = append(v.report.Unclosed, c.last)
		}
	}
	slices.SortStableFunc(v.report.Problems, func(a, b Problem) int { return int(a.Line - b.Line) })
	return &v.report
}
