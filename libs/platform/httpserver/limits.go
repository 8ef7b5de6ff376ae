package httpserver

import (
	"net/http"
	"time"
)

// limited bounds what a handler reads of a body, and with HTTP/2 how long a client may
// take nothing of an answer: there a connection goes on while a stream stands still.
type limited struct {
	next     http.Handler
	maxBody  int64
	patience time.Duration
}

func (l limited) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if len(r.TransferEncoding) > 0 {
		// net/http has dropped a Content-Length beside it, by which a proxy may have told
		// where the request ends. What follows may be smuggled (RFC 9112, 6.1).
		w.Header().Set("Connection", "close")
	}
	if r.Body != http.NoBody {
		r.Body = http.MaxBytesReader(w, r.Body, l.maxBody)
	}
	if r.ProtoMajor < 2 {
		l.next.ServeHTTP(w, r)
		return
	}
	p := &patientWriter{ResponseWriter: w, control: http.NewResponseController(w), patience: l.patience}
	l.next.ServeHTTP(p, r)
	p.begin() // for what is still buffered
}

const (
	// streamBuffer is how much of an answer net/http buffers before it waits for the client.
	streamBuffer = 4 << 10
	// streamWrite is how much of it the client may take in one patience.
	streamWrite = 32 << 10
)

// patientWriter is progressConn for a stream of HTTP/2.
type patientWriter struct {
	http.ResponseWriter
	control  *http.ResponseController
	patience time.Duration
	buffered int
}

// Unwrap is for http.ResponseController.
func (w *patientWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *patientWriter) Write(p []byte) (written int, err error) {
	if w.buffered += len(p); w.buffered <= streamBuffer {
		return w.ResponseWriter.Write(p)
	}
	w.buffered = streamBuffer
	defer w.end()
	for written < len(p) && err == nil {
		var n int
		w.begin()
		n, err = w.ResponseWriter.Write(p[written:min(len(p), written+streamWrite)])
		written += n
	}
	return written, err
}

// FlushError is for http.ResponseController.
func (w *patientWriter) FlushError() error {
	w.begin()
	defer w.end()
	w.buffered = 0
	return w.control.Flush()
}

func (w *patientWriter) Flush() { _ = w.FlushError() } // the next write fails as well

// An error of the two means that the stream is closed: so does the write between them.
func (w *patientWriter) begin() { _ = w.control.SetWriteDeadline(time.Now().Add(w.patience)) }
func (w *patientWriter) end()   { _ = w.control.SetWriteDeadline(time.Time{}) }
