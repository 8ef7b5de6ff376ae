package httpapi

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
)

// compress has the handlers after it answered compressed where the client takes
// that, with entity tags of their own. They need to know nothing of it. Single
// orders go another way: see writeCompressed.
func compress(c *gin.Context) {
	c.Writer.Header().Add("Vary", "Accept-Encoding")
	k := acceptable(c.Request.Header["Accept-Encoding"])
	if k == nil {
		c.Next()
		return
	}
	w := &compressor{ResponseWriter: c.Writer, coding: k, held: plainTags(c.Request.Header, k)}
	c.Writer = w
	whole := false
	defer func() {
		c.Writer = w.ResponseWriter // after a panic, the answer is another one
		if whole {
			w.finish()
		}
	}()
	c.Next()
	whole = true
}

// plainTags takes a coding's suffix off the tags in If-None-Match, so that
// handlers know them, and tells whether one had it.
func plainTags(h http.Header, k *coding) (held bool) {
	lines := h["If-None-Match"]
	for i, line := range lines {
		plain := strings.ReplaceAll(line, k.suffix+`"`, `"`)
		held = held || plain != line
		lines[i] = plain
	}
	return held
}

// compressor gathers an answer and sends it when it is whole.
type compressor struct {
	gin.ResponseWriter
	coding *coding
	held   bool // the client has an answer with this coding
	body   []byte
	sent   bool // it is being sent as it comes
}

func (w *compressor) Write(p []byte) (int, error) {
	if w.sent {
		return w.ResponseWriter.Write(p)
	}
	w.body = append(w.body, p...)
	return len(p), nil
}

func (w *compressor) WriteString(s string) (int, error) { return w.Write([]byte(s)) }

// WriteHeaderNow waits: the header depends on the body.
func (w *compressor) WriteHeaderNow() {
	if w.sent {
		w.ResponseWriter.WriteHeaderNow()
	}
}

func (w *compressor) Written() bool { return len(w.body) > 0 || w.ResponseWriter.Written() }

func (w *compressor) Size() int {
	if w.sent {
		return w.ResponseWriter.Size()
	}
	return len(w.body)
}

// Flush gives up gathering: such an answer has no end in sight.
func (w *compressor) Flush() {
	if !w.sent {
		w.sent = true
		w.send(w.body)
	}
	w.ResponseWriter.Flush()
}

func (w *compressor) finish() {
	if w.sent {
		return
	}
	h := w.Header()
	tag := h.Get("ETag")
	mark := func() {
		if strings.HasSuffix(tag, `"`) && !strings.HasPrefix(tag, "W/") {
			h["Etag"] = []string{w.coding.tag(tag)}
		}
	}
	body := w.body
	switch {
	case w.Status() == http.StatusNotModified:
		if w.held {
			mark()
		}
	// A part's place is told in plain bytes.
	case len(body) >= compressedPage && h.Get("Content-Encoding") == "" && h.Get("Content-Range") == "":
		if smaller := w.coding.append(nil, body); len(smaller) < len(body) {
			body = smaller
			h.Set("Content-Encoding", w.coding.name)
			mark()
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.send(body)
}

func (w *compressor) send(body []byte) {
	w.ResponseWriter.WriteHeaderNow()
	if len(body) > 0 {
		_, _ = w.ResponseWriter.Write(body) // a client that hung up needs no answer
	}
}
