// Package audit writes down who looked at personal data and who changed something,
// before it is shown or changed, and reads and verifies what was written.
//
// A record is a line of JSON. The lines of a process form a chain: each has the chain's
// id, its sequence number, the head before it (the code of the line before) and its own
// code, over the whole line. With a key the code is HMAC-SHA256, field "mac"; without
// one it is plain SHA-256, field "sum", which finds accidents and not forgers. The first
// line of a chain opens it and the last one closes it. Lines of several processes may
// alternate in a file.
package audit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Event is what somebody did, or was refused. It names people's orders and letters by
// their ids, and holds no personal data beyond the ids and the caller's own name.
type Event struct {
	Action  string   `json:"action"`            // such as reveal, edit or export
	Targets []string `json:"targets,omitempty"` // order_uids or ids of letters; not to be changed after Write
	// Count is how many things it is about, where Targets does not name them all.
	Count   int    `json:"count,omitempty"`
	Why     string `json:"why,omitempty"`
	Allowed bool   `json:"allowed"` // false: it was refused

	Actor     string `json:"actor"`          // the caller's name
	ActorKind string `json:"kind,omitempty"` // how the caller is known: auth.Caller's Kind
	From      string `json:"from,omitempty"` // the client's address
	RequestID string `json:"request,omitempty"`
}

// Options of a Log.
type Options struct {
	Program, Version string // for the line that opens a chain
	Log              *zap.Logger
	// Kafka makes the sink of ORDERHUB_AUDIT=kafka, whose client not every program has.
	Kafka func(topic string) (Sink, error)
	// HeadEvery is how often the chain's head is logged while it moves; 5 min.
	HeadEvery time.Duration
}

// Sink stores lines.
type Sink interface {
	// Append returns when the lines, each with its line break, are durable. They belong
	// to the chain with that id. Append is not called concurrently. After an error
	// nothing of lines is stored, or the error is ErrUncertain.
	Append(ctx context.Context, chain string, lines []byte) error
	Close() error
}

var (
	// ErrUncertain is a Sink's error after which a part of the lines may be stored.
	ErrUncertain = errors.New("the audit log may hold a part of the records")
	// ErrClosed is the error of a Write after Close.
	ErrClosed = errors.New("the audit log is closed")
	// ErrBusy is the error of a Write while too many others wait.
	ErrBusy = errors.New("the audit log is too slow")
)

const (
	// MaxNamed is how many targets a record names.
	MaxNamed = 1000
	// maxTarget is how many bytes of a target a record has, maxText of every other text.
	maxTarget, maxText = 512, 4096
	// maxWaiting bounds the records that wait to be written.
	maxWaiting = 10_000
	// writeTimeout bounds the writing of a group of records.
	writeTimeout = 10 * time.Second
)

// Log is an open audit log. Methods are safe for concurrent use.
type Log struct {
	opts  Options
	sink  Sink
	where string
	chain *chain // of the goroutine that writes

	mu      sync.Mutex
	next    *group // what Write adds to
	ring    chan struct{}
	closed  bool
	stopped chan struct{} // closed when nothing is written any more
}

type group struct {
	events []timed
	done   chan struct{} // closed when err is set
	err    error
}

type timed struct {
	Event
	at time.Time
}

func newGroup() *group { return &group{done: make(chan struct{})} }

// Open prepares the audit log and opens a chain in it, so that a place that cannot be
// written to is an error here.
func Open(s Settings, o Options) (*Log, error) {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.HeadEvery == 0 {
		o.HeadEvery = 5 * time.Minute
	}
	sink, where, err := open(s, o)
	if err != nil {
		return nil, err
	}
	l := &Log{
		opts: o, sink: sink, where: where, chain: newChain([]byte(s.Key.Reveal())), next: newGroup(),
		ring: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	if err := l.append([]timed{l.opening()}); err != nil {
		_ = sink.Close() // the first error says more
		return nil, fmt.Errorf("audit log %s: %w", where, err)
	}
	if s.Key == "" {
		o.Log.Info("the audit log has plain checksums: set ORDERHUB_AUDIT_KEY to have it signed")
	}
	l.logHead("audit log opened")
	go l.run()
	return l, nil
}

func open(s Settings, o Options) (sink Sink, where string, err error) {
	switch s.To {
	case ToStdout:
		return stdout{os.Stdout}, "on stdout", nil
	case ToKafka:
		if o.Kafka == nil {
			return nil, "", fmt.Errorf("ORDERHUB_AUDIT=%s: this program cannot write the audit log to Kafka", s.To)
		}
		sink, err = o.Kafka(s.Topic)
		return sink, "in topic " + s.Topic, err
	}
	path, err := s.Path()
	if err != nil {
		return nil, "", err
	}
	if s.OldFile != "" {
		o.Log.Warn("ORDERHUB_AUDIT_LOG is the old name of ORDERHUB_AUDIT_FILE: use the new one")
	}
	if former := s.former(); former != "" {
		if _, err := os.Stat(former); err == nil {
			o.Log.Info("older records of the audit log are in the former default file", zap.String("file", former))
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, "", fmt.Errorf("audit log: %w", err)
	}
	return &file{path: path, limit: s.FileBytes, keep: s.Files}, path, nil
}

func (l *Log) opening() timed {
	return timed{Event{Action: actionOpen, Actor: l.opts.Program, Why: l.opts.Version, Allowed: true}, time.Now()}
}

// Write returns when the event is durable, written together with those of other calls.
// After an error what the event is about must be neither shown nor changed; if the error
// is ctx's, the event may still be recorded.
func (l *Log) Write(ctx context.Context, e Event) error {
	if n := len(e.Targets); n > MaxNamed {
		e.Targets, e.Count = e.Targets[:MaxNamed], max(n, e.Count)
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return fmt.Errorf("audit log %s: %w", l.where, ErrClosed)
	}
	g := l.next
	if len(g.events) == maxWaiting {
		l.mu.Unlock()
		return fmt.Errorf("audit log %s: %w", l.where, ErrBusy)
	}
	g.events = append(g.events, timed{e, time.Now()})
	if len(g.events) == 1 {
		l.ring <- struct{}{} // has room: the one before was received before its group was replaced
	}
	l.mu.Unlock()
	select {
	case <-g.done:
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Log) run() {
	defer close(l.stopped)
	heads := time.NewTicker(l.opts.HeadEvery)
	defer heads.Stop()
	spare := newGroup()
	var logged uint64
	for {
		select {
		case _, open := <-l.ring:
			l.mu.Lock()
			g := l.next
			l.next = spare
			l.mu.Unlock()
			if len(g.events) > 0 {
				if err := l.append(g.events); err != nil {
					g.err = fmt.Errorf("audit log %s: %w", l.where, err)
				}
			}
			close(g.done)
			clear(g.events)
			spare = &group{events: g.events[:0], done: make(chan struct{})}
			if !open {
				return
			}
			// Who was waiting answers and asks again meanwhile: the next group has more records,
			// and making it durable costs as much as many records in it.
			runtime.Gosched()
		case <-heads.C:
			if l.chain.seq != logged {
				logged = l.chain.seq
				l.logHead("audit log's head")
			}
		}
	}
}

// append writes events. A failed group leaves the chain as it was, or if parts of it
// may be stored, begins a new one.
func (l *Log) append(events []timed) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	if l.chain.broken {
		l.chain.restart()
		events = append([]timed{l.opening()}, events...)
	}
	before := *l.chain
	err := l.sink.Append(ctx, l.chain.id, l.chain.lines(events))
	if err != nil {
		l.chain.seq, l.chain.head = before.seq, before.head
		l.chain.broken = l.chain.broken || errors.Is(err, ErrUncertain)
	}
	return err
}

// Close writes what waits and the line that closes the chain.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		<-l.stopped
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	close(l.ring)
	<-l.stopped
	err := l.append([]timed{{Event{Action: actionClose, Actor: l.opts.Program, Allowed: true}, time.Now()}})
	l.logHead("audit log closed")
	if err = errors.Join(err, l.sink.Close()); err != nil {
		return fmt.Errorf("audit log %s: %w", l.where, err)
	}
	return nil
}

func (l *Log) logHead(message string) {
	l.opts.Log.Info(message, zap.String("where", l.where), zap.String("chain", l.chain.id),
		zap.Uint64("sequence", l.chain.seq), zap.String("head", l.chain.hexHead()))
}
