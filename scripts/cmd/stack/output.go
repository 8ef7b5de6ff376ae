package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
)

const (
	nameWidth    = 8
	longestLine  = 64 << 10 // a longer one is cut into several
	stackName    = "stack"
	brokerName   = "broker"
	postgresName = "postgres"
)

type output struct {
	mu sync.Mutex
	to io.Writer
}

func newOutput(to io.Writer) *output { return &output{to: to} }

func (o *output) named(name string) *lines {
	return &lines{out: o, prefix: fmt.Sprintf("%-*s | ", nameWidth, name)}
}

func (o *output) say(format string, arguments ...any) {
	_, _ = fmt.Fprintf(o.named(stackName), format+"\n", arguments...)
}

// postgres returns a writer for PostgreSQL's log that drops the lines of every
// start and stop. PostgreSQL's log_min_messages can't drop them: it ranks LOG
// above ERROR.
func (o *output) postgres() io.Writer {
	log := o.named(postgresName)
	log.drop = func(line string) bool {
		return strings.HasPrefix(line, "LOG: ") || line == "FATAL:  the database system is starting up" ||
			line == "FATAL:  terminating connection due to administrator command"
	}
	return log
}

// print writes text as it is, without a prefix.
func (o *output) print(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = io.WriteString(o.to, text)
}

// lines writes whole lines, each with its prefix. It ignores errors: a closed
// terminal is no reason to fail the service that writes. An unfinished last line
// waits for flush.
type lines struct {
	out     *output
	prefix  string
	drop    func(line string) bool // nil drops nothing
	mu      sync.Mutex
	pending []byte
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, p...)
	var mixed strings.Builder
	for {
		end := bytes.IndexByte(l.pending, '\n')
		if end < 0 && len(l.pending) < longestLine {
			break
		}
		if end < 0 {
			end = longestLine - 1
		}
		line := bytes.TrimRight(l.pending[:end+1], "\r\n")
		if l.drop == nil || !l.drop(string(line)) {
			mixed.WriteString(l.prefix)
			mixed.Write(line)
			mixed.WriteByte('\n')
		}
		l.pending = append(l.pending[:0], l.pending[end+1:]...)
	}
	if mixed.Len() > 0 {
		l.out.print(mixed.String())
	}
	return len(p), nil
}

func (l *lines) flush() {
	l.mu.Lock()
	unfinished := len(l.pending) > 0
	l.mu.Unlock()
	if unfinished {
		_, _ = l.Write([]byte("\n"))
	}
}
